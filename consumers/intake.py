"""How does a message become an event, a duplicate, a parked message or a dead letter?

Every record of the inbox ends as exactly one of them, in the transaction that moves the position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from heapq import heappop, heappush
from itertools import chain
from typing import Final, Literal

import orjson
import structlog

from consumers.envelope import Unusable, read
from consumers.following import behind
from consumers.parked import Doubtful, gone, standing
from consumers.resting import no_search_for_cycles
from domain.errors import (
    ConcurrencyError,
    FencedError,
    HeardError,
    InvalidMessageError,
    RuleBrokenError,
    TransientError,
)  # fmt: skip
from domain.evidence.sealing import decrypt_body, encrypt_body
from domain.ids import Ids
from domain.values import stamp
from services.desk import Desk, UnseenError
from services.faults import Probe, nothing
from services.message import PATIENCE, Message
from services.ports import (
    Clock,
    Consumer,
    Cut,
    DeadLetter,
    EventStore,
    Handled,
    KeyStore,
    Log,
    Outgoing,
    Parked,
    Randomness,
    Record,
    Work,
)  # fmt: skip
from services.telemetry import DEAD_LETTERS as FOUND_DEAD
from services.telemetry import NO_METER, NO_TRACER, TRACEPARENT, Meter, Taken, Tracer
from services.topics import DEAD_LETTERS, INBOX

GROUP: Final = "intake"
CEILING: Final = 10_000
"""As many messages of a source as may become dead letters within FLOOD, unless the settings say otherwise."""
FLOOD: Final = timedelta(hours=1)
FLOODED: Final = "fewer dead letters of its source"
"""What a message waits for that would have been one dead letter too many of its source."""

_TOLD: Final = ("code", "field", "reason", "at", "day")
"""What the record of a dead letter says in the clear beside its box: nothing that a person wrote."""
_UPSTREAM: Final = (TRACEPARENT, f"ce_{TRACEPARENT}")
"""How a message's own trace is called, as a header and as an attribute in binary mode."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message in hand: its body as received, and what came of reading it."""

    id: str
    """What it is called when it is parked or dead; the same however often it is delivered."""
    body: bytes
    headers: tuple[tuple[str, bytes], ...]
    content: Message | Unusable
    at: tuple[int, int]
    """Partition and offset at which it came in."""
    cut: Cut | None = None
    """Why only the beginning of the body is here, and what it was."""
    parked: Parked | None = None
    """The parked message that it was."""


@dataclass(slots=True)
class Intake:
    """The loop from the inbox to the event store."""

    log: Log
    store: EventStore
    keys: KeyStore
    clock: Clock
    randomness: Randomness
    ids: Ids
    probe: Probe = nothing
    batch: int = 500
    meter: Meter = NO_METER
    tracer: Tracer = NO_TRACER
    ceiling: int = CEILING
    _consumer: Consumer | None = None
    _at: dict[tuple[str, int], int] = field(default_factory=dict)
    _in_hand: set[tuple[str, int]] = field(default_factory=set)
    """Places of the batch that was polled, until all of it is committed."""
    _room: dict[str, int] | None = None
    """How many more dead letters each source may have, as far as this batch has asked; None: any number."""
    _expired_at: str = ""
    _day_keys: dict[str, bytes] = field(default_factory=dict)
    _doubtful: Doubtful = field(init=False)

    def __post_init__(self) -> None:
        self._doubtful = Doubtful(self.log, self.store)

    @no_search_for_cycles()
    def step(self, timeout: float = 0.0) -> int:
        """Poll, decode, deduplicate, handle, commit: one batch; the number of records read.

        Raises TransientError when nothing was committed and the step may be repeated.
        """
        if self._consumer is None:
            self._consumer = self.log.consumer(GROUP, [INBOX.name], self._start)
        self._rewind()
        self._doubtful.settle()
        records = self._consumer.poll(self.batch, timeout)
        self._in_hand = _places(records)
        # Nobody's partition is nobody's turn: what waits too long is for those who take what comes.
        expired = self._expire() if self._consumer.assigned() else 0
        if not records:
            return expired
        self.probe("intake.read")
        letters = [self.letter(record) for record in records]
        try:
            self._take(records, letters)
        except (ConcurrencyError, FencedError, TransientError):
            raise
        except HeardError as error:
            log.warning("batch failed, taking it message by message", code=error.code, records=len(records))
            for record, letter in zip(records, letters, strict=True):
                self._take_alone(record, letter)
        self._in_hand.clear()
        self._consumer.commit({place: self._at[place] for place in _places(records)})
        self._redact(records, letters)
        self.probe("intake.redacted")
        return len(records) + expired

    def behind(self) -> bool:
        """Whether the inbox holds a message that nobody has taken yet."""
        return behind(self.log, [INBOX.name], self.store.position)

    def retry(self, letter: DeadLetter) -> str:
        """Handle an open dead letter's message again; its status then: open if it failed again.

        Raises ConcurrencyError when somebody else has settled it first.
        """
        work = self._work_of_retry(letter)
        try:
            self._publish_and_commit(work)
        finally:
            self._doubtful.settle()
        return "open" if any(new.id == letter.id for new in work.dead) else "retried"

    def letter_of(self, id_: str, day: str, box: bytes) -> Letter:
        """What was set aside, as it came. NotFoundError once the key of its day is destroyed."""
        head, _, body = decrypt_body(self._day_key(day), id_.encode(), box).partition(b"\n")
        stored = orjson.loads(head)
        if "body" in stored:  # as it was written before
            body = bytes.fromhex(stored["body"])
        headers = tuple((name, bytes.fromhex(value)) for name, value in stored["headers"])
        partition, offset = stored["at"]
        cut = Cut(**stored["cut"]) if stored.get("cut") else None
        return self._read(id_, body, headers, (partition, offset), cut)

    def letter(self, record: Record) -> Letter:
        """The message in a record of the inbox."""
        id_ = self._id(record.topic, record.partition, record.offset)
        at = (record.partition, record.offset)
        return self._read(id_, record.value or b"", record.headers, at, record.cut)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
            self._in_hand.clear()

    # -- one batch -------------------------------------------------------------------------------

    def _start(self, topic: str, partition: int) -> int:
        position = self.store.position(topic, partition)
        self._at[topic, partition] = position
        # A crash between commit and redaction left bodies that have ended: they go now.
        left = self.log.unredacted(topic, partition, position)
        self._redact(left, [self.letter(record) for record in left])
        self._doubtful.begin(partition)
        return position

    def _redact(self, records: Sequence[Record], letters: Sequence[Letter]) -> None:
        self.log.redact(
            {
                (record.topic, record.partition, record.offset): letter.content.fingerprint.encode()
                for record, letter in zip(records, letters, strict=True)
            }
        )

    def _take(self, records: Sequence[Record], letters: Sequence[Letter]) -> None:
        since = self.tracer.now()
        self._room = self._rooms(letters)
        desk = self._desk()
        desk.work.positions = self._moves(records)
        desk.work.counts["read"] = len(records)
        for letter, unseen in self._handle(self._fresh(letters, desk.work), desk):
            self._park(letter, unseen.stream, unseen.name, desk.work)
        self._publish_and_commit(desk.work, letters)
        self.tracer.taken(since, lambda: _taken(letters, desk.work))

    def _take_alone(self, record: Record, letter: Letter) -> None:
        since = self.tracer.now()
        try:
            self._take([record], [letter])
        except InvalidMessageError as error:
            self._room = {}
            work = Work(positions=self._moves([record]))
            work.counts["read"] = 1
            self._bury(letter, error, work)
            self._publish_and_commit(work, [letter])
            self.tracer.taken(since, lambda: _taken([letter], work))

    def _rooms(self, letters: Sequence[Letter]) -> dict[str, int]:
        """How many more dead letters each source of those may have that cannot be used, in one question."""
        sources = {letter.content.source or "" for letter in letters if isinstance(letter.content, Unusable)}
        if not sources:
            return {}
        found = self.store.dead_letters_since(stamp(self.clock.now() - FLOOD), sources)
        return {source: self.ceiling - found.get(source, 0) for source in sources}

    def _flooded(self, source: str) -> bool:
        """Whether one more dead letter of this source would be too many; counts it if it is not.

        In a flood it may not be the messages that are wrong. The database counts, over all processes, so
        that whoever is started again counts on.
        """
        if self._room is None:
            return False
        if source not in self._room:
            since = stamp(self.clock.now() - FLOOD)
            found = self.store.dead_letters_since(since, [source]).get(source, 0)
            self._room[source] = self.ceiling - found
        self._room[source] -= 1
        return self._room[source] < 0

    @property
    def flood(self) -> str:
        """For what those wait, in place of a stream, whose source has too many dead letters."""
        return self.ids.of("flood")

    def _moves(self, records: Sequence[Record]) -> dict[tuple[str, int], tuple[int, int]]:
        """{(topic, partition): (position before, position after)}; offsets may have gaps."""
        after = {(record.topic, record.partition): record.offset + 1 for record in records}
        return {place: (self._at[place], offset) for place, offset in after.items()}

    def _rewind(self) -> None:
        """Read again what the last step polled and did not commit: the database's positions rule.

        Before anything more is polled, and all places or none: a position that moved on over what
        was not taken would lose it, and whatever made that step fail may make this fail as well.
        """
        assert self._consumer is not None  # noqa: S101 - for the type checker
        # Those that it no longer holds are asked for anew when it gets them back.
        for topic, partition in self._in_hand & self._consumer.assigned():
            position = self.store.position(topic, partition)
            self._at[topic, partition] = position
            self._consumer.seek(topic, partition, position)
        self._in_hand.clear()

    def _fresh(self, letters: Sequence[Letter], work: Work) -> list[Letter]:
        """Those that were not read before; duplicates are counted, reused ids set aside."""
        bodies = [("", letter.content.fingerprint) for letter in letters]
        names = [name for letter in letters if (name := name_of(letter)) is not None]
        known = self.store.handled([*names, *bodies])
        fresh = []
        for letter, body in zip(letters, bodies, strict=True):
            name = name_of(letter)
            before = known.get(body) if name is None else known.get(name, known.get(body))
            if before is None:
                if name is not None:
                    known[name] = letter.content.fingerprint
                    work.handled.append(Handled(*name, letter.content.fingerprint))
                fresh.append(letter)
            elif before in ("", letter.content.fingerprint):
                work.counts["duplicates"] += 1
                log.info("duplicate", **_trail(letter))
            else:
                self._bury(letter, _reused(), work)
        return fresh

    def _handle(self, letters: Sequence[Letter], desk: Desk) -> list[tuple[Letter, UnseenError]]:
        """Handle each in turn, and after each what it sets free; those that have to wait come back.

        Set free at once, and in the order in which they came: so the history of a thing depends on
        what came in, and not on where a batch happened to end.
        """
        waiting: defaultdict[str, list[tuple[Letter, UnseenError]]] = defaultdict(list)
        parked: dict[str, list[Parked]] = {}
        self._prepare(letters, desk, parked)
        in_hand = {letter.id for letter in letters}
        for letter in letters:
            ready = [(letter.at, letter.id, letter)]
            while ready:
                *_, next_ = heappop(ready)
                try:
                    made = self._handle_one(next_, desk)
                except UnseenError as unseen:
                    waiting[unseen.stream].append((next_, unseen))
                    continue
                if made is not None:
                    free = [waiter for waiter, _ in waiting.pop(made, ())]
                    stored = parked.pop(made, [])
                    if not in_hand.isdisjoint(waiter.id for waiter in stored):
                        raise FencedError(
                            "another intake has parked what this one has in hand",
                            expected="messages that nobody has taken", got="one that waits by now",
                            hint="nothing was written; this intake reads its position again",
                        )  # fmt: skip
                    free += map(self._parked_letter, stored)
                    if free:
                        self.probe("intake.release")
                        self._prepare(free, desk, parked)
                    for waiter in free:
                        heappush(ready, (waiter.at, waiter.id, waiter))
        return list(chain.from_iterable(waiting.values()))

    def _prepare(self, letters: Sequence[Letter], desk: Desk, parked: dict[str, list[Parked]]) -> None:
        """Fetch what handling these letters will ask for, and what waits for what they may make."""
        messages = [letter.content for letter in letters if isinstance(letter.content, Message)]
        desk.prepare(messages)
        streams = {desk.stream_of(message) for message in messages} - desk.made
        for waiter in self.store.waiting(sorted(streams - parked.keys())) if streams else ():
            parked.setdefault(waiter.waiting_for, []).append(waiter)

    def _handle_one(self, letter: Letter, desk: Desk) -> str | None:
        """Handle one that is prepared: the stream that it made, if it made one."""
        made = None
        try:
            if isinstance(letter.content, Unusable):
                raise letter.content.error
            stream = desk.stream_of(letter.content)
            known = stream in desk.made
            outcome = desk.handle(letter.content)
            made = stream if stream in desk.made and not known else None
            desk.work.counts[outcome] += 1
            self._unpark(letter, desk.work)
        except (InvalidMessageError, RuleBrokenError) as error:
            self._bury(letter, error, desk.work)
        return made

    def _park(self, letter: Letter, stream: str, name: str, work: Work) -> None:
        """Let it wait for what `stream` stands for, which is called so."""
        if letter.parked is None:
            work.counts["parked"] += 1
        else:
            work.released.append(letter.id)
        log.info("parked", id=letter.id, waiting_for=stream, **_trail(letter))
        now = stamp(self.clock.now())
        day = letter.parked.day if letter.parked else now[:10]
        self._doubtful.add(letter.id, letter.at)
        work.parked.append(
            Parked(
                id=letter.id,
                source=letter.content.source or "",
                message_id=letter.content.id or "",
                waiting_for=stream,
                waiting_name=name,
                since=letter.parked.since if letter.parked else now,
                day=day,
                box=self._box(letter, day),
            )
        )

    def _unpark(self, letter: Letter, work: Work) -> None:
        if letter.parked is not None:
            work.released.append(letter.id)
            work.counts["parked"] -= 1

    def _bury(self, letter: Letter, error: InvalidMessageError | RuleBrokenError, work: Work) -> None:
        if self._flooded(letter.content.source or ""):
            self._park(letter, self.flood, FLOODED, work)
            return
        now = stamp(self.clock.now())
        rule = error.rule if isinstance(error, RuleBrokenError) else ""
        work.counts["dead_letters"] += 1
        self._unpark(letter, work)
        work.dead.append(
            DeadLetter(
                id=letter.id,
                source=letter.content.source,
                message_id=letter.content.id,
                code=error.code,
                field=error.field if isinstance(error, InvalidMessageError) else "",
                reason=": ".join(part for part in (rule, error.message, error.expected) if part),
                status="open",
                at=now,
                day=now[:10],
                box=self._box(letter, now[:10]),
            )
        )
        log.info("dead letter", id=letter.id, code=error.code, rule=rule or None, **_trail(letter))

    def _publish_and_commit(self, work: Work, letters: Sequence[Letter] = ()) -> None:
        # Parked and dead records go out first: a crash in between repeats them under the same key.
        taken = [(letter.id, letter.at) for letter in letters]
        parked = {p.id for p in work.parked}
        over = [*work.released, *self._doubtful.among(taken)]
        outgoing = [standing(p) for p in work.parked]
        outgoing += [gone(id_) for id_ in over if id_ not in parked]
        outgoing += [
            Outgoing(
                DEAD_LETTERS.name, d.id.encode(), d.box, tuple((n, getattr(d, n).encode()) for n in _TOLD)
            )
            for d in work.dead
        ]
        if outgoing:
            self.log.append(outgoing)
            self.probe("intake.set_aside")
        self.probe("intake.before_commit")
        self.store.commit(work)
        self._doubtful.ended(taken, parked)
        self._at |= {place: after for place, (_, after) in work.positions.items()}
        self.probe("intake.after_commit")
        for dead in work.dead:
            self.meter.add(FOUND_DEAD, 1, dead.code)
        log.info("intake", **{name: count for name, count in work.counts.items() if count})

    # -- what has waited too long, and what is tried again ---------------------------------------

    def _expire(self) -> int:
        """Make dead letters of what has waited for 30 days; destroy the day keys of before."""
        self._room = None
        limit = stamp(self.clock.now() - PATIENCE)
        if limit[:16] == self._expired_at:  # once a minute is enough
            return 0
        late = self.store.parked(before=limit, limit=self.batch)
        if late:
            desk = self._desk()
            flooded = [parked for parked in late if parked.waiting_for == self.flood]
            self._handle_again(list(map(self._parked_letter, flooded)), desk)
            for parked in late:
                if parked.waiting_for != self.flood:
                    self._bury(self._parked_letter(parked), _never_came(parked.waiting_name), desk.work)
            self._publish_and_commit(desk.work)
            return len(late)
        if released := self._release_flood():
            return released
        self.keys.destroy_day_keys(limit[:10])
        self._day_keys.clear()
        self._expired_at = limit[:16]
        return 0

    def _release_flood(self) -> int:
        """Handle again, oldest first, as many of a source as may become dead letters of it by now."""
        desk = self._desk()
        waiting = self.store.waiting_by_source(self.flood)
        found = self.store.dead_letters_since(stamp(self.clock.now() - FLOOD), waiting.keys())
        for source in waiting:
            room = min(self.ceiling - found.get(source, 0), self.batch)
            if room > 0:
                parked = self.store.waiting_of(self.flood, source, room)
                self._handle_again(list(map(self._parked_letter, parked)), desk)
                self._publish_and_commit(desk.work)
                return len(parked)
        return 0

    def _handle_again(self, letters: Sequence[Letter], desk: Desk) -> None:
        """Handle what was set aside, unless its id has become another message's."""
        names = [name for letter in letters if (name := name_of(letter)) is not None]
        known = self.store.handled(names) if names else {}
        fit = []
        for letter in letters:
            name = name_of(letter)
            before = None if name is None else known.get(name)
            # Without a fingerprint it may be either: whoever asks for a retry wants it handled.
            unknown = before == "" and letter.parked is None
            if before in (None, letter.content.fingerprint) or unknown:
                fit.append(letter)
            else:
                self._bury(letter, _reused(), desk.work)
        for waiter, unseen in self._handle(fit, desk):
            self._park(waiter, unseen.stream, unseen.name, desk.work)

    def _work_of_retry(self, dead: DeadLetter) -> Work:
        letter = self.letter_of(dead.id, dead.day, dead.box)
        desk = self._desk()
        work = desk.work
        self._room = None
        self._handle_again([letter], desk)
        work.settled[dead.id] = "retried"
        work.counts["dead_letters"] -= 1
        # Dead again it is the same letter, for what is wrong with it now: its body lives no longer.
        work.dead = [
            replace(dead, code=new.code, field=new.field, reason=new.reason) if new.id == dead.id else new
            for new in work.dead
        ]
        return work

    # -- letters ---------------------------------------------------------------------------------

    def _desk(self) -> Desk:
        return Desk(self.store, self.keys, self.clock, self.randomness, self.ids)

    def _id(self, topic: str, partition: int, offset: int) -> str:
        return self.ids.of("letter", topic, str(partition), str(offset))

    def _read(
        self,
        id_: str,
        body: bytes,
        headers: tuple[tuple[str, bytes], ...],
        at: tuple[int, int],
        cut: Cut | None,
    ) -> Letter:
        if cut is None:
            content = read(body, headers, self.ids, self.clock.now())
        else:
            content = Unusable(None, None, self.ids.fingerprint(cut.digest), _not_whole(cut, at))
        return Letter(id_, body, headers, content, at, cut)

    def _parked_letter(self, parked: Parked) -> Letter:
        letter = self.letter_of(parked.id, parked.day, parked.box)
        return replace(letter, parked=parked)

    def _box(self, letter: Letter, day: str) -> bytes:
        head = {
            "at": letter.at,
            "headers": [(n, v.hex()) for n, v in letter.headers],
            "cut": letter.cut and asdict(letter.cut),
        }
        nonce = self.randomness.bytes(12)
        return encrypt_body(
            self._day_key(day), letter.id.encode(), orjson.dumps(head) + b"\n" + letter.body, nonce
        )

    def _day_key(self, day: str) -> bytes:
        if day not in self._day_keys:
            self._day_keys[day] = self.keys.day_key(day)
        return self._day_keys[day]


def name_of(letter: Letter) -> tuple[str, str] | None:
    """Source and id of the message, if it has both."""
    source, id_ = letter.content.source, letter.content.id
    return None if source is None or id_ is None else (source, id_)


def _trail(letter: Letter) -> dict[str, str | None]:
    """What a log line says of where the message came from: a message is what causes itself."""
    return {"correlation": letter.content.id, "causation": letter.content.id}


def _taken(letters: Sequence[Letter], work: Work) -> Iterator[Taken]:
    """How each of these ended; what was set free along with them has been told of before."""
    dead = {letter.id: letter.code for letter in work.dead}
    parked = {letter.id for letter in work.parked}
    made = {(e.message.source, e.message.id) for e in work.events if e.message is not None}
    made &= {(new.source, new.id) for new in work.handled}  # what was set free came in before
    for letter in letters:
        content, code = letter.content, dead.get(letter.id)
        upstream = next((value for name, value in letter.headers if name in _UPSTREAM), None)
        outcome: Literal["accepted", "parked", "dead_letter", "nothing_new"] = "nothing_new"
        if code is not None:
            outcome = "dead_letter"
        elif letter.id in parked:
            outcome = "parked"
        elif (name := name_of(letter)) in made:
            outcome = "accepted"
            made.discard(name)  # the same again is a duplicate
        type_ = content.event.TOPIC if isinstance(content, Message) else None
        yield Taken(letter.id, content.id, upstream, outcome, type_, code)


def _places(records: Sequence[Record]) -> set[tuple[str, int]]:
    return {(record.topic, record.partition) for record in records}


def _not_whole(cut: Cut, at: tuple[int, int]) -> InvalidMessageError:
    wrong = "is too large" if cut.code == "too_large" else "cannot be decoded"
    return InvalidMessageError(
        cut.code, f"{cut.why} {wrong}, in partition {at[0]} at offset {at[1]}", expected=cut.expected,
        got=cut.got, hint="mend what sends it, and publish the message again",
    )  # fmt: skip


def _reused() -> InvalidMessageError:
    return InvalidMessageError(
        "id_reused", "this id was used before, with another body", field="id",
        expected="a new id for a new message", got="a used one",
        hint="give the message an id of its own and publish it again",
    )  # fmt: skip


def _never_came(name: str) -> InvalidMessageError:
    return InvalidMessageError(
        "reference_never_came", f"it refers to something that did not come in {PATIENCE.days} days",
        field="data.causes", expected=f"a message that makes {name}", got="none",
        hint="publish what it refers to, then `heard dead-letters retry`",
    )  # fmt: skip
