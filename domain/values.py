"""Which values may a field take? The vocabulary's closed lists and the bounded scalar types."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, NewType

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

StreamId = NewType("StreamId", str)
"""The UUID of a thing: concern, decision, duty … The thing's first event has the same id."""
EventId = NewType("EventId", str)
"""The UUID of one event."""
SubjectId = NewType("SubjectId", str)
"""The random UUID of a person or organisation; only the key store's contact map leads to it."""
Digest = NewType("Digest", str)
"""A leaf hash, base64 (RFC 4648 §4, padded)."""


class Seal:
    """Marks a field whose value never enters the log: it is replaced by a salted commitment."""


class Public:
    """Marks text that is public by law and may stand in the log in the clear."""


SEALED: Final = Seal()
PUBLIC: Final = Public()

MAX_INT = 2**53 - 1
MAX_WORDS: Final = 16_000
"""As many characters as a sealed text may have."""
Sealed = Annotated[str, StringConstraints(min_length=1, max_length=MAX_WORDS), SEALED]
"""Text that somebody wrote. In the clear in a message, a commitment in an event."""
PublicText = Annotated[str, StringConstraints(min_length=1, max_length=4_000), PUBLIC]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._:/#-]{0,127}$")]
"""A reference, or an id that another body gave."""
Place = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")]
"""The id of a force or of a neighbourhood (unique within its force)."""
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Days = Annotated[int, Field(ge=1, le=3_650)]

Channel = Literal[
    "in_person", "phone_101", "online_form", "email", "letter", "survey_paper", "survey_online",
    "social_media", "community_messaging", "website", "public_notice", "meeting", "meeting_note",
    "partner", "complaint",
]  # fmt: skip
Method = Literal[
    "public_meeting", "street_briefing", "ward_panel", "liaison_group", "surgery", "door_knock",
    "survey", "community_messaging", "social_media", "online_dialogue", "focus_group",
    "citizens_panel", "youth_session", "walkabout", "kiosk", "outreach_via_partner", "section_forum",
]  # fmt: skip
EngagementKind = Literal["qualitative", "quantitative", "profiling"]
Formality = Literal["formal", "informal"]
ConcernKind = Literal["concern", "request", "question", "preference", "praise"]
Stance = Literal["agree", "disagree", "pass"]
Outcome = Literal[
    "adopted_as_priority", "changed_delivery", "partly_adopted", "no_change", "declined",
    "deferred", "referred_to_partner", "already_in_hand", "unclear_more_asked",
]  # fmt: skip
NOT_DELIVERING: Final[frozenset[str]] = frozenset(
    {
        "partly_adopted", "no_change", "declined", "deferred", "referred_to_partner",
        "unclear_more_asked",
    }
)  # fmt: skip
"""Outcomes that leave something asked for undone, and so owe reasons."""
Influence = Literal["driven", "changed", "influenced", "none"]
Reason = Literal[
    "resource_constraint", "operational_priority", "no_legal_power", "not_police_responsibility",
    "other_agency_leads", "needs_assessment", "insufficient_evidence", "would_displace",
    "disproportionate", "conflicts_with_other_community_need", "equality_impact",
    "safeguarding_or_sensitive", "unclear_request", "duplicate_of", "withdrawn_by_contributor",
    "other",
]  # fmt: skip
ChangeKind = Literal[
    "deployment", "patrol", "enforcement", "environment", "procedure", "training", "policy",
    "partnership", "communication",
]  # fmt: skip
Audience = Literal["contributor", "section", "public"]
ModerationReason = Literal[
    "personal_information", "abusive", "off_topic", "unlawful", "spam", "seed_statement", "other"
]
DutyRule = Literal[
    "acknowledge_concern", "decide_concern", "tell_contributor", "chase_referral",
    "review_priority", "measure_change",
]  # fmt: skip


class Value(BaseModel):
    """A part of an event: frozen, closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Occurred(Value):
    """When something happened, as exactly as it is known.

    `from` and `to` are dates (YYYY-MM-DD) for `date` and `interval`, an instant with its offset
    for `instant`, and absent for `unknown`; `to` is the same as `from` unless it is an interval.
    """

    kind: Literal["instant", "date", "interval", "unknown"]
    from_: str | None = Field(default=None, alias="from", max_length=40)
    to: str | None = Field(default=None, max_length=40)

    @model_validator(mode="before")
    @classmethod
    def _well_formed(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kind, start, end = given.get("kind"), given.get("from"), given.get("to")
        if kind == "unknown":
            if start or end:
                raise ValueError("unknown takes neither from nor to")
            return {"kind": kind}
        if kind not in ("instant", "date", "interval"):
            return given
        if not isinstance(start, str) or not (end is None or isinstance(end, str)):
            raise ValueError(f"{kind} wants `from` as text: a date or an instant")
        if kind == "instant":
            first = last = instant(start)
            start = first
            if end is not None:
                last = instant(end)
        else:
            first = start = _day(start)
            last = first if end is None else _day(end)
        if kind == "interval" and end is None:
            raise ValueError("an interval wants `to`")
        if kind != "interval" and last != first:
            raise ValueError(f"{kind} has one moment: `to` must equal `from` or be left out")
        if last < first:
            raise ValueError("`to` lies before `from`")
        return {"kind": kind, "from": start, "to": last}

    def first_day(self) -> date | None:
        """The earliest day on which it can have happened, None if unknown."""
        return None if self.from_ is None else date.fromisoformat(self.from_[:10])


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("a date is written like 2008-11-10") from None


UNKNOWN_WHEN: Final = Occurred.model_validate({"kind": "unknown"})


def stamp(moment: datetime) -> str:
    """The one written form of an instant: UTC, microseconds, `Z`; sorts as text in time order."""
    if moment.tzinfo is None:
        raise ValueError("an instant needs its offset from UTC")
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat(timespec="microseconds") + "Z"


def instant(text: str) -> str:
    """`text` (RFC 3339, with offset) in the one written form. ValueError if it is not one."""
    try:
        return stamp(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise ValueError("an instant is written like 2008-11-10T09:30:00Z, with its offset") from None


class Contributor(Value):
    """Who brought an input, or whom feedback goes to: a pseudonym, and what may be done with it."""

    subject: Annotated[SubjectId, StringConstraints(pattern=r"^[0-9a-f-]{36}$")]
    """The person's random id. A message gives `ref` instead."""
    name: Sealed | None = None
    """How the person is called, if they said so; sealed under the person's key."""
    contact: Sealed | None = None
    """Where they can be reached; sealed under the person's key."""
    may_contact: bool = False
    """Whether they agreed to be contacted."""
    public: bool = False
    """Whether they agreed to be shown to the public."""


class Area(Value):
    """A statistical area that a neighbourhood covers, wholly or in part."""

    code: Annotated[str, StringConstraints(pattern=r"^[EW][0-9]{8}$")]
    """The ONS code: LSOA (E01), MSOA (E02), ward (E05) …"""


class SectionCount(Value):
    """How many people of a section took part, where it is known."""

    section: Code
    """A code of the force's taxonomy of sections."""
    people: Count
    """Number of people."""
