"""A member of a group by librdkafka through confluent-kafka."""

import sys

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, TopicPartition

from member import OPTIONS, STOPPING, failed, places, position, tell

CONFIG = {
    "bootstrap.servers": sys.argv[1],
    "group.id": OPTIONS["group"],
    "client.id": OPTIONS["client_id"],
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 200,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": OPTIONS["metadata_max_age_ms"],
    "group.protocol": OPTIONS["protocol"],
}
if OPTIONS.get("instance"):
    CONFIG["group.instance.id"] = OPTIONS["instance"]
if OPTIONS["protocol"] == "consumer":
    if OPTIONS.get("assignor"):
        CONFIG["group.remote.assignor"] = OPTIONS["assignor"]
else:
    CONFIG["session.timeout.ms"] = OPTIONS["session_timeout_ms"]
    CONFIG["heartbeat.interval.ms"] = OPTIONS["heartbeat_ms"]
    CONFIG["partition.assignment.strategy"] = OPTIONS["assignor"]


def commit(consumer, offsets):
    try:
        committed = consumer.commit(offsets=offsets, asynchronous=False)
        for each in committed:
            if each.error is not None:
                raise KafkaException(each.error)
    except KafkaException as error:
        failed(error)
        return
    tell("committed", offsets=[[p.topic, p.partition, p.offset] for p in offsets])


def process(consumer, messages):
    batches = {}
    for message in messages:
        if message.error() is not None:
            failed(KafkaException(message.error()))
        else:
            batches.setdefault((message.topic(), message.partition()), []).append(message)
    offsets = []
    for (topic, partition), batch in batches.items():
        records = [[m.offset(), m.value().decode()] for m in batch]
        tell("read", topic=topic, partition=partition, records=records)
        next_offset = position(batch[0].offset(), batch[-1].offset())
        if next_offset is not None:
            metadata = OPTIONS["commit_metadata"]
            offsets.append(TopicPartition(topic, partition, next_offset, metadata=metadata))
    if offsets:
        commit(consumer, offsets)


reader = Consumer(CONFIG)
tell("started", version=confluent_kafka.libversion()[0])
reader.subscribe(
    OPTIONS["topics"],
    on_assign=lambda _, partitions: tell("assigned", partitions=places(partitions)),
    on_revoke=lambda _, partitions: tell("revoked", partitions=places(partitions)),
    on_lost=lambda _, partitions: tell("lost", partitions=places(partitions)),
)
while not STOPPING.is_set():
    process(reader, reader.consume(500, timeout=0.1))
reader.close()
tell("left")
