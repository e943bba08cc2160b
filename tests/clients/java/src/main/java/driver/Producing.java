package driver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The operation produce. */
final class Producing {
    private final String bootstrap;

    Producing(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    void offer(Map<String, Main.Operation> operations) {
        operations.put("produce", this::produce);
    }

    private KafkaProducer<byte[], byte[]> producer(JsonNode command) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("acks", command.get("acks").asText());
        config.put("enable.idempotence", command.get("idempotent").asBoolean());
        config.put("compression.type", command.get("codec").asText());
        config.put("max.request.size", command.get("bytes_max").asInt());
        config.put("linger.ms", 20);
        config.put("delivery.timeout.ms", 60_000);
        config.put("max.block.ms", 60_000);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private JsonNode produce(JsonNode command) throws Exception {
        ObjectNode answer = Main.JSON.createObjectNode();
        answer.putArray("offsets");
        try (KafkaProducer<byte[], byte[]> producer = producer(command)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode record : command.get("records")) {
                sent.add(producer.send(record(command, record)));
            }
            producer.flush();
            for (Future<RecordMetadata> each : sent) {
                RecordMetadata metadata = each.get();
                Long offset = metadata.hasOffset() ? metadata.offset() : null;
                answer.withArray("offsets").add(offset);
            }
        }
        return answer;
    }

    private static ProducerRecord<byte[], byte[]> record(JsonNode command, JsonNode from) throws IOException {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
            command.get("topic").asText(), command.get("partition").asInt(),
            from.get("timestamp").asLong(), bytes(from.get("key")), bytes(from.get("value")));
        for (JsonNode header : from.get("headers")) {
            record.headers().add(header.get(0).asText(), bytes(header.get(1)));
        }
        return record;
    }

    private static byte[] bytes(JsonNode from) throws IOException {
        return from.isNull() ? null : from.binaryValue();
    }
}
