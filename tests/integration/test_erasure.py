"""Is what was erased gone, from every file and every answer, and does all else go on as before?"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumers.running import run
from consumers.upstream import send
from domain.catalogue import EVENTS
from domain.errors import NotFoundError, TransientError
from domain.evidence.sealing import open_sealed
from infra.installation import Installation
from infra.key_store import SqliteKeyStore
from infra.randomness import SystemRandomness
from infra.settings import Settings
from services.erasure import Erasure
from services.topics import INBOX
from tests.support.facts import Message, life, message
from tests.support.program import Answer, heard, started
from tests.support.searching import ANY_VALUE, CORE, MARK, files, found, guises, of_secrets, value

NOW = "2009-03-01"
PEOPLE = ("resident-1", "resident-2", "resident-3")
THINGS = ("st-margarets", "E1", "E2", "D1", "A1", "G1")
VIEWS = ("inputs", "trace", "decisions", "constraints", "you_said_we_did", "feedback_owed", "priorities",
         "worklist", "history")  # fmt: skip
SEALED = {(type_, ".".join(path)) for type_, event in EVENTS.items() for path in event.sealed_paths()}
DISCARDED = ("heard.message.discarded.v1", "reason_words")
NOT_SHOWN = {("heard.decision.proposed.v1", "reason_words")}
"""A reason in draft is not shown, and the decision that follows gives its own."""
LOUD = {"HEARD_LOG_LEVEL": "debug", "HEARD_LOG_FORMAT": "json"}
LOUD_TOO = {"HEARD_LOG_LEVEL": "debug", "HEARD_LOG_FORMAT": "console"}


def words(type_: str, path: str) -> str:
    """The value of one sealed field of one type."""
    return value(f"{type_} {path}")


def timed(messages: Sequence[Message]) -> list[Message]:
    """Each message a minute after the one before, so that each value can be asked for."""
    return [m | {"time": f"2009-01-05T{9 + at // 60:02}:{at % 60:02}:00Z"} for at, m in enumerate(messages)]


def lines(messages: Sequence[Message]) -> bytes:
    """Messages as NDJSON."""
    return b"".join(orjson.dumps(m) + b"\n" for m in messages)


@dataclass(frozen=True, repr=False)
class Lived:
    """A data directory in which every fact came to pass, and what is known of its secrets."""

    dir: Path
    letter: str
    """The dead letter that was discarded."""
    talk: tuple[bytes, ...]
    """Everything that was said on the way, at the most talkative level."""
    keys: Mapping[str, bytes]
    """By key id."""
    salts: Mapping[tuple[str, str], bytes]
    values: Mapping[tuple[str, str], str]
    """By event id and path, as the boxes hold them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody and everything that can be erased."""
        return (*PEOPLE, *THINGS, self.letter)

    @property
    def secrets(self) -> dict[str, bytes]:
        """What to look for: every salt and every key."""
        return of_secrets([*self.keys.values(), *self.salts.values()])


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Every type and every sealed field, accepted; nothing erased yet. Not to be written to."""
    dir_ = tmp_path_factory.mktemp("lived") / "data"
    said = [
        heard("publish", "-", dir=dir_, now=NOW, env=LOUD, stdin=lines(timed(life(words)))),
        heard("publish", "-", "--unchecked", dir=dir_, now=NOW, stdin=f"no JSON: {MARK!r}\n".encode()),
        heard("consume", "--until-idle", dir=dir_, now=NOW, env=LOUD),
    ]
    letter = heard("dead-letters", "list", dir=dir_).json["rows"][0]["id"]
    said += [
        heard(
            "dead-letters", "discard", letter, "--reason", words(*DISCARDED), dir=dir_, now=NOW, env=LOUD_TOO
        ),
        heard("consume", "--until-idle", dir=dir_, now=NOW, env=LOUD_TOO),
    ]
    assert [answer.code for answer in said] == [0] * len(said)
    return Lived(dir_, letter, tuple(_said(a) for a in said), *_secrets(dir_))


@pytest.fixture
def copy(lived: Lived, tmp_path: Path) -> Path:
    """The same data directory once more, to be changed."""
    return Path(shutil.copytree(lived.dir, tmp_path / "data"))


def _said(answer: Answer) -> bytes:
    return answer.out + answer.err.encode()


def _boxes(dir_: Path) -> list[tuple[str, str, str, bytes]]:
    with closing(sqlite3.connect(dir_ / "views.db")) as db:
        return db.execute("SELECT event_id, path, key_id, box FROM sealed_values").fetchall()


def _secrets(
    dir_: Path,
) -> tuple[dict[str, bytes], dict[tuple[str, str], bytes], dict[tuple[str, str], str]]:
    boxes = _boxes(dir_)
    with closing(SqliteKeyStore(dir_ / "keys.db", randomness=SystemRandomness())) as store:
        keys = store.keys(sorted({key_id for _, _, key_id, _ in boxes}))
    opened = {
        (event_id, path): open_sealed(keys[key_id], key_id, event_id, path, box)
        for event_id, path, key_id, box in boxes
    }
    salts = {place: salt for place, (salt, _) in opened.items()}
    return keys, salts, {place: text for place, (_, text) in opened.items()}


@contextmanager
def installed(dir_: Path) -> Iterator[Installation]:
    """The parts of an installation, without the program around them."""
    installation = Installation(Settings(dir=dir_))
    try:
        yield installation
    finally:
        installation.close()


def erase(dir_: Path, *names: str, env: Mapping[str, str] | None = None) -> list[Answer]:
    """Erase all of these, one after another."""
    answers = [heard("erase", name, dir=dir_, now=NOW, env=env) for name in names]
    assert [answer.code for answer in answers] == [0] * len(names), [answer.err for answer in answers]
    return answers


def everything_but_show(dir_: Path, env: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """What every command that only asks has to say, by the command."""
    trace_ids = ("N1", "K1", "D1", "A1", "F1", "R1")
    commands = [
        ("doctor",), ("dead-letters", "list"), ("parked", "list"), ("views", "list"),
        *(("log", name) for name in trace_ids), *(("replay", name) for name in trace_ids),
        *(("query", view) for view in VIEWS), ("query", "inputs", "--at", "2009-02-01"),
        ("query", "inputs", "--format", "csv"), ("query", "inputs", "--format", "table"),
    ]  # fmt: skip
    return {" ".join(c): _said(heard(*c, dir=dir_, now=NOW, env=env)) for c in commands}


# -- before --------------------------------------------------------------------------------------


def test_every_sealed_field_of_the_catalogue_is_walked(lived: Lived) -> None:
    assert sorted(lived.values.values()) == sorted(words(*field) for field in SEALED)
    assert len(lived.values) == len(SEALED) > 40


def test_before_an_erasure_show_prints_every_value(lived: Lived) -> None:
    shown = set()
    for m in timed(life(words)):
        for field in sorted(path for type_, path in SEALED if type_ == m["type"]):
            answer = heard("show", m["data"]["ref"], "--at", m["time"], dir=lived.dir, now=NOW).json
            if answer["fields"].get(field) == words(m["type"], field):
                shown.add((m["type"], field))
    answer = heard("show", lived.letter, dir=lived.dir, now=NOW).json
    if answer["fields"]["reason_words"] == words(*DISCARDED):
        shown.add(DISCARDED)
    assert shown == SEALED - NOT_SHOWN


def test_the_search_finds_a_planted_value_in_every_guise(tmp_path: Path) -> None:
    for name, form in guises(words("a", "b")).items():
        (tmp_path / f"{name}.bin").write_bytes(b"x" * 7 + form + b"y" * 7)
    with closing(sqlite3.connect(tmp_path / "planted.db")) as db:
        db.execute("CREATE TABLE t (v)")
        db.execute("INSERT INTO t VALUES (?)", (words("a", "b"),))
        db.commit()
    places = {hit.partition(":")[0] for hit in found(ANY_VALUE, files(tmp_path))}
    assert places == files(tmp_path).keys()


def test_the_search_finds_a_planted_secret_in_every_guise(tmp_path: Path) -> None:
    secret = bytes(range(200, 232))
    needles = of_secrets([secret])
    for name, form in needles.items():
        (tmp_path / f"{name}.bin").write_bytes(b"x" * 7 + form + b"y" * 7)
    assert {hit.partition(":")[0] for hit in found(needles, files(tmp_path))} == files(tmp_path).keys()


def test_before_an_erasure_every_key_is_in_the_key_store_and_nowhere_else(lived: Lived) -> None:
    hits = found(of_secrets(lived.keys.values()), files(lived.dir))
    assert sorted(hits) == sorted(f"keys.db: secret {number} in bytes" for number in range(len(lived.keys)))


def test_a_value_and_its_salt_are_in_no_file_in_the_clear_once_its_message_has_ended(lived: Lived) -> None:
    assert found({**ANY_VALUE, **of_secrets(lived.salts.values())}, files(lived.dir)) == []


def test_the_body_of_a_message_that_has_ended_can_be_opened_by_nobody(copy: Path) -> None:
    # One run of the loops is enough: the next would also mend what this one left.
    heard("publish", "-", dir=copy, now=NOW, stdin=lines(parked_ones()[-1:]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    with closing(sqlite3.connect(copy / "keys.db")) as db:
        assert db.execute("SELECT count(*) FROM key WHERE name LIKE 'body/%'").fetchone() == (0,)
    with installed(copy) as i:
        bodies = {
            f"{partition}/{record.offset}": record.value or b""
            for partition, end in i.log.end_offsets(INBOX.name).items()
            for record in i.log.read(INBOX.name, partition, 0, end, end)
        }
    assert len(bodies) == len(life(words)) + 2
    assert {len(body) for body in bodies.values()} == {64}
    assert found(ANY_VALUE, bodies) == []


def test_nothing_is_said_of_a_value_or_a_secret_on_the_way(lived: Lived) -> None:
    said = {f"call {number}": talk for number, talk in enumerate(lived.talk)}
    assert any(b'"event":"decided"' in talk.replace(b": ", b":") for talk in lived.talk)
    assert found({**ANY_VALUE, **lived.secrets}, said) == []


# -- after ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Erased:
    """`lived` once more, after everybody and everything was erased."""

    dir: Path
    said: dict[str, bytes]
    found_meanwhile: list[str]
    """What lay in a file while readers still held the state from before."""


@pytest.fixture(scope="module")
def erased(lived: Lived, tmp_path_factory: pytest.TempPathFactory) -> Erased:
    """Everybody and everything erased while readers are open. Not to be written to."""
    dir_ = Path(shutil.copytree(lived.dir, tmp_path_factory.mktemp("erased") / "data"))
    with readers(dir_, "views.db", "log.db", "write.db"):
        said = {name: _said(erase(dir_, name, env=LOUD)[0]) for name in lived.names}
        return Erased(dir_, said, found({**ANY_VALUE, **lived.secrets}, files(dir_)))


@contextmanager
def readers(dir_: Path, *names: str) -> Iterator[None]:
    """Other connections that hold a state of these files from before, and so their old pages."""
    with ExitStack() as stack:
        for name in names:
            db = stack.enter_context(closing(sqlite3.connect(dir_ / name, isolation_level=None)))
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


def test_after_an_erasure_no_file_and_no_answer_holds_value_salt_or_key(lived: Lived, erased: Erased) -> None:
    needles = {**ANY_VALUE, **lived.secrets}
    assert erased.found_meanwhile == []
    assert found(needles, files(erased.dir)) == []
    assert found(needles, erased.said | everything_but_show(erased.dir, LOUD_TOO)) == []


def test_a_reader_open_while_messages_come_in_keeps_no_value_in_the_clear(copy: Path, tmp_path: Path) -> None:
    again = [m | {"id": f"again {m['id']}"} for m in timed(life(words))]
    with readers(copy, "views.db", "log.db", "write.db"):
        assert heard("publish", "-", dir=copy, now=NOW, stdin=lines(again)).code == 0
        assert heard("consume", "--until-idle", dir=copy, now=NOW).code == 0
        assert found(ANY_VALUE, files(copy)) == []


def sealed(shown: object) -> bool:
    """Whether what is shown is a planted value, or stands for one that is not shown."""
    return CORE in str(shown) or shown == "[moderated]"


def test_after_an_erasure_every_value_is_shown_as_erased(lived: Lived, erased: Erased) -> None:
    for ref in {m["data"]["ref"] for m in life(words)} | {lived.letter}:
        before = heard("show", ref, dir=lived.dir, now=NOW).json
        after = heard("show", ref, dir=erased.dir, now=NOW).json
        hidden = {name for name, given in before["fields"].items() if sealed(given)}
        assert {name for name, given in after["fields"].items() if given == "[erased]"} == hidden
        assert after["erased"] == bool(hidden)
        assert {k: v for k, v in after["fields"].items() if k not in hidden} == {
            k: v for k, v in before["fields"].items() if k not in hidden
        }


def test_after_an_erasure_the_thread_still_runs_through(lived: Lived, erased: Erased) -> None:

    def shape(dir_: Path) -> Any:
        answer = heard("trace", "N1", dir=dir_, now=NOW).json
        return answer["edges"], [{**node, "text": None} for node in answer["nodes"]]

    def texts(dir_: Path) -> list[str | None]:
        return [node["text"] for node in heard("trace", "N1", dir=dir_, now=NOW).json["nodes"]]

    assert shape(erased.dir) == shape(lived.dir)
    assert texts(erased.dir) == ["[erased]" if sealed(text) else text for text in texts(lived.dir)]
    assert "[erased]" in texts(erased.dir)


def test_after_an_erasure_every_history_has_the_same_bytes(lived: Lived, erased: Erased) -> None:
    for ref in ("N1", "K1", "S1", "D1", "A1", "F1", "G1", "E1", "E2", "st-margarets", lived.letter):
        for verb in ("log", "replay"):
            before, after = (heard(verb, ref, dir=dir_, now=NOW) for dir_ in (lived.dir, erased.dir))
            assert (before.code, before.out) == (after.code, after.out)


def test_after_an_erasure_read_models_are_the_same_and_can_be_built_anew(
    lived: Lived, erased: Erased, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(erased.dir, tmp_path / "data"))
    for view in set(VIEWS) - {"history"}:
        before, after = (heard("query", view, dir=dir_, now=NOW) for dir_ in (lived.dir, copy))
        assert before.json["rows"] == after.json["rows"]
        assert heard("views", "compare", view, dir=copy, now=NOW).json["equal"]
    assert heard("views", "rebuild", dir=copy, now=NOW).code == 0
    assert heard("show", "N1", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"
    assert found(ANY_VALUE, files(copy)) == []


def test_an_erasure_leaves_everybody_else_alone(copy: Path) -> None:
    erase(copy, "resident-1")
    for ref, field, text in (
        ("S1", "contributor.name", words("heard.support.withdrawn.v1", "contributor.name")),
        ("F1", "words", words("heard.feedback.answered.v1", "words")),
        ("D1", "words", words("heard.decision.revised.v1", "words")),
    ):
        assert heard("show", ref, dir=copy, now=NOW).json["fields"][field] == text


def test_an_erasure_is_itself_in_the_record_twice(lived: Lived, copy: Path) -> None:
    erase(copy, "resident-1", "D1")
    types = [e["type"] for e in heard("query", "history", dir=copy, now=NOW).json["rows"]]
    assert types.count("heard.subject.erasure_requested.v1") == 2
    assert types.count("heard.subject.erased.v1") == 2


# -- asked again, and asked wrongly --------------------------------------------------------------


def test_whoever_was_erased_is_no_longer_known_by_that_name(copy: Path) -> None:
    erase(copy, "resident-1")
    again = heard("erase", "resident-1", dir=copy, now=NOW)
    assert again.code == 1
    assert again.error["code"] == "not_found"
    assert "erased before" in again.error["next"]


def test_to_erase_the_words_of_a_thing_twice_changes_nothing_the_second_time(copy: Path) -> None:
    erase(copy, "D1")
    before = heard("query", "history", dir=copy, now=NOW).json["rows"]
    assert erase(copy, "D1")[0].json["values"] == 0
    assert heard("query", "history", dir=copy, now=NOW).json["rows"] == before


def test_the_words_of_a_person_are_not_erased_by_the_name_of_a_thing(copy: Path) -> None:
    refused = heard("erase", "N1", dir=copy, now=NOW)
    assert refused.code == 2
    assert refused.error["code"] == "belongs_to_a_person"


def test_a_thing_without_words_has_nothing_to_erase(copy: Path) -> None:
    refused = heard("erase", "R1", dir=copy, now=NOW)
    assert (refused.code, refused.error["code"]) == (1, "not_found")


def test_a_name_that_a_person_and_a_thing_share_is_ambiguous(copy: Path) -> None:
    raised = message("concern.raised", "N9", kind="concern", contributor={"ref": "E1"})
    heard("publish", "-", dir=copy, now=NOW, stdin=lines([raised]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    refused = heard("erase", "E1", dir=copy, now=NOW)
    assert (refused.code, refused.error["code"]) == (2, "ambiguous")
    assert heard("erase", "E1", "--source", "/contact-centre", dir=copy, now=NOW).code == 0
    assert heard("erase", "E1", dir=copy, now=NOW).code == 0


def test_a_person_whom_two_sources_call_the_same_is_erased_for_one_of_them(copy: Path) -> None:
    other = message("concern.raised", "N9", kind="concern", words="x", contributor={"ref": "resident-1"})
    heard("publish", "-", dir=copy, now=NOW, stdin=lines([other | {"source": "/survey"}]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    refused = heard("erase", "resident-1", dir=copy, now=NOW)
    assert (refused.code, refused.error["code"]) == (2, "ambiguous")
    assert "--source /survey" in refused.error["next"]
    assert heard("erase", "resident-1", "--source", "/survey", dir=copy, now=NOW).code == 0
    assert heard("show", "N9", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"
    assert heard("show", "K1", dir=copy, now=NOW).json["fields"]["words"] != "[erased]"


def test_a_person_who_said_nothing_is_taken_out_of_the_contact_map_all_the_same(copy: Path) -> None:
    silent = message("concern.raised", "N9", kind="concern", contributor={"ref": "silent"})
    heard("publish", "-", dir=copy, now=NOW, stdin=lines([silent]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    assert erase(copy, "silent")[0].json["values"] == 0
    assert heard("erase", "silent", dir=copy, now=NOW).error["code"] == "not_found"


# -- what comes later ----------------------------------------------------------------------------


def test_the_same_reference_is_a_new_person_after_an_erasure(copy: Path) -> None:
    before = heard("show", "N1", dir=copy, now=NOW).json["fields"]["contributor.subject"]
    erase(copy, "resident-1")
    later = message("concern.raised", "N9", kind="concern", words="x", contributor={"ref": "resident-1"})
    heard("publish", "-", dir=copy, now=NOW, stdin=lines([later]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    fields = heard("show", "N9", dir=copy, now=NOW).json["fields"]
    assert fields["words"] == "x"
    assert fields["contributor.subject"] != before
    assert heard("show", "N1", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"


def test_words_that_come_later_on_what_an_erased_person_brought_can_be_erased_by_its_name(
    copy: Path,
) -> None:
    erase(copy, "resident-1")
    late = message("concern.disputed", "N1", id="late", words=MARK)
    heard("publish", "-", dir=copy, now=NOW, stdin=lines([late]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    fields = heard("show", "N1", dir=copy, now=NOW).json["fields"]
    assert (fields["words"], fields["address"]) == (MARK, "[erased]")
    erase(copy, "N1")
    assert heard("show", "N1", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"


def test_a_box_that_was_published_while_its_key_was_destroyed_is_erased_like_the_others(
    lived: Lived, copy: Path
) -> None:
    boxes = [box for box in _boxes(copy) if box[1] == "coordinates"]
    erase(copy, "resident-1")
    with closing(sqlite3.connect(copy / "views.db")) as db:
        db.executemany("INSERT INTO sealed_values VALUES (?, ?, ?, 'met/st-margarets', ?)", boxes)
        db.commit()
    late = message("concern.disputed", "N1", id="late", words="x")
    heard("publish", "-", dir=copy, now=NOW, stdin=lines([late]))
    heard("consume", "--until-idle", dir=copy, now=NOW)
    fields = heard("show", "N1", dir=copy, now=NOW).json["fields"]
    assert (fields["words"], fields["coordinates"]) == ("x", "[erased]")


def test_a_lost_key_is_shown_as_missing_and_only_an_erasure_as_erased(copy: Path) -> None:
    subject = heard("show", "N1", dir=copy, now=NOW).json["fields"]["contributor.subject"]
    with installed(copy) as i:
        i.keys.destroy([subject])
    shown = heard("show", "N1", dir=copy, now=NOW).json
    assert (shown["fields"]["words"], shown["erased"]) == ("[missing]", False)
    erase(copy, "resident-1")
    shown = heard("show", "N1", dir=copy, now=NOW).json
    assert (shown["fields"]["words"], shown["erased"]) == ("[erased]", True)


# -- set aside -----------------------------------------------------------------------------------


def parked_ones() -> list[Message]:
    """Every message again, as one that waits for something that never comes."""
    ones = []
    for number, m in enumerate(timed(life(words))):
        kind = m["type"].split(".")[1]
        causes = [
            *m["data"].get("causes", ()), {"relation": "corrects", "kind": kind, "ref": "never"},
        ]  # fmt: skip
        ones.append(m | {"id": f"parked-{number}", "data": m["data"] | {"causes": causes}})
    return ones


def dead_ones() -> list[bytes]:
    """Every message again, with a field too many; cut short; and in another encoding."""
    ones = []
    for number, m in enumerate(timed(life(words))):
        named = m | {"id": f"dead-{number}", "data": {**m["data"], "nobody": "knows"}}
        whole = orjson.dumps(named)
        ones += [whole, whole[:-2], orjson.dumps(MARK + str(number)).replace("é".encode(), b"\xe9")]
    return ones


@pytest.fixture(scope="module")
def aside(lived: Lived, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lived`, and everything once more parked, and dead in three ways."""
    dir_ = Path(shutil.copytree(lived.dir, tmp_path_factory.mktemp("aside") / "data"))
    for args, given in (
        (["publish", "-"], lines(parked_ones())),
        (["publish", "-", "--unchecked"], b"".join(line + b"\n" for line in dead_ones())),
        (["consume", "--until-idle"], b""),
    ):
        answer = heard(*args, dir=dir_, now=NOW, env=LOUD, stdin=given)
        assert answer.code == 0
        assert found(ANY_VALUE, {"talk": _said(answer)}) == []
    return dir_


def test_what_is_set_aside_is_all_there_and_in_no_file_in_the_clear(aside: Path) -> None:
    count = len(life(words))
    counts = heard("doctor", dir=aside, now=NOW).json["messages"]
    assert (counts["parked"], counts["dead_letters"]) == (count, 3 * count + 1)
    letters = heard("dead-letters", "list", dir=aside, now=NOW).json["rows"]
    assert {letter["code"] for letter in letters} == {"field_invalid", "not_json", "not_utf8"}
    raised = next(f"dead-{at}" for at, m in enumerate(life(words)) if "words" in m["data"])
    parsed = next(each["id"] for each in letters if each["message_id"] == raised)
    garbled = next(each["id"] for each in letters if each["code"] == "not_utf8")
    for letter in (parsed, garbled):
        assert CORE in heard("dead-letters", "show", letter, dir=aside, now=NOW).json["body"]
    assert found(ANY_VALUE, files(aside)) == []


def test_erase_says_until_when_bodies_of_what_was_set_aside_stand(aside: Path, tmp_path: Path) -> None:
    dir_ = Path(shutil.copytree(aside, tmp_path / "data"))
    # Parked on 1 March, dead on 31 March, and the key of that day goes when it is 30 days past.
    assert erase(dir_, "resident-1")[0].json["bodies_until"] == "2009-05-01"
    later = "2009-04-02"
    assert heard("consume", "--until-idle", dir=dir_, now=later).code == 0
    until = heard("erase", "resident-2", dir=dir_, now=later).json["bodies_until"]
    assert until == "2009-05-03"
    assert heard("consume", "--until-idle", dir=dir_, now=until).code == 0
    assert heard("erase", "resident-3", dir=dir_, now=until).json["bodies_until"] is None


def test_after_that_day_no_body_of_what_was_set_aside_can_be_opened(
    lived: Lived, aside: Path, tmp_path: Path
) -> None:
    dir_ = Path(shutil.copytree(aside, tmp_path / "data"))
    with installed(dir_) as i:
        day_key = i.keys.day_key("2009-03-01")
    erase(dir_, *lived.names)
    for now in ("2009-04-01", "2009-05-02"):
        assert heard("consume", "--until-idle", dir=dir_, now=now, env=LOUD).code == 0
    assert found({**ANY_VALUE, **lived.secrets, **of_secrets([day_key])}, files(dir_)) == []
    letters = heard("dead-letters", "list", dir=dir_, now=NOW).json["rows"]
    assert len(letters) == 4 * len(life(words)) + 1
    for letter in letters[:3] + letters[-3:]:
        gone = heard("dead-letters", "show", letter["id"], dir=dir_, now=NOW)
        assert (gone.code, gone.error["code"]) == (1, "key_destroyed")
        assert CORE not in _said(gone).decode()
    assert heard("doctor", dir=dir_, now=NOW).json["messages"]["balanced"]


# -- kills, and a reader of the key store --------------------------------------------------------

POINTS = ("erasure.requested", "erasure.values_destroyed", "erasure.key_destroyed", "erasure.recorded")


@pytest.mark.parametrize(
    ("name", "point"), [*(("resident-1", point) for point in POINTS), ("D1", "erasure.key_destroyed")]
)
def test_an_erasure_that_was_killed_goes_on_where_it_stood(
    lived: Lived, copy: Path, name: str, point: str
) -> None:
    killed = started(
        "erase", name, dir=copy, now=NOW, env={"HEARD_FAULT": f"{point}:1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert killed.wait(60) == -signal.SIGKILL
    assert heard("trace", "N1", dir=copy, now=NOW).code == 0
    erase(copy, name)
    _gone(lived, copy, name)


def _gone(lived: Lived, dir_: Path, name: str) -> None:
    _destroyed(lived, dir_, name)
    types = [e["type"] for e in heard("query", "history", dir=dir_, now=NOW).json["rows"]]
    assert types.count("heard.subject.erasure_requested.v1") == 1
    assert types.count("heard.subject.erased.v1") == 1
    if name in PEOPLE:
        assert heard("erase", name, dir=dir_, now=NOW).error["code"] == "not_found"


def _destroyed(lived: Lived, dir_: Path, name: str) -> None:
    owner = {"resident-1": "K1"}.get(name, name)
    thing = heard("show", owner, dir=dir_, now=NOW).json
    key_id = thing["fields"].get("contributor.subject", thing["id"])
    places = {(event_id, path) for event_id, path, key, _ in _boxes(lived.dir) if key == key_id}
    assert places
    assert [box for box in _boxes(dir_) if box[2] == key_id] == []
    needles = of_secrets([lived.keys[key_id], *(lived.salts[place] for place in places)])
    assert found({**ANY_VALUE, **needles}, files(dir_)) == []
    assert thing["fields"]["words"] == "[erased]"


def test_an_erasure_waits_for_a_reader_of_the_key_store_and_can_be_asked_again(
    lived: Lived, copy: Path
) -> None:
    with installed(copy) as i:
        i.views.begin()
        impatient = SqliteKeyStore(copy / "keys.db", randomness=SystemRandomness(), patience=0.05)
        use = Erasure(i.log, i.store, i.views, impatient, i.clock, i.randomness, i.ids)
        with closing(impatient), readers(copy, "keys.db"):
            _, _, subject = use.person("resident-1")[0]
            with pytest.raises(TransientError):
                use.erase(subject, force="met", neighbourhood=None, person=True)
            assert use.state(subject) == "requested"
            assert use.person("resident-1")
    assert [box for box in _boxes(copy) if box[2] == subject] == []
    erase(copy, "resident-1")
    _gone(lived, copy, "resident-1")


def test_an_erasure_while_the_loops_run_in_another_process_is_no_different(lived: Lived, copy: Path) -> None:
    running = started("consume", dir=copy, now=NOW, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for id_ in ("one", "two"):
            late = message("concern.disputed", "N1", id=id_, words=MARK)
            heard("publish", "-", dir=copy, now=NOW, stdin=lines([late]))
            if id_ == "one":
                _until(lambda: heard("show", "N1", dir=copy, now=NOW).json["fields"]["words"] == MARK)
        erase(copy, "resident-1", "D1")
    finally:
        running.terminate()
        assert running.wait(60) == 0
    # Whether the second words came before the erasure or after it: what was there before is gone.
    assert heard("consume", "--until-idle", dir=copy, now=NOW).code == 0
    _destroyed(lived, copy, "D1")
    assert heard("show", "K1", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"
    assert heard("doctor", dir=copy, now=NOW).json["ok"]
    erase(copy, "N1")
    _destroyed(lived, copy, "resident-1")
    assert heard("show", "N1", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"


@pytest.mark.parametrize("point", POINTS)
def test_words_that_come_in_during_an_erasure_are_erased_with_the_others(copy: Path, point: str) -> None:
    with installed(copy) as i:
        i.views.begin()

        def meanwhile(reached: str) -> None:
            if reached == point:
                late = message("concern.disputed", "N1", id="late", words=MARK)
                send(i.log, [(b"met/st-margarets", orjson.dumps(late))])
                run(i.loops(("intake",)), until_idle=True)

        use = Erasure(i.log, i.store, i.views, i.keys, i.clock, i.randomness, i.ids, meanwhile)
        _, _, subject = use.person("resident-1")[0]
        use.erase(subject, force="met", neighbourhood=None, person=True)
        assert i.keys.keys([subject]) == {}
        run(i.loops(), until_idle=True)
    assert heard("show", "N1", dir=copy, now=NOW).json["fields"]["words"] == "[erased]"
    assert heard("log", "N1", dir=copy, now=NOW).json["events"][-1]["type"] == "heard.concern.disputed.v1"
    assert found(ANY_VALUE, files(copy)) == []


def _until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_erasure_is_the_same_over_postgresql(postgresql: str, tmp_path: Path) -> None:
    env = {"HEARD_DATABASE_URL": postgresql}
    data = tmp_path / "data"
    heard("publish", "-", dir=data, now=NOW, stdin=lines(timed(life(words))))
    assert heard("consume", "--until-idle", dir=data, now=NOW, env=env).code == 0
    answers = erase(data, *PEOPLE, *THINGS, env=env)
    assert sum(answer.json["values"] for answer in answers) == len(SEALED - {DISCARDED})
    for ref in ("N1", "S1", "F1", "D1", "st-margarets"):
        shown = heard("show", ref, dir=data, now=NOW, env=env).json
        assert shown["erased"]
        assert CORE not in str(shown["fields"])
    assert found(ANY_VALUE, files(data)) == []


def test_nothing_is_erased_where_there_is_nothing(lived: Lived, copy: Path) -> None:
    with installed(copy) as i:
        i.views.begin()
        use = Erasure(i.log, i.store, i.views, i.keys, i.clock, i.randomness, i.ids)
        with pytest.raises(NotFoundError):
            use.erase("00000000-0000-8000-8000-000000000000", force="met", neighbourhood=None)
    assert found({"a key": next(iter(lived.keys.values()))}, files(copy))
