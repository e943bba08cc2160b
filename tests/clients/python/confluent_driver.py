"""Drives librdkafka through confluent-kafka."""

import sys
import time

import confluent_kafka
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

import driver

BOOTSTRAP = sys.argv[1]
PATIENCE = 60
ADMIN = AdminClient({"bootstrap.servers": BOOTSTRAP})

# librdkafka has its own short names for some errors of Kafka.
NAMES = {
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    10: "MESSAGE_TOO_LARGE",
    17: "INVALID_TOPIC_EXCEPTION",
}


def describe(error):
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        inner = error.args[0]
        code = NAMES.get(inner.code(), inner.name())
        # Out of range without a reset policy: the code of the cause is in the text alone.
        if code == "_AUTO_OFFSET_RESET" and "out of range" in inner.str():
            code = "OFFSET_OUT_OF_RANGE"
        return type(error).__name__, code, inner.str()
    return type(error).__name__, type(error).__name__, str(error)


def single(futures):
    """The result of the one future of an admin call."""
    return next(iter(futures.values())).result(PATIENCE)


def create_topic(command):
    topic = NewTopic(
        command["topic"],
        num_partitions=command["partitions"],
        replication_factor=command["replication_factor"],
        config=command["configs"],
    )
    single(ADMIN.create_topics([topic]))
    return {}


def delete_topic(command):
    single(ADMIN.delete_topics([command["topic"]]))
    return {}


def list_topics(_command):
    return sorted(ADMIN.list_topics(timeout=PATIENCE).topics)


def describe_topic(command):
    topic = single(ADMIN.describe_topics(TopicCollection([command["topic"]])))
    partitions = [
        {
            "partition": partition.id,
            "leader": partition.leader.id,
            "replicas": [node.id for node in partition.replicas],
            "isr": [node.id for node in partition.isr],
        }
        for partition in topic.partitions
    ]
    return {"id": str(topic.topic_id), "partitions": partitions}


def resource(command, **more):
    kinds = {"topic": ConfigResource.Type.TOPIC, "broker": ConfigResource.Type.BROKER}
    return ConfigResource(kinds[command["resource"]], command["name"], **more)


def describe_config(command):
    entries = single(ADMIN.describe_configs([resource(command)]))
    return {
        name: {
            "value": entry.value,
            "source": ConfigSource(entry.source).name,
            "read_only": bool(entry.is_read_only),
            "sensitive": bool(entry.is_sensitive),
        }
        for name, entry in entries.items()
    }


def alter_config(command):
    changes = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in command["set"].items()
    ] + [
        ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE)
        for key in command["delete"]
    ]
    single(ADMIN.incremental_alter_configs([resource(command, incremental_configs=changes)]))
    return {}


def alter_config_legacy(command):
    single(ADMIN.alter_configs([resource(command, set_config=command["set"])]))
    return {}


def create_partitions(command):
    single(ADMIN.create_partitions([NewPartitions(command["topic"], command["total"])]))
    return {}


def delete_records(command):
    before = TopicPartition(command["topic"], command["partition"], command["before"])
    return {"low_watermark": single(ADMIN.delete_records([before])).low_watermark}


def describe_cluster(_command):
    cluster = ADMIN.describe_cluster().result(PATIENCE)
    brokers = [{"id": n.id, "host": n.host, "port": n.port} for n in cluster.nodes]
    return {"cluster_id": cluster.cluster_id, "brokers": brokers}


def produce(command):
    producer = Producer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "acks": command["acks"],
            "enable.idempotence": command["idempotent"],
            "compression.type": command["codec"],
            "message.max.bytes": command["bytes_max"],
            "linger.ms": 20,
            "message.timeout.ms": PATIENCE * 1000,
        }
    )
    offsets, failed = [], []

    def delivered(error, message):
        if error is not None:
            failed.append(error)
        offset = None if error is not None else message.offset()
        offsets.append(offset if command["acks"] != 0 else None)

    for record in command["records"]:
        producer.produce(
            command["topic"],
            partition=command["partition"],
            key=driver.decode(record["key"]),
            value=driver.decode(record["value"]),
            headers=[(name, driver.decode(value)) for name, value in record["headers"]],
            timestamp=record["timestamp"],
            on_delivery=delivered,
        )
        producer.poll(0)
    producer.flush(PATIENCE)
    if failed:
        raise KafkaException(failed[0])
    return {"offsets": offsets}


def consumer():
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "never-joined",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 200,
        }
    )


def fetch(command):
    ends = {(r["topic"], r["partition"]): r["end"] for r in command["partitions"]}
    missing = {(r["topic"], r["partition"]) for r in command["partitions"] if r["from"] < r["end"]}
    records = []
    reader = consumer()
    try:
        reader.assign(
            [TopicPartition(r["topic"], r["partition"], r["from"]) for r in command["partitions"]]
        )
        deadline = time.monotonic() + PATIENCE
        while missing:
            for message in reader.consume(500, timeout=0.2):
                if message.error() is not None:
                    raise KafkaException(message.error())
                place = (message.topic(), message.partition())
                if message.offset() < ends[place]:
                    records.append(read(message))
                if message.offset() + 1 >= ends[place]:
                    missing.discard(place)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not read to the end: {missing}")
    finally:
        reader.close()
    records.sort(key=lambda record: (record["topic"], record["partition"]))
    return {"records": records}


def read(message):
    kind, timestamp = message.timestamp()
    kinds = {TIMESTAMP_CREATE_TIME: "create", TIMESTAMP_LOG_APPEND_TIME: "append"}
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": timestamp,
        "timestamp_type": kinds.get(kind),
        "key": driver.encode(message.key()),
        "value": driver.encode(message.value()),
        "headers": [[name, driver.encode(value)] for name, value in message.headers() or []],
    }


def offset_for(command):
    place = TopicPartition(command["topic"], command["partition"], OFFSET_BEGINNING)
    at = command["at"]
    if at in ("earliest", "latest"):
        reader = consumer()
        try:
            earliest, latest = reader.get_watermark_offsets(place, PATIENCE, cached=False)
        finally:
            reader.close()
        return {"offset": earliest if at == "earliest" else latest, "timestamp": None}
    maximum = at == "max_timestamp"
    spec = OffsetSpec.max_timestamp() if maximum else OffsetSpec.for_timestamp(at)
    found = single(ADMIN.list_offsets({place: spec}))
    return {
        "offset": found.offset if found.offset >= 0 else None,
        "timestamp": found.timestamp if found.timestamp >= 0 else None,
    }


def list_groups(_command):
    listed = ADMIN.list_consumer_groups().result(PATIENCE)
    return [
        {
            "group": group.group_id,
            "state": group.state.name,
            "type": group.type.name,
            "protocol_type": "" if group.is_simple_consumer_group else "consumer",
        }
        for group in listed.valid
    ]


def describe_group(command):
    described = single(ADMIN.describe_consumer_groups([command["group"]]))
    members = [
        {
            "member_id": member.member_id,
            "instance": member.group_instance_id,
            "client_id": member.client_id,
            "host": member.host,
            "assignment": [[p.topic, p.partition] for p in member.assignment.topic_partitions],
        }
        for member in described.members
    ]
    return {
        "state": described.state.name,
        "type": described.type.name,
        "assignor": described.partition_assignor,
        "members": members,
    }


def delete_group(command):
    single(ADMIN.delete_consumer_groups([command["group"]]))
    return {}


def group_offsets(command):
    wanted = ConsumerGroupTopicPartitions(command["group"])
    found = single(ADMIN.list_consumer_group_offsets([wanted]))
    return [[p.topic, p.partition, p.offset, p.metadata] for p in found.topic_partitions]


def alter_group_offsets(command):
    offsets = [TopicPartition(command["topic"], p, offset) for p, offset in command["offsets"]]
    change = ConsumerGroupTopicPartitions(command["group"], offsets)
    altered = single(ADMIN.alter_consumer_group_offsets([change]))
    for place in altered.topic_partitions:
        if place.error is not None:
            raise KafkaException(place.error)
    return {}


driver.run(
    "confluent-kafka",
    f"{confluent_kafka.version()} with librdkafka {confluent_kafka.libversion()[0]}",
    ["none", "gzip", "snappy", "lz4", "zstd"],
    {
        "create_topic": create_topic,
        "delete_topic": delete_topic,
        "list_topics": list_topics,
        "describe_topic": describe_topic,
        "describe_config": describe_config,
        "alter_config": alter_config,
        "alter_config_legacy": alter_config_legacy,
        "create_partitions": create_partitions,
        "delete_records": delete_records,
        "describe_cluster": describe_cluster,
        "produce": produce,
        "fetch": fetch,
        "offset_for": offset_for,
        "list_groups": list_groups,
        "describe_group": describe_group,
        "delete_group": delete_group,
        "group_offsets": group_offsets,
        "alter_group_offsets": alter_group_offsets,
    },
    describe,
)
