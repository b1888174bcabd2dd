"""Does every event store keep the port's promises? The same tests over SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from domain.errors import (
    ConcurrencyError,
    ConfigurationError,
    FencedError,
    IntegrityError,
    TransientError,
)
from domain.event import Envelope
from infra import event_store
from infra.event_store import PostgresRecorder, SqlEventStore, SqliteRecorder, _our_errors
from services.ports import (
    DeadLetter,
    EventStore,
    Handled,
    Parked,
    SealedValue,
    Stored,
    Unused,
    Waiting,
    Work,
)
from tests.support.envelopes import acknowledged, raised, stream_of
from tests.support.memory import MemoryEventStore
from tests.support.postgres import cut_off

BOTH = ("sqlite", "postgresql")
ALL = (*BOTH, "memory")
"""With the one that other tests use in place of a database."""
INBOX = ("heard.inbox.v1", 0)


@pytest.fixture(params=ALL)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Opens the same store; each call is another connection to it, as another process has."""
    address = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    stores: list[SqlEventStore] = []
    shared = MemoryEventStore()

    def open_() -> EventStore:
        if request.param == "memory":
            return shared
        recorder = SqliteRecorder(tmp_path / "write.db") if address is None else PostgresRecorder(address)
        stores.append(SqlEventStore(recorder))
        return stores[-1]

    yield open_
    for each in stores:
        each.close()


@pytest.fixture
def store(opened: Any) -> EventStore:
    opened_store: EventStore = opened()
    return opened_store


def parked(id_: str, *, waiting_for: str = "D1", since: str = "2024-05-01T09:00:00.000000Z") -> Parked:
    return Parked(id_, "/tests", f"m-{id_}", stream_of(waiting_for), waiting_for, since, since[:10], b"\0box")


def dead(id_: str, *, at: str = "2024-05-01T09:00:00.000000Z", status: str = "open") -> DeadLetter:
    return DeadLetter(
        id_, "/tests", f"m-{id_}", "field_missing", "data.ref", "it is", status, at, at[:10], b"\0"
    )


def everything(store: EventStore) -> dict[str, Any]:
    """All that the store can be asked for."""
    events = store.after(0, 1000)
    return {
        "events": [stored.envelope.bytes for stored in events],
        "handled": store.handled([("/tests", "m1"), ("/tests", "m2")]),
        "parked": store.parked(before="9999", limit=1000),
        "dead": [store.dead_letter(letter.id) for letter in store.dead_letters()],
        "counts": store.counts(),
        "position": store.position(*INBOX),
        "sealed": store.sealed_of([stored.envelope.id for stored in events]),
        "sources": store.sources(),
    }


def whole(first: Envelope) -> Work:
    """Work of every kind."""
    return Work(
        events=[first, acknowledged("N1", first)],
        sealed=[SealedValue(first.id, "words", first.stream, b"\x00\xffbox")],
        handled=[Handled("/tests", "m1", "f1")],
        parked=[parked("p1")],
        dead=[dead("d1")],
        counts=Counter(read=4, accepted=2, parked=1, dead_letters=1),
        positions={INBOX: (0, 4)},
    )


# -- events --------------------------------------------------------------------------------------


def test_an_empty_store_has_nothing_to_tell(store: EventStore) -> None:
    assert store.load([stream_of("N1")]) == {}
    assert store.firsts([stream_of("N1")]) == {}
    assert store.positioned(stream_of("N1")) == []
    assert store.dead_letter("d1") is None
    nothing = {"events": [], "handled": {}, "parked": [], "dead": [], "counts": {}, "position": 0}
    assert everything(store) == nothing | {"sealed": [], "sources": []}


def test_an_empty_question_has_an_empty_answer(store: EventStore) -> None:
    store.commit(whole(raised("N1")))
    assert (store.load([]), store.firsts([]), store.handled([])) == ({}, {}, {})
    assert (store.waiting([]), store.sealed_of([])) == ([], [])


def test_events_come_back_byte_for_byte_by_stream_and_in_order_of_version(store: EventStore) -> None:
    first, other = raised("N1"), raised("N2")
    second = acknowledged("N1", first)
    store.commit(Work(events=[first, other]))
    store.commit(Work(events=[second]))

    found = store.load([first.stream, other.stream, stream_of("N3")])

    assert {s: [e.bytes for e in es] for s, es in found.items()} == {
        first.stream: [first.bytes, second.bytes],
        other.stream: [other.bytes],
    }
    assert found[first.stream] == [first, second]


def test_the_first_event_of_each_stream_is_found(store: EventStore) -> None:
    first = raised("N1")
    store.commit(Work(events=[first, acknowledged("N1", first)]))
    assert store.firsts([first.stream, stream_of("N2")]) == {first.stream: first}


def test_events_follow_each_other_in_commit_order_in_pages(store: EventStore) -> None:
    events = [raised(f"N{at}") for at in range(7)]
    store.commit(Work(events=events[:3]))
    store.commit(Work(events=events[3:]))

    pages: list[Stored] = []
    while page := store.after(pages[-1].position if pages else 0, 2):
        assert len(page) <= 2
        pages += page

    assert [stored.envelope for stored in pages] == events
    assert all(one.position < next_.position for one, next_ in pairwise(pages))


def test_the_events_of_one_stream_come_with_their_positions(store: EventStore) -> None:
    first = raised("N1")
    store.commit(Work(events=[first, raised("N2")]))
    store.commit(Work(events=[acknowledged("N1", first)]))
    everywhere = {stored.envelope.id: stored.position for stored in store.after(0, 10)}

    found = store.positioned(first.stream)

    assert [(s.envelope.version, s.position) for s in found] == [
        (version, everywhere[s.envelope.id]) for version, s in enumerate(found, start=1)
    ]
    assert len(found) == 2
    acknowledged_at = {first.stream: [found[1].position]}
    assert store.positions_of([first.stream, stream_of("N9")], found[1].envelope.type) == acknowledged_at
    assert store.positions_of([first.stream], "heard.concern.ungrouped.v1") == {}


def test_a_question_about_more_streams_than_a_statement_has_parameters_is_answered(store: EventStore) -> None:
    event = raised("N1")
    store.commit(Work(events=[event]))
    many = [str(uuid4()) for _ in range(70_000)]
    assert store.load([*many, event.stream]) == {event.stream: [event]}


# -- one transaction -----------------------------------------------------------------------------


def test_all_of_a_work_is_committed(opened: Any) -> None:
    first = raised("N1")
    opened().commit(whole(first))

    found = everything(opened())

    assert found == {
        "events": [first.bytes, acknowledged("N1", first).bytes],
        "handled": {("/tests", "m1"): "f1"},
        "parked": [parked("p1")],
        "dead": [dead("d1")],
        "counts": {"read": 4, "accepted": 2, "parked": 1, "dead_letters": 1},
        "position": 4,
        "sealed": [SealedValue(first.id, "words", first.stream, b"\x00\xffbox")],
        "sources": ["/tests"],
    }


def test_a_taken_version_is_refused_and_nothing_of_the_work_is_written(store: EventStore) -> None:
    store.commit(Work(events=[raised("N1", theme="noise")]))
    before = everything(store)

    work = whole(raised("N1", theme="litter"))
    work.events.insert(0, raised("N2"))
    with pytest.raises(ConcurrencyError):
        store.commit(work)

    assert everything(store) == before


def test_a_moved_position_is_fenced_and_nothing_of_the_work_is_written(store: EventStore) -> None:
    store.commit(Work(positions={INBOX: (0, 2)}))
    before = everything(store)

    for stale in (0, 1, 3):
        work = whole(raised("N1"))
        work.positions = {("heard.inbox.v1", 1): (0, 9), INBOX: (stale, 4)}
        with pytest.raises(FencedError):
            store.commit(work)

    assert everything(store) == before
    assert store.position("heard.inbox.v1", 1) == 0


def test_a_position_that_was_never_written_cannot_be_moved_on_from(store: EventStore) -> None:
    with pytest.raises(FencedError):
        store.commit(Work(positions={INBOX: (3, 4)}))
    assert store.position(*INBOX) == 0


def test_a_message_that_another_intake_has_handled_is_refused(store: EventStore) -> None:
    store.commit(Work(handled=[Handled("/tests", "m1", "f1")]))
    with pytest.raises(ConcurrencyError):
        store.commit(Work(events=[raised("N1")], handled=[Handled("/tests", "m1", "f2")]))
    assert store.after(0, 10) == []
    assert store.handled([("/tests", "m1")]) == {("/tests", "m1"): "f1"}


def test_positions_move_on_by_topic_and_partition(store: EventStore) -> None:
    store.commit(Work(positions={("a", 0): (0, 5), ("a", 1): (0, 7), ("b", 0): (0, 9)}))
    store.commit(Work(positions={("a", 1): (7, 8)}))
    assert [store.position(*place) for place in (("a", 0), ("a", 1), ("b", 0), ("b", 1))] == [5, 8, 9, 0]


# -- bookkeeping ---------------------------------------------------------------------------------


def test_messages_are_known_by_source_and_id_together(store: EventStore) -> None:
    store.commit(Work(handled=[Handled("/a", "1", "f1"), Handled("/b", "1", "f2"), Handled("/b", "2", "f3")]))
    asked = [("/a", "1"), ("/a", "2"), ("/b", "2"), ("/c", "1")]
    assert store.handled(asked) == {("/a", "1"): "f1", ("/b", "2"): "f3"}


def test_every_source_is_named_once_in_order(store: EventStore) -> None:
    names = ["/b", "/a", "/Z", "/ä", "urn:x", "/a b", "/a-b", "/ab"]
    store.commit(Work(handled=[Handled(source, str(n), "f") for n, source in enumerate(names * 3)]))
    assert store.sources() == sorted(names)


def test_what_waits_for_a_thing_is_found_oldest_first(store: EventStore) -> None:
    later, earlier = parked("p1", since="2024-05-02T09:00:00.000000Z"), parked("p2")
    elsewhere = parked("p3", waiting_for="D2")
    store.commit(Work(parked=[later, earlier, elsewhere]))

    assert store.waiting([stream_of("D1")]) == [earlier, later]
    assert store.waiting([stream_of("D1"), stream_of("D2")]) == [earlier, elsewhere, later]
    assert store.parked(before="9999", limit=2) == [earlier, elsewhere]
    assert store.parked(before="2024-05-02T00:00:00.000000Z", limit=9) == [earlier, elsewhere]


def test_what_is_released_waits_no_longer_and_what_is_parked_again_waits_for_the_new_thing(
    store: EventStore,
) -> None:
    store.commit(Work(parked=[parked("p1"), parked("p2")]))
    store.commit(Work(released=["p1", "p2"], parked=[parked("p2", waiting_for="D2")]))
    assert store.parked(before="9999", limit=9) == [parked("p2", waiting_for="D2")]


@pytest.mark.parametrize(
    "late",
    [
        Work(released=["p1"]),
        Work(released=["p2", "p1"]),
        Work(released=["p2", "p2"]),
        Work(released=["p1"], parked=[parked("p1", waiting_for="D2")]),
        Work(parked=[parked("p2", waiting_for="D2")]),
    ],
    ids=["alone", "with another", "twice", "to wait anew", "not released"],
)
def test_what_somebody_else_released_is_not_released_again(store: EventStore, late: Work) -> None:
    store.commit(Work(parked=[parked("p1"), parked("p2")]))
    store.commit(Work(released=["p1"], counts=Counter(parked=-1)))
    before = everything(store)

    with pytest.raises(ConcurrencyError):
        store.commit(replace(whole(raised("N1")), parked=late.parked, released=late.released))

    assert everything(store) == before


def test_nobody_begins_to_wait_for_what_has_come_meanwhile(store: EventStore) -> None:
    store.commit(Work(events=[raised("N1")]))
    before = everything(store)
    with pytest.raises(ConcurrencyError):
        store.commit(replace(whole(raised("N2")), parked=[parked("p1", waiting_for="N1")]))
    assert everything(store) == before


def test_what_somebody_waits_for_since_one_looked_is_not_made_without_them(store: EventStore) -> None:
    store.commit(Work(parked=[parked("p1", waiting_for="N1"), parked("p2", waiting_for="N1")]))
    before = everything(store)
    for released in ([], ["p1"]):
        with pytest.raises(ConcurrencyError):
            store.commit(Work(events=[raised("N2"), raised("N1")], released=released))
    assert everything(store) == before

    anew = parked("p2", waiting_for="D1")
    store.commit(Work(events=[raised("N2"), raised("N1")], released=["p1", "p2"], parked=[anew]))

    assert store.parked(before="9999", limit=9) == [anew]


def test_of_two_at_once_that_make_a_thing_and_begin_to_wait_for_it_one_is_refused(opened: Any) -> None:
    # given one who makes a thing after looking for whoever waits, and one who is to wait for it
    stores = [opened(), opened()]
    for at in range(25):
        works = [
            Work(events=[raised(f"N{at}")], positions={("a", 0): (at, at + 1)}),
            Work(parked=[parked(f"p{at}", waiting_for=f"N{at}")], positions={("b", 0): (at, at + 1)}),
        ]

        # when both commit at the same time
        both = threading.Barrier(2)
        refused: list[int] = []

        def commit(one: int) -> None:
            both.wait()  # noqa: B023 - it ends within this turn
            try:
                stores[one].commit(works[one])  # noqa: B023
            except ConcurrencyError:
                refused.append(one)  # noqa: B023

        threads = [threading.Thread(target=commit, args=(one,)) for one in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        # then one of them has to look again
        assert len(refused) == 1
        place = ("ab"[refused[0]], 0)
        stores[0].commit(Work(positions={place: (at, at + 1)}))


def test_how_many_dead_letters_of_a_source_came_after_an_instant_can_be_asked(store: EventStore) -> None:
    days = [f"2024-05-0{day}T09:00:00.000000Z" for day in (1, 2, 3)]
    store.commit(Work(dead=[dead(at[:10], at=at) for at in days]))
    store.commit(Work(dead=[replace(dead("d4", at=days[1]), source=None, message_id=None)]))
    found = [store.dead_letters_since(at, ["/tests", "", "/none"]) for at in ("2024-05-01", *days)]
    assert found == [{"/tests": 3, "": 1}, {"/tests": 2, "": 1}, {"/tests": 1}, {}]
    assert store.dead_letters_since("2024-05-01", [""]) == {"": 1}


def test_what_waits_for_the_same_is_told_by_source_and_given_oldest_first(store: EventStore) -> None:
    days = [f"2024-05-0{day}T09:00:00.000000Z" for day in (3, 1, 2)]
    mine = [parked(f"p{at[9]}", since=at) for at in days]
    other = replace(parked("q1"), source="", message_id="")
    store.commit(Work(parked=[*mine, other, parked("r1", waiting_for="D2")]))
    flood = stream_of("D1")
    assert store.waiting_by_source(flood) == {"/tests": 3, "": 1}
    assert [p.id for p in store.waiting_of(flood, "/tests", 2)] == ["p1", "p2"]
    assert store.waiting_of(flood, "", 9) == [other]
    assert store.waiting_by_source(stream_of("D3")) == {}


@pytest.mark.parametrize("opened", BOTH, indirect=True)
def test_of_what_waits_no_more_is_taken_than_its_boxes_weigh_and_one_at_least(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood = stream_of("D1")
    waiting = [replace(parked(f"p{size}"), box=bytes(size)) for size in (4, 5, 6)]
    store.commit(Work(parked=waiting))
    for most, taken in ((3, 1), (8, 1), (9, 2), (14, 2), (15, 3)):
        monkeypatch.setattr(event_store, "BATCH_BYTES", most)
        assert store.waiting_of(flood, "/tests", 9) == waiting[:taken]
        assert store.parked(before="9999", limit=9) == waiting[:taken]


def test_dead_letters_are_told_oldest_first_and_by_status(store: EventStore) -> None:
    later, earlier = dead("d1", at="2024-05-02T09:00:00.000000Z"), dead("d2")
    store.commit(Work(dead=[later, earlier]))
    store.commit(Work(settled={"d1": "retried"}))

    assert [d.id for d in store.dead_letters()] == ["d2", "d1"]
    assert [d.id for d in store.dead_letters(status="open")] == ["d2"]
    assert [d.id for d in store.dead_letters(status="retried")] == ["d1"]
    assert store.dead_letter("d1") == dead("d1", at=later.at, status="retried")
    assert store.dead_letter("d2") == earlier


def test_a_dead_letter_without_source_and_id_is_kept(store: EventStore) -> None:
    letter = DeadLetter("d1", None, None, "not_json", "", "no", "open", "2024-05-01", "2024-05-01", b"")
    store.commit(Work(dead=[letter]))
    assert store.dead_letter("d1") == letter


def test_a_dead_letter_that_is_set_aside_again_is_open_again_for_its_new_reason(store: EventStore) -> None:
    store.commit(Work(dead=[dead("d1")]))
    store.commit(Work(settled={"d1": "retried"}))
    assert store.dead_letter("d1") == dead("d1", status="retried")
    again = replace(dead("d1"), code="reference_never_came", box=b"anew")
    store.commit(Work(dead=[again]))
    assert store.dead_letter("d1") == again
    assert len(store.dead_letters()) == 1


def test_a_dead_letter_that_fails_again_is_open_for_what_is_wrong_with_it_now(store: EventStore) -> None:
    store.commit(Work(dead=[dead("d1")]))
    again = replace(dead("d1"), code="rule_broken", field="", reason="another")
    store.commit(Work(settled={"d1": "retried"}, dead=[again]))
    assert store.dead_letter("d1") == again


@pytest.mark.parametrize("status", ["retried", "discarded"])
def test_what_somebody_else_settled_is_not_settled_again(store: EventStore, status: str) -> None:
    # given a letter that somebody has settled, and one that is open
    store.commit(Work(dead=[dead("d1"), dead("d2")]))
    store.commit(Work(settled={"d1": status}))
    before = everything(store)

    # when others who saw both open settle them, or find them dead again; or one settles what is none
    again = replace(dead("d1"), code="rule_broken")
    for settled, letters in (
        ({"d1": "discarded"}, []),
        ({"d2": "retried", "d1": "retried"}, []),
        ({"d1": "retried"}, [again]),
        ({"d3": "retried"}, []),
    ):
        with pytest.raises(ConcurrencyError):
            store.commit(replace(whole(raised("N1")), settled=settled, dead=letters))

    # then nothing was written
    assert everything(store) == before


@pytest.mark.parametrize("status", ["open", "discarded"])
def test_only_a_dead_letter_that_was_retried_is_set_aside_again(store: EventStore, status: str) -> None:
    store.commit(Work(dead=[dead("d1")]))
    if status != "open":
        store.commit(Work(settled={"d1": status}))
    before = everything(store)
    with pytest.raises(ConcurrencyError):
        store.commit(replace(whole(raised("N1")), dead=[replace(dead("d1"), code="rule_broken")]))
    assert everything(store) == before


def test_a_list_tells_all_of_a_message_but_its_body(store: EventStore) -> None:
    store.commit(Work(parked=[parked("p1")], dead=[dead("d1")]))
    [waiting], [letter] = store.all_parked(), store.dead_letters()
    assert waiting == Waiting(**without_box(parked("p1")))
    assert letter == Unused(**without_box(dead("d1")))


def without_box(item: Parked | DeadLetter) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "box"}


def test_a_list_of_what_is_parked_has_no_end_before_its_end(store: EventStore) -> None:
    store.commit(Work(parked=[parked(f"p{at:04}") for at in range(1500)]))
    assert [waiting.id for waiting in store.all_parked()] == [f"p{at:04}" for at in range(1500)]


def test_open_dead_letters_are_counted(store: EventStore) -> None:
    assert store.open_dead_letters() == 0
    store.commit(Work(dead=[dead(f"d{at}") for at in range(5)]))
    store.commit(Work(settled={"d1": "retried", "d2": "discarded"}))
    assert store.open_dead_letters() == 3


def test_the_latest_that_was_set_aside_is_known_whatever_its_status(store: EventStore) -> None:
    assert store.latest_set_aside() == (None, None)
    first, last = "2024-05-01T09:00:00.000000Z", "2024-05-03T09:00:00.000000Z"
    store.commit(Work(parked=[parked("p1", since=last), parked("p2", since=first)]))
    assert store.latest_set_aside() == (last, None)
    store.commit(Work(dead=[dead("d1", at="2024-06-02T09:00:00Z"), dead("d2", at=last)]))
    store.commit(Work(released=["p1"], settled={"d1": "discarded"}))
    assert store.latest_set_aside() == (first, "2024-06-02")


def test_counts_add_up_also_downwards(store: EventStore) -> None:
    store.commit(Work(counts=Counter(read=2, parked=1)))
    store.commit(Work(counts=Counter({"read": 1, "parked": -1, "accepted": 2, "no_change": 0})))
    assert store.counts() == {"read": 3, "parked": 0, "accepted": 2}


def test_sealed_values_wait_to_be_published_and_are_dropped_by_event_or_by_key(store: EventStore) -> None:
    values = [
        SealedValue(f"e{n}", path, key, b"box")
        for n, path, key in ((1, "name", "k1"), (1, "words", "k1"), (2, "words", "k2"), (3, "words", "k3"))
    ]
    store.commit(Work(sealed=values))

    assert store.sealed_of(["e3", "e1", "e9"]) == [values[0], values[1], values[3]]
    store.drop_sealed(event_ids=["e1"])
    store.drop_sealed(key_ids=["k2"])
    store.drop_sealed()
    assert store.sealed_of(["e1", "e2", "e3"]) == [values[3]]


def test_sealed_values_are_dropped_up_to_what_was_published_once_all_of_their_commit_was(
    store: EventStore,
) -> None:
    # given two commits, the first of two events
    first, second = raised("N1"), raised("N2")
    sealed = [SealedValue(e.id, "words", e.stream, b"box") for e in (first, second)]
    store.commit(Work(events=[first, acknowledged("N1", first)], sealed=sealed[:1]))
    store.commit(Work(events=[second], sealed=sealed[1:]))
    one, two, three = (stored.position for stored in store.after(0, 10))

    def left(published: int) -> list[SealedValue]:
        store.drop_sealed(published=published)
        return store.sealed_of([first.id, second.id])

    assert len(left(one)) == 2
    assert left(two) == sealed[1:]
    assert left(three) == []


# -- several at once -----------------------------------------------------------------------------


def test_a_reader_that_follows_two_writers_never_misses_an_event(opened: Any) -> None:
    # given two writers, each with a store of its own, of 1,500 events in commits of 1 to 7
    def write(name: str) -> None:
        mine = opened_stores[name]
        left = [raised(f"{name}{at}") for at in range(1500)]
        for size in sizes:
            work, left = left[:size], left[size:]
            mine.commit(Work(events=work))

    sizes = [1 + at % 7 for at in range(375)]
    assert sum(sizes) >= 1490
    opened_stores = {name: opened() for name in "AB"}
    written = 2 * sum(sizes)
    reader = opened()
    writers = [threading.Thread(target=write, args=(name,)) for name in opened_stores]

    # when a reader follows the tail meanwhile
    read: list[Stored] = []
    for writer in writers:
        writer.start()
    try:
        while any(writer.is_alive() for writer in writers):
            read += reader.after(read[-1].position if read else 0, 50)
    finally:
        for writer in writers:
            writer.join()
    while rest := reader.after(read[-1].position, 1000):
        read += rest

    # then it has read every event once, in the order of their positions, each writer's in its order
    assert len(read) == written
    assert [s.position for s in read] == [s.position for s in reader.after(0, written + 1)]
    for name in opened_stores:
        mine = [s.envelope.pub["ref"] for s in read if s.envelope.pub["ref"].startswith(name)]
        assert mine == [f"{name}{at}" for at in range(sum(sizes))]


def test_of_two_that_write_the_same_stream_one_is_refused(opened: Any) -> None:
    one, other = opened(), opened()
    first = raised("N1")
    one.commit(Work(events=[first]))
    assert other.load([first.stream]) == {first.stream: [first]}
    one.commit(Work(events=[acknowledged("N1", first)]))
    with pytest.raises(ConcurrencyError):
        other.commit(Work(events=[acknowledged("N1", first)]))


def test_stores_that_are_opened_at_the_same_time_make_their_tables_once(opened: Any) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def open_() -> None:
        barrier.wait()
        try:
            opened().counts()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# -- what the databases refuse -------------------------------------------------------------------


def test_who_falls_silent_in_a_transaction_is_to_try_again(postgresql: str) -> None:
    def fall_silent(store: SqlEventStore) -> None:
        with _our_errors(), store._db.transaction(write=True) as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '200ms'", {})
            time.sleep(1)
            cursor.execute("SELECT 1", {})

    with closing(SqlEventStore(PostgresRecorder(postgresql))) as store:
        with pytest.raises(TransientError):
            fall_silent(store)
        assert store.end() == 0


def test_connections_that_were_cut_are_transient_and_the_same_call_works_again(postgresql: str) -> None:
    with closing(SqlEventStore(PostgresRecorder(postgresql))) as store:
        store.commit(Work(events=[raised("N1")]))
        assert cut_off(postgresql) > 0

        refused = 0
        for _ in range(10):
            try:
                store.commit(Work(events=[raised("N2")]))
                break
            except TransientError:
                refused += 1

        assert refused > 0
        assert [s.envelope.pub["ref"] for s in store.after(0, 10)] == ["N1", "N2"]


def test_a_database_that_is_not_there_is_transient() -> None:
    with pytest.raises(TransientError):
        PostgresRecorder("postgresql://nobody@/nothing?host=/nowhere", patience=0.2)


def test_a_locked_file_is_transient(tmp_path: Path) -> None:
    impatient, other = (
        SqliteRecorder(tmp_path / "write.db", patience=1),
        SqliteRecorder(tmp_path / "write.db"),
    )
    with closing(SqlEventStore(impatient)) as store, closing(SqlEventStore(other)):
        with other.transaction(write=True), pytest.raises(TransientError):
            store.commit(Work(events=[raised("N1")]))
        store.commit(Work(events=[raised("N1")]))


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "write.db").write_bytes(b"this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(IntegrityError):
        SqlEventStore(SqliteRecorder(tmp_path / "write.db"))


def test_tables_that_are_not_ours_are_told_as_such(postgresql: str) -> None:
    with psycopg.connect(postgresql) as db:
        db.execute("ALTER TABLE message_counts RENAME COLUMN n TO something")
    with (
        closing(SqlEventStore(PostgresRecorder(postgresql))) as store,
        pytest.raises(IntegrityError),
    ):
        store.counts()


@pytest.mark.parametrize("value", ["y", "yes", "true", "1"])
def test_the_library_s_insert_function_is_refused(
    postgresql: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", value)
    with pytest.raises(ConfigurationError):
        PostgresRecorder(postgresql)


@pytest.mark.parametrize("address", ["", "nonsense", "mysql://somewhere/x", "postgresql://h/x?no=such"])
def test_an_address_that_cannot_be_read_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        PostgresRecorder(address)
    assert address not in str(refused.value) or not address


def test_text_sorts_by_its_bytes_whatever_the_database_s_locale(postgresql: str) -> None:
    SqlEventStore(PostgresRecorder(postgresql)).close()
    with psycopg.connect(postgresql) as db:
        found = db.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'text' AND table_name <> 'stored_events'"
        ).fetchall()
    assert len(found) > 20
    assert [row for row in found if row[2] != "C"] == []


# -- the library's own cases ---------------------------------------------------------------------


@contextmanager
def _when_its_threads_have_ended(recorder: Any) -> Iterator[Any]:
    """Close a recorder after the case's readers: they are told to stop and not waited for, and a
    connection of SQLite that is closed under a thread that reads from it ends the interpreter."""
    before = set(threading.enumerate())
    yield recorder
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
        assert not thread.is_alive()
    recorder.close()


class _OnSqlite:
    @pytest.fixture(autouse=True)
    def _recorder(self, tmp_path: Path) -> Iterator[None]:
        with _when_its_threads_have_ended(SqliteRecorder(tmp_path / "write.db")) as self.recorder:
            self.recorder.create_table()
            yield

    def create_recorder(self) -> Any:
        return self.recorder

    def new_originator_id(self) -> str:
        return str(uuid4())


class _OnPostgresql(_OnSqlite):
    @pytest.fixture(autouse=True)
    def _recorder(self, postgresql: str) -> Iterator[None]:
        with _when_its_threads_have_ended(PostgresRecorder(postgresql)) as self.recorder:
            self.recorder.create_table()
            yield


class TestSqliteRecorder(_OnSqlite, ApplicationRecorderTestCase[ApplicationRecorder]):
    """The library's cases for what an application's recorder does.

    Without its timed one: it says something of the machine, and its many threads on one pool of
    SQLite connections, which no loop of Heard has, ended the interpreter once in a few runs.
    """

    test_concurrent_throughput = None  # type: ignore[assignment]


class TestPostgresRecorder(_OnPostgresql, ApplicationRecorderTestCase[ApplicationRecorder]):
    """The library's cases for what an application's recorder does."""


class TestSqliteOrder(_OnSqlite, NonInterleavingNotificationIDsBaseCase):
    """The library's case for one commit's positions, unmixed with another's.

    On PostgreSQL they mix, as writers go on side by side: test_writers_side_by_side.py has what holds there.
    """


del ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase


# -- filled again --------------------------------------------------------------------------------


@pytest.fixture(params=BOTH)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlEventStore]:
    address = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    recorder = SqliteRecorder(tmp_path / "write.db") if address is None else PostgresRecorder(address)
    with closing(SqlEventStore(recorder)) as store:
        yield store


def test_events_keep_their_positions_and_the_next_comes_after_the_highest(empty: SqlEventStore) -> None:
    first = raised("N1")
    given = [Stored(3, first), Stored(7, raised("N2")), Stored(20, acknowledged("N1", first))]
    with empty.refilling() as refill:
        refill.events(given)
    empty.commit(Work(events=[raised("N3")]))
    *there, new = empty.after(0, 10)
    assert there == given
    assert new.position > 20


def test_a_refill_that_fails_leaves_the_store_as_empty_as_it_was(empty: SqlEventStore) -> None:
    def fail() -> None:
        with empty.refilling() as refill:
            refill.handled([Handled("/tests", "m", "")])
            refill.events([Stored(3, raised("N1")), Stored(4, raised("N1"))])  # one version twice

    with pytest.raises(ConcurrencyError):
        fail()
    assert (empty.end(), empty.handled([("/tests", "m")])) == (0, {})


def test_what_holds_anything_is_not_filled_again(empty: SqlEventStore) -> None:
    empty.commit(Work(positions={INBOX: (0, 1)}))
    with pytest.raises(ConfigurationError, match="not empty"), empty.refilling():
        pass


def test_a_body_that_is_known_stands_and_one_that_is_not_is_learnt(empty: SqlEventStore) -> None:
    with empty.refilling() as refill:
        for body in ("", "first", "second"):
            refill.handled([Handled("/tests", "m", body)])
        assert refill.known([("/tests", "m"), ("/tests", "other")]) == {("/tests", "m")}
    assert empty.handled([("/tests", "m")]) == {("/tests", "m"): "first"}
