"""How does a message become an event, a duplicate, a parked message or a dead letter?

Every record of the inbox ends as exactly one of them, in the transaction that moves the position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import chain
from typing import Final

import orjson
import structlog

from consumers.envelope import Unusable, read
from consumers.following import behind
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
from services.topics import DEAD_LETTERS, INBOX, PARKED

GROUP: Final = "intake"
TAIL: Final = 10_000
"""As many records as one batch may hold."""
CHUNK: Final = 100
"""As many parked records, bodies and all, as are in memory at once."""

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
    _consumer: Consumer | None = None
    _at: dict[tuple[str, int], int] = field(default_factory=dict)
    _in_hand: set[tuple[str, int]] = field(default_factory=set)
    """Places of the batch that was polled, until all of it is committed."""
    _expired_at: str = ""
    _day_keys: dict[str, bytes] = field(default_factory=dict)
    _tail: set[str] | None = None
    _doubtful: set[str] = field(default_factory=set)
    """Parked records that were appended, and perhaps not committed."""

    def step(self, timeout: float = 0.0) -> int:
        """Poll, decode, deduplicate, handle, commit: one batch; the number of records read.

        Raises TransientError when nothing was committed and the step may be repeated.
        """
        if self._consumer is None:
            self._consumer = self.log.consumer(GROUP, [INBOX.name], self._start)
        self._rewind()
        records = self._consumer.poll(self.batch, timeout)
        self._in_hand = _places(records)
        # Nobody's partition is nobody's turn: what waits too long is for those who take what comes.
        expired = self._expire() if self._consumer.assigned() else 0
        if not records:
            return expired
        self.probe("intake.read")
        letters = [self._letter(record) for record in records]
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
        self._publish_and_commit(work)
        return "open" if any(new.id == letter.id for new in work.dead) else "retried"

    def body(self, letter: DeadLetter) -> bytes:
        """The body of a dead letter as it came. NotFoundError once the key of its day is destroyed."""
        return self._letter_of(letter.id, letter.day, letter.box).body

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
            self._tail = None
            self._in_hand.clear()

    # -- one batch -------------------------------------------------------------------------------

    def _start(self, topic: str, partition: int) -> int:
        position = self.store.position(topic, partition)
        self._at[topic, partition] = position
        # A crash between commit and redaction left bodies that have ended: they go now.
        left = self.log.unredacted(topic, partition, position)
        self._redact(left, [self._letter(record) for record in left])
        # A crash before the commit left parked records of messages that are still to be handled.
        if last := self._parked_last():
            end = min(self.log.end_offsets(topic)[partition], position + TAIL)
            self._doubtful |= last & {self._id(topic, partition, at) for at in range(position, end)}
        return position

    def _parked_last(self) -> set[str]:
        """The messages that the last records of the topic say are parked, as many as one batch may be."""
        if self._tail is None:
            self._tail = set()
            for partition, end in self.log.end_offsets(PARKED.name).items():
                at = max(0, end - TAIL)
                while records := self.log.read(PARKED.name, partition, at, end, CHUNK):
                    self._tail |= {r.key.decode() for r in records if r.value is not None}
                    at = records[-1].offset + 1
        return self._tail

    def _redact(self, records: Sequence[Record], letters: Sequence[Letter]) -> None:
        self.log.redact(
            {
                (record.topic, record.partition, record.offset): letter.content.fingerprint.encode()
                for record, letter in zip(records, letters, strict=True)
            }
        )

    def _take(self, records: Sequence[Record], letters: Sequence[Letter]) -> None:
        desk = self._desk()
        desk.work.positions = self._moves(records)
        desk.work.counts["read"] = len(records)
        for letter, unseen in self._handle(self._fresh(letters, desk.work), desk):
            self._park(letter, unseen, desk.work)
        self._publish_and_commit(desk.work)

    def _take_alone(self, record: Record, letter: Letter) -> None:
        try:
            self._take([record], [letter])
        except InvalidMessageError as error:
            work = Work(positions=self._moves([record]))
            work.counts["read"] = 1
            self._bury(letter, error, work)
            self._publish_and_commit(work)

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
        known = self.store.handled([name for letter in letters if (name := _name(letter)) is not None])
        fresh = []
        for letter in letters:
            name = _name(letter)
            if name is None:
                fresh.append(letter)
                continue
            before = known.get(name)
            if before is None:
                known[name] = letter.content.fingerprint
                work.handled.append(Handled(*name, letter.content.fingerprint))
                fresh.append(letter)
            elif before == letter.content.fingerprint:
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
                    free += [self._parked_letter(waiter) for waiter in parked.pop(made, ())]
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

    def _park(self, letter: Letter, unseen: UnseenError, work: Work) -> None:
        assert isinstance(letter.content, Message)  # noqa: S101 - for the type checker
        if letter.parked is None:
            work.counts["parked"] += 1
        else:
            work.released.append(letter.id)
        log.info("parked", id=letter.id, waiting_for=unseen.stream, **_trail(letter))
        now = stamp(self.clock.now())
        day = letter.parked.day if letter.parked else now[:10]
        work.parked.append(
            Parked(
                id=letter.id,
                source=letter.content.source,
                message_id=letter.content.id,
                waiting_for=unseen.stream,
                waiting_name=unseen.name,
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

    def _publish_and_commit(self, work: Work) -> None:
        # Parked and dead records go out first: a crash in between repeats them under the same key.
        outgoing = [
            Outgoing(
                PARKED.name,
                p.id.encode(),
                p.box,
                (("waiting-for", p.waiting_for.encode()), ("day", p.day.encode())),
            )
            for p in work.parked
        ]
        parked = {p.id for p in work.parked}
        gone = dict.fromkeys([*work.released, *sorted(self._doubtful)])
        outgoing += [Outgoing(PARKED.name, id_.encode(), None) for id_ in gone if id_ not in parked]
        outgoing += [
            Outgoing(
                DEAD_LETTERS.name, d.id.encode(), d.box, (("code", d.code.encode()), ("day", d.day.encode()))
            )
            for d in work.dead
        ]
        if outgoing:
            self._doubtful |= parked
            self.log.append(outgoing)
            self.probe("intake.set_aside")
        self.probe("intake.before_commit")
        self.store.commit(work)
        self._doubtful.clear()
        self._at |= {place: after for place, (_, after) in work.positions.items()}
        self.probe("intake.after_commit")
        log.info("intake", **{name: count for name, count in work.counts.items() if count})

    # -- what has waited too long, and what is tried again ---------------------------------------

    def _expire(self) -> int:
        """Make dead letters of what has waited for 30 days; destroy the day keys of before."""
        limit = stamp(self.clock.now() - PATIENCE)
        if limit[:16] == self._expired_at:  # once a minute is enough
            return 0
        late = self.store.parked(before=limit, limit=self.batch)
        if late:
            work = Work()
            for parked in late:
                letter = self._parked_letter(parked)
                self._bury(letter, _never_came(parked.waiting_name), work)
            self._publish_and_commit(work)
            return len(late)
        self.keys.destroy_day_keys(limit[:10])
        self._day_keys.clear()
        self._expired_at = limit[:16]
        return 0

    def _work_of_retry(self, dead: DeadLetter) -> Work:
        letter = self._letter_of(dead.id, dead.day, dead.box)
        desk = self._desk()
        work = desk.work
        name = _name(letter)
        before = None if name is None else self.store.handled([name]).get(name)
        if before not in (None, letter.content.fingerprint):
            self._bury(letter, _reused(), work)  # its id is another message's
        else:
            for waiter, unseen in self._handle([letter], desk):
                self._park(waiter, unseen, work)
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

    def _letter(self, record: Record) -> Letter:
        id_ = self._id(record.topic, record.partition, record.offset)
        return self._read(id_, record.value or b"", record.headers, (record.partition, record.offset))

    def _id(self, topic: str, partition: int, offset: int) -> str:
        return self.ids.of("letter", topic, str(partition), str(offset))

    def _read(
        self, id_: str, body: bytes, headers: tuple[tuple[str, bytes], ...], at: tuple[int, int]
    ) -> Letter:
        return Letter(id_, body, headers, read(body, headers, self.ids, self.clock.now()), at)

    def _parked_letter(self, parked: Parked) -> Letter:
        letter = self._letter_of(parked.id, parked.day, parked.box)
        return replace(letter, parked=parked)

    def _letter_of(self, id_: str, day: str, box: bytes) -> Letter:
        stored = orjson.loads(decrypt_body(self._day_key(day), id_.encode(), box))
        headers = tuple((name, bytes.fromhex(value)) for name, value in stored["headers"])
        partition, offset = stored["at"]
        return self._read(id_, bytes.fromhex(stored["body"]), headers, (partition, offset))

    def _box(self, letter: Letter, day: str) -> bytes:
        stored = {
            "at": letter.at,
            "body": letter.body.hex(),
            "headers": [(n, v.hex()) for n, v in letter.headers],
        }
        nonce = self.randomness.bytes(12)
        return encrypt_body(self._day_key(day), letter.id.encode(), orjson.dumps(stored), nonce)

    def _day_key(self, day: str) -> bytes:
        if day not in self._day_keys:
            self._day_keys[day] = self.keys.day_key(day)
        return self._day_keys[day]


def _name(letter: Letter) -> tuple[str, str] | None:
    source, id_ = letter.content.source, letter.content.id
    return None if source is None or id_ is None else (source, id_)


def _trail(letter: Letter) -> dict[str, str | None]:
    """What a log line says of where the message came from: a message is what causes itself."""
    return {"correlation": letter.content.id, "causation": letter.content.id}


def _places(records: Sequence[Record]) -> set[tuple[str, int]]:
    return {(record.topic, record.partition) for record in records}


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
