"""Is what is asked of the record answered truly: now, as at a date, and without saying too much?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.messages import FORCE, PLACE, Message, concern, lines, message
from tests.support.program import heard

NOW = "2026-01-20"


def told(folder: Path, *messages: Message) -> None:
    """Publish and consume."""
    answer = heard("publish", "-", dir=folder, now=NOW, stdin=lines(messages))
    assert answer.code == 0, answer.err
    assert heard("consume", "--until-idle", dir=folder, now=NOW).code == 0


def asked(folder: Path, *call: str) -> Any:
    """The JSON answer."""
    answer = heard(*call, dir=folder, now=NOW)
    assert answer.code == 0, answer.err
    return answer.json


def fields(folder: Path, ref: str, *more: str) -> dict[str, Any]:
    """What `show` tells of a thing."""
    return dict(asked(folder, "show", ref, *more)["fields"])


def text(folder: Path, ref: str, *more: str) -> str:
    """The words of a thing in its own trace."""
    return str(next(n["text"] for n in asked(folder, "trace", ref, *more)["nodes"] if n["ref"] == ref))


# -- what a moderator hid ------------------------------------------------------------------------

HIDDEN = "Jo Example of 12 Mill Lane shouts at night."
ADDRESS = "12 Mill Lane"


@pytest.fixture(scope="module")
def moderated(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moderated")
    told(
        folder,
        concern("N1", words=HIDDEN, address=ADDRESS, contributor={"ref": "person-1", "name": "Sam Writer"}),
        message("concern.moderated", "N1", time="2026-01-07T09:00:00Z", reason="personal_information",
                reason_words="It named a neighbour."),
        message("concern.closed", "N1", time="2026-01-08T09:00:00Z", reason_words="Jo Example has moved."),
        message("contact.recorded", "C1", channel="email", words=HIDDEN),
        message("contact.moderated", "C1", time="2026-01-07T09:00:00Z", reason="personal_information"),
        concern("N2", words="It was dark."),
        message("concern.moderated", "N2", time="2026-01-07T09:00:00Z", reason="spam"),
        message("concern.reopened", "N2", time="2026-01-09T09:00:00Z"),
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("ref", ["N1", "C1"])
def test_words_of_what_was_moderated_are_not_shown(ref: str, moderated: Path) -> None:
    assert text(moderated, ref) == "[moderated]"
    assert fields(moderated, ref)["words"] == "[moderated]"
    for call in (
        ("show", ref),
        ("trace", ref),
        ("trace", ref, "--format", "svg"),
        ("log", ref),
        ("replay", ref),
    ):
        out = heard(*call, dir=moderated, now=NOW).text
        assert not [secret for secret in ("Jo Example", ADDRESS, "Sam Writer") if secret in out], call


def test_why_a_moderator_hid_it_is_still_told(moderated: Path) -> None:
    shown = fields(moderated, "N1", "--at", "2026-01-07")
    assert (shown["reason"], shown["reason_words"]) == ("personal_information", "It named a neighbour.")


def test_as_at_a_date_before_the_moderation_the_words_are_shown(moderated: Path) -> None:
    assert text(moderated, "N1", "--at", "2026-01-06") == HIDDEN
    shown = fields(moderated, "N1", "--at", "2026-01-06")
    assert (shown["words"], shown["address"]) == (HIDDEN, ADDRESS)


def test_once_it_is_reopened_the_words_are_shown_again(moderated: Path) -> None:
    assert text(moderated, "N2") == fields(moderated, "N2")["words"] == "It was dark."
    assert text(moderated, "N2", "--at", "2026-01-08") == "[moderated]"


@pytest.mark.parametrize("form", ["table", "svg"])
def test_a_picture_says_in_plain_words_that_they_are_hidden(form: str, moderated: Path) -> None:
    out = heard("trace", "N1", "--format", form, dir=moderated, now=NOW).text
    assert "words hidden by a moderator" in out
    assert "[moderated]" not in out


def test_what_was_erased_and_moderated_is_told_as_erased(moderated: Path, tmp_path: Path) -> None:
    told(
        tmp_path,
        concern("N3", words=HIDDEN),
        message("concern.moderated", "N3", time="2026-01-07T09:00:00Z", reason="spam"),
    )
    assert heard("erase", "N3", dir=tmp_path, now=NOW).code == 0
    assert text(tmp_path, "N3") == fields(tmp_path, "N3")["words"] == "[erased]"


# -- what a decision says, each time it is decided -----------------------------------------------


@pytest.fixture(scope="module")
def decided(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decided")
    told(
        folder,
        concern("N1"),
        message("decision.proposed", "D1", "derived_from concern N1", reasons=["unclear_request"],
                reason_words="In draft.", words="Shall we?", partner="council"),
        message("decision.made", "D1", time="2026-01-07T09:00:00Z", outcome="deferred",
                reasons=["resource_constraint"], reason_words="Not this year.", review_on="2026-06-01"),
        message("decision.revised", "D1", time="2026-01-09T09:00:00Z", outcome="changed_delivery"),
        message("decision.proposed", "D2", "derived_from concern N1", reason_words="In draft."),
        message("decision.made", "D2", time="2026-01-07T09:00:00Z", outcome="changed_delivery"),
    )  # fmt: skip
    return folder


def test_a_revised_decision_keeps_nothing_of_the_outcome_before(decided: Path) -> None:
    shown = fields(decided, "D1")
    assert (shown["outcome"], shown["reasons"], shown["partner"]) == ("changed_delivery", [], "council")
    assert not {"reason_words", "review_on", "words"} & shown.keys()


def test_as_at_a_date_before_its_revision_a_decision_is_shown_as_it_was_made(decided: Path) -> None:
    shown = fields(decided, "D1", "--at", "2026-01-08")
    assert (shown["reason_words"], shown["review_on"]) == ("Not this year.", "2026-06-01")
    assert (shown["reasons"], shown["outcome"]) == (["resource_constraint"], "deferred")
    assert "words" not in shown, "what was put forward is not what was decided"


def test_the_reasons_of_a_draft_are_never_those_of_the_decision(decided: Path) -> None:
    assert "reason_words" not in fields(decided, "D2")
    assert not {"reasons", "reason_words"} & fields(decided, "D1", "--at", "2026-01-06").keys()
    assert fields(decided, "D1", "--at", "2026-01-06")["words"] == "Shall we?"


# -- as at which moment --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forces(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two forces: the days of the one end seven hours after those of the other."""
    folder = tmp_path_factory.mktemp("forces")
    far = {"force": "far-police", "neighbourhood": "delta"}
    told(
        folder,
        message("force.registered", FORCE, name="River Police", neighbourhood=None),
        message("force.registered", "far-police", force="far-police", neighbourhood=None,
                name="Far Police", time_zone="America/Vancouver"),
        # On 5 January still in Vancouver, on 6 January in London.
        concern("N1", time="2026-01-06T05:00:00Z"),
        concern("N2", time="2026-01-06T05:00:00Z", **far),
        message("priority.set", "P1", issue="Radio", neighbourhood=None),
        message("priority.set", "P2", issue="Noise"),
    )  # fmt: skip
    return folder


def test_a_plain_date_ends_when_the_day_of_the_thing_s_own_force_ends(forces: Path) -> None:
    for verb in ("trace", "show"):
        assert heard(verb, "N1", "--at", "2026-01-05", dir=forces, now=NOW).error["code"] == "not_found"
        assert heard(verb, "N2", "--at", "2026-01-05", dir=forces, now=NOW).code == 0


def test_a_duty_is_shown_as_at_a_day_of_its_force(forces: Path) -> None:
    duties = asked(forces, "query", "worklist", "--where", "ref=N2")["rows"]
    assert heard("show", duties[0]["id"], "--at", "2026-01-05", dir=forces, now=NOW).code == 0


def test_what_was_overdue_as_heard_had_written_by_then_counts_from_then(forces: Path) -> None:
    def late(*call: str) -> set[int]:
        answer = heard("query", "worklist", *call, f"{NOW}T12:00:00Z", dir=forces, now="2026-03-01")
        return {r["overdue_days"] for r in answer.json["rows"] if r["rule"] == "acknowledge_concern"}

    assert late("--recorded-at") == late("--at") == {11}


@pytest.mark.parametrize("moment", ["9999-12-31", "9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"])
@pytest.mark.parametrize("call", ["query inputs", "trace N1", "show N1"])
def test_a_moment_beyond_all_time_is_no_moment(call: str, moment: str, forces: Path) -> None:
    answer = heard(*call.split(), "--at", moment, dir=forces, now=NOW)
    assert (answer.code, answer.error["code"]) == (2, "not_a_date")


# -- which neighbourhood -------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [(), ("--at", NOW)])
@pytest.mark.parametrize("place", ["", "-"])
def test_no_neighbourhood_is_what_concerns_the_whole_force(
    place: str, moment: tuple[str, ...], forces: Path
) -> None:
    def refs(where: str) -> list[str]:
        return [r["ref"] for r in asked(forces, "query", "priorities", "--where", where, *moment)["rows"]]

    assert refs(f"neighbourhood={place}") == ["P1"]
    assert refs(f"neighbourhood={PLACE}") == ["P2"]
    rows = asked(forces, "query", "history", "--where", f"neighbourhood={place}", *moment)["rows"]
    assert {row["neighbourhood"] for row in rows} == {None}


def test_as_at_a_date_a_force_is_asked_for_alone(forces: Path) -> None:
    def refs(*where: str) -> set[str]:
        return {r["ref"] for r in asked(forces, "query", "inputs", *where, "--at", NOW)["rows"]}

    assert refs("--where", "force=far-police") == {"N2"}
    assert refs() == {"N1", "N2"}


# -- how many stand behind a concern -------------------------------------------------------------


def test_a_trace_counts_the_supports_of_a_concern_now_and_as_at_a_date(tmp_path: Path) -> None:
    def support(fact: str, number: int, day: int, **fields: Any) -> Message:
        time = f"2026-01-{day:02}T09:00:00Z"
        return message(
            f"support.{fact}", f"S{number}", "supports concern N1", time=time,
            contributor={"ref": f"person-{number}"}, **fields,
        )  # fmt: skip

    told(
        tmp_path,
        concern("N1"),
        support("given", 1, 6, stance="agree"),
        support("given", 2, 7, stance="disagree"),
        support("changed", 2, 8, stance="pass"),
        support("withdrawn", 1, 9),
    )

    def counts(*more: str) -> list[tuple[str, dict[str, int]]]:
        nodes = asked(tmp_path, "trace", "N1", *more)["nodes"]
        return [(node["ref"], node["counts"]) for node in nodes if node["counts"]]

    def of(agree: int, disagree: int, pass_: int, withdrawn: int) -> list[tuple[str, dict[str, int]]]:
        each = {"agree": agree, "disagree": disagree, "pass": pass_, "withdrawn": withdrawn}
        return [("supports of N1", each)]

    assert counts() == counts("--recorded-at", NOW) == of(0, 0, 1, 1)
    assert counts("--at", "2026-01-05") == []
    assert counts("--at", "2026-01-06") == of(1, 0, 0, 0)
    assert counts("--at", "2026-01-07") == of(1, 1, 0, 0)
    assert counts("--at", "2026-01-08") == of(1, 0, 1, 0)
    for form in ("table", "svg"):
        out = heard("trace", "N1", "--format", form, dir=tmp_path, now=NOW).text
        assert "1 has no opinion, 1 took it back" in " ".join(out.split())


# -- small numbers -------------------------------------------------------------------------------


def test_small_counts_of_sections_are_not_shown_nor_to_be_worked_out(tmp_path: Path) -> None:
    sections = [{"section": "renters", "people": 3}, {"section": "students", "people": 8},
                {"section": "businesses", "people": 14}]  # fmt: skip
    told(tmp_path, message("engagement.held", "E1", method="surgery", attendance=25, sections=sections))
    shown = fields(tmp_path, "E1")
    assert [each["people"] for each in shown["sections"]] == ["<5", "withheld", 14]
    assert shown["attendance"] == 25
