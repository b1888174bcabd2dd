"""How are records of Kafka read, whoever reads them?"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer
from kafka import errors as kafka_errors
from kafka.structs import TopicPartition

from domain.errors import ConfigurationError, IntegrityError
from infra.kafka_broker import Broker, our_errors
from infra.kafka_decoding import decode_safely

SILENCE: Final = 10.0
"""Seconds after which a broker that says nothing is taken to be away."""
READING: Final = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
    "fetch_max_bytes": 16 * 1024 * 1024,
    "fetch_max_wait_ms": 100,
    "request_timeout_ms": int(SILENCE * 1000),
}
ELSEWHERE: Final = (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError)
"""What says that there is nothing at that offset: the consumer is well, and is to be told another."""


class Reader(KafkaConsumer):  # type: ignore[misc]
    """The library's consumer, which bears whatever a record holds.

    After an error that may not be tried again it is closed: polled again, the library goes round for ever
    in what it has left of the batch at which it failed.
    """

    def __init__(self, *, prefix: str, **options: Any) -> None:
        super().__init__(**READING | options)
        decode_safely(self._fetcher, prefix)

    def poll(self, *arguments: Any, **options: Any) -> dict[TopicPartition, list[Any]]:
        """See the library. IntegrityError for a batch that is damaged."""
        try:
            return dict(super().poll(*arguments, **options))
        except Exception as error:
            if not isinstance(error, ELSEWHERE) and not getattr(error, "retriable", False):
                with suppress(kafka_errors.KafkaError):  # what is wrong is told already
                    self.close(autocommit=False, timeout_ms=5_000)
            if isinstance(error, kafka_errors.CorruptRecordError):
                raise IntegrityError(
                    "records on the broker are damaged", expected="a batch that fits its checksum",
                    got=str(error),
                    hint="restore the partition from a replica; or have it deleted up to there, by"
                    " kafka-delete-records, and go on behind it: HEARD_KAFKA_SKIP_DELETED=true, once",
                ) from error  # fmt: skip
            raise

    @property
    def closed(self) -> bool:
        """Whether it is of no more use."""
        return bool(self._closed)


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
