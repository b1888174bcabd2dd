"""How does faststream write the rows? A subscriber that is given batches; offsets are committed after it.

python -m benchmarks.peers.with_faststream SERVERS GROUP DATABASE
"""

from __future__ import annotations

import asyncio
import sys

import psycopg
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

from benchmarks.peers.rows import BATCH, TOPIC, statements


async def main(servers: str, group: str, database: str) -> None:
    """Run until it is ended."""
    broker = KafkaBroker(servers)
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)

    @broker.subscriber(  # type: ignore[untyped-decorator]
        TOPIC,
        group_id=group,
        auto_offset_reset="earliest",
        batch=True,
        max_records=BATCH,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def rows(message: KafkaMessage) -> None:
        bodies = [record.value() for record in message.raw_message]
        async with connection.transaction(), connection.cursor() as cursor:
            for statement, values in statements(bodies).items():
                await cursor.executemany(statement.encode(), values)

    await FastStream(broker).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
