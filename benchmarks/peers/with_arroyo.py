"""How does arroyo write the rows? Batches, a task that writes each, and offsets committed after it.

python -m benchmarks.peers.with_arroyo SERVERS GROUP DATABASE
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any

import psycopg
from arroyo.backends.kafka import KafkaConsumer, KafkaPayload
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.commit import IMMEDIATE
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, ProcessingStrategy, ProcessingStrategyFactory, RunTask
from arroyo.processing.strategies.batching import BatchStep, ValuesBatch
from arroyo.types import Commit, Message, Partition, Topic

from benchmarks.peers.rows import BATCH, TOPIC, write


class Rows(ProcessingStrategyFactory[KafkaPayload]):  # type: ignore[misc]
    """Writes each batch in a transaction."""

    def __init__(self, database: str) -> None:
        self._connection = psycopg.connect(database, autocommit=True)

    def create_with_partitions(
        self, commit: Commit, partitions: Mapping[Partition, int]
    ) -> ProcessingStrategy[KafkaPayload]:
        """See `ProcessingStrategyFactory`."""
        return BatchStep(BATCH, 1.0, RunTask(self._write, CommitOffsets(commit)))

    def _write(self, message: Message[ValuesBatch[KafkaPayload]]) -> Any:
        write(self._connection, [value.payload.value for value in message.payload])
        return message.payload


def main(servers: str, group: str, database: str) -> None:
    """Run until it is ended."""
    configuration = build_kafka_consumer_configuration(
        {}, bootstrap_servers=[servers], group_id=group, auto_offset_reset="earliest"
    )
    processor = StreamProcessor(KafkaConsumer(configuration), Topic(TOPIC), Rows(database), IMMEDIATE)
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    processor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
