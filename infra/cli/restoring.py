"""How are lost databases made good from the topics and the key store, and how is that seen?"""

from __future__ import annotations

from typing import Any

from consumers.processes import GROUP
from consumers.restore import Restore
from domain.errors import ConfigurationError
from infra.cli.output import say
from infra.cli.session import Session
from infra.installation import Installation
from projections.store import LIVE
from services.hashes import of_events, of_views
from services.topics import EVENTS


def restore(session: Session) -> dict[str, Any]:
    """Fill empty databases from the topics; what was found, and the hashes of what is there now."""
    i = session.installation
    if not i.log.last_records(EVENTS.name):
        raise ConfigurationError(
            "there is nothing to restore from", expected="events on the topics", got="none",
            hint="look at the settings of the log; what lies in the inbox, `heard consume` handles",
        )  # fmt: skip
    with i.store.refilling() as refill:
        _require_no_read_models(i)
        work = Restore(i.log, i.intake, refill, progress=_progress)
        work.run()
        i.probe("restore.before_commit")
    i.probe("restore.after_commit")
    say("the event store is restored; now the read models and the duties")
    session.consume(i.loops(("projector", "processes")), until_idle=True)
    if work.unproved:
        say(f"{work.unproved} messages had ended, and it is not proved that all they made was published")
    if work.unreadable:
        say(f"{work.unreadable} messages that waited cannot be opened: their keys are destroyed")
    return {
        "restored": {
            "accepted": work.accepted,
            "parked": work.parked,
            "dead_letters": work.dead_letters,
            "erased": work.erased,
            "unproved": work.unproved,
            "unreadable": work.unreadable,
        },
        **hashes(session),
    }


def hashes(session: Session) -> dict[str, Any]:
    """The hashes of what is there."""
    i = session.installation
    i.views.begin()
    return {"events": of_events(i.store), "views": of_views(i.views)}


def _require_no_read_models(i: Installation) -> None:
    with i.views.reading() as db:
        if not (i.views.marks(db, LIVE) or i.views.marks(db, GROUP)):
            return
    raise ConfigurationError(
        "the read models are not empty", expected="nothing in them: they are built again as well",
        got="what was built of an event store that is gone",
        hint="put views.db aside, or give PostgreSQL an empty database; then `heard restore`",
    )  # fmt: skip


def _progress(events: int) -> None:
    if events % 20_000 == 0:
        say(f"{events:,} events so far")
