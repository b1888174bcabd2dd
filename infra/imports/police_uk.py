"""Which priorities does police.uk publish for a neighbourhood, and what came of each?

Reads the answers of data.police.uk: a neighbourhood's priorities (a list, or one of them), and the
neighbourhood itself. They carry no force, and priorities no neighbourhood either: the importer is told.

| what | becomes |
|---|---|
| priority | priority set on the day issue-date, under `police-uk:<issue-date>:<first 8 hex digits of SHA-256 of the issue as plain text, UTF-8>`, for police.uk gives it no id |
| its action | action recorded on the day action-date; another text or date later is another action |
| neighbourhood | registered with name and population; its reference is the neighbourhood that was told |
| HTML in an issue, action or name | plain text: entities resolved; p, br, li, div, tr and headings begin a new line; repeated white space is one space; scripts and styles left out |

A message's time is its day at 00:00 UTC. Not imported: description, links, locations, centre and contact
details of a neighbourhood. Priorities come in the order of their days, after the neighbourhood.

Dirty values:

| what is wrong | rule |
|---|---|
| issue null, blank, not text, or empty HTML | the priority is left out, told |
| issue-date null, blank or malformed | the priority is left out, told: without it, it has no reference |
| action null, blank or empty HTML | no action: the priority stays open; if there is an action-date all the same, told |
| action not text | no action, told |
| action-date null, blank or malformed | the action is recorded as of an unknown day; known from the import on; told |
| action-date before issue-date | occurred as published; known from issue-date on; told |
| issue, action or name over 4,000 characters | cut there, with an ellipsis; told. Public text may be cut, people's own words never |
| the same priority or action twice | counts once |
| an item of a list of priorities that is no priority | left out, told |
| population "0" | absent: so police.uk shows that the force has not given one |
| population not a whole number (commas between thousands are fine) | absent, told |
| a neighbourhood without a name | not registered, told |
| a neighbourhood whose own id is not the one told | what was told counts, told; of several, the one with that id, else one of them, and the others are left out |
| [] | a neighbourhood without priorities: no message, told |
| contact details, links, locations, coordinates, engagement methods, teams, forces, lists of neighbourhoods | hold nothing to import, told; alone they are refused |
| not JSON, not UTF-8, something else | nothing is imported |
"""  # noqa: E501

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import date
from html.parser import HTMLParser
from itertools import chain
from typing import Any, Final

import orjson

from domain import neighbourhood as neighbourhood_
from domain import priority
from infra.imports import message, reading
from infra.imports.message import Origin
from infra.imports.reading import Warn, silent

_EXPECTED: Final = "a neighbourhood, or its priorities, as data.police.uk answers"
_HINT: Final = "save the answer of /api/FORCE/NEIGHBOURHOOD or /api/FORCE/NEIGHBOURHOOD/priorities as it is"
_MAX_TEXT: Final = 4_000
_MAX_PEOPLE: Final = 1_000_000_000
_NOTHING_IN: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("a police force", frozenset({"id", "engagement_methods"})),
    ("a team's officer", frozenset({"rank"})),
    ("a location", frozenset({"postcode"})),
    ("a location", frozenset({"latitude", "longitude"})),
    ("an engagement method or link", frozenset({"title", "url"})),
    ("which team answers for a place", frozenset({"force", "neighbourhood"})),
    ("a force or neighbourhood by id and name only", frozenset({"id", "name"})),
    ("contact details", frozenset({"telephone"})),
    ("contact details", frozenset({"email"})),
)
"""The other answers of data.police.uk, known by some of their fields."""


def messages(
    files: Sequence[tuple[str, bytes]],
    *,
    force: str,
    neighbourhood: str,
    source: str,
    warn: Warn = silent,
) -> Iterator[dict[str, Any]]:
    """The neighbourhood and its priorities. InvalidMessageError if a file cannot be read as a whole."""
    origin = Origin(force, neighbourhood, source)
    places: list[tuple[str, dict[str, Any]]] = []
    priorities: dict[str, dict[str, Any]] = {}
    found = False
    for name, content in files:
        document = reading.json_of(name, content)
        items = reading.items_of(document)
        if document == []:
            found = True
            warn(f"{name}: an empty list: no priorities")
        elif any(_is_priority(item) for item in items):
            found = True
            for number, item in enumerate(items, 1):
                where = f"{name}, item {number}"
                priorities |= {told["id"]: told for told in _told(origin, where, item, warn)}
        elif all(_is_neighbourhood(item) for item in items):
            found = True
            places.extend((name, item) for item in items)
        elif (what := _nothing_in(items)) is not None:
            warn(f"{name}: {what}: nothing to import")
        else:
            raise reading.unknown(name, expected=_EXPECTED, got=reading.shape(document), hint=_HINT)
    if not found:
        raise reading.nothing_there(files, expected=_EXPECTED, hint=_HINT)
    return chain(_registered(origin, places, warn), sorted(priorities.values(), key=_set_before_actions))


def _is_priority(item: Any) -> bool:
    return isinstance(item, dict) and ("issue" in item or "issue-date" in item)


def _is_neighbourhood(item: Any) -> bool:
    own = {"population", "url_force", "centre"}
    return isinstance(item, dict) and "name" in item and not own.isdisjoint(item)


def _nothing_in(items: list[Any]) -> str | None:
    if not all(isinstance(item, dict) for item in items):
        return None
    return next((what for what, fields in _NOTHING_IN if all(fields <= item.keys() for item in items)), None)


def _set_before_actions(told: dict[str, Any]) -> tuple[str, bool, str]:
    return told["data"]["ref"], told["type"] != priority.Set.TOPIC, told["id"]


def _registered(
    origin: Origin, places: list[tuple[str, dict[str, Any]]], warn: Warn
) -> Iterator[dict[str, Any]]:
    def rank(place: tuple[str, dict[str, Any]]) -> tuple[bool, bytes]:
        _, document = place
        other = document.get("id") != origin.neighbourhood
        return other, orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

    for place, (name, document) in enumerate(sorted(places, key=rank)):
        if place > 0:
            warn(f"{name}: another neighbourhood: left out")
            continue
        if document.get("id") != origin.neighbourhood:
            warn(f"{name}: its id is not {origin.neighbourhood}, which was told and counts")
        called = _public(document, "name", name, warn)
        if called is None:
            warn(f"{name}: no name: the neighbourhood is not registered")
            continue
        yield origin.message(
            neighbourhood_.Registered, f"police-uk:neighbourhood:{origin.neighbourhood}",
            origin.neighbourhood, occurred=message.UNKNOWN, time=None, role="neighbourhood_team", name=called,
            population=_population(document.get("population"), name, warn),
        )  # fmt: skip


def _population(given: Any, where: str, warn: Warn) -> int | None:
    text = str(given).strip() if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if given is None or given == "":
        return None
    if not re.fullmatch(r"[0-9]{1,10}|[0-9]{1,3}(,[0-9]{3}){1,3}", text) or (
        (people := int(text.replace(",", ""))) > _MAX_PEOPLE
    ):
        warn(f"{where}: population is not a whole number: imported without")
        return None
    return people or None


def _told(origin: Origin, where: str, item: Any, warn: Warn) -> Iterator[dict[str, Any]]:
    if not _is_priority(item):
        warn(f"{where}: not a priority: left out")
        return
    issue, day = _plain(item.get("issue")), reading.day(item.get("issue-date"))
    if issue is None:
        warn(f"{where}: no issue: the priority is left out")
        return
    if day is None:
        warn(f"{where}: issue-date is not a date: the priority is left out")
        return
    ref = f"police-uk:{day.isoformat()}:{_short(issue)}"
    occurred, since = message.on(day)
    yield origin.message(
        priority.Set, f"{ref}:set", ref, occurred=occurred, time=since, role="neighbourhood_team",
        issue=_cut(issue, "issue", where, warn),
    )  # fmt: skip
    acted = item.get("action-date")
    action = _plain(item.get("action"))
    if action is None:
        if item.get("action") is not None and not isinstance(item.get("action"), str):
            warn(f"{where}: action is not text: imported without")
        elif acted:
            warn(f"{where}: action-date without an action: imported without")
        return
    action_day = _action_day(acted, day, where, warn)
    occurred, time = message.on(action_day)
    yield origin.message(
        priority.ActionRecorded, f"{ref}:action:{occurred.get('from', 'unknown')}:{_short(action)}", ref,
        occurred=occurred, time=message.later(since, time), role="neighbourhood_team",
        action=_cut(action, "action", where, warn),
    )  # fmt: skip


def _action_day(given: Any, issued: date, where: str, warn: Warn) -> date | None:
    day = reading.day(given)
    if day is None:
        warn(f"{where}: action-date is not a date: imported as unknown")
    elif day < issued:
        warn(f"{where}: action-date lies before issue-date: known from issue-date on")
    return day


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _public(holder: dict[str, Any], field: str, where: str, warn: Warn) -> str | None:
    text = _plain(holder.get(field))
    return None if text is None else _cut(text, field, where, warn)


def _cut(text: str, field: str, where: str, warn: Warn) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    warn(f"{where}: {field} is over 4,000 characters: cut")
    return text[: _MAX_TEXT - 1] + "…"


class _Text(HTMLParser):
    """Collects what a reader of the page would see."""

    BREAKS: Final = frozenset({"p", "br", "li", "div", "tr", "h1", "h2", "h3", "h4", "h5", "h6"})
    UNSEEN: Final = frozenset({"script", "style"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.unseen = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unseen = tag in self.UNSEEN
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.unseen = False
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.parts.append(data.replace("\n", " "))  # in HTML a line end is only white space


def _plain(given: Any) -> str | None:
    """HTML as plain text; None if it is not text or nothing is left."""
    if not isinstance(given, str):
        return None
    parser = _Text()
    parser.feed(given)
    parser.close()
    text = "".join(parser.parts).replace("\0", " ")
    return "\n".join(" ".join(line.split()) for line in text.split("\n") if line.strip()) or None
