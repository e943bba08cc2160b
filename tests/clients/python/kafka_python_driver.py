"""Drives kafka-python."""

import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka import errors
from kafka.errors import BrokerResponseError, NoError, for_code
from kafka.structs import OffsetAndMetadata

import driver

BOOTSTRAP = sys.argv[1]
PATIENCE = 60
ADMIN = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


# kafka-python has its own names for some errors of Kafka.
NAMES = {10: "MESSAGE_TOO_LARGE", 17: "INVALID_TOPIC_EXCEPTION"}


def describe(error):
    kind = f"{type(error).__module__}.{type(error).__name__}"
    code = type(error).__name__
    if isinstance(error, BrokerResponseError):
        code = NAMES.get(error.errno, error.message)
    return kind, code, str(error)


def create_topic(command):
    options = {
        "num_partitions": command["partitions"],
        "replication_factor": command["replication_factor"],
        "configs": command["configs"],
    }
    ADMIN.create_topics({command["topic"]: options})
    return {}


def delete_topic(command):
    ADMIN.delete_topics([command["topic"]])
    return {}


def list_topics(_command):
    topics = ADMIN.list_topics()
    return sorted(t if isinstance(t, str) else t["name"] for t in topics)


def describe_topic(command):
    (topic,) = ADMIN.describe_topics([command["topic"]])
    if topic["error_code"] != 0:
        raise for_code(topic["error_code"])
    partitions = [
        {
            "partition": p["partition_index"],
            "leader": p["leader_id"],
            "replicas": p["replica_nodes"],
            "isr": p["isr_nodes"],
        }
        for p in sorted(topic["partitions"], key=lambda p: p["partition_index"])
    ]
    return {"id": str(topic.get("topic_id")), "partitions": partitions}


def resource(command, configs=None):
    kinds = {"topic": ConfigResourceType.TOPIC, "broker": ConfigResourceType.BROKER}
    return ConfigResource(kinds[command["resource"]], command["name"], configs)


def describe_config(command):
    described = ADMIN.describe_configs([resource(command)], config_filter="all")
    entries = described[command["resource"]][command["name"]]
    return {
        name: {
            "value": entry["value"],
            "source": entry["config_source"],
            "read_only": entry["read_only"],
            "sensitive": entry["is_sensitive"],
        }
        for name, entry in entries.items()
    }


def altered(command, answer):
    """kafka-python answers an alteration with a text: OK, or the error's own."""
    text = answer[command["resource"]][command["name"]]
    if text != "OK":
        number = int(text.removeprefix("[Error ").split("]")[0])
        raise for_code(number)(text)
    return {}


def alter_config(command):
    how = {"incremental": True, "raise_on_unknown": False}
    if command["set"]:
        altered(command, ADMIN.alter_configs([resource(command, command["set"])], **how))
    if command["delete"]:
        altered(command, ADMIN.reset_configs([resource(command, command["delete"])], **how))
    return {}


def alter_config_legacy(command):
    change = resource(command, command["set"])
    return altered(command, ADMIN.alter_configs([change], incremental=False))


def create_partitions(command):
    ADMIN.create_partitions({command["topic"]: command["total"]})
    return {}


def delete_records(command):
    place = TopicPartition(command["topic"], command["partition"])
    answer = ADMIN.delete_records({place: command["before"]})
    return {"low_watermark": answer[place]["low_watermark"]}


def describe_cluster(_command):
    cluster = ADMIN.describe_cluster()
    brokers = [
        {"id": b.get("broker_id", b.get("node_id")), "host": b["host"], "port": b["port"]}
        for b in cluster["brokers"]
    ]
    return {"cluster_id": cluster["cluster_id"], "brokers": brokers}


def produce(command):
    codec = command["codec"]
    producer = KafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        acks="all" if command["acks"] == -1 else command["acks"],
        enable_idempotence=command["idempotent"],
        compression_type=None if codec == "none" else codec,
        max_request_size=command["bytes_max"],
        linger_ms=20,
        delivery_timeout_ms=PATIENCE * 1000,
    )
    try:
        sent = [
            producer.send(
                command["topic"],
                partition=command["partition"],
                key=driver.decode(record["key"]),
                value=driver.decode(record["value"]),
                headers=[(name, driver.decode(value)) for name, value in record["headers"]],
                timestamp_ms=record["timestamp"],
            )
            for record in command["records"]
        ]
        producer.flush(PATIENCE)
        results = [future.get(PATIENCE) for future in sent]
    finally:
        producer.close(10)
    return {"offsets": [r.offset if command["acks"] != 0 else None for r in results]}


def consumer():
    return KafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        allow_auto_create_topics=False,
    )


def fetch(command):
    ends = {TopicPartition(r["topic"], r["partition"]): r["end"] for r in command["partitions"]}
    records = []
    reader = consumer()
    try:
        reader.assign(list(ends))
        for r in command["partitions"]:
            reader.seek(TopicPartition(r["topic"], r["partition"]), r["from"])
        missing = set(ends)
        deadline = time.monotonic() + PATIENCE
        while missing:
            for place, batch in reader.poll(timeout_ms=200).items():
                records.extend(read(r) for r in batch if r.offset < ends[place])
            missing = {place for place in missing if reader.position(place) < ends[place]}
            if time.monotonic() > deadline:
                raise TimeoutError(f"not read to the end: {missing}")
    finally:
        reader.close()
    records.sort(key=lambda record: (record["topic"], record["partition"]))
    return {"records": records}


def read(record):
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "timestamp_type": {0: "create", 1: "append"}.get(record.timestamp_type),
        "key": driver.encode(record.key),
        "value": driver.encode(record.value),
        "headers": [[name, driver.encode(value)] for name, value in record.headers],
    }


def offset_for(command):
    place = TopicPartition(command["topic"], command["partition"])
    at = command["at"]
    if at == "max_timestamp":
        found = ADMIN.list_partition_offsets({place: OffsetSpec.MAX_TIMESTAMP})[place]
        return {
            "offset": found.offset if found.offset >= 0 else None,
            "timestamp": found.timestamp if found.timestamp >= 0 else None,
        }
    reader = consumer()
    try:
        if at == "earliest":
            return {"offset": reader.beginning_offsets([place])[place], "timestamp": None}
        if at == "latest":
            return {"offset": reader.end_offsets([place])[place], "timestamp": None}
        found = reader.offsets_for_times({place: at})[place]
    finally:
        reader.close()
    if found is None:
        return {"offset": None, "timestamp": None}
    return {"offset": found.offset, "timestamp": found.timestamp}


def list_groups(_command):
    return [
        {
            "group": group["group_id"],
            "state": group.get("group_state"),
            "type": group.get("group_type"),
            "protocol_type": group["protocol_type"],
        }
        for group in ADMIN.list_groups()
    ]


def describe_group(command):
    described = ADMIN.describe_groups([command["group"]])[command["group"]]
    if described["error"] is not None:
        raise ValueError(described["error"])
    members = [
        {
            "member_id": member["member_id"],
            "instance": member["group_instance_id"],
            "client_id": member["client_id"],
            "host": member["client_host"],
            "assignment": [
                [topic["topic"], partition]
                for topic in member["member_assignment"]["assigned_partitions"]
                for partition in topic["partitions"]
            ],
        }
        for member in described["members"]
    ]
    return {
        "state": described["group_state"],
        "type": None,
        "assignor": described["protocol_data"],
        "members": members,
    }


def delete_group(command):
    answer = ADMIN.delete_groups([command["group"]])[command["group"]]
    if answer != "OK":
        raise getattr(errors, answer)()
    return {}


def group_offsets(command):
    found = ADMIN.list_group_offsets({command["group"]: None})[command["group"]]
    return [[p.topic, p.partition, o.offset, o.metadata] for p, o in found.items()]


def refused(answers):
    """Raises the first error in a map of partitions to classes of errors."""
    for error in answers.values():
        if error is not NoError:
            raise error()
    return {}


def alter_group_offsets(command):
    offsets = {
        TopicPartition(command["topic"], partition): OffsetAndMetadata(offset, "", -1)
        for partition, offset in command["offsets"]
    }
    return refused(ADMIN.alter_group_offsets(command["group"], offsets))


def delete_group_offsets(command):
    place = TopicPartition(command["topic"], command["partition"])
    return refused(ADMIN.delete_group_offsets(command["group"], [place]))


driver.run(
    "kafka-python",
    kafka.__version__,
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
        "delete_group_offsets": delete_group_offsets,
    },
    describe,
)
