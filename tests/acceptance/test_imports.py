"""Does real data come through import, publish and consume with the figures that it should have?"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.program import Answer, heard
from tests.support.requires import shared_data

NOW = "2026-06-01"
ACKNOWLEDGE, DECIDE, TELL = timedelta(hours=72), timedelta(days=28), timedelta(days=14)
BETTER_COUNTED = {"10": 12, "25": 15}
"""Comments where comments.csv counts one voter's agree twice, and how many people agree."""

Row = dict[str, Any]
Ask = Callable[..., Answer]


def brought_in(folder: Path, kind: str, files: list[Path], force: str, place: str) -> list[Row]:
    """The messages of an import that was published and consumed."""
    imported = heard("import", kind, *files, "--force", force, "--neighbourhood", place, dir=folder)
    assert imported.code == 0, imported.err
    published = heard("publish", "-", dir=folder, now=NOW, stdin=imported.out)
    messages = [orjson.loads(line) for line in imported.out.splitlines()]
    assert published.json == {"sent": len(messages), "rejected": []}
    assert heard("consume", "--until-idle", dir=folder, now=NOW).code == 0
    return messages


def asking(folder: Path) -> Ask:
    """Ask the record in that folder."""
    return lambda *args, now=NOW: heard(*args, dir=folder, now=now)


def rows(answer: Answer) -> dict[str, Row]:
    """The rows of an answer, by reference."""
    found = {row["ref"]: row for row in answer.json["rows"]}
    assert len(found) == len(answer.json["rows"])
    return found


def worklist(ask: Ask, rule: str) -> dict[str, Row]:
    """The open duties of one rule, by the reference of what they are about."""
    return rows(ask("query", "worklist", "--where", f"rule={rule}"))


def whole_days_since(moment: datetime) -> int:
    """Days from that moment to the test's day."""
    return (datetime.fromisoformat(f"{NOW}T00:00:00+00:00") - moment).days


# -- Polis ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def polis(
    underneath: object, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ask, list[Row], dict[str, Row]]:
    """The conversation in the record, its messages, and comments.csv by reference."""
    data = shared_data("polis-london-youth-policing")
    folder = tmp_path_factory.mktemp("polis")
    messages = brought_in(
        folder, "polis", [data / "comments.csv", data / "votes.csv"], "metropolitan", "london"
    )
    with (data / "comments.csv").open(newline="", encoding="utf-8") as lines:
        comments: dict[str, Row] = {f"polis:{row['comment-id']}": dict(row) for row in csv.DictReader(lines)}
    return asking(folder), messages, comments


def test_polis_has_39_comments_of_which_3_are_moderated(
    polis: tuple[Ask, list[Row], dict[str, Row]],
) -> None:
    ask, _, comments = polis
    inputs = rows(ask("query", "inputs"))
    assert len(inputs) == 39
    assert inputs.keys() == comments.keys()
    moderated = {ref for ref, row in inputs.items() if row["moderated"]}
    assert moderated == {ref for ref, row in comments.items() if row["moderated"] == "-1"}
    assert len(moderated) == 3
    assert {row["state"] for ref, row in inputs.items() if ref in moderated} == {"moderated"}


def test_polis_has_640_votes_and_two_say_nothing_new(polis: tuple[Ask, list[Row], dict[str, Row]]) -> None:
    ask, messages, _ = polis
    votes = [m for m in messages if m["type"] == "heard.support.given.v1"]
    assert len(votes) == 640
    counted = ask("doctor").json["messages"]
    assert (counted["read"], counted["accepted"], counted["no_change"]) == (39 + 3 + 640, 39 + 3 + 638, 2)
    assert counted["balanced"]
    given = ask("query", "history", "--where", "type=heard.support.given.v1").json["rows"]
    supporters = [row["supporters"] for row in rows(ask("query", "inputs")).values()]
    assert len(given) == sum(supporters) == 638
    assert max(supporters) <= 26


def test_polis_has_26_voters_and_27_people(polis: tuple[Ask, list[Row], dict[str, Row]]) -> None:
    ask, messages, _ = polis
    called: dict[str, str] = {}
    for message in messages:
        if message["type"] == "heard.support.given.v1":
            called.setdefault(message["data"]["contributor"]["ref"], message["data"]["ref"])

    def person(ref: str) -> str:
        return str(ask("show", ref).json["fields"]["contributor.subject"])

    voters = {person(ref) for ref in called.values()}
    authors = {person(ref) for ref in rows(ask("query", "inputs"))}
    assert (len(called), len(voters), len(voters | authors)) == (26, 26, 27)


def test_in_polis_a_person_counts_once(polis: tuple[Ask, list[Row], dict[str, Row]]) -> None:
    ask, _, comments = polis
    counted = {ref: (row["agrees"], row["disagrees"]) for ref, row in rows(ask("query", "inputs")).items()}
    theirs = {
        ref: (BETTER_COUNTED.get(row["comment-id"], int(row["agrees"])), int(row["disagrees"]))
        for ref, row in comments.items()
    }
    assert counted == theirs
    doubly = {ref: int(comments[f"polis:{ref}"]["agrees"]) for ref in BETTER_COUNTED}
    assert doubly == {"10": 13, "25": 16}


def test_every_comment_that_nobody_answered_is_overdue_by_the_right_number_of_days(
    polis: tuple[Ask, list[Row], dict[str, Row]],
) -> None:
    ask, _, comments = polis
    known = {ref: datetime.fromtimestamp(int(row["timestamp"]) / 1000, UTC) for ref, row in comments.items()}
    shown = {ref for ref, row in comments.items() if row["moderated"] != "-1"}
    for rule, time, whose in (
        ("acknowledge_concern", ACKNOWLEDGE, shown),
        ("decide_concern", DECIDE, shown),
        ("tell_contributor", TELL, known.keys() - shown),  # that their comment is not shown
    ):
        duties = worklist(ask, rule)
        assert duties.keys() == whose, rule
        assert {row["state"] for row in duties.values()} == {"overdue"}
        days = {ref: row["overdue_days"] for ref, row in duties.items()}
        assert days == {ref: whole_days_since(known[ref] + time) for ref in whose}, rule


def test_the_same_import_again_brings_only_duplicates(tmp_path: Path) -> None:
    data = shared_data("polis-london-youth-policing") / "comments.csv"
    for _ in range(2):
        messages = brought_in(tmp_path, "polis", [data], "metropolitan", "london")
    counted = asking(tmp_path)("doctor").json["messages"]
    assert counted["accepted"] == counted["duplicates"] == len(messages)
    assert counted["balanced"]


# -- Open311 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open311(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ask, dict[str, Row]]:
    """The requests in the record, and requests.json by reference."""
    data = shared_data("open311-bloomington")
    folder = tmp_path_factory.mktemp("open311")
    brought_in(folder, "open311", [data / "services.json", data / "requests.json"], "bloomington", "west")
    requests = orjson.loads((data / "requests.json").read_bytes())
    return asking(folder), {f"open311:{row['service_request_id']}": row for row in requests}


def test_of_21_requests_18_are_open_and_3_closed(open311: tuple[Ask, dict[str, Row]]) -> None:
    ask, requests = open311
    inputs = rows(ask("query", "inputs"))
    assert inputs.keys() == requests.keys()
    closed = {ref for ref, row in inputs.items() if row["state"] == "closed"}
    assert closed == {ref for ref, row in requests.items() if row["status"] == "closed"}
    assert (len(inputs) - len(closed), len(closed)) == (18, 3)
    assert {row["state"] for ref, row in inputs.items() if ref not in closed} == {"received"}
    assert len(rows(ask("query", "inputs", "--where", "state=closed"))) == 3


def test_a_closed_request_that_nobody_decided_on_is_still_owed_a_decision(
    open311: tuple[Ask, dict[str, Row]],
) -> None:
    ask, requests = open311
    for rule, time in (("acknowledge_concern", ACKNOWLEDGE), ("decide_concern", DECIDE)):
        duties = worklist(ask, rule)
        expected = {
            ref: whole_days_since(datetime.fromisoformat(row["requested_datetime"]) + time)
            for ref, row in requests.items()
        }
        assert {ref: row["overdue_days"] for ref, row in duties.items()} == expected, rule


def test_an_address_is_sealed_and_opened_for_whoever_may_ask(open311: tuple[Ask, dict[str, Row]]) -> None:
    ask, requests = open311
    ref, request = next((ref, row) for ref, row in requests.items() if row["address"])
    fields = ask("show", ref).json["fields"]
    assert fields["address"] == request["address"]
    assert fields["coordinates"].startswith(str(request["lat"])[:8])


# -- police.uk -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def police_uk(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Leicester's city centre in the record."""
    data = shared_data("policeuk-fixtures")
    folder = tmp_path_factory.mktemp("police-uk")
    brought_in(folder, "police-uk", sorted(data.glob("*.json")), "leicestershire", "NC04")
    return asking(folder)


def test_museum_square_was_acted_on_after_75_days_and_the_other_stays_open(police_uk: Ask) -> None:
    museum, humberstone = sorted(police_uk("query", "priorities").json["rows"], key=lambda r: r["set_on"])
    assert "Museum Square" in museum["issue"]
    assert (museum["set_on"], museum["action_on"]) == ("2015-10-08", "2015-12-22")
    assert (museum["state"], museum["days_to_action"]) == ("actioned", 75)
    assert museum["ref"].startswith("police-uk:2015-10-08:")
    assert (museum["force"], museum["neighbourhood"]) == ("leicestershire", "NC04")
    assert "Humberstone Gate" in humberstone["issue"]
    assert (humberstone["state"], humberstone["action"], humberstone["days_to_action"]) == (
        "open", None, None,
    )  # fmt: skip


def test_a_priority_that_was_not_reviewed_within_three_months_is_overdue(police_uk: Ask) -> None:
    duties = worklist(police_uk, "review_priority")
    due = {row["due"]: row["overdue_days"] for row in duties.values()}
    assert due == {
        f"{day}T00:00:00.000000Z": whole_days_since(datetime.fromisoformat(f"{day}T00:00:00+00:00"))
        for day in ("2016-01-08", "2016-07-14")
    }


def test_the_neighbourhood_is_registered_under_the_name_that_the_police_publish(police_uk: Ask) -> None:
    shown = police_uk("show", "NC04").json
    assert (shown["kind"], shown["fields"]["name"]) == ("neighbourhood", "City Centre")
    assert shown["fields"]["population"] == 1000


# -- when it is overdue --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "state", "days"),
    [
        ("2022-07-29T09:34:47.741Z", "due", 0),
        ("2022-07-29T09:34:47.742Z", "due", 0),
        ("2022-07-29T09:34:47.743Z", "overdue", 0),
        ("2022-07-30T09:34:47.741Z", "overdue", 0),
        ("2022-07-30T09:34:47.742Z", "overdue", 1),
        ("2022-08-28T09:34:47.742Z", "overdue", 30),
    ],
)
def test_a_duty_is_overdue_from_the_moment_after_it_was_due(
    polis: tuple[Ask, list[Row], dict[str, Row]], now: str, state: str, days: int
) -> None:
    # polis:1 became known on 26 July 2022 at 09:34:47.742 UTC; it is acknowledged within 72 hours.
    ask, *_ = polis
    # Asked with another clock: overdue is worked out when asked, never stored.
    row = rows(ask("query", "worklist", "--where", "rule=acknowledge_concern", now=now))["polis:1"]
    assert (row["state"], row["overdue_days"]) == (state, days)
