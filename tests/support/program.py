"""How does a test use the program as people do: a line of arguments, and what came out?"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from infra.cli import main
from tests.support.requires import ROOT


def underneath(dir: Path) -> Mapping[str, str]:
    """The settings of the installation in a data directory. None, unless underneath.py says otherwise."""
    return {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call of the program left behind."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return orjson.loads(self.out)

    @property
    def text(self) -> str:
        """stdout as text."""
        return self.out.decode()

    @property
    def error(self) -> dict[str, Any]:
        """The error as the last line of stderr tells it."""
        return dict(orjson.loads(self.err.splitlines()[-1])["error"])


def heard(
    *args: str | Path,
    dir: Path | None,
    now: str | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Answer:
    """Call the program in this process, its streams being no terminal; settings only from `env`."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    with (
        patch.dict(os.environ, environment(dir, env), clear=True),
        patch.multiple(sys, stdin=given, stdout=out, stderr=err),
    ):
        code = main(_arguments(args, dir, now))
        for stream in (out, err):
            if not stream.closed:
                stream.flush()
    return Answer(code, _written(out), _written(err).decode())


def started(
    *args: str | Path,
    dir: Path,
    now: str | None = None,
    env: Mapping[str, str] | None = None,
    **streams: Any,
) -> subprocess.Popen[bytes]:
    """The installed program in a process of its own."""
    command = [str(Path(sys.executable).with_name("heard")), *_arguments(args, dir, now)]
    return subprocess.Popen(command, cwd=ROOT, env=environment(dir, env), **streams)


_EACH = """
import sys, orjson
from infra.cli import main
for call in orjson.loads(sys.stdin.buffer.read()):
    main(call)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\\0")
"""


def outputs(
    calls: Sequence[Sequence[str | Path]], *, dir: Path, now: str, env: Mapping[str, str]
) -> Iterator[bytes]:
    """What each of these calls writes to stdout, one after the other in one process of their own.

    The process works on while the caller does something else, until the first output is asked for.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _EACH],
        cwd=ROOT,
        env=environment(dir, env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(orjson.dumps([_arguments(tuple(call), dir, now) for call in calls]))
    process.stdin.close()

    def read() -> Iterator[bytes]:
        with process:
            assert process.stdout is not None
            yield from process.stdout.read().split(b"\0")[:-1]

    return read()


def environment(dir: Path | None, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with no settings but those of the installation in `dir`, and `env`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEARD_")}
    return plain | dict(underneath(dir) if dir else {}) | dict(env or {})


def _arguments(args: tuple[str | Path, ...], dir: Path | None, now: str | None) -> list[str]:
    where = [] if dir is None else ["--dir", str(dir)]
    when = [] if now is None else ["--now", now]
    return [*where, *when, *map(str, args)]


def _written(stream: io.TextIOWrapper) -> bytes:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()
