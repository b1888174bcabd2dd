"""What may rest on what, and how? The closed list of relations between kinds (effect ← cause)."""

from __future__ import annotations

from typing import Final

_INPUTS: Final = ("concern", "contact", "engagement")

RELATIONS: Final[dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]] = {
    "raised_in": ((("concern",), ("engagement", "contact")),),
    "prompted_by": (
        (
            ("engagement", "concern", "decision", "change"),
            ("engagement", "contact", "concern", "change", "decision"),
        ),
    ),
    "supports": ((("support",), ("concern",)),),
    "grouped_with": ((("concern",), ("concern",)),),
    "weighed": ((("decision",), _INPUTS),),
    "derived_from": (
        (
            ("decision", "change", "priority", "strategy"),
            (*_INPUTS, "decision", "priority", "section", "feedback"),
        ),
    ),
    "refers": ((("referral",), ("concern", "decision")),),
    "reports_on": ((("feedback",), ("decision", "change", "priority", "referral", "concern")),),
    "answers": ((("feedback",), ("concern", "contact")),),
    "told_at": ((("feedback",), ("engagement",)),),
    "supersedes": ((("decision",), ("decision",)), (("priority",), ("priority",))),
    "rests_on": ((("duty",), ("*",)),),
}
"""Relation → the pairs (effects, causes) that it may join; `corrects` joins any kind to itself."""

NAMES: Final = (*RELATIONS, "corrects")


def allowed(relation: str, effect: str, cause: str) -> bool:
    """Whether `effect ← cause` may be joined by `relation` (kinds, not ids)."""
    if relation == "corrects":
        return effect == cause
    return any(
        effect in effects and (cause in causes or causes == ("*",))
        for effects, causes in RELATIONS.get(relation, ())
    )
