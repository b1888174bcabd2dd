"""What may an installation stand on in a test, beside the embedded default: topics and a database of its own.

`program.heard` asks for the settings that belong to a data directory, so that a test need not know.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from kafka import KafkaAdminClient

from infra.kafka_broker import Broker
from services.topics import TOPICS
from tests.support import program
from tests.support.postgres import database

PARTITIONS: Final = 4
"""Of each topic, as in the embedded default: each costs the broker files."""
SESSION_MS: Final = 3_000
"""A process that was killed is not waited for any longer."""


class Servers:
    """Apache Kafka and PostgreSQL: topics and a database for each data directory that is used."""

    def __init__(self, kafka: str, postgresql: str) -> None:
        self._kafka = kafka
        self._postgresql = postgresql
        self._admin = KafkaAdminClient(**Broker(kafka, "PLAINTEXT").client())
        self._settings: dict[Path, dict[str, str]] = {}
        self._databases: dict[Path, ExitStack] = {}

    def settings(self, dir: Path) -> dict[str, str]:
        """The settings of the installation in that directory; made ready when it is first asked for."""
        dir = dir.resolve()
        if dir not in self._settings:
            self._databases[dir] = ExitStack()
            self._settings[dir] = {
                "HEARD_KAFKA_SERVERS": self._kafka,
                "HEARD_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
                "HEARD_KAFKA_PREFIX": f"t{secrets.token_hex(4)}.",
                "HEARD_KAFKA_REPLICATION": "1",
                "HEARD_KAFKA_SESSION_MS": str(SESSION_MS),
                "HEARD_DATABASE_URL": self._databases[dir].enter_context(database(self._postgresql)),
            }
            for verb in (("migrate",), ("topics", "create", "--partitions", str(PARTITIONS))):
                made = program.heard(*verb, dir=dir)
                assert made.code == 0, made.err
        return self._settings[dir]

    @contextmanager
    def each_gone_afterwards(self) -> Iterator[None]:
        """What was made for a directory within this is gone at its end."""
        before = set(self._settings)
        try:
            yield
        finally:
            self._forget([dir for dir in self._settings if dir not in before])

    def close(self) -> None:
        """Leave nothing on either server."""
        self._forget(list(self._settings))
        self._admin.close()

    def _forget(self, dirs: list[Path]) -> None:
        prefixes = [self._settings.pop(dir)["HEARD_KAFKA_PREFIX"] for dir in dirs]
        if prefixes:
            self._admin.delete_topics([prefix + topic.name for prefix in prefixes for topic in TOPICS])
        for dir in dirs:
            self._databases.pop(dir).close()


@contextmanager
def standing_on(servers: Servers) -> Iterator[Servers]:
    """Every installation that the program is called for stands on these servers."""
    with patch.object(program, "underneath", servers.settings):
        try:
            yield servers
        finally:
            servers.close()
