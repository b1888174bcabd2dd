"""Which known formats can be turned into messages, and what turns each of them?

An importer is a pure function. It is given whole files, (name, bytes), in any order, and where they
belong; it gives CloudEvents 1.0 in structured mode, ready to be written as NDJSON. The same files
give the same messages, byte for byte, and a later export of the same source gives those again with
what is new: so what came in before counts as a duplicate.

- A file is known by what is in it, never by its name.
- If one file cannot be read as a whole, or is none that the format knows, InvalidMessageError says
  which, and there is no message at all.
- A single value that cannot be used has a rule, listed in the importer's docstring. Where a rule
  leaves something out that was there, `warn` is told file, place and rule, and never the value,
  which may be personal.
- Whether a moment lies in the future is for `publish` to say, which knows the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from infra.imports import open311, police_uk, polis
from infra.imports.reading import Warn, silent

__all__ = ["KINDS", "Importer", "Warn", "default_source"]


class Importer(Protocol):
    """Turns the files of one format into messages."""

    def __call__(
        self,
        files: Sequence[tuple[str, bytes]],
        *,
        force: str,
        neighbourhood: str,
        source: str,
        warn: Warn = silent,
    ) -> Iterator[dict[str, Any]]:
        """The messages. InvalidMessageError, before the first, if a file cannot be read."""
        ...


KINDS: Final[Mapping[str, Importer]] = {
    "polis": polis.messages,
    "open311": open311.messages,
    "police-uk": police_uk.messages,
}
"""Each format by the name that `heard import` knows it by."""


def default_source(kind: str, force: str, neighbourhood: str) -> str:
    """The CloudEvents source of what is imported, where none is given."""
    return f"/import/{kind}/{force}/{neighbourhood}"
