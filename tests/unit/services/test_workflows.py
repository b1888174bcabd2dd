"""Do the rules of the workflows depend on which facts there are, and on nothing else?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import change, concern, contact, priority, referral
from domain.event import Event
from domain.force import Force
from domain.values import DutyRule, stamp
from services.workflows import (
    MOVES,
    RULES,
    Case,
    Signal,
    Step,
    decide,
    due,
    evolve,
    says,
    signal,
    take,
)

MORNING = "2024-05-01T09:00:00.000000Z"
NOON = "2024-05-01T12:00:00.000000Z"
EVENING = "2024-05-01T18:00:00.000000Z"


def said(rule: DutyRule, says: str, position: int, known_at: str = MORNING, *, again: bool = False) -> Signal:
    return signal(rule, "a-thing", says, f"e{position}", "d", known_at, position, None, again)  # type: ignore[arg-type]


@st.composite
def cases(draw: st.DrawFn) -> list[Signal]:
    """What one rule may hear of one thing: at the same or other times, in any order of position."""
    rule = draw(st.sampled_from(get_args(DutyRule)))
    says = st.sampled_from(["starts", "starts", "meets", "ends"])
    times = st.sampled_from([MORNING, NOON, EVENING])
    heard = draw(st.lists(st.tuples(says, times, st.booleans()), max_size=7))
    return [
        said(rule, what, position, at, again=again and rule == "tell_contributor" and what == "starts")
        for position, (what, at, again) in enumerate(heard, start=1)
    ]


def run(batches: Sequence[Sequence[Signal]]) -> tuple[Case, set[tuple[str, str]]]:
    """Hear them batch by batch, taking the steps after each: the case, and {(start, what became of it)}."""
    case, done = Case(), list[Step]()
    for batch in batches:
        case = reduce(evolve, batch, case)
        steps = decide(case)
        case = take(case, steps)
        done += steps
    assert len({(step.start.event_id, step.fact) for step in done}) == len(done), "a fact that came twice"
    return case, {(step.start.event_id, step.fact) for step in done}


# -- order and repetition ------------------------------------------------------------------------


@given(cases(), st.randoms(use_true_random=False), st.data())
def test_neither_the_order_of_signals_nor_where_batches_end_makes_a_difference(
    heard: list[Signal], rng: Random, data: st.DataObject
) -> None:
    shuffled = rng.sample(heard, len(heard))
    cut = data.draw(st.integers(0, len(heard)))
    assert run([shuffled[:cut], shuffled[cut:]]) == run([heard])


@given(cases(), st.data())
def test_what_is_heard_again_changes_nothing(heard: list[Signal], data: st.DataObject) -> None:
    case, _ = run([heard])
    again = data.draw(st.lists(st.sampled_from(heard), max_size=5)) if heard else []
    assert reduce(evolve, again, case) == case
    assert decide(case) == []


@given(cases())
def test_every_start_is_opened_once_and_nothing_else_is(heard: list[Signal]) -> None:
    _, done = run([[one] for one in heard])
    starts = {one.event_id for one in heard if one.says == "starts"}
    assert {start for start, fact in done if fact == "opened"} == starts
    assert {start for start, _ in done} == starts


@given(cases())
def test_a_duty_is_discharged_if_anything_that_meets_it_comes_after_its_start(heard: list[Signal]) -> None:
    _, done = run([heard])
    for fact, said in (("discharged", "meets"), ("lapsed", "ends")):
        expected = {
            start.event_id
            for start in heard
            if start.says == "starts" and any(one.says == said and start.order < one.order for one in heard)
        }
        assert {start for start, what in done if what == fact} == expected


@given(cases())
def test_no_two_signals_of_one_kind_are_of_the_same_order(heard: list[Signal]) -> None:
    assert len({one.order for one in heard}) == len(heard)


# -- what comes before what ----------------------------------------------------------------------


def discharged(start: Signal, met: Signal) -> bool:
    return (start.event_id, "discharged") in run([[start], [met]])[1]


def test_what_became_known_earlier_does_not_meet_a_duty_whenever_it_was_written_down() -> None:
    start = said("decide_concern", "starts", 1, NOON)
    assert not discharged(start, said("decide_concern", "meets", 2, MORNING))
    assert discharged(start, said("decide_concern", "meets", 2, EVENING))


def test_within_one_stream_the_order_of_the_stream_decides_whatever_times_it_gives() -> None:
    start = said("acknowledge_concern", "starts", 1, NOON)
    met = signal("acknowledge_concern", "a-thing", "meets", "e2", "d", MORNING, 2, since=NOON)
    assert discharged(start, met)
    assert met.known_at == MORNING


def test_within_one_instant_what_was_written_down_later_comes_after() -> None:
    assert discharged(said("chase_referral", "starts", 1), said("chase_referral", "meets", 2))
    assert not discharged(said("chase_referral", "starts", 2), said("chase_referral", "meets", 1))


def test_what_is_told_at_the_instant_of_a_move_tells_of_it_whichever_was_written_down_first() -> None:
    for start, met in ((1, 2), (2, 1)):
        assert discharged(said("tell_contributor", "starts", start), said("tell_contributor", "meets", met))


def test_what_failed_is_made_good_by_what_was_sent_after_it_and_not_by_what_failed() -> None:
    sent, failed = said("tell_contributor", "meets", 1), said("tell_contributor", "starts", 2, again=True)
    assert not discharged(failed, sent)
    assert discharged(failed, said("tell_contributor", "meets", 3))


def test_a_review_does_not_meet_the_duty_that_it_starts() -> None:
    review = [said("review_priority", says, 1) for says in ("starts", "meets")]
    assert run([review])[1] == {("e1", "opened")}


def test_a_duty_that_is_met_when_it_is_first_seen_is_opened_and_discharged() -> None:
    met = said("decide_concern", "meets", 2, NOON)
    assert run([[met], [said("decide_concern", "starts", 1)]])[1] == {("e1", "opened"), ("e1", "discharged")}


def test_the_first_fact_that_is_heard_of_is_the_one_that_discharges() -> None:
    start, first, second = (
        said("decide_concern", says, at) for at, says in enumerate(("starts", "meets", "meets"), start=1)
    )
    case = Case()
    steps: list[Step] = []
    for one in (start, first, second):
        case = evolve(case, one)
        steps += (new := decide(case))
        case = take(case, new)
    assert [(step.fact, step.because.event_id) for step in steps] == [("opened", "e1"), ("discharged", "e2")]


# -- which facts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (concern.Raised(ref="N", kind="concern"), {"acknowledge_concern starts", "decide_concern starts"}),
        (concern.Acknowledged(ref="N"), {"acknowledge_concern meets"}),
        (concern.Reopened(ref="N"), {"decide_concern starts"}),
        (concern.Withdrawn(ref="N"), {"acknowledge_concern ends", "decide_concern ends"}),
        (
            concern.Moderated(ref="N", reason="spam"),
            {"acknowledge_concern ends", "decide_concern ends", "tell_contributor starts"},
        ),
        (concern.Closed(ref="N"), set()),
        (contact.Moderated(ref="C", reason="spam"), {"tell_contributor starts"}),
        (referral.Made(ref="R", partner="council"), {"chase_referral starts"}),
        (referral.Answered(ref="R"), {"chase_referral meets"}),
        (referral.Withdrawn(ref="R"), {"chase_referral ends"}),
        (priority.Set(ref="P", issue="Noise"), {"review_priority starts"}),
        (priority.Reviewed(ref="P"), {"review_priority starts", "review_priority meets"}),
        (priority.Closed(ref="P"), {"review_priority meets"}),
        (change.Planned(ref="A", kind="patrol"), set()),
        (change.Implemented(ref="A", kind="patrol"), {"measure_change starts"}),
        (change.Measured(ref="A", measure="calls", after=1), {"measure_change meets"}),
    ],
)
def test_a_fact_says_to_each_rule_what_the_table_of_rules_says(event: Event, expected: set[str]) -> None:
    assert {f"{rule} {said}" for rule, said in says(type(event))} == expected


def test_there_is_a_rule_for_every_duty_that_the_domain_knows() -> None:
    assert set(RULES) == set(get_args(DutyRule))


def test_closing_a_case_moves_nothing_on() -> None:
    assert concern.Closed not in MOVES


# -- until when ----------------------------------------------------------------------------------

BEGAN = "2024-01-31T09:30:00.000000Z"
moments = st.integers(0, 25_000 * 86_400).map(
    lambda seconds: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("acknowledge_concern", "2024-02-03T09:30:00.000000Z"),
        ("decide_concern", "2024-02-28T09:30:00.000000Z"),
        ("tell_contributor", "2024-02-14T09:30:00.000000Z"),
        ("chase_referral", "2024-02-28T09:30:00.000000Z"),
        ("measure_change", "2024-04-30T09:30:00.000000Z"),
        ("review_priority", "2024-04-30T09:30:00.000000Z"),
    ],
)
def test_without_settings_the_defaults_count_from_when_it_became_known(rule: str, expected: str) -> None:
    assert stamp(due(rule, Force(), BEGAN)) == expected


@pytest.mark.parametrize(
    ("began", "months", "day"),
    [
        ("2024-01-31", 1, "2024-02-29"),
        ("2023-01-31", 1, "2023-02-28"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2024-03-31", 1, "2024-04-30"),
        ("2024-10-31", 4, "2025-02-28"),
        ("2024-11-30", 3, "2025-02-28"),
        ("2024-12-31", 2, "2025-02-28"),
        ("2024-12-15", 1, "2025-01-15"),
        ("2024-12-31", 12, "2025-12-31"),
        ("2024-05-31", 120, "2034-05-31"),
    ],
)
def test_months_end_on_the_same_day_or_on_the_last_one_of_a_shorter_month(
    began: str, months: int, day: str
) -> None:
    at = "T23:59:59.999999Z"
    assert stamp(due("review_priority", Force(review_months=months), began + at)) == day + at


@given(moments, st.integers(1, 120))
def test_months_on_is_never_in_another_month_and_never_on_a_later_day(began: datetime, months: int) -> None:
    until = due("review_priority", Force(review_months=months), stamp(began))
    assert (until.year * 12 + until.month) - (began.year * 12 + began.month) == months
    assert until.day == began.day or (until.day < began.day and (until + timedelta(days=1)).day == 1)
    assert until.timetz() == began.timetz()


@given(st.sampled_from(sorted(RULES)), moments)
def test_whatever_is_owed_is_due_after_it_began(rule: str, began: datetime) -> None:
    shortest = Force(1, "Europe/London", 1, 1, 1, 1, 1, 1)
    assert due(rule, shortest, stamp(began)) > began
