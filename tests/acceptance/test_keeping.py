"""Does the program tell the truth of its own health, and end as it was told to?"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.cli import feeding
from tests.support.messages import Message, concern, lines
from tests.support.program import heard

NOW = "2026-01-20"


def told(folder: Path, *messages: Message, now: str = NOW) -> None:
    """Publish and consume."""
    assert heard("publish", "--unchecked", "-", dir=folder, now=now, stdin=lines(messages)).code == 0
    assert heard("consume", "--until-idle", dir=folder, now=now).code == 0


def ending(error: BaseException) -> Callable[..., None]:
    """A verb that ends so."""

    def end(*_: Any, **__: Any) -> None:
        raise error

    return end


ENDS_BEFORE = pytest.mark.embedded("it ends before anything is opened")


@ENDS_BEFORE
@pytest.mark.parametrize("code", [0, 1, 3])
def test_whoever_asks_for_an_end_gets_it_with_its_own_code(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "consume", ending(SystemExit(code)))
    with pytest.raises(SystemExit) as ended:
        heard("consume", dir=tmp_path)
    assert ended.value.code == code


@ENDS_BEFORE
def test_another_error_of_a_file_is_not_taken_for_a_reader_that_has_had_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "consume", ending(OSError(errno.ENOSPC, "no space")))
    answer = heard("consume", dir=tmp_path)
    assert (answer.code, answer.error["code"]) == (3, "configuration")


def test_a_view_that_is_named_twice_is_rebuilt_once(tmp_path: Path) -> None:
    told(tmp_path, concern("N1"))
    answer = heard("views", "rebuild", "inputs", "inputs", dir=tmp_path, now=NOW)
    assert (answer.code, answer.err) == (0, "rebuilt and swapped: inputs\n")


@pytest.mark.embedded("the wrong count is put into the file by hand")
def test_a_balance_that_does_not_hold_is_not_told_as_one(tmp_path: Path) -> None:
    told(tmp_path, concern("N1"), concern("N2"))

    def balance() -> tuple[bool, str]:
        checks = heard("doctor", dir=tmp_path, now=NOW).json["checks"]
        return next((each["ok"], each["detail"]) for each in checks if each["name"] == "balance")

    assert balance()[0]
    assert balance()[1].startswith("2 read = 2 accepted")
    with closing(sqlite3.connect(tmp_path / "write.db")) as db, db:
        db.execute("UPDATE message_counts SET n = n + 1 WHERE name = 'read'")
    assert not balance()[0]
    assert balance()[1].startswith("3 read are not 2 accepted")
