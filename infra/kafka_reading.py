"""How are records of Kafka read, whoever reads them?"""

from __future__ import annotations

from typing import Any, Final

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from domain.errors import ConfigurationError
from infra.kafka_broker import Broker, our_errors
from services.ports import Record

SILENCE: Final = 10.0
"""Seconds after which a broker that says nothing is taken to be away."""
READING: Final = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
    "fetch_max_wait_ms": 100,
    "request_timeout_ms": int(SILENCE * 1000),
}


def existing(broker: Broker, topic: str, partitions: set[int] | None) -> set[int]:
    """The partitions of a topic that is there. ConfigurationError if it is not, or we may not see it."""
    if not partitions:
        # Whoever asks for all topics is not told of those that it may not see; of one by its name it is.
        with our_errors(broker):
            admin = broker.opened(KafkaAdminClient)
            try:
                code = admin.describe_topics([topic])[0]["error_code"]
            finally:
                admin.close()
            if code == kafka_errors.TopicAuthorizationFailedError.errno:
                raise kafka_errors.TopicAuthorizationFailedError(topic)
        raise ConfigurationError(
            f"the topic {topic} does not exist", expected="topics as Heard needs them",
            got="none of that name", hint="heard topics create",
        )  # fmt: skip
    return partitions


def record_of(record: Any, prefix: str) -> Record:
    """Our record of one of the library's, without the installation's prefix."""
    headers = tuple((name, value or b"") for name, value in record.headers or ())
    return Record(
        record.topic.removeprefix(prefix), record.partition, record.offset, record.key or b"", record.value,
        headers,
    )  # fmt: skip
