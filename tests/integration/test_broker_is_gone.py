"""Does what was begun come to an end when the broker is gone: for a while, or for good?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from domain.errors import TransientError
from infra import kafka_topics
from infra.kafka_broker import Broker
from infra.kafka_log import DELIVERY, TRANSACTION_MS, KafkaLog
from services.ports import Outgoing
from services.topics import INBOX
from tests.support import kafka
from tests.support.requires import absent

MORE = 15.0
"""Seconds that a loaded machine may take on top."""


# The client's library drops connections that failed without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def running() -> Iterator[kafka.Broker]:
    """A broker of the test's own."""
    if not kafka.available():
        absent("no Apache Kafka to be ended: install Java 17 and Maven")
    with tempfile.TemporaryDirectory(prefix="heard-kafka-") as folder, kafka.broker(Path(folder)) as made:
        yield made


@pytest.fixture
def log(running: kafka.Broker) -> Iterator[KafkaLog]:
    """Its log."""
    broker = Broker(running.servers, "PLAINTEXT")
    kafka_topics.create(broker, replication=1, partitions=2)
    with closing(KafkaLog(broker)) as made:
        yield made


def test_a_batch_that_no_broker_takes_is_given_up_and_its_producer_closes(
    running: kafka.Broker, log: KafkaLog
) -> None:
    producer = log.producer("sequencer")
    producer.send([Outgoing(INBOX.name, b"key", b"taken")])

    running.kill()
    begun = time.monotonic()
    with pytest.raises(TransientError):
        producer.send([Outgoing(INBOX.name, b"key", b"not taken")])
    assert time.monotonic() - begun < DELIVERY + 2 * TRANSACTION_MS / 1000 + MORE

    begun = time.monotonic()
    producer.close()
    assert time.monotonic() - begun < MORE


def test_a_batch_that_is_begun_while_the_broker_is_away_goes_out_when_it_is_back(
    running: kafka.Broker, log: KafkaLog
) -> None:
    producer = log.producer("sequencer")
    producer.send([Outgoing(INBOX.name, b"key", b"before")])

    running.kill()
    with ThreadPoolExecutor(1) as other:
        sent = other.submit(producer.send, [Outgoing(INBOX.name, b"key", b"while it is away")])
        time.sleep(1)  # and the producer has seen by now that nobody listens
        running.start()
        sent.result()

    log.last_records(INBOX.name)  # a commit is told before its markers stand there
    found = [
        log.read(INBOX.name, partition, 0, end, 10) for partition, end in log.end_offsets(INBOX.name).items()
    ]
    assert [record.value for records in found for record in records] == [b"before", b"while it is away"]
