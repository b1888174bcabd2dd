"""Does the tree on the terminal tell the whole thread, within the terminal's width?"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from infra import plain_words
from infra.picture import terminal
from tests.support.thread import HOSTILE, edge, everything, graphs, node, thread, trace


def entries(text: str, answer: dict[str, Any]) -> dict[str, int]:
    """How often each thing stands there in full."""
    kinds = {each["ref"]: plain_words.kind(each["kind"]) for each in answer["nodes"]}
    plain = re.sub("\x1b\\[[0-9;]*m", "", text)
    whole = {
        ref: re.compile(rf"^(?!.*→ see).*\b{kind} {re.escape(ref)}( ·|,|$)", re.M)
        for ref, kind in kinds.items()
    }
    return {ref: len(pattern.findall(plain)) for ref, pattern in whole.items()}


def edges_told(text: str) -> set[tuple[str, str, str]]:
    """The links that the tree tells, read back from its branches as (cause, effect, relation in words)."""
    told: set[tuple[str, str, str]] = set()
    words = "|".join(sorted(plain_words.RELATIONS.values(), key=len, reverse=True))
    kinds = "|".join(plain_words.KINDS.values())
    above: dict[int, str] = {}
    for line in text.splitlines():
        if again := re.match(r"^What (?:came of )?(\S+)(?: rests on)?$", line):
            above = {0: again[1]} if again[1] != "it" else {0: above[0]}
            continue
        branches = re.match(r"^[│├└─ ]*", line)
        depth = (branches.end() if branches else 0) // 3
        rest = line[branches.end() if branches else 0 :]
        if forward := re.match(rf"^(?:→ see (\S+), |(?:{kinds}) (\S+), )({words}) (\S+)", rest):
            effect = forward[1] or forward[2]
            told.add((forward[4], effect, forward[3]))
            above[depth] = effect
        elif back := re.match(rf"^({words}) (?:→ see (\S+)|(?:{kinds}) (\S+))", rest):
            cause = back[2] or back[3]
            told.add((cause, above[depth - 1], back[1]))
            above[depth] = cause
        elif rest_of := re.match(rf"^(\S+): ({words}) (\S+)$", rest):
            told.add((rest_of[3], rest_of[1], rest_of[2]))
        elif (start := re.match(rf"^(?:{kinds}) (\S+)", rest)) and not depth:
            above = {0: start[1]}
        if also := re.search(r"also (.*)$", rest):
            for one in re.finditer(rf"({words}) (\S+?)(?:,|$)", also[1]):
                told.add((one[2], above[depth], one[1]))
    return told


def must_be_told(answer: dict[str, Any]) -> None:
    answer = answer | {"nodes": [each | {"text": None} for each in answer["nodes"]]}
    text = terminal(answer, width=4_000, colour=False)
    assert set(entries(text, answer).values()) == {1}
    assert edges_told(text) == {
        (each["cause"], each["effect"], plain_words.relation(each["relation"])) for each in answer["edges"]
    }


def test_the_tree_tells_every_thing_once_and_every_link() -> None:
    must_be_told(thread())
    must_be_told(everything() | {"root": "A1"})


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_the_tree_of_any_thread_tells_every_thing_once_and_every_link(answer: dict[str, Any]) -> None:
    must_be_told(answer)


@settings(max_examples=40, deadline=None)
@given(graphs(circles=True))
def test_the_tree_of_a_circle_ends_and_tells_everything(answer: dict[str, Any]) -> None:
    must_be_told(answer)


def test_the_tree_starts_at_its_root_and_reads_in_both_directions() -> None:
    lines = terminal(thread("A1", "C1 N1 P1 A1 F1 N4"), colour=False).splitlines()
    assert lines[0] == "Change A1 · between 23 June 2008 and 10 October 2008 · carried out and measured"
    assert "What it rests on" in lines
    assert "├─ because of Concern N1 · 19 July 2006 · delivered" in lines
    assert "   └─ because of → see N1" in lines
    assert lines.index("What it rests on") < lines.index("What came of it")
    assert "├─ Feedback F1, tells about A1 · 10 October 2008 · sent" in lines


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(40, 120), st.booleans())
def test_no_line_of_the_tree_is_wider_than_the_terminal(
    answer: dict[str, Any], width: int, colour: bool
) -> None:
    text = terminal(answer, width=width, colour=colour)
    plain = re.sub("\x1b\\[[0-9;]*m", "", text)
    assert max(map(cell_len, plain.splitlines())) <= width


def test_a_thread_that_is_deeper_than_the_terminal_is_wide_goes_on_further_down() -> None:
    nodes = [node(f"T{index}", text=None) for index in range(2_000)]
    text = terminal(
        trace(nodes, [edge(f"T{index}", f"T{index + 1}") for index in range(1_999)]), width=60, colour=False
    )
    assert "… goes on below" in text
    assert "Concern T1999, because of T1998" in text
    assert max(map(len, text.splitlines())) <= 60


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_no_words_reach_the_terminal_as_commands(words: str) -> None:
    text = terminal(trace([node("N1", text=words)], []), colour=False)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_without_colour_no_code_is_written_and_with_it_the_words_are_the_same() -> None:
    plain, coloured = terminal(thread(), colour=False), terminal(thread(), colour=True)
    assert "\x1b" not in plain
    assert "\x1b[1;34mMeeting C1\x1b[0m" in coloured
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain
