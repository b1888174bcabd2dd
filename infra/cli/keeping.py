"""How is the record kept in order? Read models, dead letters, schemas, erasure, a look at its health."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import select

from consumers import lag
from consumers.envelope import Head
from consumers.projector import build, rebuild
from domain.catalogue import EVENTS, schema
from domain.errors import ConfigurationError, HeardError, NotFoundError
from domain.event import Actor, MessageId, Reported
from domain.message import Discarded
from domain.values import MAX_WORDS, StreamId
from infra import migrations
from infra.cli.output import Format, as_csv, say
from infra.cli.session import Session
from infra.installation import Installation
from projections.store import LIVE, SupersededError
from projections.view import Row, View
from services.desk import Circumstances, Desk
from services.ports import DeadLetter, Unused, Work

if TYPE_CHECKING:
    from infra.kafka_broker import Broker


def export(answer: dict[str, Any], view: View, out: Path, form: Format | None) -> None:
    """Write the rows to a file, and the data dictionary beside it."""
    kind = form.value if form else out.suffix.removeprefix(".")
    if kind not in ("csv", "json"):
        raise HeardError(
            f"{out} does not say in which form", code="usage", expected="a file that ends in .csv or .json",
            got=out.name, hint=f"heard export {view.name} -o {view.name}.csv",
        )  # fmt: skip
    rows = answer["rows"]
    data = as_csv(rows, view.columns) if kind == "csv" else orjson.dumps(answer).decode()
    dictionary = {
        "view": view.name,
        "version": view.version,
        "about": view.about,
        "columns": dict(view.columns),
    }
    beside = out.with_name(f"{out.name}.dictionary.json")
    for path, text in ((out, data), (beside, orjson.dumps(dictionary, option=orjson.OPT_INDENT_2).decode())):
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be written", expected="a file that can be written",
                got=error.strerror or "an error", hint="choose another file with -o",
            ) from error  # fmt: skip
    say(f"{len(rows)} rows: {out}; what the columns mean: {beside}")


# -- read models ---------------------------------------------------------------------------------


def views_list(session: Session) -> dict[str, Any]:
    """Every read model, with how far it is behind the log."""
    i = session.installation
    with i.views.reading() as db:
        live, marks = i.views.live(db), i.views.marks(db, LIVE)
    now = i.clock.now()
    behind, unbuilt = (lag.of_reader(i.log, each, now).records for each in (marks, {}))
    position = max((mark.position for mark in marks.values()), default=0)
    return {
        "rows": [
            {
                "view": view.name,
                "version": view.version,
                "about": view.about,
                "columns": list(view.columns),
                "position": position if view.name in live else 0,
                "lag": behind if view.name in live else unbuilt,
            }
            for view in i.views.views.values()
        ]
    }


def views_rebuild(session: Session, names: Sequence[str] | None) -> None:
    """Build the named views, or all, anew, and swap."""
    i = session.installation
    wanted = list(dict.fromkeys(names or i.views.views))
    for name in wanted:
        _known(session, name)
    i.views.begin()
    rebuild(i.log, i.views, wanted)
    say(f"rebuilt and swapped: {', '.join(wanted)}")


def views_compare(session: Session, name: str) -> dict[str, Any]:
    """Build a view anew beside the live one and compare every row of every table."""
    _known(session, name)
    session.installation.views.begin()
    while True:
        try:
            counts = _differences(session.installation, name)
            return {"view": name, "equal": not any(counts.values()), **counts}
        except SupersededError:
            continue  # the live one was rebuilt meanwhile: compare that


def _differences(i: Installation, name: str) -> dict[str, int]:
    generation = i.views.start([name])
    counts = {"only_live": 0, "only_rebuilt": 0, "different": 0}
    try:
        with build(i.log, i.views, [name], generation) as db:
            live = i.views.tables_of(name, i.views.live(db)[name])
            for shape, table in i.views.tables_of(name, generation).items():
                found = [
                    {
                        tuple(row[k] for k in shape.key): tuple(row.values())
                        for row in db.execute(select(t)).mappings()
                    }
                    for t in (live[shape], table)
                ]
                one, other = found
                counts["only_live"] += len(one.keys() - other.keys())
                counts["only_rebuilt"] += len(other.keys() - one.keys())
                counts["different"] += sum(one[key] != other[key] for key in one.keys() & other.keys())
    finally:
        i.views.discard([name], generation)
    return counts


def _known(session: Session, name: str) -> None:
    if name not in session.installation.views.views:
        raise NotFoundError(
            f"there is no read model {name}", expected=", ".join(session.installation.views.views), got=name,
            hint="heard views list",
        )  # fmt: skip


# -- dead letters --------------------------------------------------------------------------------


def dead_list(session: Session, status: str | None) -> dict[str, Any]:
    """Every dead letter."""
    return {"rows": [_dead(letter) for letter in session.installation.store.dead_letters(status=status)]}


def _dead(letter: Unused) -> dict[str, Any]:
    return {
        "id": letter.id,
        "source": letter.source,
        "message_id": letter.message_id,
        "code": letter.code,
        "field": letter.field,
        "reason": letter.reason,
        "status": letter.status,
        "at": letter.at,
    }


def _letter(session: Session, id_: str) -> DeadLetter:
    letter = session.installation.store.dead_letter(id_)
    if letter is None:
        raise NotFoundError(
            "there is no such dead letter", expected="the id of a dead letter", got=id_,
            hint="heard dead-letters list",
        )  # fmt: skip
    return letter


def dead_show(session: Session, id_: str) -> dict[str, Any]:
    """One dead letter with the body as it came; of a `cut` one its beginning, and what the whole was."""
    letter = _letter(session, id_)
    found = session.installation.intake.letter_of(letter.id, letter.day, letter.box)
    cut = found.cut and {"size": found.cut.size, "digest": found.cut.digest}
    return _dead(letter) | {"body": found.body.decode("utf-8", "replace"), "cut": cut}


def dead_retry(session: Session, id_: str) -> dict[str, Any]:
    """Handle the same message again."""
    session.installation.intake.retry(_open(session, id_))
    return _dead(_letter(session, id_))


def _open(session: Session, id_: str) -> DeadLetter:
    letter = _letter(session, id_)
    if letter.status != "open":
        raise HeardError(
            f"this dead letter was {letter.status} already", code="not_open", expected="an open dead letter",
            got=letter.status, hint="heard dead-letters list --status open",
        )  # fmt: skip
    return letter


def dead_discard(session: Session, id_: str, reason: str) -> dict[str, Any]:
    """Set a dead letter aside for good; that is itself an event."""
    letter = _open(session, id_)
    if not 0 < len(reason.strip()) <= MAX_WORDS:
        raise HeardError(
            "a dead letter is discarded for a reason", code="usage",
            expected=f"words in --reason, at most {MAX_WORDS:,} characters", got=f"{len(reason)} characters",
            hint=f'heard dead-letters discard {id_} --reason "sent twice by mistake"',
        )  # fmt: skip
    i = session.installation
    desk = Desk(i.store, i.keys, i.clock, i.randomness, i.ids, Work(settled={id_: "discarded"}))
    stream = StreamId(i.ids.of("message", id_))
    desk.load([stream])
    message = MessageId(letter.source, letter.message_id) if letter.source and letter.message_id else None
    circumstances = Circumstances("-", None, Actor("operator"), message=message)
    desk.record(stream, Discarded(dead_letter=id_, code=letter.code, reason_words=reason), (), circumstances)
    i.store.commit(desk.work)
    return _dead(letter) | {"status": "discarded"}


def parked_list(session: Session) -> dict[str, Any]:
    """Every parked message."""
    return {
        "rows": [
            {
                "id": p.id,
                "source": p.source,
                "message_id": p.message_id,
                "waiting_for": p.waiting_name,
                "since": p.since,
            }
            for p in session.installation.store.all_parked()
        ]
    }


def topics_create(session: Session, partitions: int) -> dict[str, Any]:
    """Create the topics that are missing on the cluster; for each what differs."""
    broker = _broker(session)
    from infra import kafka_topics  # half a second that no other verb need wait

    replication = session.settings.kafka_replication
    return {"rows": kafka_topics.create(broker, replication=replication, partitions=partitions)}


def topics_rights(session: Session, *, create: bool) -> dict[str, Any]:
    """The right of every principal, given on the cluster if `create`."""
    from infra import kafka_rights  # half a second that no other verb need wait

    if create:
        kafka_rights.create(_broker(session))
    return {"rows": kafka_rights.rows(session.settings.kafka_prefix)}


def _broker(session: Session) -> Broker:
    if session.settings.kafka_servers is None:
        raise ConfigurationError(
            "there is no Kafka cluster to make this on", expected="HEARD_KAFKA_SERVERS", got="nothing",
            hint="the local log makes its own topics; set HEARD_KAFKA_SERVERS for Kafka",
        )  # fmt: skip
    return session.settings.broker()


def migrate(session: Session) -> dict[str, Any]:
    """Bring the tables and roles on PostgreSQL to what this program needs; from where to where."""
    before, after = migrations.migrate(session.installation.postgresql)
    return {"from": before, "to": after, "roles": [migrations.APP, migrations.AUDITOR]}


# -- schemas -------------------------------------------------------------------------------------


def schema_list() -> dict[str, Any]:
    """The catalogue of event types."""
    return {
        "rows": [
            {
                "type": topic,
                "reported_by": "upstream" if issubclass(event, Reported) else "heard",
                "makes_the_thing": event.MAKES,
                "about": (event.__doc__ or "").strip().splitlines()[0],
            }
            for topic, event in EVENTS.items()
        ]
    }


def schema_show(type_: str) -> dict[str, Any]:
    """The JSON Schema of a message of this type; of one that Heard writes itself, of the event."""
    event = EVENTS.get(type_)
    if event is None:
        raise NotFoundError(
            f"there is no type {type_}",
            expected="a type of the catalogue",
            got=type_,
            hint="heard schema list",
        )
    if not issubclass(event, Reported):
        return schema(event)
    head, own = Head.model_json_schema(), schema(event)
    properties = head["properties"] | {
        name: given for name, given in own["properties"].items() if name != "contributor"
    }
    if "contributor" not in own["properties"]:
        properties.pop("contributor")
    definitions = head.get("$defs", {}) | own.get("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": type_,
        "description": (event.__doc__ or "").strip(),
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 512},
            "source": {"type": "string", "minLength": 1, "maxLength": 512},
            "type": {"const": type_},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "data": {
                "type": "object",
                "additionalProperties": False,
                "required": sorted({*head["required"], *own["required"]}),
                "properties": properties,
            },
        },
        "$defs": definitions,
    }


# -- erasure -------------------------------------------------------------------------------------


def erase(session: Session, ref: str, *, force: str | None, source: str | None) -> dict[str, Any]:
    """Erase a person by their reference, or the words of a thing by its."""
    # First, so that every value that was published is known, and can be destroyed by its name.
    session.consume(session.installation.loops(("sequencer", "projector")), until_idle=True)
    people = session.erasure.person(ref, force=force, source=source)
    thing = None if force or source else _thing(session, ref)
    if len(people) + (thing is not None) > 1:
        found = [f"a person (--force {f} --source {s})" for f, s, _ in people]
        found += [f"a {thing['kind']} (by its id {thing['id']})"] if thing else []
        raise HeardError(
            f"{ref} is the name of {len(found)}", code="ambiguous", expected="one person or one thing",
            got=f"{len(found)}", hint="say which: " + ", ".join(found),
        )  # fmt: skip
    if people:
        answer = session.erasure.erase(people[0][2], force=people[0][0], neighbourhood=None, person=True)
    elif thing is None:
        raise NotFoundError(
            f"nobody and nothing is called {ref}", expected="a reference of a person or of a thing", got=ref,
            hint="if it was erased before, all is done: an erased person's reference is forgotten as well",
        )  # fmt: skip
    elif thing["contributor"] and session.erasure.state(thing["contributor"]) != "erased":
        raise HeardError(
            f"the words of {ref} belong to a person", code="belongs_to_a_person",
            expected="the person's reference", got="a thing's", hint="heard erase PERSON",
        )  # fmt: skip
    else:
        # What came under the key of a person who was erased before can only be called by its thing.
        answer = session.erasure.erase(
            thing["contributor"] or thing["id"],
            force=thing["force"],
            neighbourhood=None if thing["contributor"] or thing["place"] == "-" else thing["place"],
        )
    session.consume(session.installation.loops(("sequencer", "projector")), until_idle=True)
    return {"ref": ref, **answer}


def _thing(session: Session, ref: str) -> Row | None:
    try:
        return session.questions.find(ref)
    except NotFoundError:
        # The reason for which a dead letter was discarded is on a stream of Heard's own.
        stream = session.installation.ids.of("message", ref)
        if stream not in session.installation.store.load([stream]):
            return None
        return {"kind": "message", "id": stream, "force": "-", "place": "-", "contributor": None}
