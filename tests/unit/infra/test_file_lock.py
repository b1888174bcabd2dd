"""Does whoever opens one of the embedded files wait for whoever is making it?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import databases
from infra.event_store import SqliteRecorder
from infra.file_lock import one_at_a_time
from infra.local_log.file import open_file


def the_log(path: Path) -> None:
    open_file(path, ["topic"], 1).close()


def the_event_store(path: Path) -> None:
    SqliteRecorder(path).close()


def the_read_models(path: Path) -> None:
    with databases.sqlite_file(path).connect():
        pass


@pytest.mark.parametrize("opened", [the_log, the_event_store, the_read_models])
def test_a_file_is_opened_once_whoever_makes_it_has_done(
    opened: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "new.db"
    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(path):
            opening = pool.submit(opened, path)
            with pytest.raises(TimeoutError):
                opening.result(timeout=0.2)
        opening.result()
