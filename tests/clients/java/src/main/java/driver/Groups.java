package driver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;

/** The operations of the admin client on consumer groups. */
final class Groups {
    private final Admin admin;

    Groups(Admin admin) {
        this.admin = admin;
    }

    void offer(Map<String, Main.Operation> operations) {
        operations.put("list_groups", this::listGroups);
        operations.put("describe_group", this::describeGroup);
        operations.put("delete_group", this::deleteGroup);
        operations.put("group_offsets", this::groupOffsets);
        operations.put("alter_group_offsets", this::alterGroupOffsets);
        operations.put("delete_group_offsets", this::deleteGroupOffsets);
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    private static ObjectNode done(KafkaFuture<?> future) throws Exception {
        get(future);
        return Main.JSON.createObjectNode();
    }

    private static String group(JsonNode command) {
        return command.get("group").asText();
    }

    private static <T> String text(Optional<T> value) {
        return value.map(Object::toString).orElse(null);
    }

    private JsonNode listGroups(JsonNode command) throws Exception {
        ArrayNode groups = Main.JSON.createArrayNode();
        for (ConsumerGroupListing listing : get(admin.listConsumerGroups().all())) {
            groups.addObject().put("group", listing.groupId())
                .put("state", text(listing.state())).put("type", text(listing.type()))
                .put("protocol_type", listing.isSimpleConsumerGroup() ? "" : "consumer");
        }
        return groups;
    }

    private JsonNode describeGroup(JsonNode command) throws Exception {
        String group = group(command);
        ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        ObjectNode answer = Main.JSON.createObjectNode();
        answer.put("state", described.state().toString()).put("type", described.type().toString());
        answer.put("assignor", described.partitionAssignor());
        ArrayNode members = answer.putArray("members");
        for (MemberDescription member : described.members()) {
            ObjectNode json = members.addObject();
            json.put("member_id", member.consumerId()).put("instance", text(member.groupInstanceId()));
            json.put("client_id", member.clientId()).put("host", member.host());
            ArrayNode assignment = json.putArray("assignment");
            member.assignment().topicPartitions().forEach(partition ->
                assignment.addArray().add(partition.topic()).add(partition.partition()));
        }
        return answer;
    }

    private JsonNode deleteGroup(JsonNode command) throws Exception {
        return done(admin.deleteConsumerGroups(List.of(group(command))).all());
    }

    private JsonNode groupOffsets(JsonNode command) throws Exception {
        ArrayNode offsets = Main.JSON.createArrayNode();
        get(admin.listConsumerGroupOffsets(group(command)).partitionsToOffsetAndMetadata())
            .forEach((partition, committed) -> offsets.addArray()
                .add(partition.topic()).add(partition.partition())
                .add(committed.offset()).add(committed.metadata()));
        return offsets;
    }

    private JsonNode alterGroupOffsets(JsonNode command) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode pair : command.get("offsets")) {
            TopicPartition partition = new TopicPartition(command.get("topic").asText(), pair.get(0).asInt());
            offsets.put(partition, new OffsetAndMetadata(pair.get(1).asLong()));
        }
        return done(admin.alterConsumerGroupOffsets(group(command), offsets).all());
    }

    private JsonNode deleteGroupOffsets(JsonNode command) throws Exception {
        TopicPartition partition = new TopicPartition(
            command.get("topic").asText(), command.get("partition").asInt());
        return done(admin.deleteConsumerGroupOffsets(group(command), Set.of(partition))
            .partitionResult(partition));
    }
}
