"""Which tables lie on PostgreSQL, who may do what with them, and how do they come there?

`heard migrate` runs this, as the owner of the database; the program itself makes none of them. The
tables of the read models are another matter: each rebuild makes its own (projections/store.py).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from domain.errors import ConfigurationError, TransientError
from infra import databases

TABLE: Final = "heard_migrations"
"""Where the database says how far it has come."""
APP: Final = "heard_app"
"""What the services are: they add events, and can neither change nor remove one."""
AUDITOR: Final = "heard_auditor"
"""Who may read everything but what is sealed or set aside, and write nothing."""
_ALONE: Final = 0x4EA2C
"""The advisory lock under which one process at a time migrates."""

_BOOKKEEPING: Final = (
    "intake_positions", "message_counts", "handled_messages", "parked_messages", "dead_letters",
    "sealed_outbox", "sealed_values", "view_generations", "view_positions", "view_tables", "views",
    "process_things_0", "process_edges_0", "process_facts_0", "process_cases_0", "process_owed_0",
    "process_news_0",
)  # fmt: skip
_CLOSED: Final = ("parked_messages", "dead_letters", "sealed_outbox", "sealed_values")
"""What an auditor does not see: encrypted bodies and words."""


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Bring the database to the newest revision and the roles to their rights; from which, to which.

    Safe to repeat. Raises ConfigurationError when this user is not allowed to, or when a newer
    program has migrated it; then nothing has changed.
    """
    try:
        with engine.begin() as db:
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ALONE})
            before = _known(revision(db))
            command.upgrade(_config(db), "head")
            _grant(db)
            give_over(db)
            return before, newest()
    except ProgrammingError as error:
        raise ConfigurationError(
            "the database was not migrated", expected="the owner of the database, who may make roles",
            got=str(error.orig).partition("\n")[0], hint="run heard migrate as its owner",
        ) from error  # fmt: skip
    except OperationalError as error:
        raise TransientError(
            "the database does not answer", expected="an answer", got=databases.first_line(error.orig),
            hint="look at HEARD_DATABASE_URL, and whether it is running",
        ) from error  # fmt: skip


def require(engine: Engine) -> None:
    """Raise ConfigurationError unless the database is at the newest revision."""
    try:
        with engine.connect() as db:
            found = _known(revision(db))
    except OperationalError as error:
        raise TransientError(
            "the database does not answer", expected="an answer", got=databases.first_line(error.orig),
            hint="look at HEARD_DATABASE_URL, and whether it is running",
        ) from error  # fmt: skip
    if found != newest():
        raise ConfigurationError(
            "the database's tables are not those of this program", expected=f"revision {newest()}",
            got=f"revision {found}" if found else "none", hint="heard migrate, as the owner of the database",
        )  # fmt: skip


def revision(db: Connection) -> str | None:
    """How far the database has come; None before the first migration."""
    if not inspect(db).has_table(TABLE):
        return None
    found: str | None = db.scalar(text(f"SELECT version_num FROM {TABLE}"))  # noqa: S608 - own name
    return found


@cache
def newest() -> str:
    """The revision that this program was written for."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _known(found: str | None) -> str | None:
    if found is not None and found > newest():
        raise ConfigurationError(
            "a newer program has migrated the database", expected=f"revision {newest()} or before",
            got=f"revision {found}", hint="use the version of Heard that migrated it",
        )  # fmt: skip
    return found


def _config(db: Connection | None = None) -> Config:
    config = Config(attributes={"connection": db})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _grant(db: Connection) -> None:
    """Roles without a login, to be granted to those who log in, and nothing beyond what each needs."""
    for role in (APP, AUDITOR):
        if not db.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            db.execute(text(f"CREATE ROLE {role} NOLOGIN"))
        db.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
        db.execute(text(f"GRANT SELECT ON stored_events, {TABLE} TO {role}"))
    own = ", ".join(_BOOKKEEPING)
    db.execute(text(f"GRANT CREATE ON SCHEMA public TO {APP}"))  # for the generations of read models
    db.execute(text(f"GRANT INSERT ON stored_events TO {APP}"))
    db.execute(text(f"GRANT USAGE, SELECT ON SEQUENCE stored_events_notification_id_seq TO {APP}"))
    db.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {own} TO {APP}"))
    seen = ", ".join(table for table in _BOOKKEEPING if table not in _CLOSED)
    db.execute(text(f"GRANT SELECT ON {seen} TO {AUDITOR}"))
    # Who has made a role may give it away, and has not yet what it has.
    if not db.scalar(text("SELECT pg_has_role(:role, 'USAGE')"), {"role": APP}):
        db.execute(text(f"GRANT {APP} TO CURRENT_USER"))
    # Read models hold no word that anybody wrote; each generation of them is a new table.
    db.execute(
        text(f"ALTER DEFAULT PRIVILEGES FOR ROLE {APP} IN SCHEMA public GRANT SELECT ON TABLES TO {AUDITOR}")
    )


def give_over(db: Connection) -> None:
    """The read models to the services, whoever has built them: none but its owner may drop a table."""
    others = db.scalars(
        text(
            "SELECT table_name FROM view_tables JOIN pg_tables ON schemaname = 'public'"
            " AND tablename = table_name WHERE tableowner <> :app"
            " OR NOT has_table_privilege(:auditor, quote_ident(table_name), 'SELECT')"
        ),
        {"app": APP, "auditor": AUDITOR},
    )
    for name in others.all():
        db.execute(text(f"ALTER TABLE {name} OWNER TO {APP}"))
        db.execute(text(f"GRANT SELECT ON {name} TO {AUDITOR}"))
