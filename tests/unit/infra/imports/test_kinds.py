"""Is every format known by its name, and does none import to a place that cannot be?"""

from __future__ import annotations

import pytest

from domain.errors import InvalidMessageError
from infra.imports import KINDS, default_source

FILES = {
    "polis": b"timestamp,comment-id,voter-id,vote\n1658934589213,1,2,1\n",
    "open311": b'[{"service_request_id": "1", "service_name": "Weeds"}]',
    "police-uk": b'[{"issue": "Theft", "issue-date": "2015-10-08"}]',
}


def test_the_formats_of_the_contract_are_known() -> None:
    assert KINDS.keys() == FILES.keys()


def test_the_source_says_what_was_imported_and_where_it_belongs() -> None:
    assert default_source("polis", "metropolitan", "london") == "/import/polis/metropolitan/london"


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_needs_nobody_who_listens_to_warnings(kind: str) -> None:
    source = default_source(kind, "f", "n")
    messages = list(KINDS[kind]([("any", FILES[kind])], force="f", neighbourhood="n", source=source))
    assert [m["source"] for m in messages] == [source]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("force", "neighbourhood", "source", "field"),
    [
        ("", "n", "/s", "force"),
        ("the met", "n", "/s", "force"),
        ("f", "a/b", "/s", "neighbourhood"),
        ("f", "n", "", "source"),
        ("f", "n", "x" * 513, "source"),
    ],
)
def test_a_place_that_no_message_may_name_is_refused_first(
    kind: str, force: str, neighbourhood: str, source: str, field: str
) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        KINDS[kind]([("any", FILES[kind])], force=force, neighbourhood=neighbourhood, source=source)
    assert caught.value.field == field
    assert caught.value.hint
