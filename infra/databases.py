"""Which database holds the read models, and how are its transactions begun?"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from psycopg import OperationalError, ProgrammingError, connect
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import URL, Connection, Engine, ExceptionContext, NullPool, StaticPool, create_engine, event

from domain.errors import ConfigurationError, TransientError
from infra.file_lock import one_at_a_time

LOCK_TIMEOUT: Final = "30s"
"""How long a statement waits for a row or a table that another transaction holds."""
IDLE_TIMEOUT: Final = "60s"
"""After how long the server ends a transaction of which it hears nothing more."""

PLANNING: Final = {"plan_cache_mode": "force_custom_plan", "random_page_cost": "1.1"}
"""How the server is to plan for us.

What it planned while a table was small would go on to read the whole of it as it grows; and so would what
it plans for a disk that turns, where a batch asks for a few thousand rows of millions.
"""


def sqlite_file(path: Path, *, patience: float = 30.0) -> Engine:
    """The embedded default: one file, WAL; write transactions begin IMMEDIATE.

    `patience` is how many seconds to wait for another writer.
    """
    path.touch(mode=0o600)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool, connect_args={"timeout": patience}, hide_parameters=True,
    )  # fmt: skip

    @event.listens_for(engine, "first_connect")
    def begun(connection: Any, _: object) -> None:
        with one_at_a_time(path):
            connection.execute("PRAGMA journal_mode=WAL")  # which the file remembers

    # Rows are written in the order of their random ids: with the default cache of 2 MB and a copy
    # back at every 4 MB the same pages would be read and written again and again as the tables grow.
    return _explicit(engine, "PRAGMA cache_size=-131072", "PRAGMA wal_autocheckpoint=16384")


def sqlite_memory() -> Engine:
    """A database of one question, gone when the engine is disposed of."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    return _explicit(engine)


def postgresql(url: str) -> Engine:
    """PostgreSQL by URL: as many connections as one process can use, and none that hangs for ever.

    A process has one thread for its loops and a few for those who ask. Whoever waits for a row
    longer than LOCK_TIMEOUT fails, and tries again; whoever is cut off from us in the middle of a
    transaction lets go of its rows after IDLE_TIMEOUT. The event store says the same for its own.
    """
    return create_engine(
        "postgresql+psycopg://",
        connect_args={"connect_timeout": 5}
        | address(
            url,
            lock_timeout=LOCK_TIMEOUT,
            idle_in_transaction_session_timeout=IDLE_TIMEOUT,
            **PLANNING,
        ),
        pool_size=5,
        max_overflow=5,
        pool_timeout=30,
        pool_pre_ping=True,
        pool_recycle=1800,  # before a firewall forgets a connection that is seldom used
        hide_parameters=True,  # rows do not belong in a traceback
    )


def in_service(engine: Engine) -> Engine:
    """The same; what its user has no right to is ConfigurationError."""
    event.listen(engine, "handle_error", _refused)
    return engine


def _refused(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, InsufficientPrivilege):
        raise no_right() from context.original_exception


def no_right() -> ConfigurationError:
    """What it is when the database lets us in, and not do what we have to."""
    return ConfigurationError(
        "the database does not let this user do what Heard asked of it",
        expected="a user in the role heard_app (to look only: heard_auditor)", got="no right to it",
        hint="heard migrate; GRANT heard_app TO the user of HEARD_DATABASE_URL",
    )  # fmt: skip


def address(url: str, **session: str) -> dict[str, Any]:
    """All that the URL of a PostgreSQL says, as arguments of its driver. ConfigurationError if it is none.

    `session`: what the server is to be set to for us, whatever the URL says of it.
    """
    try:
        if url.startswith(("postgresql://", "postgres://")):
            said = conninfo_to_dict(url)
            ours = [f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in session.items()]
            return said | {"options": " ".join([str(said.get("options", "")), *ours]).strip()}
    except ProgrammingError:
        pass
    raise ConfigurationError(
        "the database's address cannot be read",
        expected="postgresql://user:password@host:port/name", got="something else",
        hint="set HEARD_DATABASE_URL",
    )  # fmt: skip


def answer(url: str, *, patience: int = 3) -> tuple[int, datetime]:
    """The major version of a PostgreSQL and what time it has; TransientError when it does not answer.

    `patience` is how many seconds to wait for a connection.
    """
    try:
        with connect(**address(url) | {"connect_timeout": patience}) as db:
            row = db.execute(
                "SELECT current_setting('server_version_num')::int, clock_timestamp()"
            ).fetchone()
    except OperationalError as error:
        raise TransientError(
            "the database does not answer", expected="a connection",
            got=first_line(error),
            hint="start it, or set HEARD_DATABASE_URL to where it is and who we are there",
        ) from error  # fmt: skip
    assert row is not None  # noqa: S101 - for the type checker
    return row[0] // 10_000, row[1]


def first_line(error: BaseException | None) -> str:
    """What the driver says first: who was refused, what is not there, who does not answer."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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
