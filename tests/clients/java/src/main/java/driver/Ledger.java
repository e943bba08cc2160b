package driver;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes through kafka-clients until its standard input ends, and keeps a ledger of what was sent
 * and what became of it; arguments, lines and records as those of the ledger in Go.
 */
public final class Ledger {
    private static volatile boolean stopped;

    private Ledger() {}

    public static void main(String[] arguments) throws Exception {
        int idempotent = Integer.parseInt(arguments[3]);
        int retrying = idempotent + Integer.parseInt(arguments[4]);
        int all = retrying + Integer.parseInt(arguments[5]);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < all; i++) {
            int producer = i;
            boolean isIdempotent = producer < idempotent;
            boolean leaderOnly = !isIdempotent && producer == retrying - 1;
            String acks = producer >= retrying ? "0" : leaderOnly ? "1" : "all";
            Thread thread = new Thread(() -> produce(arguments, producer, isIdempotent, acks));
            thread.start();
            threads.add(thread);
        }
        while (System.in.read() >= 0) {
            // Only its end means something.
        }
        stopped = true;
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.flush();
    }

    private static void produce(String[] arguments, int producer, boolean idempotent, String acks) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", arguments[0]);
        config.put("acks", acks);
        config.put("enable.idempotence", idempotent);
        config.put("retries", acks.equals("0") ? 0 : Integer.MAX_VALUE);
        config.put("max.in.flight.requests.per.connection", idempotent ? 5 : 1);
        config.put("compression.type", new String[] {"none", "lz4", "zstd", "gzip", "snappy"}[producer % 5]);
        config.put("linger.ms", 2);
        config.put("delivery.timeout.ms", 300_000);
        config.put("request.timeout.ms", 5_000);
        config.put("max.block.ms", 300_000);
        config.put("retry.backoff.ms", 20);
        config.put("reconnect.backoff.ms", 20);
        config.put("reconnect.backoff.max.ms", 100);
        int partitions = Integer.parseInt(arguments[2]);
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> client = new KafkaProducer<>(config, bytes, bytes)) {
            for (int sequence = 0; !stopped; sequence++) {
                int partition = (producer + sequence) % partitions;
                byte[] key = Integer.toString(producer).getBytes(StandardCharsets.US_ASCII);
                String id = " " + producer + " " + sequence + " ";
                line("S" + id + partition);
                client.send(
                    new ProducerRecord<>(arguments[1], partition, key, value(producer, sequence)),
                    (metadata, error) -> {
                        if (error != null) {
                            line("F" + id + error);
                        } else {
                            line("A" + id + (metadata.hasOffset() ? metadata.offset() : "-"));
                        }
                    });
                Thread.sleep(1);
            }
        } catch (InterruptedException stop) {
            throw new IllegalStateException(stop);
        }
    }

    private static synchronized void line(String line) {
        System.out.println(line.replace('\n', ' '));
    }

    private static byte[] value(int producer, int sequence) {
        int fillingMax = 1200;
        long seed = ((long) producer << 40) ^ ((long) fillingMax << 32);
        long[] state = {(seed * 0x2545f4914f6cdd1dL) ^ sequence};
        String name = producer + " " + sequence + " " + fillingMax + " ";
        byte[] head = name.getBytes(StandardCharsets.US_ASCII);
        int length = 8 + (int) Long.remainderUnsigned(next(state), fillingMax + 1);
        byte[] text = java.util.Arrays.copyOf(head, head.length + length);
        for (int i = head.length; i < text.length; i++) {
            text[i] = (byte) ('a' + Long.remainderUnsigned(next(state), 26));
        }
        return text;
    }

    private static long next(long[] state) {
        state[0] += 0x9e3779b97f4a7c15L;
        long z = state[0];
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }
}
