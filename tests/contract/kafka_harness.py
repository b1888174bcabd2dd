"""How is Apache Kafka held to the contract of the `Log` port, on topics that nobody else has?"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove, NewTopic

from infra.kafka_broker import Broker
from infra.kafka_log import OVERHEAD, KafkaLog
from services.topics import TOPICS
from tests.contract.log_contract import Harness

PARTITIONS = 4
SESSION_MS = 2_000


def connect(broker: Broker) -> KafkaLog:
    """The log of a broker."""
    return KafkaLog(broker)


@contextmanager
def topics_of_its_own(servers: str) -> Iterator[dict[str, str]]:
    """The settings of an installation whose topics nobody else on the broker has; gone at the end."""
    prefix = f"t{secrets.token_hex(4)}."
    try:
        yield {
            "HEARD_KAFKA_SERVERS": servers,
            "HEARD_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "HEARD_KAFKA_PREFIX": prefix,
            "HEARD_KAFKA_REPLICATION": "1",
        }
    finally:
        with closing(KafkaAdminClient(**Broker(servers, "PLAINTEXT").client())) as admin:
            admin.delete_topics([name for name in admin.list_topics() if name.startswith(prefix)])


@contextmanager
def kafka_harness(servers: str) -> Iterator[Harness]:
    """New topics, under a prefix of their own, on a broker that runs."""
    prefix = f"t{secrets.token_hex(4)}."
    broker = Broker(servers, "PLAINTEXT", prefix=prefix, session_ms=SESSION_MS)
    admin = KafkaAdminClient(**broker.client())
    names = [prefix + topic.name for topic in TOPICS]
    admin.create_topics(
        [
            NewTopic(
                name=prefix + topic.name,
                num_partitions=PARTITIONS,
                replication_factor=1,
                topic_configs={"max.message.bytes": str(topic.max_bytes + OVERHEAD)},
            )
            for topic in TOPICS
        ],
        wait_for_metadata=True,
    )
    log = KafkaLog(broker)

    def make_gap(topic: str, partition: int) -> None:
        producer = KafkaProducer(**broker.client(), transactional_id=f"gap.{secrets.token_hex(4)}")
        producer.init_transactions()
        producer.begin_transaction()
        for _ in range(3):
            producer.send(prefix + topic, b"never", partition=partition)
        producer.flush()
        producer.abort_transaction()
        producer.close()
        log.last_records(topic)  # which waits until the end of the transaction stands there

    def make_stale(group: str) -> None:
        name = f"{prefix}heard.{group}"
        members = admin.describe_groups([name])[name]["members"]
        admin.remove_group_members(name, [MemberToRemove(member_id=m["member_id"]) for m in members])

    try:
        with closing(log):
            yield Harness(partial(connect, broker), log, False, make_gap, make_stale)
    finally:
        admin.delete_topics(names)
        admin.close()
