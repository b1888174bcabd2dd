"""What was taken in, and of which not everything has come yet, has a table: duties are found by turns."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of the news."""
    text = 'text COLLATE "C"'
    op.execute(
        f"""
        CREATE TABLE IF NOT EXISTS process_news_0 (
            force {text} NOT NULL, place {text} NOT NULL, id {text} NOT NULL, thing {text}, type {text},
            audience {text}, subject {text}, digest {text}, known_at {text}, position bigint,
            correlation {text}, since {text}, begins bigint, links {text})
        """
    )
    op.execute("CREATE UNIQUE INDEX IF NOT EXISTS process_news_0_key ON process_news_0 (force, place, id)")
    op.execute("CREATE INDEX IF NOT EXISTS process_news_0_force_position ON process_news_0 (force, position)")
