"""What must every key store do, whatever it is made of?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from domain.errors import ConcurrencyError, ConfigurationError, NotFoundError
from infra.key_store import SqliteKeyStore
from infra.randomness import SeededRandomness
from services.ports import KeyStore

ANNA = "gmp\0contact-centre\0P1"
BEN = "gmp\0contact-centre\0P2"


class Store(KeyStore, Protocol):
    """The port, and what an adapter offers besides."""

    def add_keys(self, keys: Mapping[str, bytes]) -> None: ...


class Opener(Protocol):
    """Opens the same store again, with other randomness: what it then knows, it has kept."""

    def __call__(self, id_key: bytes | None = None) -> Store: ...


def sqlite(folder: Path) -> Callable[[bytes, bytes | None], Store]:
    return lambda seed, id_key: SqliteKeyStore(
        folder / "keys.db", randomness=SeededRandomness(seed), id_key=id_key, patience=0
    )


@pytest.fixture(params=[sqlite])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    adapter = request.param(tmp_path)
    stores: list[Store] = []

    def open_store(id_key: bytes | None = None) -> Store:
        stores.append(adapter(b"seed %d" % len(stores), id_key))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> Store:
    return opened()


def test_the_id_key_is_made_once_and_kept(store: Store, opened: Opener) -> None:
    made = store.id_key()
    assert len(made) == 32
    assert store.id_key() == made
    assert opened().id_key() == made


def test_an_id_key_from_the_settings_is_kept(opened: Opener) -> None:
    assert opened(id_key=b"k" * 32).id_key() == b"k" * 32
    assert opened().id_key() == b"k" * 32
    assert opened(id_key=b"k" * 32).id_key() == b"k" * 32


def test_another_id_key_than_the_stored_one_is_refused_with_advice(store: Store, opened: Opener) -> None:
    made = store.id_key()
    with pytest.raises(ConfigurationError, match="not that of the key store") as refusal:
        opened(id_key=b"k" * 32)
    assert "restore" in refusal.value.hint
    assert opened().id_key() == made


def test_an_id_key_of_another_length_is_refused(opened: Opener) -> None:
    with pytest.raises(ConfigurationError):
        opened(id_key=b"short")


def test_a_person_gets_one_random_id_for_ever(store: Store, opened: Opener) -> None:
    ids = store.subjects([ANNA, BEN, ANNA])
    assert ids.keys() == {ANNA, BEN}
    assert ids[ANNA] != ids[BEN]
    assert store.subjects([BEN]) == {BEN: ids[BEN]}
    assert opened().subjects([ANNA, BEN]) == ids


def test_a_persons_id_is_a_uuid_of_version_8(store: Store) -> None:
    ids = store.subjects([f"gmp\0survey\0{number}" for number in range(50)]).values()
    assert all(
        re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", i) for i in ids
    )
    assert len(set(ids)) == 50


def test_asking_for_a_person_makes_none(store: Store) -> None:
    assert store.subject(ANNA) is None
    assert store.subject(ANNA) is None
    made = store.subjects([ANNA])[ANNA]
    assert store.subject(ANNA) == made


def test_a_forgotten_person_is_a_stranger_when_they_return(store: Store) -> None:
    ids = store.subjects([ANNA, BEN])
    store.forget_subject(ids[ANNA])
    store.forget_subject(ids[ANNA])
    assert store.subject(ANNA) is None
    assert store.subject(BEN) == ids[BEN]
    assert store.subjects([ANNA])[ANNA] != ids[ANNA]


def test_forgetting_somebody_unknown_changes_nothing(store: Store) -> None:
    ids = store.subjects([ANNA])
    store.forget_subject("nobody")
    assert store.subjects([ANNA]) == ids


def test_keys_are_made_only_when_asked_for(store: Store, opened: Opener) -> None:
    assert store.keys(["a", "b"]) == {}
    made = store.keys(["a", "b", "a"], make=True)
    assert made.keys() == {"a", "b"}
    assert {len(key) for key in made.values()} == {32}
    assert made["a"] != made["b"]
    assert opened().keys(["b", "a", "c"]) == made


def test_making_keys_leaves_those_that_exist(store: Store) -> None:
    first = store.keys(["a"], make=True)
    assert store.keys(["a", "b"], make=True)["a"] == first["a"]


def test_given_keys_are_kept_and_may_be_given_again(store: Store) -> None:
    given = {"a": b"A" * 32, "b": b"B" * 32}
    store.add_keys(given)
    store.add_keys(given | {"c": b"C" * 32})
    assert store.keys(["a", "b", "c"]) == given | {"c": b"C" * 32}


def test_a_given_key_never_replaces_another_and_then_none_is_kept(store: Store) -> None:
    store.add_keys({"a": b"A" * 32})
    with pytest.raises(ConcurrencyError):
        store.add_keys({"b": b"B" * 32, "a": b"?" * 32})
    assert store.keys(["a", "b"]) == {"a": b"A" * 32}


def test_a_given_key_of_another_length_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        store.add_keys({"a": b"A" * 32, "b": b"B" * 16})
    assert store.keys(["a", "b"]) == {}


def test_a_destroyed_key_is_gone_and_others_stay(store: Store, opened: Opener) -> None:
    made = store.keys(["a", "b"], make=True)
    store.destroy(["a", "never made"])
    store.destroy(["a"])
    assert store.keys(["a", "b"]) == {"b": made["b"]}
    assert opened().keys(["a", "b"]) == {"b": made["b"]}


def test_a_key_made_again_after_its_destruction_is_another(store: Store) -> None:
    before = store.keys(["a"], make=True)
    store.destroy(["a"])
    assert store.keys(["a"], make=True) != before


def test_each_day_has_its_key(store: Store, opened: Opener) -> None:
    key = store.day_key("2026-11-01")
    assert len(key) == 32
    assert store.day_key("2026-11-02") != key
    assert opened().day_key("2026-11-01") == key


def test_the_keys_of_older_days_are_destroyed_and_counted(store: Store) -> None:
    kept = store.day_key("2026-11-03")
    for day in ("2026-09-30", "2026-11-01", "2026-11-02"):
        store.day_key(day)
    assert store.destroy_day_keys("2026-11-03") == 3
    assert store.destroy_day_keys("2026-11-03") == 0
    assert store.day_key("2026-11-03") == kept


def test_the_destroyed_key_of_a_day_is_missing_not_made_again(store: Store) -> None:
    store.day_key("2026-11-01")
    store.destroy_day_keys("2026-11-02")
    with pytest.raises(NotFoundError):
        store.day_key("2026-11-01")


@pytest.mark.parametrize("day", ["", "20261101", "2026-11-01T00:00", "2026-W45-1"])
def test_what_is_not_a_day_has_no_key(store: Store, day: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        store.day_key(day)
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        store.destroy_day_keys(day)


def test_keys_people_and_days_of_the_same_name_are_apart(store: Store) -> None:
    id_key, day, person = store.id_key(), store.day_key("2026-11-01"), store.subjects(["id"])
    made = store.keys(["id", "2026-11-01"], make=True)
    assert len({id_key, day, *made.values()}) == 4
    store.destroy(["id", "2026-11-01"])
    assert (store.id_key(), store.day_key("2026-11-01")) == (id_key, day)
    assert store.subjects(["id"]) == person


def test_no_names_are_no_work(store: Store) -> None:
    store.destroy([])
    store.add_keys({})
    assert store.subjects([]) == {}
    assert store.keys([], make=True) == {}


def test_a_batch_may_be_larger_than_any_statement(store: Store) -> None:
    names = [f"stream {number}" for number in range(40_000)]
    made = store.keys(names, make=True)
    assert len(set(made.values())) == 40_000
    assert store.keys(names) == made
    store.destroy(names[1:])
    assert store.keys(names) == {names[0]: made[names[0]]}
    assert len(set(store.subjects(names).values())) == 40_000


def test_a_name_may_be_any_text(store: Store) -> None:
    names = ["", "a", "naïve ☃ 🂡", "'; DROP TABLE key; --", '["a"]', "\\u0000"]
    made = store.keys(names, make=True)
    assert len(set(made.values())) == len(names)
    assert store.keys(names) == made
    store.destroy(names)
    assert store.keys(names) == {}


def test_a_reference_may_hold_any_text(store: Store) -> None:
    references = ["", "\0", "a\0b", "a", "naïve ☃ 🂡"]
    people = store.subjects(references)
    assert {reference: store.subject(reference) for reference in references} == people
    assert len(set(people.values())) == len(references)


def test_an_id_with_a_nul_is_refused_before_a_key_could_get_lost(store: Store) -> None:
    for use in (
        lambda: store.keys(["a\0b"], make=True),
        lambda: store.destroy(["a\0b"]),
        lambda: store.add_keys({"a\0b": b"A" * 32}),
    ):
        with pytest.raises(ValueError, match="NUL"):
            use()


def test_two_connections_see_what_the_other_did(store: Store, opened: Opener) -> None:
    other = opened()
    assert other.id_key() == store.id_key()
    assert other.keys(["a"], make=True) == store.keys(["a"], make=True)
    assert store.subjects([ANNA, BEN]) == other.subjects([ANNA, BEN])
    other.destroy(["a"])
    assert store.keys(["a"]) == {}


def test_a_store_may_be_closed_twice(store: Store) -> None:
    store.close()
    store.close()
