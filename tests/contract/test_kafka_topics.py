"""Does `heard topics create` make what Heard needs on a real broker, and see what differs?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from infra import scenario
from infra.kafka_broker import Broker
from services.topics import EVENTS, INBOX, PARKED, SEALED, TOPICS
from tests.contract.kafka_harness import topics_of_its_own
from tests.support.program import heard


@pytest.fixture
def cluster(kafka_servers: str) -> Iterator[dict[str, str]]:
    """Settings for an installation of its own on the broker."""
    with topics_of_its_own(kafka_servers) as settings:
        yield settings


def test_topics_are_created_once_with_their_partitions_and_retention(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    first = heard("topics", "create", dir=tmp_path, env=cluster)
    assert first.code == 0, first.err
    rows = {row["topic"].removeprefix(cluster["HEARD_KAFKA_PREFIX"]): row for row in first.json["rows"]}
    assert rows.keys() == {topic.name for topic in TOPICS}
    assert all(row["created"] and row["partitions"] == 12 and not row["differs"] for row in rows.values())
    assert rows[INBOX.name]["retention_days"] == 7
    assert rows[EVENTS.name]["retention_days"] is rows[SEALED.name]["retention_days"] is None
    assert rows[PARKED.name]["retention_days"] == 31

    again = heard("topics", "create", dir=tmp_path, env=cluster)
    assert again.code == 0
    assert not any(row["created"] for row in again.json["rows"])


def test_what_differs_is_said_and_left_alone(cluster: dict[str, str], tmp_path: Path) -> None:
    heard("topics", "create", "--partitions", "3", dir=tmp_path, env=cluster)
    name = cluster["HEARD_KAFKA_PREFIX"] + EVENTS.name
    admin = KafkaAdminClient(**Broker(cluster["HEARD_KAFKA_SERVERS"], "PLAINTEXT").client())
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "1000"})])
    asked = ConfigResource(ConfigResourceType.TOPIC, name)
    for _ in range(100):  # the broker applies it in its own time
        if admin.describe_configs([asked])["topic"][name]["retention.ms"]["value"] == "1000":
            break
        time.sleep(0.1)
    admin.close()

    answer = heard("topics", "create", dir=tmp_path, env=cluster)

    assert answer.code == 1
    (row,) = (row for row in answer.json["rows"] if row["topic"] == name)
    assert "retention.ms: 1000 instead of -1" in row["differs"]
    assert "partitions: 3 instead of 12" in row["differs"]


def test_the_demo_runs_on_apache_kafka(cluster: dict[str, str], tmp_path: Path) -> None:
    heard("topics", "create", dir=tmp_path, env=cluster)
    demo = heard("demo", dir=tmp_path, env=cluster)
    assert demo.code == 0, demo.err
    now = f"{scenario.CLOCK:%Y-%m-%d}"
    trace = heard("trace", "C1", "--forward", dir=tmp_path, now=now, env=cluster).json
    facts = {node["ref"] for node in trace["nodes"] if node["kind"] != "priority"}
    assert facts == {"C1", "D1", "F1", "F2", "N1", "N1q", "N2", "N3", "N4", "N6", "P1", "P2"} | {
        f"{letter}{number}" for letter, count in (("A", 5), ("O", 4)) for number in range(1, count + 1)
    }
    owed = heard("query", "feedback_owed", "--where", "owed=never_told", dir=tmp_path, now=now, env=cluster)
    assert {row["ref"] for row in owed.json["rows"]} == {"N1q", "N4", "N5", "N6"}
    assert heard("doctor", dir=tmp_path, now=now, env=cluster).json["messages"]["balanced"]
    assert heard("views", "compare", "trace", dir=tmp_path, now=now, env=cluster).json["equal"]
