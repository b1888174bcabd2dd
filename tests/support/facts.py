"""What would upstream systems report if every fact came to pass, with every field filled?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

SOURCE = "/contact-centre"
WHERE = {"force": "met", "neighbourhood": "st-margarets"}

Message = dict[str, Any]
Words = Callable[[str, str], str]
"""From an event's type and the path of a sealed field to the field's value."""


def message(type_: str, ref: str, *, id: str = "", causes: str = "", **fields: Any) -> Message:
    """A CloudEvent; `causes` are written like `raised_in contact K1; weighed concern N1`."""
    kind = type_.partition(".")[0]
    place = WHERE if kind != "force" else {"force": WHERE["force"]}
    links = [dict(zip(("relation", "kind", "ref"), cause.split(), strict=True)) for cause in _split(causes)]
    return {
        "specversion": "1.0",
        "id": id or f"{type_}:{ref}",
        "source": SOURCE,
        "type": f"heard.{type_}.v1",
        "time": "2009-01-05T09:30:00Z",
        "data": {
            "ref": ref,
            **place,
            "occurred": {"kind": "date", "from": "2009-01-05"},
            "actor": {"role": "neighbourhood_officer", "ref": "officer-7"},
            **({"causes": links} if links else {}),
            **fields,
        },
    }


def _split(causes: str) -> list[str]:
    return [cause.strip() for cause in causes.split(";") if cause.strip()]


def life(words: Words) -> list[Message]:
    """Messages in an order in which all are accepted: each type that upstream reports, each field.

    People: resident-1 brings a contact and a concern, resident-2 supports it, resident-3 is told.
    """
    return list(_life(words))


def _life(words: Words) -> Iterator[Message]:
    def told(type_: str, ref: str, *sealed: str, **rest: Any) -> Message:
        fields = {name: words(f"heard.{type_}.v1", name) for name in sealed}
        return message(type_, ref, **fields, **rest)

    def person(type_: str, ref: str) -> dict[str, Any]:
        name, contact = (words(f"heard.{type_}.v1", f"contributor.{name}") for name in ("name", "contact"))
        return {"ref": ref, "name": name, "contact": contact, "may_contact": True, "public": False}

    met, here = WHERE["force"], WHERE["neighbourhood"]
    yield told("force.registered", met, name="Metropolitan Police", time_zone="Europe/London")
    yield told(
        "force.settings_changed", met, acknowledge_hours=48, decide_days=21, tell_days=10, referral_days=14,
        measure_days=60, review_months=6,
    )  # fmt: skip
    yield told("neighbourhood.registered", here, name="St Margaret’s", population=11_000)
    yield told("neighbourhood.boundary_revised", here, areas=[{"code": "E05000530"}], valid_from="2009-01-01")
    yield told("neighbourhood.officer_named", here, "officer", "contact")

    # What the facts below refer to; only here do sealed fields stay empty.
    yield told("engagement.held", "E0", method="survey")
    yield told("engagement.planned", "E2", method="walkabout", planned_for="2009-02-05")
    yield told("concern.raised", "N0", kind="request")
    yield told("feedback.sent", "F2", audience="public", channel="website", causes="reports_on concern N0")
    yield told("referral.made", "G2", partner="council", causes="refers concern N0")

    yield told(
        "engagement.planned", "E1", "words", method="ward_panel", planned_for="2009-01-05", formality="formal"
    )
    yield told(
        "engagement.held", "E1", "place", "words", method="ward_panel", kind="qualitative",
        formality="formal", attendance=25, sections=[{"section": "age_65_plus", "people": 12}],
        partner="council", causes="prompted_by engagement E0",
    )  # fmt: skip
    yield told("engagement.cancelled", "E2", "reason_words")

    yield told(
        "contact.recorded", "K1", "words", "address", "coordinates", channel="letter", theme="noise",
        section="renters", contributor=person("contact.recorded", "resident-1"),
    )  # fmt: skip
    yield told("contact.corrected", "K1", "words")
    yield told("contact.moderated", "K1", "reason_words", reason="personal_information")
    yield told("contact.withdrawn", "K1")

    yield told(
        "concern.raised", "N1", "words", "address", "coordinates", kind="concern", theme="noise",
        section="renters", contributor=person("concern.raised", "resident-1"), causes="raised_in contact K1",
    )  # fmt: skip
    yield told("concern.acknowledged", "N1", channel="letter")
    yield told("concern.taken_up", "N1")
    yield told("concern.grouped", "N1", causes="grouped_with concern N0")
    yield told("concern.ungrouped", "N1")
    yield told("concern.moderated", "N1", "reason_words", reason="off_topic")
    yield told("concern.withdrawn", "N1")
    yield told("concern.reopened", "N1", "words")
    yield told("concern.confirmed", "N1")
    yield told("concern.disputed", "N1", "words")
    yield told("concern.closed", "N1", "reason_words")

    for fact, more in (
        ("given", {"stance": "agree"}),
        ("changed", {"stance": "disagree"}),
        ("withdrawn", {}),
    ):
        yield told(
            f"support.{fact}", "S1", contributor=person(f"support.{fact}", "resident-2"),
            causes="supports concern N1", **more,
        )  # fmt: skip

    why = {"reasons": ["resource_constraint", "other"], "review_on": "2009-07-01"}
    yield told(
        "decision.proposed", "D1", "reason_words", "words", theme="noise", partner="council",
        reasons=["other"], causes="derived_from concern N1",
    )  # fmt: skip
    yield told("decision.inputs_weighed", "D1", causes="weighed contact K1; weighed engagement E1")
    yield told(
        "decision.made", "D1", "reason_words", "none_because", "words", outcome="deferred",
        business_area="patrol", causes="derived_from concern N1", **why,
    )  # fmt: skip
    yield told("decision.revised", "D1", "reason_words", "words", outcome="partly_adopted", **why)

    yield told(
        "priority.set", "R1", issue="Noise in the park", theme="noise", causes="derived_from decision D1"
    )
    yield told("priority.action_recorded", "R1", action="More patrols on Friday nights")
    yield told("priority.reviewed", "R1")
    yield told("priority.closed", "R1", measure="calls", before=15, after=2)

    yield told(
        "change.planned", "A1", "words", kind="patrol", partner="council", causes="derived_from decision D1"
    )
    yield told("change.started", "A1")
    yield told("change.implemented", "A1", "words", kind="patrol", partner="council")
    yield told("change.measured", "A1", measure="calls", before=15, after=2)
    yield told("change.abandoned", "A1", "reason_words", reasons=["would_displace"])

    yield told(
        "feedback.sent", "F1", "words", audience="contributor", channel="letter",
        contributor=person("feedback.sent", "resident-3"), causes="reports_on change A1; answers concern N1",
    )  # fmt: skip
    yield told("feedback.delivered", "F1")
    yield told("feedback.answered", "F1", "words", agrees=False)
    yield told("feedback.failed", "F2", reason="no_such_address")

    yield told("referral.made", "G1", "words", partner="council", causes="refers concern N1")
    yield told("referral.answered", "G1", "words", reasons=["no_legal_power"])
    yield told("referral.withdrawn", "G2")
