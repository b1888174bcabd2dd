"""Which topics does Heard need on a cluster, and how does what is there differ?"""

from __future__ import annotations

from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import TopicAuthorizationFailedError

from domain.errors import ConfigurationError
from infra.kafka_broker import Broker, our_errors
from infra.kafka_log import OVERHEAD
from services.topics import DEAD_LETTERS, EVENTS, INBOX, PARKED, SEALED, TOPICS, Topic

PARTITIONS: Final = 12
"""Of each topic. The number never changes: a key would fall into another partition."""
_DAY: Final = 24 * 60 * 60 * 1000
_FOR_EVER: Final = -1

RETENTION: Final[dict[str, int]] = {
    INBOX.name: 7 * _DAY,
    EVENTS.name: _FOR_EVER,
    SEALED.name: _FOR_EVER,
    PARKED.name: 31 * _DAY,
    DEAD_LETTERS.name: 30 * _DAY,
}
"""Milliseconds for which a record stands. A compacted topic keeps the last of each key as well."""


def wanted(topic: Topic, replication: int) -> dict[str, str]:
    """The settings that a topic has to have."""
    retention = RETENTION[topic.name]
    policy = "compact" if topic.compacted and retention == _FOR_EVER else "delete"
    if topic.compacted and retention != _FOR_EVER:
        policy = "compact,delete"
    return {
        "cleanup.policy": policy,
        "retention.ms": str(retention),
        "max.message.bytes": str(topic.max_bytes + OVERHEAD),
        # Retention and compaction work on closed segments: one that stays open for weeks keeps
        # what should be gone.
        "segment.ms": str(_DAY),
        "min.insync.replicas": str(max(1, replication - 1)),
        # Retention counts from the time of a record, and upstream may write any time into it.
        "message.timestamp.type": "LogAppendTime" if topic is INBOX else "CreateTime",
    }


def create(broker: Broker, *, replication: int, partitions: int = PARTITIONS) -> list[dict[str, Any]]:
    """Create the topics that are missing; for each topic what was done and what differs.

    Nothing that exists is changed: a row with `differs` says what to change, and who decides that
    is whoever runs the cluster.
    """
    with our_errors(broker):
        admin = broker.opened(KafkaAdminClient)
        try:
            there = set(admin.list_topics())
            missing = [topic for topic in TOPICS if broker.prefix + topic.name not in there]
            if missing:
                admin.create_topics(
                    [
                        NewTopic(
                            name=broker.prefix + topic.name,
                            num_partitions=partitions,
                            replication_factor=replication,
                            topic_configs=wanted(topic, replication),
                        )
                        for topic in missing
                    ],
                    wait_for_metadata=True,
                )
            return [_row(admin, broker, topic, partitions, replication, topic in missing) for topic in TOPICS]
        finally:
            admin.close()


def compare(broker: Broker, *, replication: int) -> list[dict[str, Any]]:
    """For each topic that is there, what differs: as `create`, but all have to be as many as the events'.

    ConfigurationError when one is missing.
    """
    with our_errors(broker):
        admin = broker.opened(KafkaAdminClient)
        try:
            # By their names: of all topics nobody is told of those that it may not see.
            found = {
                topic["name"]: topic
                for topic in admin.describe_topics([broker.prefix + t.name for t in TOPICS])
            }
            codes = {name: topic["error_code"] for name, topic in found.items()}
            if hidden := [
                name for name, code in codes.items() if code == TopicAuthorizationFailedError.errno
            ]:
                raise TopicAuthorizationFailedError(", ".join(hidden))
            if missing := [t.name for t in TOPICS if codes.get(broker.prefix + t.name) != 0]:
                raise ConfigurationError(
                    "topics are missing", expected="topics as Heard needs them",
                    got=f"no {', '.join(missing)}", hint="heard topics create",
                )  # fmt: skip
            partitions = len(found[broker.prefix + EVENTS.name]["partitions"])
            return [_row(admin, broker, topic, partitions, replication, False) for topic in TOPICS]
        finally:
            admin.close()


def brokers(broker: Broker) -> int:
    """How many brokers answer; at least one, or it raises."""
    with our_errors(broker):
        admin = broker.opened(KafkaAdminClient)
        try:
            return len(admin.describe_cluster()["brokers"])
        finally:
            admin.close()


def _row(
    admin: KafkaAdminClient, broker: Broker, topic: Topic, partitions: int, replication: int, new: bool
) -> dict[str, Any]:
    name = broker.prefix + topic.name
    described = admin.describe_topics([name])[0]
    count = len(described["partitions"])
    found = _configs(admin, name)
    differs = [
        f"{key}: {found.get(key)} instead of {value}"
        for key, value in wanted(topic, replication).items()
        if found.get(key) != value
    ]
    if count != partitions:
        differs.append(f"partitions: {count} instead of {partitions}")
    return {
        "topic": name,
        "created": new,
        "partitions": count,
        "retention_days": None if RETENTION[topic.name] < 0 else RETENTION[topic.name] // _DAY,
        "differs": differs,
    }


def _configs(admin: KafkaAdminClient, name: str) -> dict[str, str]:
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    if not (values := found["topic"][name]):
        raise TopicAuthorizationFailedError(name)  # the library tells nobody
    return {key: str(value["value"]) for key, value in values.items()}
