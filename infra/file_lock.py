"""Which of several processes has its turn at a file, and what if the system refuses?"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import ConfigurationError, TransientError


class FileLock:
    """Held by one process at a time, and let go by the kernel when that process dies.

    The holder must not fork without exec: the child would hold the lock with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Whether the lock is ours now; with `wait`, only returns once it is."""
        if self._fd is not None:
            return True
        with usable(self._path):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(fd)
                return False
            except BaseException:
                os.close(fd)
                raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go; safe to repeat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    __del__ = release  # a member that was dropped without a word stands in nobody's way


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Make the database at `path`, or open it for the first time, while nobody else does.

    Two at once would meet half of it; and where both switch it to WAL, SQLite does not wait, but fails.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Make what the system says of a file ours: what somebody has to mend, and what may be retried."""
    try:
        yield
    except (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ConfigurationError(
            f"{path} cannot be used: {error.strerror}.",
            hint="make the data directory, and let Heard's user write in it",
        ) from error
    except OSError as error:
        raise TransientError(
            f"{path} could not be used: {error.strerror}.", hint="look at the disk, then retry"
        ) from error
