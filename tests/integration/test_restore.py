"""Are lost databases made good from the topics and the keys, so that nothing tells the difference?"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from consumers.running import run
from infra.installation import Installation
from infra.logging import configure
from infra.migrations import APP
from infra.settings import read_settings
from services.ports import Outgoing, Record
from services.topics import PARKED
from tests.contract.kafka_harness import topics_of_its_own
from tests.support.messages import FORCE, PLACE, Message, concern, lines, message
from tests.support.multiplied import Inbox, multiplied, publish
from tests.support.postgres import database, in_role
from tests.support.program import Answer, heard, started

NOW = "2026-01-20T00:00:00Z"
HERE = f"{FORCE}/{PLACE}".encode()
KEY = {"HEARD_ID_KEY": "5e" * 32}
AT_FIRST = 650
"""Of the scenario and the imports; the rest comes later."""
NEW = 1_000
BURN = (
    b"SELECT nextval(pg_get_serial_sequence('stored_events', 'notification_id')) FROM generate_series(1, 7)"
)


@dataclass(frozen=True)
class Installed:
    """Where an installation is."""

    dir: Path
    env: dict[str, str]

    def ask(self, *args: str, stdin: bytes = b"", now: str = NOW) -> Answer:
        """Call the program."""
        return heard(*args, dir=self.dir, now=now, env=self.env, stdin=stdin)

    def done(self, *args: str, stdin: bytes = b"") -> Answer:
        """Call it with success."""
        answer = self.ask(*args, stdin=stdin)
        assert answer.code == 0, answer.err
        return answer

    def hashes(self) -> dict[str, Any]:
        """Of all event streams and of every view."""
        return dict(self.done("restore", "--hash-only").json)

    @contextmanager
    def opened(self) -> Iterator[Installation]:
        configure("console", "error")
        given = {name.removeprefix("HEARD_").lower(): value for name, value in self.env.items()}
        i = Installation(read_settings(dir=self.dir, **given), now=datetime.fromisoformat(NOW))
        try:
            yield i
        finally:
            i.close()

    def without_databases(self, dir_: Path, **env: str) -> Installed:
        """The same topics and keys, and nothing else."""
        dir_.mkdir()
        for name in ("log.db", "keys.db"):
            if (self.dir / name).exists():
                shutil.copy(self.dir / name, dir_)
        return replace(self, dir=dir_, env=self.env | env)


@dataclass(frozen=True)
class Lost:
    """An installation before its databases were lost, and what was made of its topics since."""

    inbox: Inbox
    before: dict[str, Any]
    restored: Installed
    answer: dict[str, Any]
    handled: dict[tuple[str, str], str]


@pytest.fixture(scope="module", params=["embedded", "kafka and postgresql"])
def lost(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    folder = tmp_path_factory.mktemp("restore")
    with ExitStack() as stack:
        env, other = dict(KEY), {}
        if request.param != "embedded":
            server = request.getfixturevalue("postgresql_server")
            env |= stack.enter_context(topics_of_its_own(request.getfixturevalue("kafka_servers")))
            env["HEARD_DATABASE_URL"] = stack.enter_context(database(server))
            # As what a service is: to restore takes no right beyond that.
            other["HEARD_DATABASE_URL"] = in_role(stack.enter_context(database(server)), APP)
        live = Installed(folder / "live", env)
        if request.param != "embedded":
            live.dir.mkdir()
            live.done("topics", "create", "--partitions", "4")
        inbox = lived(live)
        before = live.hashes() | {verb: live.done(*verb.split()).json for verb in SET_ASIDE}
        with live.opened() as i:
            handled = i.store.handled(_names(inbox))
        restored = live.without_databases(folder / "restored", **other)
        yield Lost(inbox, before, restored, restored.done("restore").json, handled)


SET_ASIDE = ("parked list", "dead-letters list")


def lived(live: Installed) -> Inbox:
    """Something of everything: parked, dead, discarded, retried, a person erased, positions with gaps."""
    with live.opened() as i:
        inbox = multiplied(1, i.ids, i.clock.now())
        waits = message("concern.acknowledged", "absent")
        inbox = replace(inbox, then=[*inbox.then, (HERE, orjson.dumps(waits))])
        for part in (inbox.first, inbox.then[:AT_FIRST], inbox.then[AT_FIRST:]):
            publish(i.log, part)
            run(i.loops(), until_idle=True)
            if url := live.env.get("HEARD_DATABASE_URL"):
                with psycopg.connect(url, autocommit=True) as db:
                    db.execute(BURN)  # as transactions do that are rolled back
        person = next(name for name in sorted(inbox.people) if i.keys.subject(name))
    force, source, ref = person.split("\0")
    live.done("erase", ref, "--force", force, "--source", source)
    named = [row for row in live.done("dead-letters", "list").json["rows"] if row["message_id"]]
    live.done("dead-letters", "discard", named[0]["id"], "--reason", "sent by mistake")
    assert live.ask("dead-letters", "retry", named[1]["id"]).json["status"] == "open"
    live.done("consume", "--until-idle")
    # The last word is one that makes no event, and so nothing that is published tells of it.
    last = (HERE, orjson.dumps(concern("N1", kind="rumour")))
    with live.opened() as i:
        publish(i.log, [last])
        run(i.loops(), until_idle=True)
    return replace(inbox, then=[*inbox.then, last])


def _names(inbox: Inbox) -> list[tuple[str, str]]:
    messages = [orjson.loads(body) for _, body in inbox.first + inbox.then if body.startswith(b"{")]
    return [(each["source"], each["id"]) for each in messages]


def test_every_event_stream_and_every_view_is_as_it_was(lost: Lost) -> None:
    assert lost.answer["events"] == lost.before["events"]
    assert lost.answer["views"] == lost.before["views"]
    assert lost.answer["events"]["count"] > len(lost.inbox.then)
    empty = {view["view"] for view in lost.answer["views"] if not view["rows"]}
    assert empty <= {"constraints"}, "what is empty proves nothing"
    assert lost.restored.hashes() == {name: lost.before[name] for name in ("events", "views")}


def test_what_waits_and_what_cannot_be_used_is_there_again(lost: Lost) -> None:
    lost.restored.done("consume", "--until-idle")  # what nothing proves to have ended is handled again
    for verb in SET_ASIDE:
        rows = lost.before[verb]["rows"]
        assert rows
        assert lost.restored.done(*verb.split()).json["rows"] == rows
    statuses = {row["status"] for row in lost.restored.done("dead-letters", "list").json["rows"]}
    assert statuses == {"open", "discarded"}
    assert lost.restored.hashes()["events"] == lost.before["events"]


def test_every_message_is_known_by_its_name_or_by_its_body(lost: Lost) -> None:
    lost.restored.done("consume", "--until-idle")
    with lost.restored.opened() as i:
        names = i.store.handled(lost.handled)
        bodies = i.store.handled([("", fingerprint) for fingerprint in lost.handled.values()])
    assert all(fingerprint in ("", lost.handled[name]) for name, fingerprint in names.items())
    known = {name for name, fingerprint in lost.handled.items() if ("", fingerprint) in bodies}
    if "HEARD_KAFKA_SERVERS" in lost.restored.env:
        assert names == lost.handled
    assert known | {name for name, fingerprint in names.items() if fingerprint} == lost.handled.keys()


def test_new_messages_become_visible_once_each_and_the_whole_inbox_again_changes_nothing(lost: Lost) -> None:
    new = [(HERE, orjson.dumps(concern(f"X{number}"))) for number in range(NEW)]
    with lost.restored.opened() as i:
        publish(i.log, new)
        run(i.loops(), until_idle=True)
        positions = [stored.position for stored in i.store.after(lost.before["events"]["position"], 10 * NEW)]
    assert len(positions) == 3 * NEW  # each with its two duties
    rows = lost.restored.done("query", "inputs", "--where", f"neighbourhood={PLACE}").json["rows"]
    assert Counter(row["ref"] for row in rows) == Counter(f"X{number}" for number in range(NEW))

    before = lost.restored.hashes()
    with lost.restored.opened() as i:
        publish(i.log, lost.inbox.first + lost.inbox.then + new)
        run(i.loops(), until_idle=True)
    assert lost.restored.hashes() == before
    messages = lost.restored.done("doctor").json["messages"]
    assert messages["balanced"]
    assert (
        messages["duplicates"] >= NEW + len(lost.inbox.then) * 0.9
    )  # reused ids and bodies without a name are not


# -- what can go wrong ---------------------------------------------------------------------------


def told(folder: Path, *messages: Message) -> Installed:
    """An embedded installation that has handled these."""
    installed = Installed(folder, dict(KEY))
    installed.done("publish", "--unchecked", "-", stdin=lines(messages))
    installed.done("consume", "--until-idle")
    return installed


@pytest.mark.parametrize(
    ("point", "next_"), [("restore.before_commit", "restore"), ("restore.after_commit", "consume")]
)
def test_a_restore_that_is_killed_begins_anew_or_is_finished_by_consume(
    point: str, next_: str, tmp_path: Path
) -> None:
    live = told(tmp_path / "live", concern("N1"), concern("N2"))
    copy = live.without_databases(tmp_path / "copy")
    env = copy.env | {"HEARD_FAULT": f"{point}:1"}
    killed = started(
        "restore", dir=copy.dir, now=NOW, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL

    if next_ == "restore":
        assert copy.ask("consume", "--until-idle").error["code"] == "integrity"
        copy.done("restore")
    else:
        refused = copy.ask("restore")
        assert (refused.code, refused.error["code"]) == (3, "configuration")
        assert "heard consume --until-idle" in refused.error["next"]
        copy.done("consume", "--until-idle")
    assert copy.hashes() == live.hashes()


def test_databases_that_hold_something_are_not_restored_into(tmp_path: Path) -> None:
    live = told(tmp_path / "live", concern("N1"))
    before = live.hashes()
    refused = live.ask("restore")
    assert (refused.code, refused.error["message"]) == (3, "the event store is not empty")

    for path in live.dir.glob("write.db*"):
        path.unlink()
    refused = live.ask("restore")
    assert (refused.code, refused.error["message"]) == (3, "the read models are not empty")
    assert "views.db" in refused.error["next"]
    assert live.ask("consume", "--until-idle").error["code"] == "integrity"  # it was left empty

    for path in live.dir.glob("views.db*"):
        path.unlink()
    live.done("restore")
    assert live.hashes() == before


def test_another_key_store_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    live = told(tmp_path / "live", concern("N1"))
    copy = live.without_databases(tmp_path / "copy")
    other = Installed(tmp_path / "other", {"HEARD_ID_KEY": "11" * 32})
    other.done("demo")
    shutil.copy(other.dir / "keys.db", copy.dir / "keys.db")
    refused = replace(copy, env=other.env).ask("restore")
    assert (refused.code, refused.error["code"]) == (1, "integrity")
    shutil.copy(live.dir / "keys.db", copy.dir / "keys.db")
    copy.done("restore")


def test_without_events_there_is_nothing_to_restore_from(tmp_path: Path) -> None:
    empty = told(tmp_path / "empty")
    assert empty.ask("restore").error["message"] == "there is nothing to restore from"


def test_what_was_erased_is_erased_again_in_an_older_key_store(tmp_path: Path) -> None:
    # given a person and a thing that are erased after a copy of the keys was made
    person = {"ref": "resident-1", "name": "Ann", "contact": "by post"}
    live = told(tmp_path / "live", concern("N1", contributor=person), concern("N2"), concern("N3"))
    older = tmp_path / "older.db"
    shutil.copy(live.dir / "keys.db", older)
    for name in ("resident-1", "N2"):
        live.done("erase", name)
    erased = [live.done("show", name).json["fields"] for name in ("N1", "N2")]
    copy = live.without_databases(tmp_path / "copy")
    shutil.copy(older, copy.dir / "keys.db")

    answer = copy.done("restore").json

    assert answer["restored"]["erased"] == 2
    assert [copy.done("show", name).json["fields"] for name in ("N1", "N2")] == erased
    assert copy.done("show", "N3").json["fields"]["words"] == "It is dark."
    assert copy.ask("erase", "resident-1").error["code"] == "not_found"
    assert {name: answer[name] for name in ("events", "views")} == live.hashes()


def test_what_came_after_an_erasure_stays_readable(tmp_path: Path) -> None:
    live = told(tmp_path / "live", concern("N1"))
    live.done("erase", "N1")
    told(live.dir, message("concern.disputed", "N1", words="It is lit."))
    shown = live.done("show", "N1").json
    assert "It is lit." in orjson.dumps(shown).decode()
    copy = live.without_databases(tmp_path / "copy")
    assert copy.done("restore").json["restored"]["erased"] == 0
    assert copy.done("show", "N1").json == shown


def test_what_had_ended_without_proof_is_counted_and_not_taken_for_a_new_message(tmp_path: Path) -> None:
    live = told(tmp_path / "live", concern("N1"))
    live.done("publish", "-", stdin=lines([concern("N2")]))
    live.done("consume", "intake", "--until-idle")  # its event was never published
    copy = live.without_databases(tmp_path / "copy")
    answer = copy.done("restore").json["restored"]
    assert (answer["accepted"], answer["unproved"]) == (1, 1)
    copy.done("consume", "--until-idle")
    assert copy.done("dead-letters", "list").json["rows"] == []


def test_what_became_an_event_waits_no_more_whatever_the_topic_of_parked_messages_says(
    tmp_path: Path,
) -> None:
    # given a message that waited, and a member that parked it once more after another had handled it
    live = told(tmp_path / "live", concern("N1", "raised_in contact C1"))
    with live.opened() as i:
        records = [r for p, end in i.log.end_offsets(PARKED.name).items() for r in _records(i, p, end)]
    told(live.dir, message("contact.recorded", "C1", channel="letter"))
    assert live.done("parked", "list").json["rows"] == []
    with live.opened() as i:
        i.log.append([Outgoing(PARKED.name, r.key, r.value, r.headers) for r in records])

    # when the databases are lost
    copy = live.without_databases(tmp_path / "copy")
    answer = copy.done("restore").json["restored"]

    # then it is there once
    assert len(records) == 1
    assert (answer["accepted"], answer["parked"]) == (2, 0)
    assert copy.done("parked", "list").json["rows"] == []
    assert copy.hashes() == live.hashes()


def test_what_a_flood_has_set_aside_waits_again_also_what_has_no_name_or_another_s(tmp_path: Path) -> None:
    # given a source that says nothing of itself, and one that gives an event's id to other messages
    live = Installed(tmp_path / "live", KEY | {"HEARD_DEAD_LETTERS_CEILING": "1"})
    bodies = lines([concern(f"N{n}", id="m1") for n in range(4)])
    live.done("publish", "--unchecked", "-", stdin=bodies + b"a\nb\nc\n")
    live.done("consume", "--until-idle")
    before = live.done("parked", "list").json["rows"]
    assert sorted(row["message_id"] for row in before) == ["", "", "m1", "m1"]

    # when the databases are lost
    copy = live.without_databases(tmp_path / "copy")
    answer = copy.done("restore").json["restored"]

    # then they wait as before, and handled again none becomes an event
    assert (answer["accepted"], answer["parked"], answer["dead_letters"]) == (1, 4, 2)
    assert copy.done("parked", "list").json["rows"] == before
    free = replace(copy, env=copy.env | {"HEARD_DEAD_LETTERS_CEILING": "9"})
    free.done("consume", "--until-idle")
    messages = free.done("doctor").json["messages"]
    assert (messages["accepted"], messages["parked"], messages["balanced"]) == (1, 0, True)
    assert messages["dead_letters"] + messages["no_change"] == 6


def _records(i: Installation, partition: int, end: int) -> list[Record]:
    return i.log.read(PARKED.name, partition, 0, end, 10)


@pytest.mark.parametrize("words", ["It is dark.", "It is light."])
def test_a_message_whose_body_is_forgotten_comes_again_as_a_duplicate_whatever_it_says(
    words: str, tmp_path: Path
) -> None:
    copy = told(tmp_path / "live", concern("N1")).without_databases(tmp_path / "copy")
    copy.done("restore")
    told(copy.dir, concern("N1", words=words))
    messages = copy.done("doctor").json["messages"]
    assert (messages["duplicates"], messages["dead_letters"]) == (1, 0)
