"""What was said and voted on in a Polis conversation?

`comments.csv` → a concern of kind `preference` for each comment (a conversation asks what people
would like; the export does not sort statements further, not even those that describe the voter).
`votes.csv` → support for the comment. Comments come first, then votes, each in the order of time.
Either file may come alone, or in several parts.

| what | becomes |
|---|---|
| comment 35 by person 23 | concern `polis:35`, contributor `polis:person:23`; people are not to be contacted, since nobody asked them |
| its moderated = -1 | also moderated, reason `other`: the export gives none, and none is made up; when is unknown, so it is told with the comment's own time and no view ever shows the comment without it |
| voter 23 on comment 35 | support `polis:vote:35:23`; 1 agree, -1 disagree, 0 pass; voters and authors share one space of ids |
| the same voter, same vote again | given once more, under an id of its own: intake finds that nothing changed, and a person counts once |
| the same voter, another vote later | support changed |

Dirty values:

| what is wrong | rule |
|---|---|
| byte order mark, CRLF, blank lines, order of columns, spaces around a value | make no difference |
| repeated and stray white space in a comment | one space |
| a timestamp below 10^11 | is in seconds, as some versions of Polis write it; from there on in milliseconds. In seconds 10^11 is the year 5138, in milliseconds March 1973, and Polis is younger |
| datetime, agrees, disagrees | not imported: a local spelling of the timestamp, and counts that follow from the votes |
| a blank body, or one over 16,000 characters | the comment is imported without words, told |
| another number of cells than columns; a timestamp or id that is not a whole number; moderated or a vote other than -1, 0, 1 | the row is left out, told |
| a row that is there twice | counts once |
| a comment id again with something else in it | the earlier row counts, the other is left out, told |
| two different votes of one person at the same instant (the same second, where the export is in seconds) | which came last cannot be known: one counts (disagree before pass before agree), told |
| a vote on a comment that comments.csv does not have | imported all the same, told: intake keeps it until the comment comes |
| the votes fit agrees and disagrees far better (less than half the difference) with their signs turned round | nothing is imported: some exports write -1 for agree, and every voter would be misquoted |
| a file without a column that is needed, quotes that do not close, not UTF-8, not of this export | nothing is imported |
| summary.csv, stats-history.csv, participants-votes.csv | hold nothing to import, told |
"""  # noqa: E501

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any, Final, NamedTuple

from domain import concern, support
from domain.errors import InvalidMessageError
from domain.values import stamp
from infra.imports import message, reading
from infra.imports.message import Origin
from infra.imports.reading import Warn, silent

MODERATED_WORDS: Final = (
    "Moderated out in the Polis conversation. The export does not say why, when or by whom."
)

_COMMENTS: Final = ("timestamp", "comment-id", "author-id", "moderated", "comment-body")
_VOTES: Final = ("timestamp", "comment-id", "voter-id", "vote")
_OTHERS: Final = ("topic", "n-votes", "participant")
"""First columns of the export's other files."""
_EXPECTED: Final = "comments.csv or votes.csv of a Polis export, with commas and its line of names"
_HINT: Final = "export the conversation's raw data again, and give comments.csv and votes.csv as they are"
_STANCES: Final = {1: "agree", 0: "pass", -1: "disagree"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM: Final = 10**11
"""A timestamp below this is in seconds: in milliseconds it would be older than Polis."""
_UNCOUNTED: Final = -1


class _Comment(NamedTuple):
    time: str
    id: int
    author: int
    moderated: int
    words: str
    agrees: int
    disagrees: int


class _Vote(NamedTuple):
    time: str
    comment: int
    voter: int
    vote: int


def messages(
    files: Sequence[tuple[str, bytes]],
    *,
    force: str,
    neighbourhood: str,
    source: str,
    warn: Warn = silent,
) -> Iterator[dict[str, Any]]:
    """The conversation as messages. InvalidMessageError if a file cannot be read as a whole."""
    origin = Origin(force, neighbourhood, source)
    comments: list[_Comment] = []
    votes: list[_Vote] = []
    has_comments = has_votes = False
    for name, content in files:
        table = csv.reader(StringIO(reading.text_of(name, content), newline=""), strict=True)
        try:
            columns = [cell.strip().lower() for cell in next((row for row in table if any(row)), [])]
            if "comment-body" in columns or "author-id" in columns:
                has_comments = True
                comments.extend(_comments(table, name, _cells(columns, _COMMENTS, name), warn))
            elif "voter-id" in columns:
                has_votes = True
                votes.extend(_votes(table, name, _cells(columns, _VOTES, name), warn))
            elif columns and columns[0] in _OTHERS:
                warn(f"{name}: holds nothing to import; comments and votes come from the other files")
            else:
                raise reading.unknown(
                    name, expected=_EXPECTED, got="other columns" if columns else "an empty file", hint=_HINT
                )
        except csv.Error as error:
            raise InvalidMessageError(
                "field_invalid", f"{name} cannot be read from line {table.line_num} on", field=name,
                expected="comma-separated values whose quotes close", got=str(error), hint=_HINT,
            ) from None  # fmt: skip
    if not has_comments and not has_votes:
        raise reading.nothing_there(files, expected=_EXPECTED, hint=_HINT)
    comments = _once(sorted(comments), warn)
    votes.sort()
    if has_comments:
        _signs_are_right(comments, votes)
        for missing, times in sorted(_unknown(comments, votes).items()):
            warn(f"comment {missing} of {times} votes is not in comments.csv: its votes wait for it")
    return _told(origin, comments, votes, warn)


def _cells(columns: list[str], needed: tuple[str, ...], name: str) -> list[str]:
    for column in needed:
        if column not in columns:
            raise InvalidMessageError(
                "field_missing", f"{name} has no column {column}", field=f"{name}:{column}",
                expected=", ".join(needed), got=f"{len(columns)} columns without it", hint=_HINT,
            )  # fmt: skip
    return columns


def _rows(table: Any, name: str, columns: list[str], warn: Warn) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row that has as many cells as the file has columns, and where it stands."""
    for row in table:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{name}, line {table.line_num}"
        if len(row) == len(columns):
            yield where, {column: cell.strip() for column, cell in zip(columns, row, strict=True)}
        else:
            warn(f"{where}: {len(row)} cells, not {len(columns)}: the row is left out")


def _comments(table: Any, name: str, columns: list[str], warn: Warn) -> Iterator[_Comment]:
    for where, row in _rows(table, name, columns, warn):
        time, moderated = _time(row["timestamp"]), _one_of_three(row["moderated"])
        id_, author = _whole(row["comment-id"]), _whole(row["author-id"])
        if time is None:
            warn(f"{where}: timestamp is not in seconds or milliseconds since 1970: the row is left out")
        elif id_ is None or author is None:
            warn(f"{where}: comment-id or author-id is not a whole number: the row is left out")
        elif moderated is None:
            warn(f"{where}: moderated is not -1, 0 or 1: the row is left out")
        else:
            words = " ".join(row["comment-body"].replace("\0", " ").split())
            if not words or len(words) > reading.MAX_WORDS:
                problem = "over 16,000 characters" if words else "blank"
                warn(f"{where}: comment-body is {problem}: the comment is imported without words")
                words = ""
            counts = (_whole(row.get(count, "")) for count in ("agrees", "disagrees"))
            agrees, disagrees = (_UNCOUNTED if count is None else count for count in counts)
            yield _Comment(time, id_, author, moderated, words, agrees, disagrees)


def _votes(table: Any, name: str, columns: list[str], warn: Warn) -> Iterator[_Vote]:
    for where, row in _rows(table, name, columns, warn):
        time, vote = _time(row["timestamp"]), _one_of_three(row["vote"])
        comment, voter = _whole(row["comment-id"]), _whole(row["voter-id"])
        if time is None:
            warn(f"{where}: timestamp is not in seconds or milliseconds since 1970: the row is left out")
        elif comment is None or voter is None:
            warn(f"{where}: comment-id or voter-id is not a whole number: the row is left out")
        elif vote is None:
            warn(f"{where}: vote is not -1, 0 or 1: the row is left out")
        else:
            yield _Vote(time, comment, voter, vote)


def _whole(cell: str) -> int | None:
    return int(cell) if re.fullmatch(r"[0-9]{1,18}", cell) else None


def _one_of_three(cell: str) -> int | None:
    return int(cell) if re.fullmatch(r"[+-]?1|0", cell) else None


def _time(cell: str) -> str | None:
    count = _whole(cell)
    if count is None:
        return None
    milliseconds = count * 1000 if count < _MILLISECONDS_FROM else count
    try:
        return stamp(_EPOCH + timedelta(milliseconds=milliseconds))
    except OverflowError:
        return None


def _once(ordered: list[_Comment], warn: Warn) -> list[_Comment]:
    first: dict[int, _Comment] = {}
    for comment in ordered:
        if first.setdefault(comment.id, comment) != comment:
            warn(f"comment {comment.id} is there again with something else: the earlier row counts")
    return list(first.values())


def _signs_are_right(comments: list[_Comment], votes: list[_Vote]) -> None:
    """Refuse votes that fit the export's own counts only when agree and disagree are exchanged."""
    cast = Counter((vote.comment, vote.vote) for vote in votes)

    def off(agree: int) -> int:
        return sum(
            abs(cast[c.id, agree] - c.agrees) + abs(cast[c.id, -agree] - c.disagrees)
            for c in comments
            if _UNCOUNTED not in (c.agrees, c.disagrees)
        )

    # Not exactly nothing: the export may count a person once, and rows may have been left out.
    if 2 * off(agree=-1) < off(agree=1):
        raise InvalidMessageError(
            "field_invalid", "the votes say the opposite of what comments.csv counts", field="vote",
            expected="1 for agree and -1 for disagree, as agrees and disagrees count them",
            got="votes that fit with their signs turned round",
            hint="multiply the column vote by -1 and import again",
        )  # fmt: skip


def _unknown(comments: list[_Comment], votes: list[_Vote]) -> Counter[int]:
    known = {comment.id for comment in comments}
    return Counter(vote.comment for vote in votes if vote.comment not in known)


def _told(
    origin: Origin, comments: list[_Comment], votes: list[_Vote], warn: Warn
) -> Iterator[dict[str, Any]]:
    for comment in comments:
        ref = f"polis:{comment.id}"
        occurred, time = message.at(comment.time)
        yield origin.message(
            concern.Raised, f"{ref}:raised", ref, occurred=occurred, time=time,
            role="member_of_public", contributor=_person(comment.author), kind="preference",
            words=comment.words or None,
        )  # fmt: skip
        if comment.moderated == -1:
            yield origin.message(
                concern.Moderated, f"{ref}:moderated", ref, occurred=message.UNKNOWN, time=time,
                role="moderator", reason="other", reason_words=MODERATED_WORDS,
            )  # fmt: skip
    stances: dict[tuple[int, int], _Vote] = {}
    for vote in votes:
        before = stances.get((vote.comment, vote.voter))
        if before is not None and before.time == vote.time:
            if before.vote != vote.vote:
                warn(
                    f"voter {vote.voter} voted twice on comment {vote.comment} at the same instant: "
                    "one vote is left out"
                )
            continue
        stances[vote.comment, vote.voter] = vote
        ref = f"polis:vote:{vote.comment}:{vote.voter}"
        changed = before is not None and before.vote != vote.vote
        occurred, time = message.at(vote.time)
        yield origin.message(
            support.Changed if changed else support.Given, f"{ref}:{vote.time}", ref,
            occurred=occurred, time=time, role="member_of_public",
            causes=[{"relation": "supports", "ref": f"polis:{vote.comment}", "kind": "concern"}],
            contributor=_person(vote.voter), stance=_STANCES[vote.vote],
        )  # fmt: skip


def _person(id_: int) -> dict[str, Any]:
    return {"ref": f"polis:person:{id_}", "may_contact": False}
