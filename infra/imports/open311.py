"""What did residents ask for through an Open311 service (GeoReport v2, JSON), and what became of it?

Each request is one concern of kind `request` under `open311:<service_request_id>`: somebody wants
something done, so it is owed an acknowledgement and a decision. Requests come in the order of
time. `services.json` may come along; it names the service of a request that gives only its code.

| what | becomes |
|---|---|
| description, address | words and address, both sealed; line ends become LF |
| service_name | the theme: lower case, what is neither letter nor digit as `_` |
| lat, long | coordinates `lat,long`, sealed |
| requested_datetime | when it occurred, with its own offset; and the message's time |
| status closed | closed at updated_datetime, reason_words from status_notes; with a note of type closed, at that note's datetime, and its text where status_notes has none |
| notes[] of type activity | taken up, once, at the first of them |
| notes[] of type opened, submitted, follow_on_created, follow_on_closed | nothing more: the first two say again that it was raised, a follow-on is a case of its own in the source |

Not imported: agency_responsible (most belong to no police force; who answers is a decision of ours),
expected_datetime (their promise, not ours), media_url (may show people), service_notice, service_code,
address_id, zipcode, and whatever a city adds about who asked: the requests are anonymous.

Dirty values:

| what is wrong | rule |
|---|---|
| description null, blank; address null, blank | absent; the theme still says what it is about |
| description or address not text, or over 16,000 characters | absent, told |
| lat or long null, both 0 | absent: the source has no place |
| lat or long not a number, or outside the earth's | absent, told |
| service_name missing or without a letter or digit, its code not in services.json | no theme, told |
| service_request_id missing (a token came instead), or one that cannot be a reference | the request is left out, told |
| the same service_request_id again | the one updated last counts; if they differ, told |
| status neither open nor closed | imported as open, told |
| a datetime missing, unreadable or without its offset | when it occurred is unknown, and it is known from the import on, told |
| a closing or activity before the request | occurred as it says; known from the request's time on, told |
| a note of type closed on a request that is open | the status counts: not closed, told |
| a note that is no object, or of another type | left out, told |
| an item that is no object | left out, told |
| XML, not JSON, not UTF-8, neither requests nor services | nothing is imported |

A request that was closed in one import and is open in the next is not reported as reopened: the
format does not say so, and one file does not know the other.
"""  # noqa: E501

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import orjson

from domain import concern
from domain.errors import InvalidMessageError
from domain.values import instant
from infra.imports import message, reading
from infra.imports.message import Origin
from infra.imports.reading import Warn, silent

_EXPECTED: Final = "requests.json of Open311 GeoReport v2 (and services.json, if you like)"
_HINT: Final = "ask the service for requests.json, not requests.xml, and give the answer as it is"
_SAY_NOTHING_MORE: Final = ("opened", "submitted", "follow_on_created", "follow_on_closed")

_Request = dict[str, Any]


def messages(
    files: Sequence[tuple[str, bytes]],
    *,
    force: str,
    neighbourhood: str,
    source: str,
    warn: Warn = silent,
) -> Iterator[dict[str, Any]]:
    """The requests as messages. InvalidMessageError if a file cannot be read as a whole."""
    origin = Origin(force, neighbourhood, source)
    services: dict[str, str] = {}
    lists: list[tuple[str, list[Any]]] = []
    for name, content in files:
        document = _document(name, content)
        items = reading.items_of(document)
        if not items or any(_is_request(item) for item in items):
            lists.append((name, items))
        elif any(isinstance(item, dict) and "service_code" in item for item in items):
            services |= _named(items)
        else:
            raise reading.unknown(name, expected=_EXPECTED, got=reading.shape(document), hint=_HINT)
    if not lists:
        raise reading.nothing_there(files, expected=_EXPECTED, hint=_HINT)
    requests = _once(lists, warn)
    ordered = sorted(requests, key=lambda id_: (_when(requests[id_], "requested_datetime"), id_))
    return chain.from_iterable(
        _told(origin, f"open311:{id_}", requests[id_], services, warn) for id_ in ordered
    )


def _document(name: str, content: bytes) -> Any:
    if reading.text_of(name, content).lstrip().startswith("<"):
        raise InvalidMessageError(
            "not_json", f"{name} is XML", field=name, expected=_EXPECTED, got="an XML document", hint=_HINT
        )
    return reading.json_of(name, content)


def _is_request(item: Any) -> bool:
    return isinstance(item, dict) and ("service_request_id" in item or "requested_datetime" in item)


def _named(items: list[Any]) -> dict[str, str]:
    named = [item for item in items if isinstance(item, dict)]
    return {str(item.get("service_code")): str(item.get("service_name") or "") for item in named}


def _once(lists: list[tuple[str, list[Any]]], warn: Warn) -> dict[str, _Request]:
    """Each request by its id: of those that are there more than once, the one updated last."""
    found: dict[str, tuple[tuple[str, bytes], _Request]] = {}
    for name, items in lists:
        for number, item in enumerate(items, 1):
            where = f"{name}, item {number}"
            id_ = item.get("service_request_id") if isinstance(item, dict) else None
            id_ = str(id_).strip() if isinstance(id_, str | int) else ""
            if not isinstance(item, dict):
                warn(f"{where}: not an object: left out")
            elif not id_ or not message.is_reference(f"open311:{id_}"):
                warn(f"{where}: no service_request_id that can be a reference: the request is left out")
            else:
                # The bytes settle what was updated at the same time, whatever the order of the files.
                rank = (_when(item, "updated_datetime"), orjson.dumps(item, option=orjson.OPT_SORT_KEYS))
                before = found.get(id_)
                if before is not None and before[0] != rank:
                    warn(f"{where}: request {id_} is there more than once: the one updated last counts")
                if before is None or rank > before[0]:
                    found[id_] = (rank, item)
    return {id_: item for id_, (_, item) in found.items()}


def _when(item: Mapping[str, Any], field: str) -> str:
    text = reading.moment(item.get(field))
    return instant(text) if text else ""


def _told(
    origin: Origin, ref: str, request: _Request, services: Mapping[str, str], warn: Warn
) -> Iterator[dict[str, Any]]:
    occurred, asked = message.at(_moment(request, "requested_datetime", ref, warn))
    yield origin.message(
        concern.Raised, f"{ref}:raised", ref, occurred=occurred, time=asked, role="member_of_public",
        kind="request", theme=_theme(request, services, ref, warn),
        words=_words(request, "description", ref, warn), address=_words(request, "address", ref, warn),
        coordinates=_coordinates(request, ref, warn),
    )  # fmt: skip
    notes = _notes(request, ref, warn)
    activities = [note for note in notes if note["type"] == "activity"]
    closings = [note for note in notes if note["type"] == "closed"]
    if activities:
        occurred, time = message.at(_moment(activities[0], "datetime", f"{ref}, note", warn))
        yield origin.message(
            concern.TakenUp, f"{ref}:taken_up", ref, occurred=occurred,
            time=_not_before(asked, time, f"{ref}: activity", warn), role="agency",
        )  # fmt: skip
    status = str(request.get("status")).strip().lower()
    if status == "closed":
        yield _closed(origin, ref, request, closings, asked, warn)
        return
    if status != "open":
        warn(f"{ref}: status is neither open nor closed: imported as open")
    if closings:
        warn(f"{ref}: a note says closed, the status does not: imported as open")


def _closed(
    origin: Origin,
    ref: str,
    request: _Request,
    closings: list[_Request],
    asked: str | None,
    warn: Warn,
) -> dict[str, Any]:
    words = _words(request, "status_notes", ref, warn)
    if closings:
        last = closings[-1]
        written = _moment(last, "datetime", f"{ref}, note", warn)
        words = words or _words(last, "description", ref, warn) or _words(last, "summary", ref, warn)
    else:
        written = _moment(request, "updated_datetime", ref, warn)
    occurred, time = message.at(written)
    # A closing that the source corrects afterwards is another message, not this one with other words.
    said = hashlib.sha256(f"{time}\n{words}".encode()).hexdigest()[:8]
    return origin.message(
        concern.Closed, f"{ref}:closed:{said}", ref, occurred=occurred,
        time=_not_before(asked, time, f"{ref}: closed", warn), role="agency", reason_words=words,
    )  # fmt: skip


def _notes(request: _Request, ref: str, warn: Warn) -> list[_Request]:
    """The notes that say something more, in the order of time (undated ones last)."""
    kept = []
    for note in reading.items_of(request.get("notes") or []):
        type_ = note.get("type") if isinstance(note, dict) else None
        if type_ in ("activity", "closed"):
            kept.append(note)
        elif type_ not in _SAY_NOTHING_MORE:
            warn(f"{ref}: a note that is none of the known types: left out")
    return sorted(kept, key=lambda note: _when(note, "datetime") or "~")


def _moment(holder: Mapping[str, Any], field: str, where: str, warn: Warn) -> str | None:
    text = reading.moment(holder.get(field))
    if text is None:
        warn(f"{where}: {field} is not a moment with its offset: imported as unknown")
    return text


def _not_before(asked: str | None, time: str | None, what: str, warn: Warn) -> str | None:
    if asked and time and time < asked:
        warn(f"{what} before it was requested: known from the request's time on")
    return message.later(asked, time)


def _words(holder: Mapping[str, Any], field: str, ref: str, warn: Warn) -> str | None:
    given = holder.get(field)
    words = reading.lines(given)
    if (words is None and not (given is None or isinstance(given, str))) or (
        words and len(words) > reading.MAX_WORDS
    ):
        warn(f"{ref}: {field} is not text of at most 16,000 characters: imported without")
        return None
    return words


def _theme(request: _Request, services: Mapping[str, str], ref: str, warn: Warn) -> str | None:
    name = request.get("service_name")
    if not isinstance(name, str) or not name.strip():
        name = services.get(str(request.get("service_code")), "")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    theme = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:64].rstrip("_")
    if not theme:
        warn(f"{ref}: no service_name to take a theme from: imported without")
    return theme or None


def _coordinates(request: _Request, ref: str, warn: Warn) -> str | None:
    given = [request.get("lat"), request.get("long")]
    if any(value is None or value == "" for value in given):
        return None
    try:
        lat, long = (float(v) for v in given if isinstance(v, int | float | str) and not isinstance(v, bool))
    except ValueError:
        lat = long = math.nan
    if lat == long == 0:
        return None
    if not (-90 <= lat <= 90 and -180 <= long <= 180):
        warn(f"{ref}: lat and long are no place on earth: imported without")
        return None
    return f"{Decimal(str(lat)):f},{Decimal(str(long)):f}"  # str alone would write 0.00001 as 1e-05
