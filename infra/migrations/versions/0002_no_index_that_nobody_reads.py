"""The duties of a case are found by what their keys begin with."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Drop the index; what was made by the program itself before may not have it."""
    op.execute("DROP INDEX IF EXISTS process_owed_0_about")
