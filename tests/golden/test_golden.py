"""Can every event that was ever written still be read, and does the writer still give the same bytes?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785

from domain import upcasters
from domain.catalogue import AGGREGATES, EVENTS, read_event
from domain.contact import Corrected, Recorded
from domain.errors import IntegrityError
from domain.event import Envelope, read
from domain.upcasters import Fields, upcast
from tests.golden import make
from tests.golden.samples import FOLDER, digests, follow, recipe, sample

SAMPLES = sorted(path.stem for path in FOLDER.glob("heard.*.json"))

every_sample = pytest.mark.parametrize("type_", SAMPLES)


def stored(type_: str) -> Envelope:
    """The sample of a type, as it comes from a store."""
    return read(sample(type_).read_bytes())


def test_every_type_of_the_catalogue_has_a_sample() -> None:
    assert sorted(EVENTS.keys() - set(SAMPLES)) == [], "next: python -m tests.golden.make"


def test_every_sample_has_its_digest_and_its_recipe_beside_it() -> None:
    assert sorted(digests()) == SAMPLES
    assert sorted(path.stem for path in recipe("x").parent.glob("*.json")) == SAMPLES


@every_sample
def test_a_sample_is_still_the_one_that_was_stored(type_: str) -> None:
    assert stored(type_).digest == digests()[type_]


@every_sample
def test_a_sample_still_reads_as_a_fact_of_its_aggregate(type_: str) -> None:
    envelope = stored(type_)
    assert envelope.type == type_
    assert type(envelope.event) in AGGREGATES[envelope.kind].events


@every_sample
def test_the_bytes_of_a_sample_are_canonical(type_: str) -> None:
    data = sample(type_).read_bytes()
    assert rfc8785.dumps(orjson.loads(data)) == data


@every_sample
def test_the_same_facts_are_written_in_the_same_bytes_today(type_: str) -> None:
    # An older version is only read: what is written is the newest.
    if type_ not in EVENTS:
        assert type_ in upcasters.UPCASTERS
        return
    today, then = follow(orjson.loads(recipe(type_).read_bytes())), stored(type_)
    # The schema's digest also covers the descriptions, which may be put better.
    assert today.bytes == then.bytes.replace(_schema(then), _schema(today))


def _schema(envelope: Envelope) -> bytes:
    return str(orjson.loads(envelope.bytes)["schema"]).encode()


@every_sample
def test_a_sample_shows_every_sealed_field_of_its_type(type_: str) -> None:
    event = stored(type_).event
    assert sorted(stored(type_).sealed) == sorted(".".join(path) for path in event.sealed_paths())


def test_a_sample_that_is_there_is_never_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sample", "recipe"):
        monkeypatch.setattr(make, name, lambda type_, name=name: tmp_path / f"{name}-{type_}")
    monkeypatch.setattr(make, "DIGESTS", tmp_path / "DIGESTS")
    kept = tmp_path / "sample-heard.contact.recorded.v1"
    for type_ in EVENTS.keys() - {"heard.duty.opened.v1"}:
        (tmp_path / f"sample-{type_}").write_bytes(b"as it was")
    assert make.main() == 0
    assert kept.read_bytes() == b"as it was"
    assert (tmp_path / "sample-heard.duty.opened.v1").read_bytes() == sample(
        "heard.duty.opened.v1"
    ).read_bytes()
    assert (tmp_path / "DIGESTS").read_text().split() == [
        digests()["heard.duty.opened.v1"],
        "heard.duty.opened.v1",
    ]


# -- a made-up old version -----------------------------------------------------------------------


def _from_nought(fields: Fields) -> Fields:
    """In version 0 the words were called `text`."""
    return {name: given for name, given in fields.items() if name != "text"} | {"words": fields["text"]}


OLD = "heard.contact.corrected.v0"
MADE_UP = {OLD: ("heard.contact.corrected.v1", _from_nought)}


def old_bytes() -> bytes:
    """A correction as a made-up older program would have written it."""
    document: dict[str, Any] = orjson.loads(sample("heard.contact.corrected.v1").read_bytes())
    document |= {"type": OLD, "sealed": {"text": document["sealed"]["words"]}}
    return rfc8785.dumps(document)


def test_an_event_of_an_older_version_is_read_as_one_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upcasters.UPCASTERS, OLD, MADE_UP[OLD])
    newest = stored("heard.contact.corrected.v1").event
    assert isinstance(newest, Corrected)
    envelope = read(old_bytes())
    assert envelope.event == newest


def test_upcasting_leaves_bytes_type_and_digest_as_they_were_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(old_bytes()).digest
    monkeypatch.setitem(upcasters.UPCASTERS, OLD, MADE_UP[OLD])
    envelope = read(old_bytes())
    assert isinstance(envelope.event, Corrected)
    assert (envelope.bytes, envelope.type, envelope.digest) == (old_bytes(), OLD, before)


def test_steps_are_taken_one_after_another() -> None:
    steps = {
        "heard.contact.recorded.v1": ("heard.contact.recorded.v2", lambda fields: fields | {"two": 2}),
        "heard.contact.recorded.v2": ("heard.contact.recorded.v3", lambda fields: fields | {"three": 3}),
    }
    assert upcast("heard.contact.recorded.v1", {"one": 1}, steps) == (
        "heard.contact.recorded.v3",
        {"one": 1, "two": 2, "three": 3},
    )
    assert upcast("heard.contact.recorded.v2", {}, steps) == ("heard.contact.recorded.v3", {"three": 3})


def test_what_is_stored_is_not_changed_by_reading_it() -> None:
    then = stored("heard.contact.recorded.v1")
    before = orjson.dumps(dict(then.pub), option=orjson.OPT_SORT_KEYS)
    assert isinstance(then.event, Recorded)
    assert orjson.dumps(dict(then.pub), option=orjson.OPT_SORT_KEYS) == before


def test_a_type_that_is_not_in_the_catalogue_was_written_by_a_newer_program() -> None:
    with pytest.raises(IntegrityError) as raised:
        read_event("heard.contact.recorded.v99", {}, {})
    assert raised.value.code == "newer_writer"
