"""How do the record's codes read in plain words, to somebody who has never seen Heard?

Codes are short and fixed, because programs rely on them; people are owed sentences. Each table has
an entry for every code of the vocabulary (a test compares them). A code that is newer than this file
still reads, as itself with spaces, so that nothing goes missing from a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

KINDS = {
    "engagement": "Meeting",
    "contact": "Contact",
    "concern": "Concern",
    "support": "Support",
    "decision": "Decision",
    "referral": "Referral",
    "priority": "Priority",
    "change": "Change",
    "feedback": "Feedback",
    "neighbourhood": "Neighbourhood",
    "section": "Section of the community",
    "strategy": "Engagement plan",
    "partnership": "Partnership",
    "duty": "Duty",
    "force": "Police force",
    "subject": "Erasure",
    "message": "Message",
    "disclosure": "Disclosure",
}

KIND_MEANINGS = {
    "engagement": "a meeting, briefing or survey where people were heard",
    "contact": "what one person or organisation brought",
    "concern": "a worry, wish or question that was raised",
    "support": "somebody's agreement or disagreement",
    "decision": "what was proposed or decided, and why",
    "referral": "passed on to another organisation",
    "priority": "an issue to be worked on first",
    "change": "what was done differently",
    "feedback": "what people were told",
    "neighbourhood": "the place itself",
    "section": "a part of the community",
    "strategy": "how the police mean to listen",
    "partnership": "work shared with another organisation",
    "duty": "something owed by a date",
    "force": "the police force itself",
    "subject": "a request to erase personal words",
    "message": "a message as it came in",
    "disclosure": "what was given to somebody outside",
}

RELATIONS = {
    "raised_in": "raised in",
    "prompted_by": "prompted by",
    "supports": "about",
    "grouped_with": "grouped with",
    "weighed": "weighed but did not follow",
    "derived_from": "because of",
    "refers": "passes on",
    "reports_on": "tells about",
    "answers": "answers",
    "told_at": "told at",
    "supersedes": "replaces",
    "corrects": "corrects",
    "rests_on": "owed because of",
}
"""Each reads from the effect to its cause: N1 *raised in* C1, A1 *because of* N1."""

OUTCOMES = {
    "adopted_as_priority": "made a priority",
    "changed_delivery": "agreed: policing here changes",
    "partly_adopted": "agreed in part",
    "no_change": "nothing changes",
    "declined": "declined",
    "deferred": "put off, to be looked at again",
    "referred_to_partner": "passed to another organisation",
    "already_in_hand": "already being done",
    "unclear_more_asked": "not clear yet, more was asked",
}

REASONS = {
    "resource_constraint": "not enough people, time or money",
    "operational_priority": "other police work comes first",
    "no_legal_power": "no power in law to do it",
    "not_police_responsibility": "not for the police to do",
    "other_agency_leads": "another organisation leads on it",
    "needs_assessment": "needs an assessment first",
    "insufficient_evidence": "not enough evidence",
    "would_displace": "would move the problem elsewhere",
    "disproportionate": "out of proportion to the problem",
    "conflicts_with_other_community_need": "goes against what others here need",
    "equality_impact": "would treat some people unfairly",
    "safeguarding_or_sensitive": "to keep somebody safe, or too sensitive to say",
    "unclear_request": "the request was not clear",
    "duplicate_of": "the same as another request",
    "withdrawn_by_contributor": "withdrawn by the person who asked",
    "other": "another reason, given in words",
}

STATES = {
    "planned": "planned",
    "held": "took place",
    "cancelled": "called off",
    "recorded": "recorded",
    "corrected": "corrected",
    "moderated": "hidden by a moderator",
    "withdrawn": "withdrawn",
    "received": "received",
    "raised": "raised",
    "acknowledged": "acknowledged",
    "under_consideration": "being weighed",
    "taken_up": "taken up",
    "decided": "decided",
    "action_planned": "action planned",
    "action_in_progress": "action under way",
    "delivered": "delivered",
    "confirmed": "confirmed by those who raised it",
    "disputed": "those who raised it disagree",
    "grouped": "grouped with others like it",
    "ungrouped": "taken out of its group",
    "referred": "passed to another organisation",
    "reopened": "reopened",
    "closed": "closed",
    "given": "given",
    "changed": "changed",
    "proposed": "proposed",
    "inputs_weighed": "being weighed",
    "made": "decided",
    "revised": "decided again",
    "open": "open",
    "set": "set",
    "actioned": "acted on",
    "action_recorded": "acted on",
    "reviewed": "reviewed",
    "started": "under way",
    "implemented": "carried out",
    "measured": "carried out and measured",
    "abandoned": "given up",
    "sent": "sent",
    "failed": "did not arrive",
    "answered": "answered",
    "registered": "registered",
    "boundary_revised": "boundary revised",
    "demographics_recorded": "figures on residents recorded",
    "officer_named": "officer named",
    "defined": "defined",
    "picture_updated": "picture updated",
    "comfort_assessed": "asked how comfortable they are with the police",
    "participation_offered": "invited to take part",
    "participation_accepted": "takes part",
    "participation_declined": "chose not to take part",
    "adopted": "adopted",
    "tailored": "tailored",
    "opportunity_identified": "opportunity seen",
    "agreed": "agreed",
    "joint_action_recorded": "acted on together",
    "declined": "declined",
    "ended": "ended",
    "settings_changed": "settings changed",
    "opened": "owed",
    "discharged": "done",
    "lapsed": "no longer owed",
    "erasure_requested": "erasure requested",
    "erased": "erased",
    "discarded": "set aside",
}

WITHHELD = {
    "[erased]": "words erased",
    "[missing]": "words missing: their key is not there",
    "[moderated]": "words hidden by a moderator",
}
"""What stands where words cannot, or may not, be read."""

STATES_OF_KIND = {
    ("referral", "made"): "passed on, no answer yet",
    ("feedback", "delivered"): "arrived",
    ("feedback", "answered"): "they replied",
    ("disclosure", "made"): "made",
}
"""Where one word says different things of different kinds."""

COUNTS = {
    "agree": ("agrees", "agree"),
    "disagree": ("disagrees", "disagree"),
    "pass": ("has no opinion", "have no opinion"),
    "withdrawn": ("took it back", "took it back"),
}
"""What people say of a concern, of one and of several."""

_MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
_MONTHS += ["August", "September", "October", "November", "December"]


def kind(code: str) -> str:
    """What a thing is: "Meeting"."""
    return KINDS.get(code) or _spelt(code).capitalize()


def relation(code: str) -> str:
    """How an effect is bound to its cause: "because of"."""
    return RELATIONS.get(code) or _spelt(code)


def outcome(code: str) -> str:
    """What was decided: "nothing changes"."""
    return OUTCOMES.get(code) or _spelt(code)


def reason(code: str) -> str:
    """Why it was not, or not fully, done: "not enough evidence"."""
    return REASONS.get(code) or _spelt(code)


def state(of_kind: str, code: str) -> str:
    """How far a thing of this kind has come: "carried out"."""
    return STATES_OF_KIND.get((of_kind, code)) or STATES.get(code) or _spelt(code)


def status(node: Mapping[str, Any]) -> str:
    """Where a `trace` node stands: "declined: needs an assessment first; would move the problem elsewhere".

    "" if the node says nothing of itself. That a decision was made goes without saying once its
    outcome is given. What stands for the supports of a concern says how many they are.
    """
    heads = [
        f"{count:,} {COUNTS[said][count != 1]}" for said, count in (node.get("counts") or {}).items() if count
    ]
    if (its_state := node.get("state")) and not (node.get("outcome") and its_state == "made"):
        heads.append(state(str(node.get("kind")), str(its_state)))
    if its_outcome := node.get("outcome"):
        heads.append(outcome(str(its_outcome)))
    reasons = "; ".join(reason(str(code)) for code in node.get("reasons") or ())
    return ": ".join(part for part in (", ".join(heads), reasons) if part)


def moment(stamp: str) -> str:
    """An ISO 8601 date or instant: "19 July 2006", or "19 July 2006, 19:30 UTC"."""
    try:
        if len(stamp) == 10:
            day = date.fromisoformat(stamp)
            return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp  # better as it came than not at all
    zone = at.strftime("%z")
    # The offset is kept: in another zone than the writer's the same instant may be another day.
    where = " UTC" if zone == "+0000" else f" (UTC{zone[:3]}:{zone[3:5]})" if zone else ""
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M}{where}"


def when(node: Mapping[str, Any]) -> str:
    """When a `trace` node happened: "between 23 June 2008 and 10 October 2008"."""
    occurred = node.get("occurred") or {}
    start, end = occurred.get("from"), occurred.get("to")
    if occurred.get("kind") == "interval" and start != end:
        if start and end:
            return f"between {moment(str(start))} and {moment(str(end))}"
        return f"from {moment(str(start))} on" if start else f"by {moment(str(end))}"
    if occurred.get("kind") != "unknown" and (start or end):
        return moment(str(start or end))
    known = node.get("known_at")
    if node.get("counts"):
        return f"latest known {moment(str(known))}"
    return f"date unknown; known since {moment(str(known))}" if known else "date unknown"


def _spelt(code: str) -> str:
    return code.replace("_", " ")
