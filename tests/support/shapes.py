"""How much work are duties when what people said is tangled? Shapes of any size, and a run over each.

    python -m tests.support.shapes SHAPE N…

A run is on PostgreSQL, with the log in a file. The shape is fed through intake and sequencer first; then
the loop `processes` works in a process of its own, while another force raises a concern every second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import psycopg

from consumers.running import run
from consumers.upstream import send
from domain.duty import Discharged, Lapsed, Opened
from infra.installation import Installation
from infra.logging import configure
from infra.settings import read_settings
from services.ports import Log
from tests.support import messages
from tests.support.messages import Message
from tests.support.postgres import database, server
from tests.support.program import environment
from tests.support.requires import ROOT

FORCE: Final = "met"
PLACE: Final = "riverside"
OTHER_FORCE: Final = "harbour"
OTHER_PLACE: Final = "quay"
"""In another partition than the shapes: what waits there waits for the loop, not for its turn in a queue."""
PROCESSES: Final = "processes"
PATIENCE: Final = 900.0
"""Seconds after which a run has failed."""

Duties = Mapping[tuple[str, str], int]
"""{(rule, opened, discharged or lapsed): how many}."""


class Shape(NamedTuple):
    """What comes in, once, and the duties that the rules ask for because of it."""

    messages: Iterable[Message]
    duties: Duties


# -- the shapes ----------------------------------------------------------------------------------


def ladder(layers: int, width: int = 20) -> Shape:
    """Layers of decisions, each of which rests on all in the layer before; the first layer is concerns."""

    def told() -> Iterator[Message]:
        yield from _begun()
        yield from (_concern(f"C{n}") for n in range(width))
        causes = [f"derived_from concern C{n}" for n in range(width)]
        for layer in range(layers):
            yield from (_decision(f"D{layer}.{n}", *causes) for n in range(width))
            causes = [f"derived_from decision D{layer}.{n}" for n in range(width)]

    return Shape(told(), _duties(raised=width, decided=width, moved=width * width * layers))


def group(n: int) -> Shape:
    """One group of `n` concerns, each grouped with the first; then a decision that rests on one of them."""

    def told() -> Iterator[Message]:
        yield from _begun()
        yield from _grouped(n)
        yield _decision("D", f"derived_from concern C{n // 2}")

    return Shape(told(), _duties(raised=n, decided=1, moved=n))


def ended(n: int) -> Shape:
    """A group of which half is ungrouped again, with decisions before and after on either half."""
    left = n // 2

    def told() -> Iterator[Message]:
        yield from _begun()
        yield from _grouped(n)
        yield _decision("D0", f"derived_from concern C{n - 1}")
        for number in range(n - left, n):
            yield _message("concern.ungrouped", f"C{number}")
        yield _decision("D1", "derived_from concern C1")
        yield _decision("D2", f"derived_from concern C{n - 1}")

    return Shape(told(), _duties(raised=n, decided=2, moved=n + (n - left) + 1))


def supports(n: int) -> Shape:
    """A concern that `n` people support; then a decision that rests on it."""

    def told() -> Iterator[Message]:
        yield from _begun()
        yield _concern("C")
        for number in range(n):
            person = {"ref": f"person-{number}", "may_contact": True}
            yield _message(
                "support.given", f"S{number}", "supports concern C", stance="agree", contributor=person
            )
        yield _decision("D", "derived_from concern C")

    return Shape(told(), _duties(raised=1, decided=1, moved=1))


def chain(n: int) -> Shape:
    """`n` concerns, each prompted by the one before; then a decision that rests on the last of them."""

    def told() -> Iterator[Message]:
        yield from _begun()
        yield _concern("C0")
        yield from (_concern(f"C{number}", f"prompted_by concern C{number - 1}") for number in range(1, n))
        yield _decision("D", f"derived_from concern C{n - 1}")

    return Shape(told(), _duties(raised=n, decided=1, moved=n))


def table(inputs: int, decisions: int = 200) -> Shape:
    """Concerns and decisions of which every one rests on every concern."""

    def told() -> Iterator[Message]:
        yield from _begun()
        yield from (_concern(f"C{n}") for n in range(inputs))
        causes = [f"derived_from concern C{n}" for n in range(inputs)]
        yield from (_decision(f"D{n}", *causes) for n in range(decisions))

    return Shape(told(), _duties(raised=inputs, decided=inputs, moved=inputs * decisions))


def wide(n: int, meetings: int = 200) -> Shape:
    """Decisions that rest on as much as one may, and of which nobody is owed anything: meetings."""

    def told() -> Iterator[Message]:
        yield from _begun()
        yield from (_message("engagement.held", f"E{m}", method="public_meeting") for m in range(meetings))
        causes = [f"derived_from engagement E{m}" for m in range(meetings)]
        yield from (_decision(f"D{number}", *causes) for number in range(n))

    return Shape(told(), {})


SHAPES: Final[Mapping[str, Callable[[int], Shape]]] = {
    shape.__name__: shape for shape in (ladder, group, ended, supports, chain, table, wide)
}
"""By name; all are made of one size."""


def other_force() -> Iterator[Message]:
    """What a small force says of itself, and then a concern each time it is asked."""
    yield _message("force.registered", OTHER_FORCE, force=OTHER_FORCE, neighbourhood=None, name="Another")
    yield _message(
        "neighbourhood.registered", OTHER_PLACE, force=OTHER_FORCE, neighbourhood=OTHER_PLACE, name="The quay"
    )
    number = 0
    while True:
        yield _concern(f"N{number}", force=OTHER_FORCE, neighbourhood=OTHER_PLACE)
        number += 1


def _begun() -> Iterator[Message]:
    yield _message("force.registered", FORCE, neighbourhood=None, name="A police force")
    yield _message("neighbourhood.registered", PLACE, name="The riverside")


def _grouped(n: int) -> Iterator[Message]:
    yield _concern("C0")
    for number in range(1, n):
        yield _concern(f"C{number}")
        yield _message("concern.grouped", f"C{number}", "grouped_with concern C0")


def _concern(ref: str, *causes: str, **fields: Any) -> Message:
    return _message("concern.raised", ref, *causes, **{"kind": "concern", **fields})


def _decision(ref: str, *causes: str) -> Message:
    return _message("decision.made", ref, *causes, outcome="changed_delivery")


def _message(fact: str, ref: str, *causes: str, **fields: Any) -> Message:
    return messages.message(fact, ref, *causes, **{"force": FORCE, "neighbourhood": PLACE, **fields})


def _duties(*, raised: int, decided: int, moved: int) -> Duties:
    """Of concerns of which none is acknowledged and nobody is told."""
    return {
        ("acknowledge_concern", "opened"): raised,
        ("decide_concern", "opened"): raised,
        ("decide_concern", "discharged"): decided,
        ("tell_contributor", "opened"): moved,
    }


# -- a run ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run took, in seconds, and what it left behind."""

    intake: float
    """Until everything was recorded and published."""
    wall: float
    """Until the loop `processes` had nothing left to do."""
    cpu: float
    """As much as its process worked in that time, without the database."""
    longest: tuple[float, str]
    """The longest transaction on the database meanwhile, and what it was last seen doing."""
    waited: list[float]
    """How long each concern of the other force waited for its duty. The last may wait still."""
    duties: Duties
    """Those of the force with the shape."""


def measured(shape: Shape, server_url: str, folder: Path) -> Figures:
    """Feed the shape to a new installation, and run `processes` over it."""
    with database(server_url) as url:
        i = Installation(read_settings(dir=folder, database_url=url))
        try:
            begun = time.monotonic()
            other = Other(i)
            publish(i.log, shape.messages)
            run(i.loops(("intake", "sequencer")), until_idle=True)
            intake = time.monotonic() - begun
            recorded = i.store.end()
            counts = {name: count for name, count in i.store.counts().items() if count}
            assert set(counts) == {"read", "accepted"}, f"some messages were not accepted: {counts}"
            with Watch(url) as watch, _loop(folder, url) as loop:
                begun = time.monotonic()

                def over() -> bool:
                    assert time.monotonic() - begun < PATIENCE, "the loop does not come to an end"
                    return loop.poll() is not None

                feeding = i.loops(("intake", "sequencer"))
                run(feeding, until_idle=False, stopped=over, progress=lambda _: other.look())
                wall = time.monotonic() - begun
                assert loop.returncode == 0, f"the loop ended with {loop.returncode}"
                assert loop.stdout is not None
                cpu = float(loop.stdout.read())
            return Figures(intake, wall, cpu, watch.longest, other.waits(), found(i, recorded))
        finally:
            i.close()


def publish(log: Log, told: Iterable[Message]) -> None:
    def lines() -> Iterator[tuple[bytes, bytes]]:
        for each in told:
            data = each["data"]
            yield f"{data['force']}/{data.get('neighbourhood', '-')}".encode(), orjson.dumps(each)

    send(log, lines())


def found(i: Installation, position: int) -> Duties:
    """How many duties the force with the shape got behind that position."""
    found: Counter[tuple[str, str]] = Counter()
    rules: dict[str, str] = {}
    while stored := i.store.after(position, 10_000):
        position = stored[-1].position
        for envelope in (each.envelope for each in stored):
            if envelope.force != FORCE:
                continue
            match envelope.event:
                case Opened() as opened:
                    rules[envelope.stream] = opened.rule
                    found[opened.rule, "opened"] += 1
                case Discharged():
                    found[rules[envelope.stream], "discharged"] += 1
                case Lapsed():
                    found[rules[envelope.stream], "lapsed"] += 1
    return dict(found)


@dataclass
class Other:
    """The other force: it raises a concern every second, and waits for what that makes somebody owe it."""

    i: Installation
    _told: Iterator[Message] = field(default_factory=other_force)
    _next: float = 0.0
    _waiting: dict[str, float] = field(default_factory=dict)
    """{duty: since when}."""
    _waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        publish(self.i.log, [next(self._told), next(self._told)])

    def look(self) -> None:
        """Raise a concern if it is time to, and see which duties are there by now."""
        now = time.monotonic()
        if now >= self._next:
            concern = next(self._told)
            publish(self.i.log, [concern])
            self._waiting[self._duty(concern)] = now
            self._next = now + 1.0
        for duty in self.i.store.firsts(list(self._waiting)):
            self._waited.append(now - self._waiting.pop(duty))

    def waits(self) -> list[float]:
        """How long each has waited, those included that wait still."""
        now = time.monotonic()
        return self._waited + [now - since for since in self._waiting.values()]

    def _duty(self, concern: Message) -> str:
        ids = self.i.ids
        stream = ids.stream("concern", OTHER_FORCE, concern["source"], concern["data"]["ref"])
        return ids.of("duty", "acknowledge_concern", stream, ids.event(stream, 1))


class Watch(threading.Thread):
    """Looks every 50 ms how long the transactions on a database have been open."""

    def __init__(self, url: str) -> None:
        super().__init__(name="watch", daemon=True)
        self._url = url
        self._over = threading.Event()
        self.longest: tuple[float, str] = (0.0, "")
        """How many seconds, and whose: the name of the program, and its last statement."""

    def run(self) -> None:
        """Look until it is over."""
        with psycopg.connect(self._url, autocommit=True, application_name="watch") as db:
            while not self._over.wait(0.05):
                for age, who, what in db.execute(_OPEN):
                    self.longest = max(
                        self.longest, (float(age), f"{who or 'feeding'}: {' '.join(what.split())}")
                    )

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


_OPEN: Final = """
SELECT extract(epoch FROM clock_timestamp() - xact_start), application_name, left(query, 80)
  FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend'
   AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""


@contextmanager
def _loop(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that begins its work now, and ends when there is none left."""
    env = {"HEARD_DIR": str(folder), "HEARD_DATABASE_URL": url, "PGAPPNAME": PROCESSES}
    command = [sys.executable, "-m", "tests.support.shapes", PROCESSES]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(None, env), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.stdin.close()
            yield process
        except BaseException:
            process.kill()
            raise


def _work() -> None:
    """What that process does: it says that it is ready, waits for its input to end, and says what it took."""
    i = Installation(read_settings())
    loops = i.loops((PROCESSES,))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    begun = time.process_time()
    run(loops, until_idle=True)
    taken = time.process_time() - begun
    i.close()
    sys.stdout.write(str(taken))


HEADING: Final = f"{'shape':>16} {'intake':>8} {'wall':>8} {'CPU':>8} {'longest':>8} {'waited':>8}  duties"


def told(name: str, n: int, figures: Figures) -> str:
    """The figures as a line of a table."""
    numbers = f"{figures.intake:8.1f} {figures.wall:8.1f} {figures.cpu:8.1f}"
    waits = f"{figures.longest[0]:8.2f} {max(figures.waited):8.2f}"
    return f"{f'{name} {n}':>16} {numbers} {waits}  {sum(figures.duties.values()):,}"


def main(arguments: list[str]) -> int:
    """Print what runs of a shape take, and exit with 1 where duties are not those that the rules ask for."""
    configure("console", "warning")
    if arguments == [PROCESSES]:
        _work()
        return 0
    name, *sizes = arguments
    wrong = 0
    sys.stdout.write(f"{HEADING}\n")
    with server() as url:
        for n in map(int, sizes):
            with tempfile.TemporaryDirectory(prefix="heard-shape-") as folder:
                figures = measured(SHAPES[name](n), url, Path(folder))
            sys.stdout.write(f"{told(name, n, figures)}\n")
            sys.stdout.write(f"{'':>16} longest: {figures.longest[1]}\n")
            sys.stdout.flush()
            if figures.duties != (wanted := SHAPES[name](n).duties):
                sys.stdout.write(f"{'':>16} wanted {wanted}\n{'':>16} found  {figures.duties}\n")
                wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
