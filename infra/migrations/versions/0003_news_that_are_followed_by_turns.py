"""What was taken in, and of which not everything has come yet, has a table: duties are found by turns."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of the news."""
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS process_news_0 (
            force TEXT COLLATE "C" NOT NULL, place TEXT COLLATE "C" NOT NULL, id TEXT COLLATE "C" NOT NULL,
            thing TEXT COLLATE "C", type TEXT COLLATE "C", audience TEXT COLLATE "C", subject TEXT COLLATE "C",
            digest TEXT COLLATE "C", known_at TEXT COLLATE "C", position BIGINT, correlation TEXT COLLATE "C",
            since TEXT COLLATE "C", begins BIGINT, links TEXT COLLATE "C"
        )
        """
    )
    op.execute("CREATE UNIQUE INDEX IF NOT EXISTS process_news_0_key ON process_news_0 (force, place, id)")
    op.execute("CREATE INDEX IF NOT EXISTS process_news_0_force_position ON process_news_0 (force, position)")
