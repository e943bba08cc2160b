package driver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The operations fetch and offset_for, by a consumer with assigned partitions. */
final class Consuming {
    private final String bootstrap;

    Consuming(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    void offer(Map<String, Main.Operation> operations) {
        operations.put("fetch", this::fetch);
        operations.put("offset_for", this::offsetFor);
    }

    private KafkaConsumer<byte[], byte[]> consumer(JsonNode command) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("auto.offset.reset", "none");
        config.put("enable.auto.commit", false);
        config.put("allow.auto.create.topics", false);
        config.put("default.api.timeout.ms", 20_000);
        command.path("config").fields().forEachRemaining(e -> config.put(e.getKey(), e.getValue().asText()));
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private JsonNode fetch(JsonNode command) {
        Map<TopicPartition, Long> ends = new HashMap<>();
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(command)) {
            for (JsonNode range : command.get("partitions")) {
                ends.put(partition(range), range.get("end").asLong());
            }
            consumer.assign(ends.keySet());
            for (JsonNode range : command.get("partitions")) {
                consumer.seek(partition(range), range.get("from").asLong());
            }
            Set<TopicPartition> missing = new HashSet<>(ends.keySet());
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (!missing.isEmpty()) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                        records.add(record);
                    }
                }
                missing.removeIf(partition -> consumer.position(partition) >= ends.get(partition));
                if (System.nanoTime() > deadline) {
                    throw new TimeoutException("not read to the end: " + missing);
                }
            }
        }
        records.sort(Comparator.comparing((ConsumerRecord<byte[], byte[]> record) -> record.topic())
            .thenComparing(ConsumerRecord::partition));
        ObjectNode answer = Main.JSON.createObjectNode();
        ArrayNode list = answer.putArray("records");
        records.forEach(record -> list.add(json(record)));
        return answer;
    }

    private static TopicPartition partition(JsonNode from) {
        return new TopicPartition(from.get("topic").asText(), from.get("partition").asInt());
    }

    private static ObjectNode json(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode json = Main.JSON.createObjectNode();
        json.put("topic", record.topic()).put("partition", record.partition());
        json.put("offset", record.offset()).put("timestamp", record.timestamp());
        json.put("timestamp_type",
            record.timestampType() == TimestampType.LOG_APPEND_TIME ? "append" : "create");
        json.put("key", record.key()).put("value", record.value());
        ArrayNode headers = json.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
        return json;
    }

    private JsonNode offsetFor(JsonNode command) throws Exception {
        TopicPartition partition = partition(command);
        JsonNode at = command.get("at");
        ObjectNode answer = Main.JSON.createObjectNode();
        answer.putNull("offset").putNull("timestamp");
        if (at.asText().equals("max_timestamp")) {
            return Administration.maxTimestamp(bootstrap, partition);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(command)) {
            List<TopicPartition> one = List.of(partition);
            if (at.asText().equals("earliest")) {
                answer.put("offset", consumer.beginningOffsets(one).get(partition));
            } else if (at.asText().equals("latest")) {
                answer.put("offset", consumer.endOffsets(one).get(partition));
            } else {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, at.asLong())).get(partition);
                if (found != null) {
                    answer.put("offset", found.offset()).put("timestamp", found.timestamp());
                }
            }
        }
        return answer;
    }
}
