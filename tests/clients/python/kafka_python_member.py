"""A member of a group by kafka-python."""

import logging
import sys

import kafka
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from member import OPTIONS, STOPPING, failed, places, position, tell

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
# Two lines a second that say nothing.
logging.getLogger("kafka.cluster").setLevel(logging.WARNING)

ASSIGNORS = {"range": RangePartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}


class Listener(ConsumerRebalanceListener):
    """Tells of what is taken and given."""

    def on_partitions_assigned(self, assigned):
        tell("assigned", partitions=places(assigned))

    def on_partitions_revoked(self, revoked):
        tell("revoked", partitions=places(revoked))

    def on_partitions_lost(self, lost):
        tell("lost", partitions=places(lost))


def poll(consumer, before):
    """What there is within a moment, and the join that is open.

    kafka-python 3.0.12 forgets a join that is under way when a poll ends, if the member is the
    leader and joined because its topics changed: it believes that it need not join, and sends not
    even heartbeats any more. So a join that was done before the last poll, and still nobody took
    its result, is asked for again.
    """
    coordinator = consumer._coordinator
    join = coordinator._join_task
    if join is not None and join is before and not coordinator.need_rejoin():
        coordinator.request_rejoin()
    done = join if join is not None and join.is_done else None
    return consumer.poll(timeout_ms=100), done


def commit(consumer, offsets):
    try:
        consumer.commit(offsets)
    except KafkaError as error:
        failed(error)
        return
    committed = [[p.topic, p.partition, o.offset] for p, o in offsets.items()]
    tell("committed", offsets=committed)


def process(consumer, batches):
    offsets = {}
    for place, batch in batches.items():
        records = [[record.offset, record.value.decode()] for record in batch]
        tell("read", topic=place.topic, partition=place.partition, records=records)
        next_offset = position(batch[0].offset, batch[-1].offset)
        if next_offset is not None:
            offsets[place] = OffsetAndMetadata(next_offset, OPTIONS["commit_metadata"], -1)
    if offsets:
        commit(consumer, offsets)


reader = KafkaConsumer(
    bootstrap_servers=sys.argv[1],
    group_id=OPTIONS["group"],
    client_id=OPTIONS["client_id"],
    group_instance_id=OPTIONS.get("instance"),
    enable_auto_commit=False,
    auto_offset_reset="earliest",
    allow_auto_create_topics=False,
    fetch_max_wait_ms=200,
    reconnect_backoff_max_ms=500,
    metadata_max_age_ms=OPTIONS["metadata_max_age_ms"],
    session_timeout_ms=OPTIONS["session_timeout_ms"],
    heartbeat_interval_ms=OPTIONS["heartbeat_ms"],
    partition_assignment_strategy=[ASSIGNORS[OPTIONS["assignor"]]],
)
tell("started", version=kafka.__version__)
# A leader that knows no partition of the topic yet assigns none, and rejoins when it does; on a busy
# machine that second join was seen to stall for good, with Apache Kafka too.
for topic in OPTIONS["topics"]:
    while not reader.partitions_for_topic(topic) and not STOPPING.is_set():
        pass
reader.subscribe(OPTIONS["topics"], listener=Listener())
join = None
while not STOPPING.is_set():
    records, join = poll(reader, join)
    process(reader, records)
reader.close()
tell("left")
