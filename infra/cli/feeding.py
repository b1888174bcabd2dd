"""How do messages get in, from a file, another format or the bundled scenario, and how far?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import orjson

from consumers.upstream import Rejected, check, fits, key_of, send
from domain.errors import ConfigurationError, HeardError, InvalidMessageError
from infra import scenario
from infra.cli.output import colour, say, write
from infra.cli.session import Session
from infra.imports import KINDS, default_source
from infra.installation import LOOPS
from infra.picture import terminal

IN_MEMORY: Final = 8 * 1024 * 1024
"""As many bytes of what comes from a pipe as are not put in a file."""


def publish(
    session: Session, file: str, *, skip_invalid: bool, dry_run: bool, unchecked: bool
) -> dict[str, Any]:
    """Check every line, then send; {"sent", "rejected"}."""
    i = session.installation
    with _opened(session, file) as lines:
        rejected = list(_check_all(session, lines, unchecked=unchecked))
        answer: dict[str, Any] = {"sent": 0, "rejected": [asdict(line) for line in rejected]}
        if dry_run or (rejected and not skip_invalid):
            return answer
        if rejected:
            # First, so that a line that is left out is never lost.
            _write_rejected(file, lines, {line.line for line in rejected})
        i.keys.id_key()  # kept from the first call on, also where nothing is checked and the log needs no key
        lines.seek(0)
        answer["sent"] = send(i.log, _good(session, lines, rejected, unchecked=unchecked))
    return answer


@contextmanager
def _opened(session: Session, file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        with _spooled(sys.stdin.buffer, session.installation.dir) as lines:
            yield lines
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read", expected="a file of NDJSON messages", got=error.strerror or "an error",
            hint="heard publish FILE, or - for stdin",
        ) from error  # fmt: skip
    with opened:
        if opened.seekable():
            yield opened
            return
        with _spooled(opened, session.installation.dir) as lines:
            yield lines


@contextmanager
def _spooled(stream: BinaryIO, folder: Path) -> Iterator[IO[bytes]]:
    # Read twice, once to check and once to send, so that memory stays bounded. What does not fit
    # there is in the clear: in a file without a name that only this user may read, beside the inbox.
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder)) as spooled:
        shutil.copyfileobj(stream, spooled)
        spooled.seek(0)
        yield spooled


def _lines(file: IO[bytes], *, unchecked: bool) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, start=1):
        # The mark that some programs begin a file in UTF-8 with is the file's, not the message's; who
        # wants nothing checked wants every byte as it is.
        text = line.removeprefix(BOM_UTF8) if number == 1 and not unchecked else line
        if body := text.rstrip(b"\r\n"):
            yield number, body


def _check_all(session: Session, file: IO[bytes], *, unchecked: bool) -> Iterator[Rejected]:
    i = session.installation
    now = i.clock.now()
    for number, line in _lines(file, unchecked=unchecked):
        if unchecked:
            try:
                fits(line)
            except InvalidMessageError as error:
                yield Rejected(number, error.code, error.field, f"{error.message}: {error.expected}")
            continue
        found = check(line, number, i.ids, now)
        if isinstance(found, Rejected):
            yield found


def _good(
    session: Session, file: IO[bytes], rejected: Sequence[Rejected], *, unchecked: bool
) -> Iterator[tuple[bytes, bytes]]:
    bad = {line.line for line in rejected}
    i = session.installation
    now = i.clock.now()
    for number, line in _lines(file, unchecked=unchecked):
        if number in bad:
            continue
        if unchecked:
            yield b"", line
            continue
        found = check(line, number, i.ids, now)
        if not isinstance(found, Rejected):
            yield key_of(found), line


def _write_rejected(file: str, lines: IO[bytes], bad: set[int]) -> None:
    lines.seek(0)
    path = Path("stdin.rejected" if file == "-" else f"{file}.rejected")
    try:
        with open(path, "wb", opener=_for_this_user) as out:
            out.writelines(line + b"\n" for number, line in _lines(lines, unchecked=True) if number in bad)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written", expected="a place for the lines that are left out",
            got=error.strerror or "an error", hint="copy FILE to a folder that can be written",
        ) from error  # fmt: skip
    say(f"{len(bad)} lines were left out: {path}")


def _for_this_user(path: str, flags: int) -> int:
    # What could not be used may name people. A file that was there keeps its mode unless it is told.
    opened = os.open(path, flags, 0o600)
    os.fchmod(opened, 0o600)
    return opened


def import_(kind: str, files: Sequence[Path], *, force: str, neighbourhood: str, source: str | None) -> None:
    """Write the messages of a known format as NDJSON."""
    if kind not in KINDS:
        raise HeardError(
            f"there is no format called {kind}", code="usage", expected=", ".join(sorted(KINDS)), got=kind,
            hint="heard import --help",
        )  # fmt: skip
    contents = []
    for path in files:
        try:
            contents.append((path.name, path.read_bytes()))
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be read", expected="a readable file", got=error.strerror or "an error",
                hint="heard import KIND FILE… --force F --neighbourhood N",
            ) from error  # fmt: skip
    called = source or default_source(kind, force, neighbourhood)
    for message in KINDS[kind](contents, force=force, neighbourhood=neighbourhood, source=called, warn=say):
        write(orjson.dumps(message))


def consume(
    session: Session, names: Sequence[str] | None, *, until_idle: bool, metrics_port: int | None
) -> None:
    """Run the loops that are named, or all."""
    if unknown := [name for name in names or () if name not in LOOPS]:
        raise HeardError(
            f"there is no loop called {unknown[0]}", code="usage", expected=", ".join(LOOPS), got=unknown[0],
            hint="heard consume --until-idle",
        )  # fmt: skip
    with session.watched(metrics_port) as went_round:
        loops = session.installation.loops(tuple(names or LOOPS))
        handled = session.consume(loops, until_idle=until_idle, went_round=went_round)
    counts = session.installation.store.counts()
    say(f"{handled} handled; messages so far: {_told(counts)}")


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()) if count)


def demonstrate(session: Session) -> None:
    """Publish the scenario, consume until idle, draw C1's thread."""
    i = session.installation
    now = i.clock.now()
    messages = []
    for number, line in enumerate(scenario.lines(), start=1):
        body = line.encode()
        found = check(body, number, i.ids, now)
        if isinstance(found, Rejected):
            problem, _, expected = found.reason.partition(": ")
            raise HeardError(
                f"line {number} of the scenario cannot be used now: {problem}", code=found.code,
                expected=expected, got=f"{found.field or 'the line'}, where now is {now:%Y-%m-%d}",
                hint="heard demo, without --now or with a later one",
            )  # fmt: skip
        messages.append((key_of(found), body))
    say(f"1. {send(i.log, messages)} messages published, as upstream systems would")
    session.consume(i.loops(), until_idle=True)
    say(f"2. consumed: {_told(i.store.counts())}")
    say("3. what came of C1, the first meeting of residents with their ward team:\n")
    questions = session.questions
    answer = questions.trace("C1", questions.moment(None, None), back=False)
    sys.stdout.write(terminal(answer, width=100, colour=colour()) + "\n")
    sys.stdout.flush()
    heard = f".venv/bin/heard --dir {session.settings.dir} --now {now:%Y-%m-%d}"
    say("\nTry next:")
    say(f"  {heard} trace N7")
    say(f"  {heard} query feedback_owed --where owed=never_told")
    say(f"  {heard} trace C1 --format svg > thread.svg")
