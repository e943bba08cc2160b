package spring;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.listener.AcknowledgingMessageListener;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ConsumerAwareRebalanceListener;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.support.Acknowledgment;

/** A member of a group by a listener container of spring-kafka; see the README of the clients. */
public final class Member
    implements AcknowledgingMessageListener<String, String>, ConsumerAwareRebalanceListener {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private final JsonNode options;

    private Member(JsonNode options) {
        this.options = options;
    }

    public static void main(String[] arguments) throws IOException {
        new Member(JSON.readTree(arguments[1])).run(arguments[0]);
    }

    private void run(String bootstrap) throws IOException {
        List<String> topics = new ArrayList<>();
        options.get("topics").forEach(topic -> topics.add(topic.asText()));
        ContainerProperties properties = new ContainerProperties(topics.toArray(new String[0]));
        properties.setGroupId(options.get("group").asText());
        properties.setAckMode(ContainerProperties.AckMode.MANUAL_IMMEDIATE);
        properties.setPollTimeout(100);
        properties.setMessageListener(this);
        properties.setConsumerRebalanceListener(this);
        String metadata = options.get("commit_metadata").asText();
        properties.setOffsetAndMetadataProvider((listener, offset) -> new OffsetAndMetadata(offset, metadata));
        var container = new ConcurrentMessageListenerContainer<>(
            new DefaultKafkaConsumerFactory<String, String>(config(bootstrap)), properties);
        container.setAlwaysClientIdSuffix(false);
        tell(event("started"));
        container.start();
        System.in.transferTo(PrintStream.nullOutputStream());
        container.stop();
        tell(event("left"));
    }

    private Map<String, Object> config(String bootstrap) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("client.id", options.get("client_id").asText());
        config.put("key.deserializer", StringDeserializer.class);
        config.put("value.deserializer", StringDeserializer.class);
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
        } else {
            config.put("session.timeout.ms", options.get("session_timeout_ms").asInt());
            config.put("heartbeat.interval.ms", options.get("heartbeat_ms").asInt());
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        }
        return config;
    }

    @Override
    public void onMessage(ConsumerRecord<String, String> record, Acknowledgment acknowledgment) {
        ObjectNode event = event("read").put("topic", record.topic()).put("partition", record.partition());
        event.putArray("records").addArray().add(record.offset()).add(record.value());
        tell(event);
        if (record.offset() < options.path("commit_below").asLong(Long.MAX_VALUE)) {
            acknowledgment.acknowledge();
            ObjectNode committed = event("committed");
            committed.putArray("offsets").addArray()
                .add(record.topic()).add(record.partition()).add(record.offset() + 1);
            tell(committed);
        }
    }

    @Override
    public void onPartitionsAssigned(Consumer<?, ?> consumer, Collection<TopicPartition> partitions) {
        tell("assigned", partitions);
    }

    @Override
    public void onPartitionsRevokedAfterCommit(Consumer<?, ?> consumer, Collection<TopicPartition> partitions) {
        tell("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Consumer<?, ?> consumer, Collection<TopicPartition> partitions) {
        tell("lost", partitions);
    }

    private static ObjectNode event(String name) {
        return JSON.createObjectNode().put("event", name);
    }

    private void tell(String name, Collection<TopicPartition> partitions) {
        ObjectNode event = event(name);
        ArrayNode list = event.putArray("partitions");
        partitions.forEach(partition -> list.addArray().add(partition.topic()).add(partition.partition()));
        tell(event);
    }

    private synchronized void tell(ObjectNode event) {
        out.println(event);
        out.flush();
    }
}
