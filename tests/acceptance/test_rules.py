"""What happens to a message that breaks a rule, and do the rules that nothing can break hold?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.messages import Message, concern, lines, message
from tests.support.program import Answer, heard
from tests.support.requires import ROOT

NOW = "2026-01-10"

Row = dict[str, Any]
Ask = Callable[..., Answer]


@dataclass(frozen=True)
class Broken:
    """A rule, what is accepted before, and the message that breaks it."""

    rule: str
    message: Message
    before: tuple[Message, ...] = ()


def breaks(rule: str, *messages: Message) -> Broken:
    """The last of the messages breaks the rule."""
    return Broken(rule, messages[-1], messages[:-1])


def made(ref: str, *causes: str, **fields: Any) -> Message:
    """A decision that delivers, on no input for a reason that it gives."""
    usual: Row = {"outcome": "changed_delivery", "none_because": None if causes else "Nobody was asked."}
    return message("decision.made", ref, *causes, **(usual | fields))


def declined(ref: str, **fields: Any) -> Message:
    """A decision that does not deliver, and says why."""
    usual = {"outcome": "declined", "reasons": ["would_displace"], "reason_words": "It would only move."}
    return made(ref, **(usual | fields))


def sent(ref: str, *causes: str, **fields: Any) -> Message:
    """Feedback to the public."""
    return message("feedback.sent", ref, *causes, **({"audience": "public", "channel": "website"} | fields))


def answered(ref: str) -> Message:
    """The feedback was answered."""
    return message("feedback.answered", ref, agrees=True)


def planned(ref: str, **fields: Any) -> Message:
    """A meeting was announced."""
    usual: Row = {"method": "public_meeting", "planned_for": "2026-02-01"}
    return message("engagement.planned", ref, **(usual | fields))


def held(ref: str, **fields: Any) -> Message:
    """A meeting took place."""
    return message("engagement.held", ref, method="public_meeting", **fields)


def change(fact: str, ref: str, **fields: Any) -> Message:
    """Something about a change of how officers patrol."""
    usual: dict[str, Row] = {
        "planned": {"kind": "patrol"}, "implemented": {"kind": "patrol"},
        "measured": {"measure": "reports", "after": 3},
        "abandoned": {"reasons": ["resource_constraint"], "reason_words": "Nobody is left to do it."},
    }  # fmt: skip
    return message(f"change.{fact}", ref, **(usual.get(fact, {}) | fields))


def given(ref: str, *causes: str, **fields: Any) -> Message:
    """Somebody's view of a concern."""
    usual = {"stance": "agree", "contributor": {"ref": "person-1"}}
    return message("support.given", ref, *causes, **(usual | fields))


def again(first: Message, **fields: Any) -> tuple[Message, Message]:
    """The message, and another that makes the same thing."""
    second: Message = first | {"id": f"{first['id']}.again", "data": first["data"] | fields}
    return first, second


TABLE: tuple[Broken, ...] = (
    # one reference names one thing, whatever sort of thing it is
    breaks("one_reference_one_thing", *again(concern("once-concern"), words="Something else.")),
    breaks("one_reference_one_thing", *again(message("contact.recorded", "once-contact", channel="email"))),
    breaks("one_reference_one_thing", *again(held("once-meeting"), attendance=12)),
    breaks("one_reference_one_thing", *again(message("decision.proposed", "once-proposal"))),
    breaks("one_reference_one_thing", *again(message("priority.set", "once-priority", issue="Noise"))),
    breaks("one_reference_one_thing", *again(change("planned", "once-plan"))),
    breaks("one_reference_one_thing", concern("N0"), *again(sent("once-sent", "answers concern N0"))),
    breaks("one_reference_one_thing", concern("N00"),
           *again(message("referral.made", "once-referral", "refers concern N00", partner="council"))),
    breaks("one_reference_one_thing",
           *again(message("neighbourhood.registered", "old-town", neighbourhood="old-town", name="O"))),
    breaks("one_reference_one_thing",
           *again(message("force.registered", "harbour", force="harbour", neighbourhood=None, name="H"))),
    breaks("nothing_rests_on_itself", concern("N1"),
           message("concern.grouped", "N1", "grouped_with concern N1")),
    # engagements
    breaks("what_was_held_is_not_planned_again", held("E1"), planned("E1")),
    breaks("what_was_cancelled_was_not_held",
           planned("E2"), message("engagement.cancelled", "E2"), held("E2")),
    breaks("what_was_held_is_not_cancelled", held("E3"), message("engagement.cancelled", "E3")),
    # contacts and concerns
    breaks("what_was_withdrawn_is_not_corrected",
           message("contact.recorded", "K1", channel="letter", words="Lamps"),
           message("contact.withdrawn", "K1"), message("contact.corrected", "K1", words="Lights")),
    breaks("a_group_is_named", concern("N2"), message("concern.grouped", "N2")),
    breaks("one_group_at_a_time", concern("N3"), concern("N4"), concern("N5"),
           message("concern.grouped", "N3", "grouped_with concern N4"),
           message("concern.grouped", "N3", "grouped_with concern N5", id="N3.grouped.again")),
    breaks("only_what_ended_is_reopened", concern("N6"), message("concern.reopened", "N6")),
    breaks("what_was_withdrawn_is_not_judged",
           concern("N7"), message("concern.withdrawn", "N7"), message("concern.confirmed", "N7")),
    breaks("what_was_withdrawn_is_not_judged",
           concern("N8"), message("concern.withdrawn", "N8"), message("concern.disputed", "N8")),
    # support
    breaks("support_names_one_concern", given("S1")),
    breaks("support_names_one_concern", concern("N9"), concern("N10"),
           given("S2", "supports concern N9", "supports concern N10")),
    breaks("a_changed_mind_is_reported_as_changed", concern("N11"), given("S3", "supports concern N11"),
           given("S4", "supports concern N11", stance="disagree")),
    # decisions
    breaks("a_decision_names_its_inputs", made("D1", none_because=None)),
    breaks("a_decision_is_made_once", made("D2"), made("D2", id="D2.again")),
    breaks("weighing_names_inputs", message("decision.inputs_weighed", "D3")),
    breaks("inputs_are_weighed_before_the_decision", concern("N20"), made("D10"),
           message("decision.inputs_weighed", "D10", "weighed concern N20")),
    breaks("only_a_made_decision_is_revised", message("decision.proposed", "D4"),
           message("decision.revised", "D4", outcome="changed_delivery")),
    breaks("a_refusal_gives_reasons", declined("D5", reasons=None)),
    breaks("a_refusal_gives_reasons", made("D6"), message("decision.revised", "D6", outcome="no_change")),
    breaks("a_refusal_is_explained_in_plain_words", declined("D7", reason_words=None)),
    breaks("a_refusal_is_explained_in_plain_words",
           made("D8", outcome="adopted_as_priority", reasons=["other"])),
    breaks("a_deferral_has_a_review_date", declined("D9", outcome="deferred")),
    # priorities and changes
    breaks("a_closed_priority_stays_closed", message("priority.set", "P1", issue="Litter"),
           message("priority.closed", "P1"), message("priority.reviewed", "P1")),
    breaks("a_closed_priority_stays_closed", message("priority.set", "P2", issue="Litter"),
           message("priority.closed", "P2"), message("priority.action_recorded", "P2", action="Swept")),
    breaks("a_change_is_implemented_once", change("implemented", "A1"),
           change("implemented", "A1", id="A1.again")),
    breaks("an_abandoned_change_is_not_taken_up", change("planned", "A2"), change("abandoned", "A2"),
           change("started", "A2")),
    breaks("an_abandoned_change_is_not_taken_up", change("planned", "A3"), change("abandoned", "A3"),
           change("implemented", "A3")),
    breaks("only_an_implemented_change_is_measured", change("planned", "A4"), change("measured", "A4")),
    # feedback and referrals
    breaks("feedback_names_what_it_reports_on", sent("F1")),
    breaks("feedback_names_its_audience", concern("N12"),
           sent("F2", "answers concern N12", audience="section")),
    breaks("feedback_names_its_audience", concern("N13"),
           sent("F3", "answers concern N13", audience="contributor")),
    breaks("feedback_names_its_audience", concern("N14"),
           sent("F4", "answers concern N14", contributor={"ref": "person-1"})),
    breaks("what_failed_was_not_delivered", concern("N15"), sent("F5", "answers concern N15"),
           message("feedback.failed", "F5"), message("feedback.delivered", "F5")),
    breaks("what_was_answered_did_arrive", concern("N16"), sent("F6", "answers concern N16"),
           answered("F6"), message("feedback.failed", "F6")),
    breaks("what_failed_was_not_answered", concern("N17"), sent("F7", "answers concern N17"),
           message("feedback.failed", "F7"), answered("F7")),
    breaks("a_referral_names_what_it_refers", message("referral.made", "R1", partner="council")),
    breaks("what_was_withdrawn_is_not_answered", concern("N18"),
           message("referral.made", "R2", "refers concern N18", partner="council"),
           message("referral.withdrawn", "R2"), message("referral.answered", "R2")),
    breaks("what_was_answered_is_not_withdrawn", concern("N19"),
           message("referral.made", "R3", "refers concern N19", partner="council"),
           message("referral.answered", "R3"), message("referral.withdrawn", "R3")),
)  # fmt: skip


def consumed(folder: Path, *messages: Message) -> Ask:
    """Publish and consume them; ask the record."""
    published = heard("publish", "-", dir=folder, now=NOW, stdin=lines(messages))
    assert published.json == {"sent": len(messages), "rejected": []}
    assert heard("consume", "--until-idle", dir=folder, now=NOW).code == 0
    return lambda *args: heard(*args, dir=folder, now=NOW)


# -- rules that a message can break --------------------------------------------------------------


@pytest.fixture(scope="module")
def dead(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The dead letters, by message id, once everything in the table was published and consumed."""
    every = [each for broken in TABLE for each in (*broken.before, broken.message)]
    assert len({each["id"] for each in every}) == len(every)
    ask = consumed(tmp_path_factory.mktemp("rules"), *every)
    counts = ask("doctor").json["messages"]
    assert (counts["read"], counts["dead_letters"]) == (len(every), len(TABLE))
    assert (counts["accepted"], counts["balanced"]) == (len(every) - len(TABLE), True)
    return {row["message_id"]: row for row in ask("dead-letters", "list").json["rows"]}


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: f"{broken.rule}: {broken.message['id']}")
def test_a_message_that_breaks_a_rule_is_a_dead_letter_that_names_the_rule(
    broken: Broken, dead: dict[str, Row]
) -> None:
    letter = dead[broken.message["id"]]
    assert (letter["code"], letter["status"]) == ("rule_broken", "open")
    rule, _, explained = letter["reason"].partition(": ")
    assert rule == broken.rule
    assert len(explained.split()) >= 3
    assert not {each["id"] for each in broken.before} & dead.keys()


@pytest.mark.embedded("code and documentation are read, nothing is run")
def test_the_table_breaks_every_rule_that_the_code_names_and_the_reference_explains_each() -> None:
    code = "".join(
        path.read_text()
        for room in ("domain", "services", "consumers", "projections", "infra")
        for path in sorted((ROOT / room).rglob("*.py"))
    )
    calls = re.findall(r"(?:\bunless|\bRuleBrokenError)\(\s*([^\s,)]+)", code)
    # Beside names there are only the definitions of the two and the one call that passes a name on.
    named = {call.strip('"') for call in calls if call.startswith('"')}
    assert [call for call in calls if not call.startswith('"')] == ["HeardError", "rule:", "rule"]
    explained = re.findall(r"^\| `(\w+)` \| ", _section("Rules"), re.MULTILINE)
    assert {broken.rule for broken in TABLE} == named == set(explained)


def _section(title: str) -> str:
    page = (ROOT / "docs" / "reference.md").read_text()
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# -- rules that no message can break -------------------------------------------------------------


def state_of(ask: Ask, ref: str) -> str:
    """The state of an input."""
    (row,) = [row for row in ask("query", "inputs").json["rows"] if row["ref"] == ref]
    return str(row["state"])


def test_nothing_is_delivered_because_it_was_closed(tmp_path: Path) -> None:
    ask = consumed(tmp_path, concern("N1"), message("concern.closed", "N1", reason_words="Case closed."))
    assert state_of(ask, "N1") == "closed"
    assert ask("query", "you_said_we_did").json["rows"] == []
    rules = {row["rule"] for row in ask("query", "worklist").json["rows"]}
    assert rules == {"acknowledge_concern", "decide_concern"}
    # A change that rests on it delivers it, closed or not.
    ask = consumed(tmp_path, change("implemented", "A1", causes=[
        {"relation": "derived_from", "kind": "concern", "ref": "N1"}
    ]))  # fmt: skip
    assert state_of(ask, "N1") == "delivered"


def test_grouping_moves_no_support_and_can_be_undone(tmp_path: Path) -> None:
    def support(ask: Ask) -> dict[str, tuple[int, int]]:
        rows = ask("query", "inputs").json["rows"]
        return {row["ref"]: (row["agrees"], row["disagrees"]) for row in rows}

    ask = consumed(
        tmp_path, concern("N1"), concern("N2"), given("S1", "supports concern N1"),
        given("S2", "supports concern N2"),
        given("S3", "supports concern N2", stance="disagree", contributor={"ref": "person-2"}),
    )  # fmt: skip
    before = support(ask)
    assert before == {"N1": (1, 0), "N2": (1, 1)}
    ask = consumed(tmp_path, message("concern.grouped", "N1", "grouped_with concern N2"))
    assert support(ask) == before
    assert (state_of(ask, "N1"), state_of(ask, "N2")) == ("grouped", "received")
    assert ask("show", "N1").json["fields"]["words"] == "It is dark."
    ask = consumed(tmp_path, message("concern.ungrouped", "N1"))
    assert support(ask) == before
    assert state_of(ask, "N1") == "received"
    # And it can be grouped anew, with another one.
    ask = consumed(
        tmp_path, concern("N3"), message("concern.grouped", "N1", "grouped_with concern N3", id="anew")
    )
    assert state_of(ask, "N1") == "grouped"
    assert ask("dead-letters", "list").json["rows"] == []


def test_linking_sets_no_other_thing_s_state(tmp_path: Path) -> None:
    things = (
        concern("N1"), held("E1"), message("priority.set", "P1", issue="Light"), change("planned", "A1"),
        message("decision.proposed", "O1"), made("D1"),
    )  # fmt: skip
    refs = [each["data"]["ref"] for each in things]
    ask = consumed(tmp_path, *things)
    own = {ref: (ask("show", ref).json, ask("log", ref).json) for ref in refs}
    ask = consumed(
        tmp_path,
        made("D2", "derived_from concern N1", "derived_from priority P1", "supersedes decision D1"),
        change("implemented", "A2", causes=[{"relation": "derived_from", "kind": "decision", "ref": "O1"}]),
        sent("F1", "reports_on change A1", "told_at engagement E1", "answers concern N1"),
    )
    assert {ref: (ask("show", ref).json, ask("log", ref).json) for ref in refs} == own
    rows = ask("query", "priorities").json["rows"]
    assert [(row["ref"], row["state"]) for row in rows] == [("P1", "open")]


def test_a_reason_is_not_shown_before_its_decision_is_made(tmp_path: Path) -> None:
    secret = "The council will not pay for it."
    draft = message(
        "decision.proposed", "D1", "derived_from concern N1", reasons=["resource_constraint"],
        reason_words=secret, words="No lamp.",
    )  # fmt: skip
    ask = consumed(tmp_path, concern("N1"), draft)
    views = ("decisions", "constraints", "you_said_we_did", "inputs", "trace", "feedback_owed", "history")
    calls = [("trace", "N1"), ("trace", "D1", "--format", "svg"), ("trace", "D1", "--format", "table")]
    calls += [("show", "D1"), ("show", "D1", "--at", NOW), ("log", "D1"), ("replay", "D1")]
    calls += [("query", view) for view in views]
    calls += [("query", view, "--at", NOW) for view in views]

    def told() -> dict[tuple[str, ...], bytes]:
        answers = {call: ask(*call) for call in calls}
        assert [call for call, answer in answers.items() if answer.code] == []
        return {call: answer.out for call, answer in answers.items()}

    shown = [call for call, out in told().items() if b"resource_constraint" in out or secret.encode() in out]
    assert shown == []
    ask = consumed(
        tmp_path, declined("D1", none_because=None, reasons=["resource_constraint"], reason_words=secret)
    )
    after = told()
    assert secret.encode() in after["show", "D1"]
    assert all(b"resource_constraint" in after[call] for call in (("trace", "N1"), ("query", "constraints")))


def test_a_relation_joins_only_the_kinds_that_the_contract_allows(tmp_path: Path) -> None:
    wrong = message("priority.set", "P1", "weighed concern N1", issue="Light")
    answer = heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([wrong]))
    assert (answer.code, answer.json["rejected"][0]["code"]) == (1, "relation_not_allowed")


def test_a_thing_of_another_force_is_not_referred_to(tmp_path: Path) -> None:
    ask = consumed(tmp_path, concern("N1", force="harbour"), made("D1", "derived_from concern N1"))
    assert [row["waiting_for"] for row in ask("parked", "list").json["rows"]] == ["concern N1"]
