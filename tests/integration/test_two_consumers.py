"""What if the program consumes twice at once, in two processes over one data directory?"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.integration.test_kills import consuming, ended, opened, published
from tests.support.compared import contents, differences, loose_ends
from tests.support.program import started

PATIENCE = 120
MOST = 240
"""Messages, so that a slow run takes seconds."""


def both(directory: Path, batches: Sequence[int]) -> list[tuple[int, bytes]]:
    """Start as many at once, wait for all: exit code and stderr of each."""
    running = [consuming(directory, batch=batch) for batch in batches]
    return [(process.wait(PATIENCE), process.communicate()[1]) for process in running]


def test_two_that_begin_together_share_the_work_and_both_end_when_all_of_it_is_done(tmp_path: Path) -> None:
    inbox = published(tmp_path / "alone", 1, MOST)
    ended(tmp_path / "alone")
    published(tmp_path / "together", 1, MOST)

    found = both(tmp_path / "together", [9, 7])

    assert [code for code, _ in found] == [0, 0], found
    with opened(tmp_path / "alone") as one, opened(tmp_path / "together") as other:
        assert loose_ends(other) == []
        assert differences(contents(one, inbox.people), contents(other, inbox.people)) == {}


def test_several_that_begin_in_an_empty_directory_make_it_once_and_end(tmp_path: Path) -> None:
    for attempt in range(2):
        found = both(tmp_path / str(attempt), [500, 500, 500])
        assert [code for code, _ in found] == [0, 0, 0], found


def test_one_that_was_asked_to_end_when_idle_waits_for_what_another_has_in_hand(tmp_path: Path) -> None:
    # given one that runs on, and slowly, and has taken every role
    inbox = published(tmp_path, 1, MOST)
    env = {"HEARD_BATCH": "3", "HEARD_ID_KEY": "5e" * 32}
    slow = started("consume", dir=tmp_path, now="2026-01-01T00:00:00Z", env=env)
    try:
        with opened(tmp_path) as i:
            while i.store.counts()["read"] < len(inbox.first) + 20:
                assert slow.poll() is None

        # when another is asked to end when nothing is left to do
        [(code, talk)] = both(tmp_path, [3])

        # then nothing is left when it has ended, and the first goes on
        assert code == 0, talk
        with opened(tmp_path) as i:
            assert loose_ends(i) == []
            assert i.store.counts()["read"] == len(inbox.first) + len(inbox.then)
        assert slow.poll() is None
    finally:
        slow.send_signal(signal.SIGTERM)
        assert slow.wait(PATIENCE) == 0


def test_one_that_stands_by_takes_over_from_one_that_is_killed(tmp_path: Path) -> None:
    inbox = published(tmp_path, 1)
    env = {"HEARD_BATCH": "1", "HEARD_ID_KEY": "5e" * 32}
    dying = started("consume", dir=tmp_path, now="2026-01-01T00:00:00Z", env=env, stderr=subprocess.DEVNULL)
    with opened(tmp_path) as i:
        while i.store.counts()["read"] < len(inbox.first) + 20:
            assert dying.poll() is None
        standing_by = consuming(tmp_path, batch=50)
        time.sleep(1.2)
        read = i.store.counts()["read"]
    dying.kill()
    _, talk = standing_by.communicate(timeout=PATIENCE)
    assert dying.wait(PATIENCE) == -signal.SIGKILL
    assert standing_by.returncode == 0, talk
    with opened(tmp_path) as i:
        assert loose_ends(i) == []
        assert read < i.store.counts()["read"] == len(inbox.first) + len(inbox.then)
