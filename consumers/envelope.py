"""Is this record a message that Heard can use? CloudEvents 1.0 in both modes, read strictly."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, FailFast, StringConstraints, ValidationError

from consumers.shape import (
    Path,
    TooMuch,
    brackets_match,
    has_a_name_twice,
    is_small,
    looked_at,
    too_many_holders,
)
from domain.catalogue import AGGREGATES, EVENTS, OWN
from domain.errors import InvalidMessageError
from domain.event import MAX_CAUSES, Reported
from domain.ids import Ids
from domain.relations import NAMES, allowed
from domain.values import UNKNOWN_WHEN, Identifier, Influence, Occurred, Place, Value, instant, stamp
from services.message import Message, Reference

STRUCTURED: Final = b"application/cloudevents"
AHEAD: Final = timedelta(minutes=5)
"""How far a source's clock may run ahead of Heard's."""
PLACEHOLDER: Final = "00000000-0000-8000-8000-000000000000"

_TYPE = re.compile(r"^heard\.([a-z_]+)\.([a-z_]+)\.v([1-9][0-9]{0,4})$")
_MAIL = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")
_PHONE = re.compile(r"^(tel:)?(\+|00|0)[\s./()-]*[0-9]([\s./()-]*[0-9]){8,13}$")
_ModelT = TypeVar("_ModelT", bound=BaseModel)
_LONGEST: Final = 512
"""As many characters as a name that upstream gives may have; more are not looked at."""
_Text = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST)]


class _Actor(Value):
    role: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
    ref: Identifier | None = None


class _Cause(Value):
    relation: str
    ref: Identifier
    kind: str
    source: _Text | None = None
    influence: Influence | None = None


class _Contributor(Value):
    ref: Identifier
    name: Any = None
    contact: Any = None
    may_contact: Any = False
    public: Any = False


class Head(Value):
    """The fields that every message's `data` has beside the event's own."""

    ref: Identifier
    """The thing's reference in the source."""
    force: Place
    """The police force, by its id."""
    neighbourhood: Place | None = None
    """The neighbourhood, by its id within the force."""
    occurred: Occurred = UNKNOWN_WHEN
    """When it happened."""
    actor: _Actor
    """Who did it: a role, and a reference where one person is meant."""
    causes: Annotated[tuple[_Cause, ...], FailFast()] = ()
    """What it rests on."""
    contributor: _Contributor | None = None
    """Who brought it."""


_HEAD: Final = frozenset(Head.model_fields)
_ATTRIBUTES: Final = frozenset({"specversion", "id", "source", "type", "time", "datacontenttype", "data"})
_DEEPEST: Final = 8
"""As many steps as a field's path says; Heard knows no field that lies deeper."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A record that cannot become a message, and why; source and id as far as they are known.

    The error has neither traceback nor context: many are kept, and nothing of a body with them.
    """

    source: str | None
    id: str | None
    fingerprint: str
    error: InvalidMessageError


def read(
    value: bytes | None, headers: Iterable[tuple[str, bytes]], ids: Ids, now: datetime
) -> Message | Unusable:
    """The message in a record of the inbox, or why there is none. Never raises for bad input."""
    source: str | None = None
    id_: str | None = None
    fingerprint: str | None = None
    try:
        attributes, nul = _attributes(value or b"", tuple(headers))
        fingerprint = ids.fingerprint(_same(attributes))
        source, id_ = _identity(attributes)
        return _message(attributes, source, id_, fingerprint, now, nul)
    except InvalidMessageError as error:
        error.__traceback__ = error.__context__ = error.__cause__ = None
        if fingerprint is None:
            fingerprint = ids.fingerprint((value or b"").decode("latin-1"))
        return Unusable(source, id_, fingerprint, error)


def _same(attributes: Mapping[str, Any]) -> str:
    # Two deliveries of one message may differ in mode and in the order of keys, in nothing else.
    same = {**attributes, "datacontenttype": _content_type(attributes)}
    return _written(same, orjson.OPT_SORT_KEYS).decode()


def _written(document: object, option: int = 0) -> bytes:
    try:
        return orjson.dumps(document, option=option)
    except TypeError:  # what orjson has read it can write, unless lists lie in lists without end
        raise InvalidMessageError(
            "field_invalid", "the body is nested too deeply", expected="at most 250 levels", got="more",
            hint="heard schema show TYPE",
        ) from None  # fmt: skip


def _attributes(value: bytes, headers: Sequence[tuple[str, bytes]]) -> tuple[dict[str, Any], Path | None]:
    """The attributes, `data` among them; and where text holds U+0000, if it does."""
    named = dict(headers)
    binary = not named.get("content-type", STRUCTURED).startswith(STRUCTURED)
    if len(named) < len(headers):
        used = [name for name, _ in headers if name == "content-type" or (binary and name.startswith("ce_"))]
        if len(set(used)) < len(used):
            _not_a_cloudevent("each header once", "two headers of one name")
    small = is_small(value)
    if not small and (found := too_many_holders(value)) is not None:
        if not brackets_match(value):
            _not_json(value)
        _too_much(found, None)
    document = _parsed(value)
    if binary:
        attributes: dict[str, Any] = {
            name.removeprefix("ce_"): _utf8(text) for name, text in named.items() if name.startswith("ce_")
        }
        attributes["data"] = document
        attributes["datacontenttype"] = _utf8(named["content-type"])
    elif isinstance(document, dict):
        attributes = document
    else:
        _not_a_cloudevent("a JSON object", type(document).__name__)
    nul: Path | None = None
    if not small or b"\\u0000" in value:
        seen = looked_at(document, ("data",) if binary else ())
        if isinstance(seen, TooMuch):
            _too_much(seen, attributes.get("type"))
        nul = seen
    if has_a_name_twice(value, _written(document)):
        raise InvalidMessageError(
            "not_json", "a name stands twice in one object", expected="each name once in its object",
            got="a name twice", hint="other parsers may read the other value: send the one that is meant",
        )  # fmt: skip
    return attributes, nul


def _parsed(value: bytes) -> Any:
    try:
        return orjson.loads(_utf8(value).encode())
    except orjson.JSONDecodeError:
        _not_json(value)


def _not_json(value: bytes) -> NoReturn:
    raise InvalidMessageError(
        "not_json", "the body is not JSON", expected="one JSON document",
        got=f"{len(value)} bytes", hint="check the line with a JSON parser",
    )  # fmt: skip


def _too_much(found: TooMuch, type_: object) -> NoReturn:
    if found.path == ("data", "causes"):
        _too_many_causes(found.got)
    model = EVENTS.get(type_) if isinstance(type_, str) else None
    raise InvalidMessageError(
        "field_invalid", "there is more in it than any message has",
        field=_field(found.path, _names(model or Head)), expected=found.expected,
        got=found.got, hint="heard schema show TYPE",
    )  # fmt: skip


def _utf8(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidMessageError(
            "not_utf8", "the body is not UTF-8", expected="UTF-8", got=f"another byte at {error.start}",
            hint="write the file in UTF-8",
        ) from None  # fmt: skip


def _identity(attributes: Mapping[str, Any]) -> tuple[str, str]:
    if attributes.get("specversion") != "1.0":
        _not_a_cloudevent("specversion 1.0", _shown(attributes.get("specversion")))
    for name in ("id", "source", "type"):
        given = attributes.get(name)
        if not isinstance(given, str) or not given or len(given) > _LONGEST or "\x00" in given:
            _not_a_cloudevent(f"`{name}`: text of 1 to {_LONGEST} characters", _shown(given))
    _not_personal("source", attributes["source"])
    _not_personal("id", attributes["id"])
    return attributes["source"], attributes["id"]


def _not_a_cloudevent(expected: str, got: str) -> NoReturn:
    raise InvalidMessageError(
        "not_a_cloudevent", "the message is not a CloudEvent 1.0", expected=expected, got=got,
        hint="give specversion, id, source, type and data",
    )  # fmt: skip


def _shown(given: object) -> str:
    return "nothing" if given is None else type(given).__name__


def _message(
    attributes: Mapping[str, Any],
    source: str,
    id_: str,
    fingerprint: str,
    now: datetime,
    nul: Path | None,
) -> Message:
    event_type = _event_type(attributes["type"])
    content = _content_type(attributes)
    if content != "application/json":
        raise InvalidMessageError(
            "field_invalid", "the data is not JSON", field="datacontenttype",
            expected="application/json", got=_shown(content),
        )  # fmt: skip
    limit = stamp(now + AHEAD)
    time = _time(attributes.get("time"), limit)
    data = attributes.get("data")
    if not isinstance(data, dict):
        raise InvalidMessageError(
            "field_missing" if data is None else "field_invalid", "the message has no data object",
            field="data", expected="an object", got=_shown(data),
        )  # fmt: skip
    if nul is not None:
        raise InvalidMessageError(
            "field_invalid", "text holds the character U+0000", field=_field(nul, _names(event_type)),
            expected="text without U+0000", got="text with it",
        )  # fmt: skip
    _references_are_not_personal(data)
    head = _validated(Head, {name: given for name, given in data.items() if name in _HEAD})
    own = {name: given for name, given in data.items() if name not in _HEAD or name == "ref"}
    if head.contributor is not None:
        own["contributor"] = {
            "subject": PLACEHOLDER,
            **{name: given for name, given in data["contributor"].items() if name != "ref"},
        }
    event = _validated(event_type, own)
    _same_place(event, head)
    if _starts_after(head.occurred, limit):
        _in_the_future("data.occurred")
    causes = tuple(_reference(cause, at, event, source) for at, cause in enumerate(head.causes))
    _not_too_many(causes)
    return Message(
        source=source,
        id=id_,
        fingerprint=fingerprint,
        time=time,
        force=head.force,
        neighbourhood=head.neighbourhood,
        occurred=head.occurred,
        role=head.actor.role,
        actor_ref=head.actor.ref,
        causes=causes,
        contributor_ref=None if head.contributor is None else head.contributor.ref,
        event=event,
    )


def _content_type(attributes: Mapping[str, Any]) -> object:
    # Binary mode has to name it, structured mode may leave it out; parameters say nothing of JSON.
    given = attributes.get("datacontenttype", "application/json")
    return given.partition(";")[0].strip().lower() if isinstance(given, str) else given


def _event_type(name: str) -> type[Reported]:
    event = EVENTS.get(name)
    if event is not None and issubclass(event, Reported):
        return event
    match = _TYPE.match(name)
    if match is not None:
        kind, fact, version = match.groups()
        known = [int(t.rpartition(".v")[2]) for t in EVENTS if t.startswith(f"heard.{kind}.{fact}.v")]
        if kind not in OWN and known and int(version) > max(known):
            raise InvalidMessageError(
                "newer_version", "this version of the type is not known yet", field="type",
                expected=f"version {max(known)} or older", got=f"version {version}",
                hint="update Heard, then `heard dead-letters retry`",
            )  # fmt: skip
    raise InvalidMessageError(
        "unknown_type", "the type is not one that upstream systems report", field="type",
        expected="a type of the catalogue", got="another", hint="heard schema list",
    )  # fmt: skip


def _time(given: object, limit: str) -> str | None:
    if given is None:
        return None
    try:
        time = instant(given) if isinstance(given, str) else None
    except ValueError:
        time = None
    if time is None:
        raise InvalidMessageError(
            "field_invalid", "the time is not an instant", field="time",
            expected="RFC 3339 with an offset, like 2008-11-10T09:30:00Z", got=_shown(given),
        )  # fmt: skip
    if time > limit:
        _in_the_future("time")
    return time


def _starts_after(occurred: Occurred, limit: str) -> bool:
    if occurred.from_ is None or occurred.from_ <= limit:
        return False
    # A whole day may have begun somewhere on earth up to 14 hours before it does in UTC.
    return occurred.kind == "instant" or occurred.from_ > stamp(
        datetime.fromisoformat(limit) + timedelta(hours=14)
    )


def _in_the_future(field: str) -> NoReturn:
    raise InvalidMessageError(
        "in_the_future", "it lies in the future", field=field,
        expected="at most five minutes from now", got="a later moment",
        hint="check the clock of the source",
    )  # fmt: skip


def _references_are_not_personal(data: Mapping[str, Any]) -> None:
    _not_personal("data.ref", data.get("ref"))
    for name in ("actor", "contributor"):
        if isinstance(holder := data.get(name), dict):
            _not_personal(f"data.{name}.ref", holder.get("ref"))
    causes = data.get("causes")
    for at, cause in enumerate(causes if isinstance(causes, list) else ()):
        if isinstance(cause, dict):
            _not_personal(f"data.causes.{at}.ref", cause.get("ref"))
            _not_personal(f"data.causes.{at}.source", cause.get("source"))


def _not_personal(field: str, given: object) -> None:
    if not isinstance(given, str):
        return
    if len(given) > _LONGEST:
        raise InvalidMessageError(
            "field_invalid", "a reference is too long", field=field,
            expected=f"at most {_LONGEST} characters", got=f"{len(given)} characters",
        )  # fmt: skip
    if _MAIL.search(given) or _PHONE.match(given):
        raise InvalidMessageError(
            "personal_reference", "a reference looks like an e-mail address or a telephone number",
            field=field, expected="a reference that says nothing about a person", got="one that does",
            hint="let the source make up a reference; contact details go into contributor.contact",
        )  # fmt: skip


def _validated(model: type[_ModelT], fields: Mapping[str, Any]) -> _ModelT:
    try:
        # JSON mode: strict about types, and still a date may be written as text.
        return model.model_validate_json(orjson.dumps(fields), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = _field(("data", *first["loc"]), _names(model))
        missing = first["type"] == "missing"
        raise InvalidMessageError(
            "field_missing" if missing else "field_invalid",
            f"{'there is no' if missing else 'not usable:'} {field}",
            field=field,
            expected="a field that must be there" if missing else first["msg"],
            got="nothing" if missing else "something else",
            hint=f"heard schema show {getattr(model, 'TOPIC', '') or 'TYPE'}",
        ) from None


def _field(path: Path, names: Container[str]) -> str:
    # A field that Heard does not know has a name that upstream chose: it may hold anything.
    return ".".join(str(part) if isinstance(part, int) or part in names else "?" for part in path[:_DEEPEST])


@cache
def _names(model: type[BaseModel]) -> frozenset[str]:
    """What a message's fields may be called, at any depth: the envelope's, every message's, the model's."""
    schemas = (m.model_json_schema() for m in (Head, model))
    return _ATTRIBUTES.union(*map(_properties, schemas))


def _properties(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _properties(inner)


def _same_place(event: Reported, head: Head) -> None:
    kind = event.TOPIC.split(".", 2)[1]
    wanted = {"force": head.force, "neighbourhood": head.neighbourhood}.get(kind, event.ref)
    if wanted is None:
        raise InvalidMessageError(
            "field_missing", "a neighbourhood's message says which one it is",
            field="data.neighbourhood", expected="the neighbourhood's id", got="nothing",
        )  # fmt: skip
    if event.ref != wanted:
        raise InvalidMessageError(
            "field_invalid", f"a {kind} is called by its id", field="data.ref",
            expected=f"the same as `{kind}`", got="another",
        )  # fmt: skip


def _reference(cause: _Cause, at: int, event: Reported, source: str) -> Reference:
    for field, given, known in (("relation", cause.relation, NAMES), ("kind", cause.kind, AGGREGATES)):
        if given not in known:
            raise InvalidMessageError(
                "field_invalid", f"the {field} of a cause is not known",
                field=f"data.causes.{at}.{field}", expected=", ".join(known), got="another",
            )  # fmt: skip
    effect = event.TOPIC.split(".", 2)[1]
    if not allowed(cause.relation, effect, cause.kind):
        raise InvalidMessageError(
            "relation_not_allowed",
            f"a {effect} cannot be joined to a {cause.kind} by {cause.relation}",
            field=f"data.causes.{at}",
            expected="a pair of the contract's list of relations",
            got=f"{effect} ← {cause.kind} by {cause.relation}",
        )
    return Reference(cause.relation, cause.kind, cause.source or source, cause.ref, cause.influence)


def _not_too_many(causes: Iterable[Reference]) -> None:
    # Before anything is looked up: what could never be written shall not wait for what it refers to.
    named = {(cause.relation, cause.kind, cause.source, cause.ref) for cause in causes}
    if len(named) > MAX_CAUSES:
        _too_many_causes(str(len(named)))


def _too_many_causes(got: str) -> NoReturn:
    raise InvalidMessageError(
        "too_large", "it rests on too much", field="data.causes",
        expected=f"at most {MAX_CAUSES} causes", got=got,
        hint="report part of it first: heard.decision.inputs_weighed.v1 takes further inputs",
    )  # fmt: skip
