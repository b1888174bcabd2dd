"""What does a published record prove of the inbox, and is anything ever published twice?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.sequencer import LOOKS, Sequencer, inbox_of, position_of, previous_of
from domain.errors import FencedError, IntegrityError, TransientError
from domain.event import Envelope
from services.ports import Outgoing, Producer, Record, Work
from services.topics import EVENTS, INBOX
from tests.support.envelopes import place_of, raised
from tests.support.memory import MemoryEventStore, MemoryLog


def told(log: MemoryLog) -> list[dict[int, int]]:
    """What each record says of the inbox."""
    return [inbox_of(record) for record in log.records[EVENTS.name, 0]]


def test_the_inbox_is_told_of_once_all_that_was_made_of_it_is_published() -> None:
    store, log = MemoryEventStore(), MemoryLog(1)
    store.commit(Work(events=[raised("N1"), raised("N2")], positions={(INBOX.name, 3): (0, 8)}))
    sequencer = Sequencer(store, log, batch=1)

    sequencer.step()
    assert told(log) == [{}]  # the transaction is published in part
    sequencer.step()
    assert told(log) == [{}, {3: 8}]


def test_a_sequencer_that_never_catches_up_tells_of_what_it_has_passed() -> None:
    store, log = MemoryEventStore(), MemoryLog(1)
    sequencer = Sequencer(store, log, batch=2)
    for at in range(4):  # two events a step, and one step behind
        events = [raised(f"N{at}.{number}") for number in range(2)]
        store.commit(Work(events=events, positions={(INBOX.name, 0): (at, at + 1)}))
        if at:
            sequencer.step()

    assert told(log)[-1] == {0: 3}  # three of four transactions are published


@dataclass
class Failing(MemoryLog):
    """A log of which the next call of a name fails for the moment, before it does its work or after."""

    due: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__(4)

    def last_records(self, topic: str, *, settled: bool = True) -> dict[int, Record]:
        """See the port."""
        self.fail("look")
        return super().last_records(topic, settled=settled)

    def producer(self, name: str) -> Producer:  # type: ignore[override]
        """See the port."""
        return FailingProducer(self, super().producer(name))

    def fail(self, name: str) -> None:
        """Fail if that is due."""
        if name in self.due:
            self.due.remove(name)
            raise TransientError("no answer")


@dataclass
class FailingProducer:
    """Its batch is not sent, or it is and nobody is told."""

    log: Failing
    producer: Producer

    def send(self, batch: Sequence[Outgoing]) -> None:
        """See the port."""
        self.log.fail("send")
        self.producer.send(batch)
        self.log.fail("answer")

    def close(self) -> None:
        """See the port."""
        self.producer.close()


def places(count: int, first: int = 0) -> list[Envelope]:
    """As many events, of as many neighbourhoods."""
    return [place_of(f"N{number}") for number in range(first, first + count)]


def published(log: MemoryLog) -> Counter[int]:
    """How often each position was published; each follows the one before it in its partition."""
    found: Counter[int] = Counter()
    for partition in range(log.partitions(EVENTS.name)):
        before = 0
        for record in log.records[EVENTS.name, partition]:
            assert previous_of(record) == before
            before = position_of(record)
            found[before] += 1
    return found


@pytest.mark.parametrize("what", ["look", "send", "answer"])
def test_what_failed_for_the_moment_is_published_once(what: str) -> None:
    store, log = MemoryEventStore(), Failing()
    store.commit(Work(events=places(6)))
    Sequencer(store, log).step()
    store.commit(Work(events=places(6, 6)))
    log.due.add(what)
    successor = Sequencer(store, log)
    with pytest.raises(TransientError):
        successor.step()
    while successor.behind():
        successor.step()
    assert published(log) == Counter(stored.position for stored in store.stored)


def test_a_database_that_fails_after_a_batch_was_published_makes_nothing_come_twice() -> None:
    store, log = MemoryEventStore(), MemoryLog(4)
    store.commit(Work(events=places(6)))
    fails = [True]

    def probe(point: str) -> None:
        if point == "sequencer.after_publish" and fails:
            fails.clear()
            raise TransientError("no answer")

    sequencer = Sequencer(store, log, probe=probe)
    with pytest.raises(TransientError):
        sequencer.step()
    assert sequencer.step() == 0
    assert published(log) == Counter(stored.position for stored in store.stored)


def test_of_two_one_works_and_the_other_stands_by_until_that_one_is_gone() -> None:
    store, log = MemoryEventStore(), MemoryLog(4)
    first, second = Sequencer(store, log), Sequencer(store, log)
    first.step()
    second.step()
    store.commit(Work(events=places(3)))
    with pytest.raises(FencedError):
        first.step()
    for turn in range(3 * LOOKS):  # however long the other takes between two batches, it has work
        assert first.step() == 0
        if turn % (LOOKS // 2) == 0:
            store.commit(Work(events=places(1, 3 + turn)))
            assert second.step() > 0
    second.close()
    store.commit(Work(events=places(1, 1_000)))
    assert sum(first.step() for _ in range(LOOKS + 2)) == 1
    assert published(log) == Counter(stored.position for stored in store.stored)


STEPS = st.sampled_from(["first", "second", "third", "event", "look", "send", "answer"])


@given(st.lists(STEPS, max_size=60))
def test_however_many_there_are_and_whatever_fails_each_event_is_published_once(steps: list[str]) -> None:
    store, log = MemoryEventStore(), Failing()
    sequencers = {name: Sequencer(store, log, batch=2) for name in ("first", "second", "third")}
    count = 0
    for step in steps:
        if step in sequencers:
            with suppress(FencedError, TransientError):
                sequencers[step].step()
        elif step == "event":
            store.commit(Work(events=places(3, count)))
            count += 3
        else:
            log.due.add(step)
    log.due.clear()
    last = Sequencer(store, log, batch=2)
    while last.behind():
        last.step()
    assert published(log) == Counter(stored.position for stored in store.stored)


def test_a_sequencer_whose_event_store_is_older_than_the_topics_does_not_begin() -> None:
    # given a record, and a store that was restored from a copy of before
    log = MemoryLog(1)
    (before := MemoryEventStore()).commit(Work(events=[raised("N1"), raised("N2")]))
    Sequencer(before, log).step()
    (older := MemoryEventStore()).commit(Work(events=[raised("N1")]))

    # then nothing that it records from now on is taken for published
    sequencer = Sequencer(older, log)
    with pytest.raises(IntegrityError, match="older than the topics"):
        sequencer.step()
    assert len(log.records[EVENTS.name, 0]) == 2
