"""What does one call of the program have at hand?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from consumers.following import behind
from consumers.running import Loop, run
from consumers.wholeness import require_whole
from domain.errors import ConfigurationError, TransientError
from infra import databases
from infra.cli.output import say
from infra.installation import Installation
from infra.settings import Settings
from infra.watchdog import Ending
from projections.store import LIVE, Mark
from services.erasure import Erasure
from services.questions import Questions
from services.topics import EVENTS


@dataclass
class Session:
    """The installation that this call works on."""

    settings: Settings
    now: datetime | None = None
    makes: bool = False
    """Whether this call may begin a new installation."""
    _ending: Ending = field(default_factory=Ending, init=False)

    @cached_property
    def installation(self) -> Installation:
        """Opened when it is first needed; only a verb that `makes` one begins a new one."""
        if not self.makes and not any(self.settings.dir.glob("*.db")):
            raise ConfigurationError(
                f"there is no installation in {self.settings.dir}",
                expected="a data directory that demo, publish, consume or migrate has begun", got="none",
                hint="heard --dir DIR …, or `heard demo` for a first one",
            )  # fmt: skip
        return Installation(self.settings, now=self.now)

    @cached_property
    def questions(self) -> Questions:
        """What can be asked."""
        i = self.installation
        i.views.begin()
        self._told_of_lag()
        return Questions(i.views, i.store, i.keys, i.ids, i.clock, databases.sqlite_memory)

    @cached_property
    def erasure(self) -> Erasure:
        """The use case `erase`."""
        i = self.installation
        i.views.begin()
        return Erasure(i.log, i.store, i.views, i.keys, i.clock, i.randomness, i.ids, i.probe)

    def _told_of_lag(self) -> None:
        """An answer from read models that are behind says so; from none at all there is no answer."""
        i = self.installation
        with i.views.reading() as db:
            marks = i.views.marks(db, LIVE)
        if not behind(i.log, [EVENTS.name], lambda topic, p: marks.get((topic, p), Mark()).next):
            return
        if not marks:
            raise TransientError(
                "the read models are not built yet", expected="what was published, projected", got="nothing",
                hint="heard consume --until-idle",
            )  # fmt: skip
        say("the read models are behind what was published: `heard consume` brings them up to date")

    def consume(
        self, loops: Sequence[Loop], *, until_idle: bool, went_round: Callable[[], None] = lambda: None
    ) -> int:
        """Run the loops; an interrupt or a termination ends them after the batch in hand.

        It ends the process where that, and all that follows up to `close`, takes more than a few seconds.
        """
        i = self.installation
        told = 0

        def progress(handled: int) -> None:
            nonlocal told
            went_round()
            if handled - told >= 20_000:
                told = handled
                say(f"{handled:,} handled so far")

        with i.watchdog.watching(), self._ending.heeding():
            require_whole(i.log, i.store, i.ids)
            return run(
                loops,
                until_idle=until_idle,
                stopped=lambda: self._ending.asked,
                progress=progress,
                alive=i.watchdog.alive,
            )

    @contextmanager
    def watched(self, port: int | None) -> Iterator[Callable[[], None]]:
        """Serve what the loops measure for as long as this lasts, if a port is given or set.

        To be entered before the loops are made; what it gives is to be called after each of their rounds.
        """
        port = self.settings.metrics_port if port is None else port
        if port is None:
            yield lambda: None
            return
        from infra.telemetry import Endpoint, PrometheusMeter  # what is off need not be loaded
        from infra.watching import Watch

        i, address = self.installation, self.settings.metrics_address
        i.meter = meter = PrometheusMeter()
        with closing(Endpoint(meter, address, port)) as endpoint:
            say(f"metrics: http://{address}:{endpoint.port}/metrics")
            yield Watch(i, endpoint).round

    def close(self) -> None:
        """Release what was opened."""
        try:
            if "installation" in self.__dict__:
                self.installation.close()
        finally:
            self._ending.over()
