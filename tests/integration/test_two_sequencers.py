"""Do two sequencers on Kafka settle, and is nothing published twice, whatever is in flight?"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

import pytest
from kafka import errors as kafka_errors

from consumers.running import run
from consumers.sequencer import LOOKS, Sequencer, position_of, previous_of
from domain.errors import FencedError, TransientError
from infra import kafka_log
from infra.kafka_log import TransactionalProducer
from services.ports import Log, Outgoing, Work
from services.topics import EVENTS
from tests.contract.kafka_harness import kafka_harness
from tests.support.envelopes import place_of
from tests.support.memory import MemoryEventStore


@dataclass
class Place:
    """A record that grows, and a log in which it is published."""

    connect: Callable[[], Log]
    log: Log
    store: MemoryEventStore = field(default_factory=MemoryEventStore)

    def grow(self, count: int) -> None:
        """Write as many events, each of a neighbourhood of its own."""
        first = len(self.store.stored)
        self.store.commit(Work(events=[place_of(f"N{first + number}") for number in range(count)]))

    def published(self) -> Counter[int]:
        """How often each position was published; each follows the one before it in its partition."""
        found: Counter[int] = Counter()
        self.log.last_records(EVENTS.name)  # a commit is told before its markers stand there
        for partition in range(self.log.partitions(EVENTS.name)):
            before = 0
            end = self.log.end_offsets(EVENTS.name)[partition]
            for record in self.log.read(EVENTS.name, partition, 0, end, 100_000):
                assert previous_of(record) == before
                before = position_of(record)
                found[before] += 1
        return found

    def once(self) -> Counter[int]:
        """What is published if each event is."""
        return Counter(stored.position for stored in self.store.stored)


@pytest.fixture
def place(kafka_servers: str) -> Iterator[Place]:
    """New topics and an empty record."""
    with kafka_harness(kafka_servers) as harness:
        yield Place(harness.connect, harness.log)


def test_two_that_run_at_once_settle_and_publish_each_event_once(place: Place) -> None:
    done = threading.Event()
    begun: list[str] = []
    with ExitStack() as stack:
        runners = []
        for name in ("one", "two"):
            log = stack.enter_context(closing(place.connect()))
            sequencer = Sequencer(place.store, counted(log, name, begun), batch=20)
            told = {"until_idle": False, "stopped": done.is_set}
            runners.append(threading.Thread(target=run, args=([sequencer],), kwargs=told))
        for runner in runners:
            runner.start()
        for _ in range(60):
            place.grow(10)
            time.sleep(0.05)
        deadline = time.monotonic() + 60
        while place.published() != place.once() and time.monotonic() < deadline:
            time.sleep(0.2)
        done.set()
        for runner in runners:
            runner.join()
    assert place.published() == place.once()
    assert len(begun) <= 6  # each once, and perhaps a change of places: not fencing each other in turn


def test_one_that_was_fenced_after_it_looked_publishes_nothing(place: Place) -> None:
    fenced = Sequencer(place.store, place.log)
    fenced.step()  # it has looked, and found nothing
    with closing(place.connect()) as other:
        successor = Sequencer(place.store, other)
        place.grow(30)
        assert successor.step() == 30
        place.grow(5)
        with pytest.raises(FencedError):
            fenced.step()
        assert fenced.step() == 0
        assert successor.step() == 5
        successor.close()
    place.grow(1)
    assert sum(fenced.step() for _ in range(LOOKS + 2)) == 1
    assert place.published() == place.once()


def test_a_commit_whose_answer_was_lost_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sequencer = Sequencer(place.store, place.log)
    place.grow(30)
    end = TransactionalProducer._end

    def unheard(producer: TransactionalProducer, how: str) -> None:
        end(producer, how)
        monkeypatch.undo()
        raise kafka_errors.KafkaTimeoutError(f"no answer to {how} came")

    monkeypatch.setattr(TransactionalProducer, "_end", unheard)
    with pytest.raises(TransientError):
        sequencer.step()
    place.grow(5)
    assert sequencer.step() == 5
    assert place.published() == place.once()


@pytest.mark.parametrize("ends", [False, True], ids=["left open", "committed meanwhile"])
def test_what_its_predecessor_has_in_flight_is_settled_before_it_looks(place: Place, ends: bool) -> None:
    for _ in range(10 if ends else 2):
        place.grow(30)
        with closing(place.connect()) as other:
            predecessor = Sequencer(place.store, other)
            caught = Caught(other)
            predecessor.log = caught  # type: ignore[assignment]
            with pytest.raises(TransientError):
                predecessor.step()
            last = threading.Thread(target=caught.finish) if ends else None
            if last is not None:
                last.start()
            successor = Sequencer(place.store, place.log)
            while successor.step():
                pass
            successor.close()
            if last is not None:
                last.join()
        assert place.published() == place.once()


def test_it_does_not_begin_while_a_transaction_hides_what_may_be_committed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_log, "SETTLED", 1.0)
    place.grow(30)
    Sequencer(place.store, place.log).step()
    with closing(place.log.producer("another")) as other:
        assert isinstance(other, TransactionalProducer)
        hidden = Outgoing(EVENTS.name, b"k", b"v", (), 0)
        begin(other, [hidden])
        place.grow(5)
        successor = Sequencer(place.store, place.log)
        with pytest.raises(TransientError):
            successor.step()
        other._producer.abort_transaction()
    assert successor.step() == 5
    assert place.published() == place.once()


def counted(log: Log, name: str, begun: list[str]) -> Log:
    """The log, that tells of each producer which it is asked for."""
    producer = log.producer

    def telling(role: str) -> object:
        begun.append(name)
        return producer(role)

    log.producer = telling  # type: ignore[method-assign, assignment]
    return log


def begin(producer: TransactionalProducer, batch: list[Outgoing]) -> None:
    """Write a batch, and leave its transaction open."""
    producer._producer.begin_transaction()
    for out in batch:
        topic, partition = producer._log.placed(out)
        producer._producer.send(topic, out.value, key=out.key, headers=list(out.headers), partition=partition)
    producer._producer.flush()


class Caught:
    """A log whose producer writes a batch and does not come to its commit."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._open: list[TransactionalProducer] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def producer(self, name: str) -> Caught:
        """See `Log.producer`."""
        producer = self._log.producer(name)
        assert isinstance(producer, TransactionalProducer)
        self._open.append(producer)
        return self

    def send(self, batch: list[Outgoing]) -> None:
        """Write, and be stopped there."""
        begin(self._open[-1], batch)
        raise TransientError("stopped")

    def close(self) -> None:
        """Stay as it is."""

    def finish(self) -> None:
        """Commit after all; too late, it may be."""
        with suppress(kafka_errors.KafkaError):
            self._open[-1]._producer.commit_transaction()
