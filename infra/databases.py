"""Which database holds the read models, and how are its transactions begun?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, NullPool, StaticPool, create_engine, event

from domain.errors import ConfigurationError


def sqlite_file(path: Path, *, patience: float = 30.0) -> Engine:
    """The embedded default: one file, WAL; write transactions begin IMMEDIATE.

    `patience` is how many seconds to wait for another writer.
    """
    path.touch(mode=0o600)
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": patience}, hide_parameters=True
    )
    # Rows are written in the order of their random ids: with the default cache of 2 MB and a copy
    # back at every 4 MB the same pages would be read and written again and again as the tables grow.
    return _explicit(
        engine, "PRAGMA journal_mode=WAL", "PRAGMA cache_size=-131072", "PRAGMA wal_autocheckpoint=16384"
    )


def sqlite_memory() -> Engine:
    """A database of one question, gone when the engine is disposed of."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    return _explicit(engine)


def postgresql(url: str) -> Engine:
    """PostgreSQL by URL."""
    return create_engine(
        "postgresql+psycopg://",
        connect_args=address(url),
        pool_size=5,
        max_overflow=5,
        pool_pre_ping=True,
        hide_parameters=True,  # rows do not belong in a traceback
    )


def address(url: str) -> dict[str, Any]:
    """All that the URL of a PostgreSQL says, as arguments of its driver. ConfigurationError if it is none."""
    try:
        if url.startswith(("postgresql://", "postgres://")):
            return conninfo_to_dict(url)
    except ProgrammingError:
        pass
    raise ConfigurationError(
        "the database's address cannot be read",
        expected="postgresql://user:password@host:port/name", got="something else",
        hint="set HEARD_DATABASE_URL",
    )  # fmt: skip


def _explicit(engine: Engine, *pragmas: str) -> Engine:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        # The driver would begin transactions at the first write only, and never IMMEDIATE.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("heard_begin", "BEGIN"))

    return engine
