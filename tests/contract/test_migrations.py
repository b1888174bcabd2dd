"""Do migrations make the tables that the program expects, and does each role get its rights and no more?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import DEVNULL

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import Connection, Engine, inspect, text

from consumers.processes import TABLES
from domain.errors import ConfigurationError
from infra import databases, migrations
from infra.event_store import PostgresRecorder, SqlEventStore, SqliteRecorder
from projections.catalogue import VIEWS
from projections.store import ViewStore
from services.ports import Work
from tests.support.envelopes import raised
from tests.support.postgres import database, in_role
from tests.support.program import heard, started


@pytest.fixture
def unmigrated(postgresql_server: str) -> Iterator[str]:
    with database(postgresql_server, template="template0") as url:
        yield url


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = databases.postgresql(url)
    try:
        yield engine
    finally:
        engine.dispose()


def columns(db: Connection) -> dict[str, list[tuple[str, bool]]]:
    """By table: its columns in order, and whether each may be null."""
    found = inspect(db)
    return {
        table: [(column["name"], column["nullable"]) for column in found.get_columns(table)]
        for table in found.get_table_names()
        if table != migrations.TABLE
    }


def keys(db: Connection) -> dict[str, list[str]]:
    """By table: the columns of what makes its rows one of a kind."""
    found = inspect(db)
    return {
        table: sorted(
            [
                *(str(key) for key in [found.get_pk_constraint(table)["constrained_columns"]] if key),
                *(str(index["column_names"]) for index in found.get_indexes(table) if index["unique"]),
            ]
        )
        for table in found.get_table_names()
        if table not in (migrations.TABLE, "stored_events")
    }


def test_the_tables_are_those_that_the_embedded_default_makes_for_itself(
    postgresql: str, tmp_path: Path
) -> None:
    SqliteRecorder(tmp_path / "all.db").close()
    embedded = databases.sqlite_file(tmp_path / "all.db")
    with ViewStore(embedded, VIEWS).making() as db:
        for table in TABLES.values():
            table.create(db)
    with opened(postgresql) as engine, engine.connect() as db, embedded.connect() as other:
        made, expected = columns(db), columns(other)
        assert keys(db) == keys(other)
    embedded.dispose()
    # What differs is the library's: a rowid is no column, and it allows nothing to be null.
    made["stored_events"] = made["stored_events"][:4]
    assert {t: [name for name, _ in c] for t, c in made.items()} == {
        t: [name for name, _ in c] for t, c in expected.items()
    }


def test_a_second_time_nothing_changes(unmigrated: str) -> None:
    with opened(unmigrated) as engine:
        assert migrations.migrate(engine) == (None, migrations.newest())
        with engine.connect() as db:
            before = columns(db)
        assert migrations.migrate(engine) == (migrations.newest(), migrations.newest())
        with engine.connect() as db:
            assert columns(db) == before


def test_two_that_migrate_at_once_both_find_it_done(unmigrated: str, tmp_path: Path) -> None:
    env = {"HEARD_DATABASE_URL": unmigrated}
    both = [started("migrate", dir=tmp_path, env=env, stdout=DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]


def test_without_migrations_the_program_says_which_verb_is_missing(unmigrated: str, tmp_path: Path) -> None:
    env = {"HEARD_DATABASE_URL": unmigrated}
    for verb in (("consume", "--until-idle"), ("query", "inputs"), ("trace", "C1")):
        answer = heard(*verb, dir=tmp_path, env=env)
        assert (answer.code, answer.error["code"]) == (3, "configuration")
        assert answer.error["next"].startswith("heard migrate")
    assert heard("migrate", dir=tmp_path, env=env).json["to"] == migrations.newest()
    assert heard("consume", "--until-idle", dir=tmp_path, env=env).code == 0


def test_a_database_that_a_newer_program_has_migrated_is_left_alone(postgresql: str, tmp_path: Path) -> None:
    env = {"HEARD_DATABASE_URL": postgresql}
    assert heard("consume", "--until-idle", dir=tmp_path, env=env).code == 0
    with psycopg.connect(postgresql) as db:
        db.execute(f"UPDATE {migrations.TABLE} SET version_num = '9999'".encode())
    for verb in (("migrate",), ("consume", "--until-idle"), ("query", "inputs")):
        answer = heard(*verb, dir=tmp_path, env=env)
        assert answer.code == 3
        assert "9999" in answer.error["got"]


@pytest.mark.parametrize("role", [migrations.APP, migrations.AUDITOR])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET state = ''", "DELETE FROM stored_events", "TRUNCATE stored_events",
        "DROP TABLE stored_events", "ALTER TABLE stored_events DISABLE TRIGGER ALL",
        "SELECT setval('stored_events_notification_id_seq', 1)",
        f"UPDATE {migrations.TABLE} SET version_num = '0000'",
    ],
)  # fmt: skip
def test_nobody_but_the_owner_can_change_what_is_recorded(postgresql: str, role: str, statement: str) -> None:
    with closing(SqlEventStore(PostgresRecorder(postgresql))) as store:
        store.commit(Work(events=[raised("N1")]))
    with psycopg.connect(postgresql, autocommit=True) as db:
        db.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(errors.InsufficientPrivilege):
            db.execute(statement.encode())
        found = db.execute("SELECT count(*) FROM stored_events WHERE state <> ''").fetchone()
        assert found == (1,)


def test_an_auditor_reads_the_record_and_writes_nothing_and_opens_nothing(postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as db:
        db.execute(f"SET ROLE {migrations.AUDITOR}".encode())
        assert db.execute("SELECT count(*) FROM stored_events").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM message_counts").fetchone() == (0,)
        for statement in (
            "INSERT INTO stored_events VALUES ('s', 1, 't', '')", "SELECT * FROM sealed_values",
            "SELECT * FROM sealed_outbox", "SELECT * FROM parked_messages", "SELECT * FROM dead_letters",
            "DELETE FROM handled_messages", "CREATE TABLE mine (id int)",
        ):  # fmt: skip
            with pytest.raises(errors.InsufficientPrivilege):
                db.execute(statement.encode())


def test_what_a_role_has_no_right_to_is_told_as_that(postgresql: str) -> None:
    joined = "&" if "?" in postgresql else "?"
    auditor = f"{postgresql}{joined}options=-c%20role%3D{migrations.AUDITOR}"
    with closing(SqlEventStore(PostgresRecorder(auditor))) as store:
        with pytest.raises(ConfigurationError, match="does not let this user"):
            store.commit(Work(events=[raised("N1")]))
        assert store.end() == 0
    with opened(auditor) as engine, pytest.raises(ConfigurationError, match="does not let this user"):
        ViewStore(databases.in_service(engine), VIEWS).begin()


def test_the_program_does_its_whole_job_in_the_role_of_a_service(postgresql: str, tmp_path: Path) -> None:
    env = {"HEARD_DATABASE_URL": in_role(postgresql, migrations.APP)}
    answer = heard("demo", dir=tmp_path, env=env)
    assert answer.code == 0, answer.err
    assert heard("views", "rebuild", dir=tmp_path, env=env).code == 0
    assert heard("doctor", dir=tmp_path, now="2009-03-01", env=env).code == 0
    with opened(postgresql) as engine, engine.connect() as db:
        owners = db.execute(
            text("SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'history_%'")
        )
        assert owners.scalars().all() == [migrations.APP]


def test_read_models_that_the_owner_has_built_are_given_over_to_the_services(
    postgresql: str, tmp_path: Path
) -> None:
    assert heard("demo", dir=tmp_path, env={"HEARD_DATABASE_URL": postgresql}).code == 0
    env = {"HEARD_DATABASE_URL": in_role(postgresql, migrations.APP)}
    assert heard("views", "rebuild", dir=tmp_path, env=env).code != 0
    assert heard("migrate", dir=tmp_path, env={"HEARD_DATABASE_URL": postgresql}).code == 0
    assert heard("views", "rebuild", dir=tmp_path, env=env).code == 0


def test_an_auditor_asks_of_the_read_models_also_of_those_built_anew(postgresql: str, tmp_path: Path) -> None:
    for role in (migrations.APP, migrations.AUDITOR):
        env = {"HEARD_DATABASE_URL": in_role(postgresql, role)}
        if role == migrations.APP:
            assert heard("demo", dir=tmp_path, env=env).code == 0
            assert heard("views", "rebuild", dir=tmp_path, env=env).code == 0
        answer = heard("query", "worklist", dir=tmp_path, env=env)
        assert (answer.code, len(answer.json["rows"]) > 0) == (0, True), answer.err
    assert heard("views", "rebuild", dir=tmp_path, env=env).code != 0


def test_who_is_not_the_owner_cannot_migrate(unmigrated: str) -> None:
    with (
        opened(in_role(unmigrated, migrations.AUDITOR)) as engine,
        pytest.raises(ConfigurationError, match="not migrated"),
    ):
        migrations.migrate(engine)
    with opened(unmigrated) as engine, engine.connect() as db:
        assert columns(db) == {}
