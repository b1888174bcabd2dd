"""How is an event of an older version read today? The stored bytes stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Fields = dict[str, Any]

UPCASTERS: Final[Mapping[str, tuple[str, Callable[[Fields], Fields]]]] = {}
"""Old type → (the next newer type, a function from its fields to those of the newer one).

Applied after reading, one step after another, to `pub` and the commitments merged. There is none
yet: every type is at version 1.
"""


def upcast(
    type_: str, fields: Fields, upcasters: Mapping[str, tuple[str, Callable[[Fields], Fields]]] = UPCASTERS
) -> tuple[str, Fields]:
    """The newest type and fields that `fields` of `type_` lead to."""
    while type_ in upcasters:
        type_, step = upcasters[type_]
        fields = step(fields)
    return type_, fields
