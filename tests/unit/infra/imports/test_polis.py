"""Does every rule of the Polis importer hold, one dirty value at a time?"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidMessageError
from infra.imports import polis
from tests.support.imported import Where, of, usable

COMMENTS = "timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,comment-body"
VOTES = "timestamp,datetime,comment-id,voter-id,vote"
T = 1_658_934_589_213
"""2022-07-27T15:09:49.213Z"""
WIB = "Wed Jul 27 22:09:49 WIB 2022"
PLACE: Where = {
    "force": "metropolitan",
    "neighbourhood": "london",
    "source": "/import/polis/metropolitan/london",
}


def comment(
    id_: object = 35, *, at: object = T, by: object = 23, mod: object = 1, body: str = "Listen"
) -> str:
    return f"{at},{WIB},{id_},{by},0,0,{mod},{body}"


def vote(on: object = 35, by: object = 7, value: object = 1, *, at: object = T + 1) -> str:
    return f"{at},{WIB},{on},{by},{value}"


def comments(*rows: str) -> tuple[str, bytes]:
    return "comments.csv", "\n".join([COMMENTS, *rows, ""]).encode()


def votes(*rows: str) -> tuple[str, bytes]:
    return "votes.csv", "\n".join([VOTES, *rows, ""]).encode()


def run(*files: tuple[str, bytes]) -> tuple[list[dict[str, Any]], list[str]]:
    told: list[str] = []
    return usable(polis.messages(files, **PLACE, warn=told.append)), told


def refused(*files: tuple[str, bytes]) -> InvalidMessageError:
    with pytest.raises(InvalidMessageError) as caught:
        polis.messages(files, **PLACE)
    assert caught.value.expected
    assert caught.value.got
    assert caught.value.hint
    return caught.value


def test_a_comment_is_a_preference_of_its_author() -> None:
    messages, told = run(comments(comment()))
    assert told == []
    assert messages == [
        {
            "specversion": "1.0",
            "id": "polis:35:raised",
            "source": "/import/polis/metropolitan/london",
            "type": "heard.concern.raised.v1",
            "time": "2022-07-27T15:09:49.213000Z",
            "datacontenttype": "application/json",
            "data": {
                "ref": "polis:35",
                "force": "metropolitan",
                "neighbourhood": "london",
                "occurred": {"kind": "instant", "from": "2022-07-27T15:09:49.213000Z"},
                "actor": {"role": "member_of_public"},
                "contributor": {"ref": "polis:person:23", "may_contact": False},
                "kind": "preference",
                "words": "Listen",
            },
        }
    ]


def test_a_vote_is_support_for_its_comment() -> None:
    messages, told = run(votes(vote()), comments(comment()))
    assert told == []
    assert messages[1]["type"] == "heard.support.given.v1"
    assert messages[1]["time"] == "2022-07-27T15:09:49.214000Z"
    assert messages[1]["data"] == {
        "ref": "polis:vote:35:7",
        "force": "metropolitan",
        "neighbourhood": "london",
        "occurred": {"kind": "instant", "from": "2022-07-27T15:09:49.214000Z"},
        "actor": {"role": "member_of_public"},
        "causes": [{"relation": "supports", "ref": "polis:35", "kind": "concern"}],
        "contributor": {"ref": "polis:person:7", "may_contact": False},
        "stance": "agree",
    }


@pytest.mark.parametrize(
    ("value", "stance"), [("1", "agree"), ("+1", "agree"), ("-1", "disagree"), ("0", "pass")]
)
def test_one_agrees_minus_one_disagrees_nought_passes(value: str, stance: str) -> None:
    messages, _ = run(votes(vote(value=value)))
    assert messages[0]["data"]["stance"] == stance


def test_a_comment_moderated_out_says_that_no_reason_was_given() -> None:
    messages, told = run(comments(comment(mod=-1), comment(36, mod=0)))
    moderated = of(messages, "concern.moderated")
    assert [m["data"]["ref"] for m in moderated] == ["polis:35"]
    assert moderated[0]["data"]["reason"] == "other"
    assert moderated[0]["data"]["reason_words"] == polis.MODERATED_WORDS
    assert moderated[0]["data"]["occurred"] == {"kind": "unknown"}
    assert moderated[0]["time"] == messages[0]["time"]
    assert told == []


def test_the_same_vote_again_is_given_again_under_an_id_of_its_own() -> None:
    messages, told = run(votes(vote(at=T), vote(at=T + 1)))
    assert [m["data"]["ref"] for m in of(messages, "support.given")] == ["polis:vote:35:7"] * 2
    assert told == []


def test_another_vote_later_is_a_changed_mind_whatever_the_order_of_rows() -> None:
    messages, _ = run(votes(vote(value=-1, at=T + 2), vote(value=1, at=T), vote(value=1, at=T + 1)))
    facts = [(m["type"], m["data"]["stance"]) for m in messages]
    assert facts == [
        ("heard.support.given.v1", "agree"),
        ("heard.support.given.v1", "agree"),
        ("heard.support.changed.v1", "disagree"),
    ]


def test_comments_come_first_and_both_in_the_order_of_time() -> None:
    messages, _ = run(
        votes(vote(2, at=T + 9), vote(1, at=T + 8)), comments(comment(2, at=T + 5), comment(1, at=T + 4))
    )
    assert [m["data"]["ref"] for m in messages] == ["polis:1", "polis:2", "polis:vote:1:7", "polis:vote:2:7"]


def test_byte_order_mark_line_ends_blank_lines_columns_and_spaces_make_no_difference() -> None:
    plain, _ = run(comments(comment()), votes(vote()))
    dirty_comments = (
        "\ufeff\r\n Comment-Body,moderated,author-id,comment-id, timestamp \r\n"
        f"\r\nListen,1, 23 ,35 ,{T}\r\n,,,,\r\n"
    )
    dirty, told = run(("a.txt", dirty_comments.encode()), ("b", votes(vote())[1].replace(b"\n", b"\r\n\r\n")))
    assert dirty == plain
    assert told == []


def test_white_space_in_a_comment_is_one_space() -> None:
    messages, _ = run(comments(comment(body='"  Involve them\r\nmore.   Really,\u00a0 more "')))
    assert messages[0]["data"]["words"] == "Involve them more. Really, more"


@pytest.mark.parametrize("body", ["", "  ", "x" * 16_001])
def test_a_comment_without_usable_words_still_counts(body: str) -> None:
    messages, told = run(comments(comment(body=body)))
    assert "words" not in messages[0]["data"]
    assert told == [
        f"comments.csv, line 2: comment-body is {'over 16,000 characters' if body.strip() else 'blank'}: "
        "the comment is imported without words"
    ]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (comment(at=""), "timestamp"),
        (comment(at="2022-07-27"), "timestamp"),
        (comment(at="9" * 18), "timestamp"),
        (comment("x"), "comment-id or author-id"),
        (comment("-1"), "comment-id or author-id"),
        (comment("³"), "comment-id or author-id"),
        (comment(by=""), "comment-id or author-id"),
        (comment(mod=2), "moderated"),
        (comment(mod=""), "moderated"),
        (comment(body="one, two"), "9 cells, not 8"),
        ("1,2,3", "3 cells, not 8"),
    ],
)
def test_a_comment_with_a_value_that_cannot_be_read_is_left_out_and_told(row: str, rule: str) -> None:
    messages, told = run(comments(row, comment(36)))
    assert [m["data"]["ref"] for m in messages] == ["polis:36"]
    assert len(told) == 1
    assert told[0].startswith(f"comments.csv, line 2: {rule}")
    assert told[0].endswith("the row is left out")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (vote(at="soon"), "timestamp"),
        (vote(on="all"), "comment-id or voter-id"),
        (vote(by="7.0"), "comment-id or voter-id"),
        (vote(value=2), "vote"),
        (vote(value="yes"), "vote"),
        (vote(value="1.0"), "vote"),
        (vote(value=""), "vote"),
        (vote() + ",", "6 cells, not 5"),
    ],
)
def test_a_vote_with_a_value_that_cannot_be_read_is_left_out_and_told(row: str, rule: str) -> None:
    messages, told = run(votes(vote(), row))
    assert len(messages) == 1
    assert len(told) == 1
    assert told[0].startswith(f"votes.csv, line 3: {rule}")


def test_a_row_that_is_there_twice_counts_once() -> None:
    once = run(comments(comment()), votes(vote()))
    assert run(comments(comment(), comment()), votes(vote(), vote()), votes(vote())) == once


def test_of_two_comments_with_one_id_the_earlier_counts() -> None:
    later, earlier = comment(at=T + 1, body="Second"), comment(body="First")
    messages, told = run(comments(later, earlier))
    assert [m["data"]["words"] for m in messages] == ["First"]
    assert told == ["comment 35 is there again with something else: the earlier row counts"]


@pytest.mark.parametrize("values", [(1, -1), (-1, 1)])
def test_two_votes_in_one_millisecond_count_once_and_are_told(values: tuple[int, int]) -> None:
    messages, told = run(votes(*(vote(value=value) for value in values)))
    assert [m["data"]["stance"] for m in messages] == ["disagree"]
    assert len(told) == 1


@pytest.mark.parametrize(
    ("at", "instant"),
    [
        (1_658_934_589, "2022-07-27T15:09:49.000000Z"),
        (1_658_934_589_213, "2022-07-27T15:09:49.213000Z"),
        (10**11 - 1, "5138-11-16T09:46:39.000000Z"),
        (10**11, "1973-03-03T09:46:40.000000Z"),
    ],
)
def test_a_timestamp_is_in_seconds_where_milliseconds_would_be_older_than_polis(
    at: int, instant: str
) -> None:
    told: list[str] = []
    files = [comments(comment(at=at)), votes(vote(at=at))]
    # As they are: 5138 is in the future, which is for `publish` to say.
    messages = list(polis.messages(files, **PLACE, warn=told.append))
    assert [m["time"] for m in messages] == [instant] * 2
    assert [m["data"]["occurred"]["from"] for m in messages] == [instant] * 2
    assert told == []


@pytest.mark.parametrize("again", [1_658_934_589, 1_658_934_589_000])
def test_two_votes_in_one_second_of_an_export_in_seconds_count_once_and_are_told(again: int) -> None:
    messages, told = run(votes(vote(value=1, at=1_658_934_589), vote(value=-1, at=again)))
    assert [m["data"]["stance"] for m in messages] == ["disagree"]
    assert told == ["voter 7 voted twice on comment 35 at the same instant: one vote is left out"]


def test_another_vote_a_second_later_is_a_changed_mind_in_an_export_in_seconds() -> None:
    messages, told = run(votes(vote(value=-1, at=1_658_934_590), vote(value=1, at=1_658_934_589)))
    assert [m["data"]["stance"] for m in messages] == ["agree", "disagree"]
    assert told == []


def test_a_vote_on_a_comment_that_is_not_there_waits_for_it() -> None:
    messages, told = run(comments(comment()), votes(vote(99), vote(99, by=8)))
    assert len(of(messages, "support.given")) == 2
    assert told == ["comment 99 of 2 votes is not in comments.csv: its votes wait for it"]


def test_votes_alone_may_refer_to_comments_of_an_earlier_import() -> None:
    messages, told = run(votes(vote()))
    assert (len(messages), told) == (1, [])


def counted(id_: int, agrees: object, disagrees: object) -> str:
    return f"{T},{WIB},{id_},1,{agrees},{disagrees},1,Words"


def test_votes_with_their_signs_turned_round_are_refused() -> None:
    cast = [vote(1, by=n, value=-1) for n in range(5)] + [vote(1, by=5, value=1)]
    error = refused(comments(counted(1, 5, 1)), votes(*cast))
    assert (error.code, error.field) == ("field_invalid", "vote")
    assert "-1" in error.hint


@pytest.mark.parametrize(("agrees", "disagrees"), [(1, 5), (2, 4), (0, 0), ("", "x"), (6, 6)])
def test_counts_that_are_only_a_little_off_are_let_be(agrees: object, disagrees: object) -> None:
    cast = [vote(1, by=n, value=-1) for n in range(5)] + [vote(1, by=5, value=1)]
    messages, told = run(comments(counted(1, agrees, disagrees)), votes(*cast))
    assert (len(messages), told) == (7, [])


@pytest.mark.parametrize("column", ["timestamp", "comment-id", "moderated", "comment-body"])
def test_a_missing_column_of_comments_is_named(column: str) -> None:
    header = COMMENTS.replace(column, "another")
    error = refused(votes(vote()), ("c.csv", f"{header}\n{comment()}\n".encode()))
    assert (error.code, error.field) == ("field_missing", f"c.csv:{column}")


@pytest.mark.parametrize("column", ["timestamp", "comment-id", "vote"])
def test_a_missing_column_of_votes_is_named(column: str) -> None:
    header = ",".join("another" if name == column else name for name in VOTES.split(","))
    error = refused(comments(comment()), ("v.csv", f"{header}\n{vote()}\n".encode()))
    assert (error.code, error.field) == ("field_missing", f"v.csv:{column}")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "field_invalid"),
        (b"\n\n", "field_invalid"),
        (b"a,b\n1,2\n", "field_invalid"),
        (b'{"comments": []}', "field_invalid"),
        ("comment-id;voter-id;vote\n".encode("utf-16"), "not_utf8"),
        (comments(comment(body="caf\u00e9"))[1].decode().encode("latin-1"), "not_utf8"),
        (comments(comment(body='"never closed'))[1], "field_invalid"),
    ],
)
def test_a_file_that_cannot_be_read_stops_everything_and_is_named(content: bytes, code: str) -> None:
    error = refused(comments(comment()), ("odd.csv", content))
    assert error.code == code
    assert error.field == "odd.csv"


def test_the_other_files_of_the_export_hold_nothing_to_import() -> None:
    others = [("summary.csv", b"topic,How?\nvoters,26\n"), ("p.csv", b"participant,xid,group-id\n1,,1\n")]
    messages, told = run(comments(comment()), *others)
    assert len(messages) == 1
    assert [line.split(":")[0] for line in told] == ["summary.csv", "p.csv"]
    assert refused(*others).code == "field_missing"
    assert refused().got == "no file"


def test_a_header_alone_is_an_empty_conversation() -> None:
    assert run(comments(), votes()) == ([], [])


def test_the_order_of_files_makes_no_difference_and_an_import_can_be_repeated() -> None:
    files = [comments(comment(1)), comments(comment(2, mod=-1)), votes(vote(1)), votes(vote(2, value=0))]
    first = b"\n".join(map(orjson.dumps, run(*files)[0]))
    assert b"\n".join(map(orjson.dumps, run(*files)[0])) == first
    assert b"\n".join(map(orjson.dumps, run(*reversed(files))[0])) == first


def test_a_later_export_gives_the_earlier_messages_again() -> None:
    before, _ = run(comments(comment()), votes(vote()))
    after, _ = run(comments(comment(mod=-1), comment(36)), votes(vote(value=-1, at=T + 9), vote()))
    assert [one for one in before if one not in after] == []


CELL = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "35", str(T), "9" * 17, "x"]), st.text('a\x00,"\n\r 1é', max_size=5)
)


@given(st.lists(st.lists(CELL, min_size=4, max_size=6)), st.lists(st.lists(CELL, min_size=7, max_size=9)))
def test_whatever_the_cells_hold_each_message_can_be_used(
    cast: list[list[str]], said: list[list[str]]
) -> None:
    files = [
        (name, "\n".join([header, *(",".join(row) for row in rows)]).encode())
        for name, header, rows in (("v", VOTES, cast), ("c", COMMENTS, said))
    ]
    try:
        messages = polis.messages(files, **PLACE)
    except InvalidMessageError:
        return
    usable(messages)
