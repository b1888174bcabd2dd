"""How does quixstreams write the rows? A batching sink, flushed by the checkpoint before its offsets.

python -m benchmarks.peers.with_quixstreams SERVERS GROUP DATABASE
"""

from __future__ import annotations

import sys

import psycopg
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.peers.rows import BATCH, TOPIC, write

PARTITIONS = 12
"""The sink writes each partition by itself."""


class Rows(BatchingSink):  # type: ignore[misc]
    """Writes each partition's batch in a transaction."""

    def __init__(self, database: str) -> None:
        super().__init__()
        self._connection = psycopg.connect(database, autocommit=True)

    def write(self, batch: SinkBatch) -> None:
        """See `BatchingSink`."""
        write(self._connection, [item.value for item in batch])


def main(servers: str, group: str, database: str) -> None:
    """Run until it is ended."""
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        commit_every=BATCH * PARTITIONS,
        commit_interval=1.0,
        loglevel="WARNING",
    )
    topic = app.topic(TOPIC, key_deserializer="bytes", value_deserializer="bytes")
    app.dataframe(topic).sink(Rows(database))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
