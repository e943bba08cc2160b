package driver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ReplicaInfo;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;

/** The operations of the admin client. */
final class Administration {
    private final Admin admin;

    Administration(String bootstrap) {
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    void close() {
        admin.close();
    }

    void offer(Map<String, Main.Operation> operations) {
        operations.put("create_topic", this::createTopic);
        operations.put("delete_topic", this::deleteTopic);
        operations.put("list_topics", this::listTopics);
        operations.put("describe_topic", this::describeTopic);
        operations.put("describe_config", this::describeConfig);
        operations.put("alter_config", this::alterConfig);
        operations.put("create_partitions", this::createPartitions);
        operations.put("delete_records", this::deleteRecords);
        operations.put("describe_cluster", this::describeCluster);
        operations.put("describe_producers", this::describeProducers);
        operations.put("describe_log_dirs", this::describeLogDirs);
        operations.put("list_config_resources", this::listConfigResources);
        operations.put("describe_features", this::describeFeatures);
        new Groups(admin).offer(operations);
        if (hasLegacyAlterConfigs()) {
            operations.put("alter_config_legacy", this::alterConfigLegacy);
        }
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    private static ObjectNode done(KafkaFuture<?> future) throws Exception {
        get(future);
        return Main.JSON.createObjectNode();
    }

    private static String topic(JsonNode command) {
        return command.get("topic").asText();
    }

    private static Map<String, String> strings(JsonNode from) {
        Map<String, String> strings = new HashMap<>();
        from.fields().forEachRemaining(entry -> strings.put(entry.getKey(), entry.getValue().asText()));
        return strings;
    }

    private JsonNode createTopic(JsonNode command) throws Exception {
        NewTopic topic = new NewTopic(topic(command), command.get("partitions").asInt(),
            (short) command.get("replication_factor").asInt());
        topic.configs(strings(command.get("configs")));
        return done(admin.createTopics(List.of(topic)).all());
    }

    private JsonNode deleteTopic(JsonNode command) throws Exception {
        return done(admin.deleteTopics(List.of(topic(command))).all());
    }

    private JsonNode listTopics(JsonNode command) throws Exception {
        ArrayNode names = Main.JSON.createArrayNode();
        new TreeSet<>(get(admin.listTopics().names())).forEach(names::add);
        return names;
    }

    private JsonNode describeTopic(JsonNode command) throws Exception {
        String name = topic(command);
        TopicDescription topic = get(admin.describeTopics(List.of(name)).allTopicNames()).get(name);
        ObjectNode answer = Main.JSON.createObjectNode();
        answer.put("id", topic.topicId().toString());
        ArrayNode partitions = answer.putArray("partitions");
        for (TopicPartitionInfo partition : topic.partitions()) {
            ObjectNode json = partitions.addObject();
            json.put("partition", partition.partition());
            json.put("leader", partition.leader() == null ? -1 : partition.leader().id());
            partition.replicas().forEach(node -> json.withArray("replicas").add(node.id()));
            partition.isr().forEach(node -> json.withArray("isr").add(node.id()));
        }
        return answer;
    }

    private static ConfigResource resource(JsonNode command) {
        boolean broker = command.get("resource").asText().equals("broker");
        ConfigResource.Type type = broker ? ConfigResource.Type.BROKER : ConfigResource.Type.TOPIC;
        return new ConfigResource(type, command.get("name").asText());
    }

    private JsonNode describeConfig(JsonNode command) throws Exception {
        ConfigResource resource = resource(command);
        Config config = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        ObjectNode answer = Main.JSON.createObjectNode();
        for (ConfigEntry entry : config.entries()) {
            ObjectNode json = answer.putObject(entry.name());
            json.put("value", entry.value()).put("source", entry.source().name());
            json.put("read_only", entry.isReadOnly()).put("sensitive", entry.isSensitive());
        }
        return answer;
    }

    private JsonNode alterConfig(JsonNode command) throws Exception {
        Collection<AlterConfigOp> changes = new ArrayList<>();
        strings(command.get("set")).forEach((key, value) ->
            changes.add(new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET)));
        for (JsonNode key : command.get("delete")) {
            changes.add(new AlterConfigOp(new ConfigEntry(key.asText(), ""), AlterConfigOp.OpType.DELETE));
        }
        return done(admin.incrementalAlterConfigs(Map.of(resource(command), changes)).all());
    }

    // Gone from the interface since 4.0: one source serves both releases.
    private static boolean hasLegacyAlterConfigs() {
        try {
            Admin.class.getMethod("alterConfigs", Map.class);
            return true;
        } catch (NoSuchMethodException gone) {
            return false;
        }
    }

    private JsonNode alterConfigLegacy(JsonNode command) throws Exception {
        Collection<ConfigEntry> entries = new ArrayList<>();
        strings(command.get("set")).forEach((key, value) -> entries.add(new ConfigEntry(key, value)));
        Map<ConfigResource, Config> change = Map.of(resource(command), new Config(entries));
        Object result = Admin.class.getMethod("alterConfigs", Map.class).invoke(admin, change);
        return done((KafkaFuture<?>) result.getClass().getMethod("all").invoke(result));
    }

    private JsonNode createPartitions(JsonNode command) throws Exception {
        NewPartitions total = NewPartitions.increaseTo(command.get("total").asInt());
        return done(admin.createPartitions(Map.of(topic(command), total)).all());
    }

    private JsonNode deleteRecords(JsonNode command) throws Exception {
        TopicPartition partition = new TopicPartition(topic(command), command.get("partition").asInt());
        RecordsToDelete before = RecordsToDelete.beforeOffset(command.get("before").asLong());
        long low = get(admin.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition)).lowWatermark();
        return Main.JSON.createObjectNode().put("low_watermark", low);
    }

    private JsonNode describeCluster(JsonNode command) throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        ObjectNode answer = Main.JSON.createObjectNode();
        answer.put("cluster_id", get(cluster.clusterId()));
        answer.put("controller", get(cluster.controller()).id());
        for (Node node : get(cluster.nodes())) {
            answer.withArray("brokers").addObject()
                .put("id", node.id()).put("host", node.host()).put("port", node.port());
        }
        return answer;
    }

    private JsonNode describeProducers(JsonNode command) throws Exception {
        TopicPartition partition = new TopicPartition(topic(command), command.get("partition").asInt());
        ArrayNode producers = Main.JSON.createArrayNode();
        for (ProducerState state
            : get(admin.describeProducers(List.of(partition)).all()).get(partition).activeProducers()) {
            producers.addObject().put("producer_id", state.producerId())
                .put("producer_epoch", state.producerEpoch())
                .put("last_sequence", state.lastSequence())
                .put("last_timestamp", state.lastTimestamp());
        }
        return producers;
    }

    private JsonNode describeLogDirs(JsonNode command) throws Exception {
        ArrayNode replicas = Main.JSON.createArrayNode();
        int broker = get(admin.describeCluster().nodes()).iterator().next().id();
        Map<String, LogDirDescription> described = get(admin.describeLogDirs(List.of(broker)).allDescriptions()).get(broker);
        for (Map.Entry<String, LogDirDescription> directory : described.entrySet()) {
            for (Map.Entry<TopicPartition, ReplicaInfo> replica : directory.getValue().replicaInfos().entrySet()) {
                replicas.addObject().put("directory", directory.getKey())
                    .put("total_bytes", directory.getValue().totalBytes().orElse(-1))
                    .put("topic", replica.getKey().topic()).put("partition", replica.getKey().partition())
                    .put("size", replica.getValue().size()).put("lag", replica.getValue().offsetLag());
            }
        }
        return replicas;
    }

    private JsonNode listConfigResources(JsonNode command) throws Exception {
        ArrayNode names = Main.JSON.createArrayNode();
        get(admin.listClientMetricsResources().all()).forEach(listing -> names.add(listing.name()));
        return names;
    }

    private JsonNode describeFeatures(JsonNode command) throws Exception {
        ObjectNode answer = Main.JSON.createObjectNode();
        get(admin.describeFeatures().featureMetadata()).finalizedFeatures()
            .forEach((name, range) -> answer.put(name, range.maxVersionLevel()));
        return answer;
    }

    static JsonNode maxTimestamp(String bootstrap, TopicPartition partition) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            ListOffsetsResult.ListOffsetsResultInfo found =
                get(admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).partitionResult(partition));
            ObjectNode answer = Main.JSON.createObjectNode();
            answer.putNull("offset").putNull("timestamp");
            if (found.offset() >= 0) {
                answer.put("offset", found.offset()).put("timestamp", found.timestamp());
            }
            return answer;
        }
    }
}
