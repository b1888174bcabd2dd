"""Does the real data give the figures that its README promises?"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from infra.imports import KINDS, default_source
from tests.support.imported import Where, of, usable
from tests.support.requires import shared_data


def run(kind: str, paths: Iterable[Path], force: str, place: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The messages, which are the same when the import is repeated with the files in another order."""
    told: list[str] = []
    files = [(path.name, path.read_bytes()) for path in paths]
    where: Where = {"force": force, "neighbourhood": place, "source": default_source(kind, force, place)}
    messages = usable(KINDS[kind](files, **where, warn=told.append))
    again = KINDS[kind](files[::-1], **where)
    assert list(map(orjson.dumps, again)) == list(map(orjson.dumps, messages))
    return messages, told


def test_the_london_conversation_has_39_comments_and_640_votes_of_27_people() -> None:
    folder = shared_data("polis-london-youth-policing")
    messages, told = run("polis", sorted(folder.glob("*.csv")), "metropolitan", "london")
    raised, given = of(messages, "concern.raised"), of(messages, "support.given")
    moderated = [m["data"]["ref"] for m in of(messages, "concern.moderated")]
    authors = {m["data"]["contributor"]["ref"] for m in raised}
    voters = {m["data"]["contributor"]["ref"] for m in given}
    assert (len(raised), len(given), len(messages)) == (39, 640, 39 + 640 + 3)
    assert (len(voters), len(authors | voters)) == (26, 27)
    assert authors - voters == {"polis:person:0"}
    assert moderated == ["polis:0", "polis:2", "polis:3"]
    assert all("  " not in m["data"]["words"] for m in raised)
    assert len(told) == 3  # the export's other files


def test_counted_by_person_the_votes_are_those_that_polis_counts_but_for_two() -> None:
    folder = shared_data("polis-london-youth-policing")
    messages, _ = run("polis", [folder / "votes.csv", folder / "comments.csv"], "metropolitan", "london")
    people: dict[tuple[str, str], set[str]] = defaultdict(set)
    for m in of(messages, "support.given"):
        data = m["data"]
        people[data["causes"][0]["ref"], data["stance"]].add(data["contributor"]["ref"])
    different = {}
    with (folder / "comments.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            ref = f"polis:{row['comment-id']}"
            counted = len(people[ref, "agree"]), len(people[ref, "disagree"])
            theirs = int(row["agrees"]), int(row["disagrees"])
            if counted != theirs:
                different[ref] = (counted, theirs)
    assert different == {"polis:10": ((12, 8), (13, 8)), "polis:25": ((15, 2), (16, 2))}


def test_bloomington_has_21_requests_of_which_3_are_closed() -> None:
    folder = shared_data("open311-bloomington")
    files = [folder / "services.json", folder / "requests.json"]
    assert len(orjson.loads(files[0].read_bytes())) == 46
    messages, told = run("open311", files, "bloomington", "west")
    raised, closed = of(messages, "concern.raised"), of(messages, "concern.closed")
    assert (len(raised), len(closed), len(messages)) == (21, 3, 24)
    assert len({m["data"]["ref"] for m in raised} - {m["data"]["ref"] for m in closed}) == 18
    assert told == []
    assert {m["data"]["kind"] for m in raised} == {"request"}
    assert Counter(m["data"]["theme"] for m in raised)["weeds"] == 6
    assert sum("words" not in m["data"] for m in raised) == 4  # one null, three blank
    assert sum("coordinates" in m["data"] for m in raised) == 13
    assert not any("\r" in m["data"].get("words", "") for m in raised)
    assert all(m["data"]["occurred"]["from"].endswith("-04:00") for m in raised)


def test_museum_square_was_acted_on_after_75_days() -> None:
    folder = shared_data("policeuk-fixtures")
    messages, told = run("police-uk", sorted(folder.glob("*.json")), "leicestershire", "NC04")
    registered, issues = of(messages, "neighbourhood.registered"), of(messages, "priority.set")
    actions = of(messages, "priority.action_recorded")
    assert [(m["data"]["name"], m["data"]["population"]) for m in registered] == [("City Centre", 1000)]
    assert (len(issues), len(actions), len(messages)) == (2, 1, 4)
    museum, humberstone = issues
    assert "Museum Square" in museum["data"]["issue"]
    assert actions[0]["data"]["ref"] == museum["data"]["ref"] != humberstone["data"]["ref"]
    issued, acted = (date.fromisoformat(m["data"]["occurred"]["from"]) for m in (museum, actions[0]))
    assert (issued, acted, (acted - issued).days) == (date(2015, 10, 8), date(2015, 12, 22), 75)
    assert len(told) == 18 - 1 - 3  # every other answer holds nothing that Heard records
