"""Does what was begun come to an end when the broker is gone for good?"""

from __future__ import annotations

import tempfile
import time
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
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_batch_that_no_broker_takes_is_given_up_and_its_producer_closes() -> None:
    if not kafka.available():
        absent("no Apache Kafka to be ended: install Java 17 and Maven")
    with (
        tempfile.TemporaryDirectory(prefix="heard-kafka-") as folder,
        kafka.broker(Path(folder)) as running,
        closing(KafkaLog(broker := Broker(running.servers, "PLAINTEXT"))) as log,
    ):
        kafka_topics.create(broker, replication=1, partitions=2)
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
