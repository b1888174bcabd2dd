"""What does intake do when something fails half-way, and when others work beside it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from consumers.intake import CEILING, FLOODED, Intake
from domain.errors import (
    ConcurrencyError,
    FencedError,
    HeardError,
    IntegrityError,
    InvalidMessageError,
    TransientError,
)
from domain.evidence.sealing import encrypt_body
from domain.ids import Ids
from infra.randomness import SeededRandomness
from services.ports import Cut, DeadLetter, Outgoing, Parked, Record, Work
from services.topics import DEAD_LETTERS, INBOX, KEPT, PARKED
from tests.support.memory import MemoryEventStore, MemoryKeyStore, MemoryLog, MovableClock
from tests.support.messages import SOURCE, Message, concern, message

PARTITIONS = 3


class FailingStore(MemoryEventStore):
    """Fails as often as it was told to, before it writes or answers anything."""

    def __init__(self) -> None:
        super().__init__()
        self.commits_fail: list[HeardError | None] = []
        self.positions_fail: list[HeardError | None] = []
        self.meanwhile: list[Callable[[], object]] = []
        """What others do just before the next commit."""
        self.before_waiting: list[Callable[[], object]] = []
        """What others do just before somebody asks next what waits."""

    def commit(self, work: Work) -> None:
        if self.meanwhile:
            self.meanwhile.pop()()
        _fail(self.commits_fail)
        super().commit(work)

    def waiting(self, streams: Collection[str]) -> list[Parked]:
        if self.before_waiting:
            self.before_waiting.pop()()
        return super().waiting(streams)

    def position(self, topic: str, partition: int) -> int:
        _fail(self.positions_fail)
        return super().position(topic, partition)


def _fail(errors: list[HeardError | None]) -> None:
    if errors and (error := errors.pop(0)) is not None:
        raise error


@dataclass
class World:
    """An inbox with what reads it; every intake of it is another process."""

    store: FailingStore = field(default_factory=FailingStore)
    log: MemoryLog = field(default_factory=lambda: MemoryLog(PARTITIONS))
    keys: MemoryKeyStore = field(default_factory=lambda: MemoryKeyStore(b"intake"))
    clock: MovableClock = field(default_factory=lambda: MovableClock(datetime(2026, 1, 10, tzinfo=UTC)))

    def intake(self, *, batch: int = 500, ceiling: int = CEILING) -> Intake:
        """One more."""
        random, ids = SeededRandomness(b"intake"), Ids(self.keys.id_key())
        return Intake(self.log, self.store, self.keys, self.clock, random, ids, batch=batch, ceiling=ceiling)

    def report_nonsense(self, count: int) -> None:
        """Put as many on the inbox that nobody can use."""
        self.log.append([Outgoing(INBOX.name, b"", b"nonsense %d" % n, (), 0) for n in range(count)])

    def report(self, message: Message, partition: int = 0) -> None:
        """Put it on the inbox."""
        headers = (("content-type", b"application/cloudevents+json"),)
        self.log.append([Outgoing(INBOX.name, b"", orjson.dumps(message), headers, partition)])

    def refs(self) -> set[str]:
        """Of every event, the reference of its thing."""
        return {stored.envelope.pub["ref"] for stored in self.store.stored}


@pytest.fixture
def world() -> World:
    return World()


def settle(intake: Intake) -> list[str]:
    """Step until nothing is left; the codes of the errors on the way."""
    codes: list[str] = []
    for _ in range(50):
        try:
            if not intake.step():
                return codes
        except (ConcurrencyError, FencedError, TransientError) as error:
            codes.append(error.code)
    raise AssertionError("it does not come to an end")


# -- a flood of what cannot be used --------------------------------------------------------------


def test_below_the_ceiling_what_cannot_be_used_stops_nobody(world: World) -> None:
    world.report_nonsense(3)
    world.report(concern("N1"))
    settle(world.intake(ceiling=3))
    assert world.store.counts() == {"read": 4, "accepted": 1, "dead_letters": 3}


def waiting(world: World) -> Counter[str]:
    """How many messages of each source wait for fewer dead letters."""
    return Counter(parked.source for parked in world.store.all_parked() if parked.waiting_name == FLOODED)


def test_in_a_flood_that_source_is_set_aside_and_the_others_go_on(world: World) -> None:
    for number in range(5):
        world.report(concern(f"N{number}", kind="no such kind", source="/flood"))
        world.report(concern(f"M{number}", kind="no such kind", source="/other"))
        world.report(concern(f"G{number}", source="/flood"))
    world.report_nonsense(2)
    world.report(concern("N9", kind="no such kind", source="/flood"))
    settle(world.intake(ceiling=5))
    assert waiting(world) == {"/flood": 1}
    assert world.refs() == {f"G{number}" for number in range(5)}
    assert world.store.counts() == {"read": 18, "accepted": 5, "dead_letters": 12, "parked": 1}


def test_what_says_no_source_is_a_source_of_its_own(world: World) -> None:
    world.report_nonsense(10)
    world.report(concern("N1"))
    settle(world.intake(ceiling=3))
    assert waiting(world) == {"": 7}
    assert world.store.counts() == {"read": 11, "accepted": 1, "dead_letters": 3, "parked": 7}


def test_whoever_is_started_again_in_the_flood_counts_on(world: World) -> None:
    for _ in range(3):
        world.report_nonsense(4)
        settle(world.intake(ceiling=3))
    assert world.store.counts() == {"read": 12, "dead_letters": 3, "parked": 9}
    assert len(world.log.records[DEAD_LETTERS.name, 0]) <= 3


def test_with_a_higher_ceiling_or_an_hour_later_as_many_more_are_handled(world: World) -> None:
    world.report_nonsense(10)
    settle(world.intake(ceiling=3))
    settle(world.intake(ceiling=5))
    assert world.store.counts() == {"read": 10, "dead_letters": 5, "parked": 5}
    world.clock.advance(timedelta(hours=1))
    settle(world.intake(ceiling=3))
    assert world.store.counts() == {"read": 10, "dead_letters": 8, "parked": 2}


def test_what_waits_for_30_days_is_handled_whatever_the_ceiling(world: World) -> None:
    world.report_nonsense(10)
    settle(world.intake(ceiling=1))
    world.clock.advance(timedelta(days=30, minutes=1))
    settle(world.intake(ceiling=1))
    assert world.store.counts() == {"read": 10, "dead_letters": 10, "parked": 0}
    assert {letter.code for letter in world.store.dead_letters()} == {"not_json"}


def test_what_was_set_aside_with_an_id_of_another_message_is_not_handled_as_that_one(world: World) -> None:
    # given two that reuse the id of an event, of which one was too many
    world.report(concern("N1", id="m1"))
    world.report(concern("N2", id="m1"))
    world.report(concern("N3", id="m1"))
    settle(world.intake(ceiling=1))
    assert waiting(world) == {SOURCE: 1}

    # when they are handled again
    settle(world.intake())

    # then neither became an event
    assert world.refs() == {"N1"}
    assert [letter.code for letter in world.store.dead_letters()] == ["id_reused"] * 2


# -- what is not given whole -----------------------------------------------------------------------

CUT = Cut("too_large", "the value", "at most 262144 bytes", "600000 bytes", 600_000, "5e" * 32)


def test_what_is_not_given_whole_is_a_dead_letter_that_holds_its_beginning_size_and_digest(
    world: World,
) -> None:
    # given a record of which only the beginning can be had, between good ones
    world.report(concern("N1"))
    world.log.append([Outgoing(INBOX.name, b"", b"a" * KEPT, (), 0)])
    record = world.log.records[INBOX.name, 0][-1]
    world.log.records[INBOX.name, 0][-1] = replace(record, cut=CUT)
    world.report(concern("N2"))

    # when they are taken
    intake = world.intake()
    settle(intake)

    # then the others are events, and its letter says what it was
    assert world.refs() == {"N1", "N2"}
    [unused] = world.store.dead_letters()
    assert (unused.code, unused.reason) == (
        "too_large",
        "the value is too large, in partition 0 at offset 1: at most 262144 bytes",
    )
    dead = world.store.dead_letter(unused.id)
    assert dead is not None
    letter = intake.letter_of(dead.id, dead.day, dead.box)
    assert (letter.body, letter.cut) == (b"a" * KEPT, CUT)

    # and tried again it is what it was
    assert intake.retry(dead) == "open"
    assert world.store.counts() == {"read": 3, "accepted": 2, "dead_letters": 1}


def test_a_box_that_was_written_before_opens(world: World) -> None:
    intake, day = world.intake(), "2026-01-10"
    stored = {"at": [1, 7], "body": b"a\nb".hex(), "headers": [["n", b"v".hex()]]}
    box = encrypt_body(world.keys.day_key(day), b"id", orjson.dumps(stored), bytes(12))
    letter = intake.letter_of("id", day, box)
    assert (letter.body, letter.headers, letter.at) == (b"a\nb", (("n", b"v"),), (1, 7))


# -- what fails half-way -------------------------------------------------------------------------


@pytest.mark.parametrize("alone", range(PARTITIONS))
@pytest.mark.parametrize("error", [TransientError("away"), FencedError("taken")], ids=["transient", "fenced"])
def test_a_failure_message_by_message_loses_nothing_of_any_partition(
    world: World, error: HeardError, alone: int
) -> None:
    # given a batch over all partitions that fails as a whole, and then at one of its messages
    for partition in range(PARTITIONS):
        world.report(concern(f"N{partition}"), partition)
    world.store.commits_fail = [InvalidMessageError("too_large", "no"), *[None] * alone, error]
    intake = world.intake()
    with pytest.raises(type(error)):
        intake.step()

    # when more comes in and it goes on
    for partition in range(PARTITIONS):
        world.report(concern(f"M{partition}"), partition)
    settle(intake)

    # then every message has been taken, once
    assert world.refs() == {f"{name}{n}" for name in "NM" for n in range(PARTITIONS)}
    assert world.store.counts() == {"read": 2 * PARTITIONS, "accepted": 2 * PARTITIONS}


def test_what_was_not_committed_is_read_again_also_if_the_database_stays_away(world: World) -> None:
    world.report(concern("N1"))
    intake = world.intake()
    assert intake.step() == 1
    world.report(concern("N2"))
    world.store.commits_fail = [TransientError("away")]
    world.store.positions_fail = [TransientError("still away")] * 2
    with pytest.raises(TransientError):
        intake.step()

    world.report(concern("N3"))
    settle(intake)

    assert world.refs() == {"N1", "N2", "N3"}
    assert world.store.counts()["read"] == 3


def test_what_ends_the_run_does_not_move_the_position_either(world: World) -> None:
    for partition in range(PARTITIONS):
        world.report(concern(f"N{partition}"), partition)
    world.store.commits_fail = [IntegrityError("no"), None, IntegrityError("no")]
    intake = world.intake()
    with pytest.raises(IntegrityError):
        intake.step()

    settle(intake)

    assert world.refs() == {f"N{n}" for n in range(PARTITIONS)}


def test_a_partition_that_went_to_another_member_is_not_sought(world: World) -> None:
    # given a batch of two partitions that failed, one of which is another's by now
    world.report(concern("N0"), 0)
    world.report(concern("N1"), 1)
    world.store.commits_fail = [TransientError("away")]
    intake = world.intake()
    with pytest.raises(TransientError):
        intake.step()
    world.log.members["intake"][0].hold([1])

    # when it goes on, then it takes its own, and the other is left to the other
    assert settle(intake) == []
    assert world.refs() == {"N1"}
    world.log.members["intake"][0].hold([0, 1])
    assert settle(intake) == []
    assert world.refs() == {"N0", "N1"}


# -- beside others -------------------------------------------------------------------------------


def test_one_without_a_partition_leaves_what_waited_too_long_to_those_who_have_one(world: World) -> None:
    # given a message that has waited for 31 days, and a member that stands by
    working, standby = world.intake(), world.intake()
    world.report(concern("N1", "raised_in contact C1"))
    settle(working)
    assert standby.step() == 0
    world.log.members["intake"][1].hold([])
    world.clock.advance(timedelta(days=31))

    # when both go on, then only the one that has partitions makes a dead letter of it
    assert standby.step() == 0
    assert [p.waiting_name for p in world.store.all_parked()] == ["contact C1"]
    assert working.step() == 1
    assert [d.code for d in world.store.dead_letters()] == ["reference_never_came"]


def test_what_two_hold_to_have_waited_too_long_is_counted_once(world: World) -> None:
    # given two members, each of which sees the same parked message
    one, other = world.intake(), world.intake()
    world.report(concern("N1", "raised_in contact C1"))
    settle(one)
    world.clock.advance(timedelta(days=31))
    seen = world.store.parked(before="2027", limit=9)
    world.store.parked = lambda **_: seen  # type: ignore[method-assign]

    # when both make a dead letter of it
    assert one.step() == 1
    with pytest.raises(ConcurrencyError):
        other.step()

    # then it is one
    assert {name: n for name, n in world.store.counts().items() if n} == {"read": 1, "dead_letters": 1}


def a_contact_that_died(world: World) -> DeadLetter:
    """It came before its time, which has come since."""
    world.report(message("contact.recorded", "C1", channel="letter", time="2026-01-20T00:00:00Z"))
    settle(world.intake())
    world.clock.advance(timedelta(days=20))
    return the_letter(world)


def the_letter(world: World) -> DeadLetter:
    """The only dead letter, body and all."""
    [letter] = world.store.dead_letters()
    found = world.store.dead_letter(letter.id)
    assert found is not None
    return found


def test_what_a_retry_makes_while_another_message_begins_to_wait_for_it_sets_that_one_free(
    world: World,
) -> None:
    # given an intake that has decided that a message must wait
    letter = a_contact_that_died(world)
    working, retrying = world.intake(), world.intake()
    world.report(concern("N1", "raised_in contact C1"))

    # when a retry makes what it waits for before the intake commits
    world.store.meanwhile = [lambda: retrying.retry(letter)]
    assert settle(working) == ["concurrency"]

    # then nobody waits
    assert world.refs() == {"C1", "N1"}
    assert world.store.all_parked() == []


def test_a_retry_does_not_make_what_a_message_began_to_wait_for_since_it_looked(world: World) -> None:
    letter = a_contact_that_died(world)
    working, retrying = world.intake(), world.intake()
    world.report(concern("N1", "raised_in contact C1"))

    world.store.meanwhile = [lambda: settle(working)]
    with pytest.raises(ConcurrencyError):
        retrying.retry(letter)
    assert len(world.store.all_parked()) == 1
    assert retrying.retry(letter) == "retried"

    assert world.refs() == {"C1", "N1"}
    assert world.store.all_parked() == []


def test_a_letter_that_somebody_discards_meanwhile_is_not_retried(world: World) -> None:
    letter = a_contact_that_died(world)
    before = world.store.counts()
    world.store.meanwhile = [lambda: world.store.commit(Work(settled={letter.id: "discarded"}))]
    with pytest.raises(ConcurrencyError):
        world.intake().retry(letter)
    assert world.store.stored == []
    assert world.store.counts() == before
    assert [d.status for d in world.store.dead_letters()] == ["discarded"]


# -- what is tried again -------------------------------------------------------------------------


def test_a_retry_that_fails_for_another_reason_says_which(world: World) -> None:
    # given a message that died for its time, and would break a rule once that has come
    world.report(concern("N1"))
    world.report(message("concern.reopened", "N1", time="2026-01-20T00:00:00Z"))
    intake = world.intake()
    settle(intake)
    letter = the_letter(world)
    assert letter.code == "in_the_future"
    counts = world.store.counts()

    # when it is tried again then
    world.clock.advance(timedelta(days=20))
    assert intake.retry(letter) == "open"

    # then it is the same letter with another reason, and its body does not live longer
    now = the_letter(world)
    assert (now.code, now.field) == ("rule_broken", "")
    assert now.reason != letter.reason
    assert (now.status, now.at, now.day, now.box) == ("open", letter.at, letter.day, letter.box)
    assert world.store.counts() == counts


def test_a_retry_that_waits_in_vain_ends_as_the_same_letter_for_its_new_reason(world: World) -> None:
    world.report(concern("N1", "raised_in contact C1", time="2026-01-20T00:00:00Z"))
    intake = world.intake()
    settle(intake)
    letter = the_letter(world)
    world.clock.advance(timedelta(days=20))

    assert intake.retry(letter) == "retried"
    assert len(world.store.all_parked()) == 1
    world.clock.advance(timedelta(days=31))
    settle(intake)

    now = the_letter(world)
    assert (now.id, now.code, now.status) == (letter.id, "reference_never_came", "open")
    assert {name: n for name, n in world.store.counts().items() if n} == {"read": 1, "dead_letters": 1}


# -- what a killed intake left behind ------------------------------------------------------------


def killed(world: World) -> None:
    """An intake takes what there is, and dies before it commits."""
    world.store.commits_fail = [TransientError("killed")]
    with pytest.raises(TransientError):
        world.intake().step()


def test_what_a_killed_intake_parked_is_taken_back_by_the_next(world: World) -> None:
    # given an intake that died after it had appended many parked records, before it committed
    for at in range(450):
        world.report(concern(f"N{at}", "raised_in contact C1"))
    killed(world)
    assert len(still_parked(world.log)) == 450

    # when another takes the same up in smaller batches, and all that they wait for is there by then
    world.report(message("contact.recorded", "C1", channel="letter"), 1)
    settle(world.intake(batch=50))

    # then none is parked on the log any more
    assert len(world.refs()) == 451
    assert still_parked(world.log) == set()


def test_a_killed_intake_may_have_parked_one_and_released_any_number(world: World) -> None:
    # given 90 that wait for C1
    for at in range(90):
        world.report(concern(f"N{at}", "raised_in contact C1"))
    settle(world.intake())

    # when an intake parks another, releases all of them with C1, and dies before it commits
    world.report(concern("N90", "raised_in contact C2"), 0)
    world.report(message("contact.recorded", "C1", channel="letter"), 1)
    killed(world)

    # and the next finds C2 there as well
    world.report(message("contact.recorded", "C2", channel="letter"), 2)
    settle(world.intake())
    assert len(world.refs()) == 93
    assert still_parked(world.log) == set()


def test_of_what_came_in_since_nobody_else_can_have_parked_anything(world: World) -> None:
    # given an intake that has taken what was there when it got its partitions
    intake = world.intake()
    world.report(concern("N1"))
    settle(intake)
    before = said_of_parked(world.log)
    for at in range(2, 30):
        world.report(concern(f"N{at}"))
    settle(intake)
    assert said_of_parked(world.log) == before


def test_what_a_member_left_behind_is_taken_back_by_one_that_had_begun_long_before(world: World) -> None:
    # given two members; the first holds all partitions but the one where an effect comes in
    first, second = world.intake(), world.intake()
    first.step()
    second.step()
    one, other = world.log.members["intake"]
    one.hold([1, 2])
    other.hold([0])
    world.report(concern("N1", "raised_in contact C1"), 0)

    # when the second dies after it has set the effect aside, before it committed
    world.store.commits_fail = [TransientError("killed")]
    with pytest.raises(TransientError):
        second.step()
    other.hold([])
    assert len(still_parked(world.log)) == 1

    # and the first gets its partition, after the cause has come
    world.report(message("contact.recorded", "C1", channel="letter"), 1)
    settle(first)
    one.hold([0, 1, 2])
    settle(first)

    # then the effect waits nowhere
    assert world.refs() == {"C1", "N1"}
    assert still_parked(world.log) == set()


def test_what_another_member_has_parked_meanwhile_is_not_taken_back(world: World) -> None:
    # given a member that set an effect aside, and lost its partition before it committed
    first, second = world.intake(), world.intake()
    second.step()
    world.report(concern("N1", "raised_in contact C1"), 0)
    world.store.meanwhile = [lambda: settle(first)]
    assert settle(second) == ["concurrency"]

    # then what the other one parked stands, on the log as in the event store
    assert len(world.store.all_parked()) == 1
    assert still_parked(world.log) == {world.store.all_parked()[0].id.encode()}


def test_what_another_member_parks_between_two_looks_is_not_handled_twice(world: World) -> None:
    # given a member that has an effect and its cause in hand, and has looked what was handled before
    first, second = world.intake(batch=1), world.intake()
    world.report(concern("N1", "raised_in contact C1"), 0)
    world.report(message("contact.recorded", "C1", channel="letter"), 1)

    # when another takes the effect and parks it, before this one looks what waits for the cause
    world.store.before_waiting = [first.step]
    assert settle(second) == ["fenced"]

    # then each is there once
    assert world.refs() == {"C1", "N1"}
    assert world.store.all_parked() == []
    assert {name: n for name, n in world.store.counts().items() if n} == {"read": 2, "accepted": 2}


def still_parked(log: MemoryLog) -> set[bytes]:
    """The keys of the parked topic whose last record has a value."""
    last = {record.key: record.value for record in said_of_parked(log)}
    assert last
    return {key for key, value in last.items() if value is not None}


def said_of_parked(log: MemoryLog) -> list[Record]:
    """Every record of the parked topic."""
    return [record for partition in range(PARTITIONS) for record in log.records[PARKED.name, partition]]
