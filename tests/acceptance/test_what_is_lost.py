"""Does the program say that something is lost, in place of an answer that looks right?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.program import heard

pytestmark = pytest.mark.embedded("it loses files; what servers lose: tests/integration/test_restore.py")

NOW = "2009-03-01"
LATER = "2009-03-01T00:05:00Z"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that has done the demo."""
    data = tmp_path_factory.mktemp("demo") / "data"
    assert heard("demo", dir=data).code == 0
    return data


@pytest.fixture
def data(demo: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(demo, tmp_path / "data"))


def lose(data: Path, name: str) -> None:
    """One of the four files is gone, with what belongs to it."""
    for path in data.glob(f"{name}*"):
        path.unlink()


def checks(data: Path) -> dict[str, bool]:
    """The doctor's checks, five minutes later: what is under way for a moment is no finding."""
    return {row["name"]: row["ok"] for row in heard("doctor", dir=data, now=LATER).json["checks"]}


def test_everything_is_well_after_the_demo(data: Path) -> None:
    assert all(checks(data).values())


@pytest.mark.parametrize("verb", [("query", "feedback_owed"), ("trace", "C1"), ("show", "N1")])
def test_without_read_models_there_is_no_answer_until_they_are_built_again(
    data: Path, verb: tuple[str, str]
) -> None:
    before = heard(*verb, dir=data, now=NOW).out
    lose(data, "views.db")

    answer = heard(*verb, dir=data, now=NOW)
    assert (answer.code, answer.error["next"]) == (3, "heard consume --until-idle")
    found = checks(data)  # also after a question has made the tables
    assert (found["lag"], found["read models"]) == (False, False)

    heard("consume", "--until-idle", dir=data, now=NOW)
    assert heard(*verb, dir=data, now=NOW).out == before


def test_an_answer_from_read_models_that_are_behind_says_so(data: Path) -> None:
    message = (
        b'{"specversion":"1.0","id":"late","source":"/t","type":"heard.concern.raised.v1","data":'
        b'{"ref":"L1","force":"f","neighbourhood":"n","actor":{"role":"officer"},"kind":"concern"}}'
    )
    heard("publish", "-", dir=data, now=NOW, stdin=message)
    heard("consume", "intake", "sequencer", "--until-idle", dir=data, now=NOW)
    assert "behind" in heard("query", "inputs", dir=data, now=NOW).err
    assert not checks(data)["lag"]


@pytest.mark.parametrize("file", ["write.db", "log.db"])
def test_what_is_lost_stops_the_loops_and_the_doctor_names_it(data: Path, file: str) -> None:
    lose(data, file)

    assert not checks(data)["record"]
    assert heard("doctor", dir=data, now=NOW).code == 1
    answer = heard("consume", "--until-idle", dir=data, now=NOW)
    assert answer.code == 1
    assert answer.error["code"] == "integrity"
    assert file in answer.error["next"]


def test_another_key_store_is_noticed(data: Path, tmp_path: Path) -> None:
    heard("demo", dir=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "keys.db", data / "keys.db")

    assert not checks(data)["record"]
    answer = heard("consume", "--until-idle", dir=data, now=NOW)
    assert (answer.code, answer.error["code"]) == (1, "integrity")


@pytest.mark.parametrize(
    "verb", [("doctor",), ("trace", "C1"), ("publish", "-"), ("consume", "--until-idle")]
)
def test_a_lost_key_store_is_not_begun_anew(data: Path, verb: tuple[str, ...]) -> None:
    lose(data, "keys.db")
    answer = heard(*verb, dir=data, now=NOW)
    assert (answer.code, answer.error["code"]) == (1, "integrity")
    assert "keys.db" in answer.error["next"]
    assert not (data / "keys.db").exists()


def test_an_empty_key_store_is_a_lost_one(data: Path) -> None:
    lose(data, "keys.db")
    (data / "keys.db").touch()
    answer = heard("trace", "C1", dir=data, now=NOW)
    assert (answer.code, answer.error["got"]) == (1, "an empty file")
    assert (data / "keys.db").stat().st_size == 0


def test_a_file_that_cannot_be_opened_is_not_called_damaged(data: Path) -> None:
    lose(data, "views.db")
    (data / "views.db").mkdir()
    answer = heard("doctor", dir=data, now=NOW)
    files = {row["name"]: row for row in answer.json["checks"]}["files"]
    assert not files["ok"]
    assert files["detail"].startswith("views.db: ")
    assert "backup" not in files["remedy"]


def test_a_damaged_file_is_named(data: Path) -> None:
    file = data / "views.db"
    with file.open("r+b") as damaged:
        damaged.seek(4096 * 3)
        damaged.write(b"\xff" * 4096)
    assert not checks(data)["files"]


def test_read_models_in_a_damaged_file_are_made_again_as_the_error_says(data: Path) -> None:
    before = heard("query", "feedback_owed", dir=data, now=NOW).out
    lose(data, "views.db")
    (data / "views.db").write_bytes(b"\xff" * 8192)

    answer = heard("query", "feedback_owed", dir=data, now=NOW)
    assert (answer.code, answer.error["code"]) == (1, "integrity")
    assert "remove them" in answer.error["next"]
    assert answer.error["next"].endswith("heard consume --until-idle")

    lose(data, "views.db")
    assert heard("consume", "--until-idle", dir=data, now=NOW).code == 0
    assert heard("query", "feedback_owed", dir=data, now=NOW).out == before


def test_a_directory_without_an_installation_is_not_taken_for_an_empty_record(tmp_path: Path) -> None:
    for verb in (("doctor",), ("trace", "C1"), ("query", "inputs"), ("parked", "list")):
        answer = heard(*verb, dir=tmp_path / "typo")
        assert (answer.code, answer.error["code"]) == (3, "configuration")
    assert not (tmp_path / "typo").exists()
