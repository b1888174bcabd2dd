"""Does the doctor notice what is wrong, say what to do, and go on to the next check?"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from sqlalchemy.engine import make_url

from consumers import lag
from infra.cli import health
from infra.cli.session import Session
from infra.settings import Settings
from services.topics import EVENTS, INBOX
from tests.support import kafka
from tests.support.messages import concern, lines
from tests.support.postgres import database
from tests.support.program import Answer, heard
from tests.support.requires import absent

NAMES = [
    "data directory", "disk", "files", "key store", "database", "broker", "topics", "clock", "record",
    "intake", "sources", "balance", "read models", "lag", "dead letters", "waiting messages",
]  # fmt: skip
ON_POSTGRESQL = [*NAMES[:7], "migrations", *NAMES[7:]]
SOME_SECONDS = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation with one concern in it."""
    told(tmp_path)
    return tmp_path


def told(dir_: Path, env: dict[str, str] | None = None) -> None:
    """Publish and consume a concern, under the real clock."""
    assert heard("publish", "-", dir=dir_, env=env, stdin=lines([concern("N1")])).code == 0
    answer = heard("consume", "--until-idle", dir=dir_, env=env)
    assert answer.code == 0, answer.err


def asked(dir_: Path, env: dict[str, str] | None = None) -> tuple[Answer, dict[str, dict[str, Any]]]:
    """The doctor's answer within some seconds, and its checks by name: all of them, whatever happens."""
    began = time.monotonic()
    answer = heard("doctor", dir=dir_, env=env)
    assert time.monotonic() - began < SOME_SECONDS
    names = NAMES if env is None or "HEARD_DATABASE_URL" not in env else ON_POSTGRESQL
    assert [check["name"] for check in answer.json["checks"]] == names
    checks = {check["name"]: check for check in answer.json["checks"]}
    assert all(check["remedy"] for check in checks.values() if not check["ok"])
    assert answer.json["ok"] is all(check["ok"] for check in checks.values())
    return answer, checks


def failed(checks: dict[str, dict[str, Any]]) -> set[str]:
    """The names of the checks that failed."""
    return {name for name, check in checks.items() if not check["ok"]}


@contextmanager
def session(folder: Path) -> Iterator[Session]:
    with closing(Session(Settings(dir=folder))) as opened:
        yield opened


def free_port() -> int:
    """A port at which nobody listens."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_sound_installation_has_no_finding(folder: Path) -> None:
    answer, checks = asked(folder)
    assert (answer.code, failed(checks)) == (0, set())


def test_too_little_room_on_the_disk_is_a_finding(folder: Path) -> None:
    answer, checks = asked(folder, env={"HEARD_DISK_FREE": "1000000000"})
    assert (answer.code, failed(checks)) == (1, {"disk"})
    assert "1000000000 wanted" in checks["disk"]["detail"]


def test_a_lost_key_store_is_named_and_what_needs_it_is_not_looked_at(folder: Path) -> None:
    (folder / "keys.db").unlink()
    answer, checks = asked(folder)
    assert (answer.code, answer.error["code"]) == (1, "integrity")
    assert failed(checks) == set(NAMES) - {"data directory", "disk", "files", "database"}
    assert "mend the key store first" in checks["broker"]["remedy"]


def test_a_database_that_is_too_old_is_a_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SQLITE", (99, 0))
    answer, checks = asked(folder)
    assert (answer.code, failed(checks)) == (1, {"database"})


def test_a_clock_that_is_behind_what_was_recorded_is_a_finding(folder: Path) -> None:
    class Behind:
        def now(self) -> datetime:
            return datetime.now(UTC) - timedelta(minutes=10)

    with session(folder) as opened:
        opened.installation.clock = Behind()
        answer = health.doctor(opened)
    (clock,) = (check for check in answer["checks"] if check["name"] == "clock")
    assert not clock["ok"]
    assert "from the last event" in clock["detail"]


def test_read_models_that_are_gone_are_a_finding(folder: Path) -> None:
    (folder / "views.db").unlink()
    answer, checks = asked(folder)
    assert answer.code == 1
    assert checks["read models"]["remedy"] == "heard consume --until-idle"


def test_events_that_wait_too_long_for_their_read_models_are_a_finding(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert heard("publish", "-", dir=folder, stdin=lines([concern("N2")])).code == 0
    assert heard("consume", "intake", "sequencer", "--until-idle", dir=folder).code == 0
    assert failed(asked(folder)[1]) == set()
    monkeypatch.setattr(health, "LATE", 0.0)
    answer, checks = asked(folder)
    assert (answer.code, failed(checks)) == (1, {"lag"})
    assert checks["lag"]["detail"].startswith("1 events behind")


def examined(folder: Path, at: datetime) -> dict[str, Any]:
    """What the doctor says of intake at that time."""

    class Then:
        def now(self) -> datetime:
            return at

    with session(folder) as opened:
        opened.installation.clock = Then()
        checks = health.doctor(opened)["checks"]
    (found,) = (check for check in checks if check["name"] == "intake")
    return dict(found)


def test_messages_that_nobody_takes_are_a_finding_that_says_where_intake_stands_and_since_when(
    folder: Path,
) -> None:
    assert heard("publish", "-", dir=folder, stdin=lines([concern("N2"), concern("N3")])).code == 0
    with session(folder) as opened:
        (stands,) = lag.standing(opened.installation.log, opened.installation.store)
    assert stands.since is not None
    assert examined(folder, stands.since + timedelta(seconds=health.LATE))["ok"]

    found = examined(folder, stands.since + timedelta(seconds=health.LATE + 1))
    assert not found["ok"]
    assert found["detail"] == (
        f"heard.inbox.v1/{stands.partition} stands at offset {stands.offset}"
        f" since {stands.since:%Y-%m-%d %H:%M:%S} UTC, 2 wait"
    )
    assert found["remedy"].startswith("heard consume intake; ")

    assert heard("consume", "--until-idle", dir=folder).code == 0
    assert examined(folder, stands.since + timedelta(days=1))["ok"]


def test_messages_that_came_a_moment_ago_or_under_a_later_clock_are_no_finding(folder: Path) -> None:
    assert heard("publish", "-", dir=folder, stdin=lines([concern("N2")])).code == 0
    assert failed(asked(folder)[1]) == set()
    assert examined(folder, datetime(2026, 1, 1, tzinfo=UTC))["ok"]


# -- servers -------------------------------------------------------------------------------------


def test_a_broker_where_nobody_listens_leaves_the_other_checks(folder: Path) -> None:
    env = {"HEARD_KAFKA_SERVERS": f"127.0.0.1:{free_port()}", "HEARD_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
    answer, checks = asked(folder, env)
    assert (answer.code, answer.error["code"]) == (3, "transient")
    assert failed(checks) == {"broker", "topics", "record", "intake", "lag", "waiting messages"}
    assert answer.error["got"] == "connections are refused"
    assert "HEARD_KAFKA_SERVERS" in checks["broker"]["remedy"]
    assert answer.json["messages"] == {
        "read": 1, "accepted": 1, "no_change": 0, "duplicates": 0, "parked": 0, "dead_letters": 0,
        "waiting": None, "balanced": True,
    }  # fmt: skip


def test_a_database_where_nobody_listens_leaves_the_other_checks(folder: Path) -> None:
    env = {"HEARD_DATABASE_URL": f"postgresql://nobody:secret@127.0.0.1:{free_port()}/heard"}
    answer, checks = asked(folder, env)
    assert (answer.code, answer.error["code"]) == (3, "transient")
    assert failed(checks) == set(ON_POSTGRESQL) - {
        "data directory", "disk", "files", "key store", "broker", "topics",
    }  # fmt: skip
    assert "HEARD_DATABASE_URL" in checks["database"]["remedy"]
    assert set(answer.json["messages"].values()) == {None}
    assert "secret" not in answer.text + answer.err


def test_a_database_that_refuses_us_is_said(folder: Path, postgresql: str) -> None:
    other = make_url(postgresql).set(database="no_such_database").render_as_string(hide_password=False)
    answer, checks = asked(folder, {"HEARD_DATABASE_URL": other})
    assert answer.code == 3
    assert "no_such_database" in checks["database"]["detail"]
    assert (
        "no_such_database"
        in heard("query", "inputs", dir=folder, env={"HEARD_DATABASE_URL": other}).error["got"]
    )


def test_postgresql_is_looked_at_with_its_version_and_its_clock(
    folder: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"HEARD_DATABASE_URL": postgresql}
    (fresh := folder / "postgresql").mkdir()
    told(fresh, env)
    answer, checks = asked(fresh, env)
    assert (answer.code, failed(checks)) == (0, set()), checks
    with psycopg.connect(postgresql) as db:
        assert checks["database"]["detail"] == f"PostgreSQL {db.info.server_version // 10_000}"
    assert checks["clock"]["detail"].endswith("the database's clock")
    monkeypatch.setattr(health, "POSTGRESQL", 99)
    monkeypatch.setattr(health, "APART", timedelta(0))
    answer, checks = asked(fresh, env)
    assert (answer.code, failed(checks)) == (1, {"database", "clock"})


def test_a_broker_is_looked_at_with_its_topics_and_missed_when_it_stops(tmp_path: Path) -> None:
    if not kafka.available():
        absent("no Apache Kafka: install Java 17 and Maven")
    with kafka.broker(tmp_path / "broker") as running:
        data, prefix = tmp_path / "data", f"t{secrets.token_hex(4)}."
        env = {
            "HEARD_KAFKA_SERVERS": running.servers,
            "HEARD_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "HEARD_KAFKA_PREFIX": prefix,
            "HEARD_KAFKA_REPLICATION": "1",
        }
        told(data)  # the keys and the databases; of another log
        answer, checks = asked(data, env)
        assert (answer.code, answer.error["next"]) == (3, "heard topics create")
        assert checks["broker"]["ok"]
        assert failed(checks) == {"topics", "record", "intake", "lag", "waiting messages"}

        for file in data.glob("*"):
            file.unlink()
        assert heard("topics", "create", "--partitions", "4", dir=data, env=env).code == 0
        told(data, env)
        assert asked(data, env)[0].code == 0

        admin = KafkaAdminClient(bootstrap_servers=running.servers)
        named = ConfigResource(ConfigResourceType.TOPIC, prefix + INBOX.name, {"retention.ms": "1000"})
        admin.alter_configs([named])
        admin.close()
        deadline = time.monotonic() + 10
        while "topics" not in failed(checks := asked(data, env)[1]) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert f"{prefix}{INBOX.name}: retention.ms: 1000 instead of" in checks["topics"]["detail"]
        assert EVENTS.name not in checks["topics"]["detail"]

        running.kill()
        answer, checks = asked(data, env)
        assert (answer.code, answer.error["code"]) == (3, "transient")
        assert failed(checks) == {"broker", "topics", "record", "intake", "lag", "waiting messages"}
        assert answer.json["messages"]["read"] == 1


def test_a_database_that_is_not_migrated_is_a_finding(folder: Path, postgresql_server: str) -> None:
    with database(postgresql_server, template="template0") as url:
        answer, checks = asked(folder, {"HEARD_DATABASE_URL": url})
    assert answer.code == 3
    assert checks["database"]["ok"]
    assert checks["migrations"]["remedy"].startswith("heard migrate")


def test_a_source_that_is_set_aside_is_named_with_what_waits(folder: Path) -> None:
    # given four messages of a source that cannot be used, where two in an hour are borne
    env = {"HEARD_DEAD_LETTERS_CEILING": "2"}
    bad = [concern(f"B{n}", source="/flood") | {"type": "heard.nothing.like_it.v1"} for n in range(4)]
    assert heard("publish", "--unchecked", "-", dir=folder, stdin=lines(bad)).json["sent"] == 4
    assert heard("consume", "--until-idle", dir=folder, env=env).code == 0

    # then the doctor says how many wait, and it is not well
    answer, checks = asked(folder)
    assert failed(checks) == {"sources"}
    assert checks["sources"]["detail"] == "messages that cannot be used wait: 2 of /flood"
    assert answer.json["messages"]["balanced"]

    # and with a higher ceiling they are handled by themselves
    assert heard("consume", "--until-idle", dir=folder).code == 0
    answer, checks = asked(folder)
    assert failed(checks) == set()
    assert (answer.json["messages"]["parked"], answer.json["messages"]["dead_letters"]) == (0, 4)
