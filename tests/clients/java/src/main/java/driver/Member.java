package driver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** A member of a group: reads, commits, and tells what happens; see the README of the clients. */
public final class Member implements ConsumerRebalanceListener {
    private static final Map<String, String> ASSIGNORS = Map.of(
        "range", "org.apache.kafka.clients.consumer.RangeAssignor",
        "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private final JsonNode options;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private volatile boolean stopping;

    private Member(String bootstrap, JsonNode options) {
        this.options = options;
        this.consumer = new KafkaConsumer<>(
            config(bootstrap), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    public static void main(String[] arguments) throws IOException {
        Member member = new Member(arguments[0], Main.JSON.readTree(arguments[1]));
        Thread stopper = new Thread(member::stopAtTheEndOfInput);
        stopper.setDaemon(true);
        stopper.start();
        member.run();
    }

    private Map<String, Object> config(String bootstrap) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", options.get("group").asText());
        config.put("client.id", options.get("client_id").asText());
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("allow.auto.create.topics", false);
        config.put("fetch.max.wait.ms", 200);
        config.put("metadata.max.age.ms", options.get("metadata_max_age_ms").asInt());
        if (options.hasNonNull("instance")) {
            config.put("group.instance.id", options.get("instance").asText());
        }
        if (options.get("protocol").asText().equals("consumer")) {
            config.put("group.protocol", "consumer");
            if (options.hasNonNull("assignor")) {
                config.put("group.remote.assignor", options.get("assignor").asText());
            }
        } else {
            config.put("session.timeout.ms", options.get("session_timeout_ms").asInt());
            config.put("heartbeat.interval.ms", options.get("heartbeat_ms").asInt());
            config.put("partition.assignment.strategy", ASSIGNORS.get(options.get("assignor").asText()));
        }
        return config;
    }

    private void stopAtTheEndOfInput() {
        try {
            System.in.transferTo(PrintStream.nullOutputStream());
        } catch (IOException ended) {
            ended.printStackTrace();
        }
        stopping = true;
    }

    private void run() {
        tell(event("started").put("version", AppInfoParser.getVersion()));
        List<String> topics = new ArrayList<>();
        options.get("topics").forEach(topic -> topics.add(topic.asText()));
        consumer.subscribe(topics, this);
        while (!stopping) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
            Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
            for (TopicPartition partition : records.partitions()) {
                List<ConsumerRecord<byte[], byte[]>> part = records.records(partition);
                tellRead(partition, part);
                position(part.get(part.size() - 1).offset() + 1, part.get(0).offset(), partition, positions);
            }
            if (!positions.isEmpty()) {
                commit(positions);
            }
        }
        consumer.close();
        tell(event("left"));
    }

    private void position(
        long next, long first, TopicPartition partition, Map<TopicPartition, OffsetAndMetadata> positions) {
        long below = options.path("commit_below").asLong(Long.MAX_VALUE);
        if (first < below) {
            positions.put(partition,
                new OffsetAndMetadata(Math.min(next, below), options.get("commit_metadata").asText()));
        }
    }

    private void commit(Map<TopicPartition, OffsetAndMetadata> positions) {
        try {
            consumer.commitSync(positions);
        } catch (KafkaException error) {
            error.printStackTrace();
            tell(event("failed").put("class", error.getClass().getName())
                .put("message", String.valueOf(error.getMessage())));
            return;
        }
        ObjectNode event = event("committed");
        ArrayNode offsets = event.putArray("offsets");
        positions.forEach((partition, position) -> offsets.addArray()
            .add(partition.topic()).add(partition.partition()).add(position.offset()));
        tell(event);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        tell("assigned", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        tell("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        tell("lost", partitions);
    }

    private static ObjectNode event(String name) {
        return Main.JSON.createObjectNode().put("event", name);
    }

    private void tell(String name, Collection<TopicPartition> partitions) {
        ObjectNode event = event(name);
        ArrayNode list = event.putArray("partitions");
        partitions.forEach(partition -> list.addArray().add(partition.topic()).add(partition.partition()));
        tell(event);
    }

    private void tellRead(TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> records) {
        ObjectNode event = event("read").put("topic", partition.topic()).put("partition", partition.partition());
        ArrayNode list = event.putArray("records");
        records.forEach(record -> list.addArray().add(record.offset())
            .add(new String(record.value(), StandardCharsets.UTF_8)));
        tell(event);
    }

    private synchronized void tell(ObjectNode event) {
        out.println(event);
        out.flush();
    }
}
