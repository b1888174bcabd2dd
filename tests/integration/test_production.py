"""Does the README's section on production do what it says, line by line, on servers that ask who we are?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest
from psycopg import errors

from infra import scenario
from infra.kafka_rights import RIGHTS
from infra.settings import Settings
from tests.support.containers import free_ports
from tests.support.kafka_guarded import OWNER, guarded
from tests.support.postgres import guarded_server
from tests.support.program import heard
from tests.support.requires import ROOT

TITLE = "On your own Kafka and PostgreSQL"
SECTION = (ROOT / "README.md").read_text().partition(f"## {TITLE}\n")[2].partition("\n## ")[0]
STEPS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
FILE: dict[str, str] = dict(
    re.findall(r"^(\w+)=(.*)$", SECTION.partition("```ini")[2].partition("```")[0], re.MULTILINE)
)
"""The settings of every process, as the section shows them."""
LOGINS = ("owner", "service", "reader")
METRICS = ("9471", "9472", "9473", "9474")
TOPICS, DATABASE, SERVICES, WELL, BACKUP, RESTORE = range(6)


@dataclass
class Force:
    """Where the section is followed: a shell that goes on from one step to the next."""

    dir: Path
    environment: dict[str, str]
    services: list[int] = field(default_factory=list)

    def follow(self, step: str) -> str:
        """Run the lines as they stand; what they wrote. Whatever they leave running goes on."""
        script = f"set -euo pipefail\n{step}\njobs -p >'{self.dir}/pids'\nenv -0 >'{self.dir}/environment'\n"
        out = self.dir / "out"
        with out.open("wb") as stream:
            done = subprocess.run(
                ["bash", "-c", script], cwd=ROOT, env=self.environment, stdout=stream, stderr=stream,
                timeout=120,
            )  # fmt: skip
        assert done.returncode == 0, out.read_text()
        pairs = (self.dir / "environment").read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        self.services += map(int, (self.dir / "pids").read_text().split())
        return out.read_text()

    def ask(self, service: str, *call: str) -> Any:
        """What the program answers to the principal of a service, as JSON."""
        given = {name: value for name, value in self.environment.items() if name.startswith("HEARD_")}
        given |= {
            "HEARD_KAFKA_USERNAME": f"heard-{service}",
            "HEARD_KAFKA_PASSWORD": self.environment[f"{service.upper()}_PASSWORD"],
        }
        answer = heard(*call, dir=None, env=given)
        assert answer.code == 0, answer.err
        return answer.json if answer.out else None

    def taken(self, outcome: str) -> None:
        """Wait until every message of the scenario has ended so."""
        deadline = time.monotonic() + 60
        while self.ask("operator", "doctor")["messages"][outcome] < len(scenario.lines()):
            assert time.monotonic() < deadline, f"the services take no messages: {outcome}"
            time.sleep(0.5)

    def stop(self) -> None:
        """End the services, and have done what they had begun."""
        while self.services:
            os.kill(self.services.pop(), signal.SIGTERM)
        for loop in ("processes", "sequencer", "projector"):
            self.ask(loop, "consume", loop, "--until-idle")

    @contextmanager
    def login(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        """The database, as one of those that may log in."""
        with psycopg.connect(self.url(name, self.environment[f"{name.upper()}_PASSWORD"])) as db:
            db.autocommit = True
            yield db

    def url(self, name: str, password: str) -> str:
        """Where the database is, for one of those that may log in."""
        return f"postgresql://heard_{name}:{password}@{self.environment['DATABASE_SERVER']}/heard"


@dataclass(frozen=True)
class Followed:
    """What was seen on the way, and the installation at its end."""

    force: Force
    topics: str
    doctor: list[str]
    healthy: list[int]
    before: Any
    after: Any
    again: Any


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    folder = tmp_path_factory.mktemp("force")
    (data := folder / "data").mkdir()
    (backup := folder / "backup").mkdir()
    with guarded({}) as broker, guarded_server([f"heard_{name}" for name in LOGINS]) as server:
        given = broker.env(OWNER)
        environment: dict[str, str] = {
            "PATH": f"{Path(sys.executable).parent}:{server.programs}:{os.environ['PATH']}",
            **server.administrator,
            "DATABASE_SERVER": server.address,
            "KAFKA_ADMIN": OWNER,
            "KAFKA_ADMIN_PASSWORD": broker.users[OWNER],
            "BACKUP": str(backup),
            **{f"{name.upper()}_PASSWORD": f"{name}-pass" for name in (*LOGINS, *RIGHTS)},
            **{name: given.get(name, value) for name, value in FILE.items()},
            "HEARD_DIR": str(data),
        }
        force = Force(folder, environment)
        try:
            yield follow(force)
        finally:
            for pid in force.services:
                os.kill(pid, signal.SIGKILL)


def follow(force: Force) -> Followed:
    """The whole section, and then its third step again."""
    ports = dict(zip(METRICS, map(str, free_ports(len(METRICS))), strict=True))
    services = re.sub("|".join(METRICS), lambda found: ports[found[0]], STEPS[SERVICES])

    topics = force.follow(STEPS[TOPICS])
    force.follow(STEPS[DATABASE])
    force.follow(services)
    doctor = [force.follow(STEPS[WELL])]
    force.taken("accepted")
    healthy = [urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10).status for port in ports.values()]
    force.stop()
    before = force.ask("operator", "restore", "--hash-only")

    force.follow(STEPS[BACKUP])
    (Path(force.environment["HEARD_DIR"]) / "keys.db").unlink()
    doctor.append(force.follow(STEPS[RESTORE]))
    after = force.ask("operator", "restore", "--hash-only")

    force.follow(services)
    force.follow(STEPS[WELL])
    force.taken("duplicates")
    force.stop()
    again = force.ask("operator", "restore", "--hash-only")
    return Followed(force, topics, doctor, healthy, before, after, again)


def test_the_section_sets_nothing_that_is_no_setting() -> None:
    assert {name.removeprefix("HEARD_").lower() for name in FILE} <= set(Settings.model_fields)
    assert len(STEPS) == RESTORE + 1


def test_every_topic_is_made_and_every_service_has_its_rights(followed: Followed) -> None:
    for name in ("heard.inbox.v1", "heard.events.v1", "heard.sealed.v1"):
        assert name in followed.topics
    for service in RIGHTS:
        assert f"heard-{service}" in followed.topics


def test_the_services_are_well_and_the_doctor_finds_nothing(followed: Followed) -> None:
    assert followed.healthy == [200] * len(METRICS)
    assert followed.force.ask("operator", "doctor")["ok"]
    for out in followed.doctor:
        assert '"ok": true' in out
        assert '"ok": false' not in out


def test_a_restored_database_gives_the_same_hashes_also_when_all_is_sent_again(followed: Followed) -> None:
    assert followed.before["events"]["count"] > len(scenario.lines())
    assert followed.after == followed.before
    assert followed.again == followed.before


def test_who_gives_another_password_does_not_come_in(followed: Followed) -> None:
    for name in LOGINS:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(followed.force.url(name, "wrong-pass"))


CHANGES = ("UPDATE stored_events SET state = ''", "DELETE FROM stored_events", "TRUNCATE stored_events")
WRITES = (
    "INSERT INTO stored_events VALUES ('s', 1, 't', '')", "DELETE FROM handled_messages",
    "UPDATE message_counts SET n = 0", "CREATE TABLE mine (id int)", "SELECT * FROM sealed_values",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        *(("service", each) for each in CHANGES),
        *(("reader", each) for each in (*CHANGES, *WRITES)),
    ],
)  # fmt: skip
def test_no_service_changes_what_is_recorded_and_no_auditor_anything(
    followed: Followed, name: str, statement: str
) -> None:
    with followed.force.login(name) as db, pytest.raises(errors.InsufficientPrivilege):
        db.execute(statement.encode())


def test_an_auditor_asks_of_the_record_and_of_the_read_models(followed: Followed) -> None:
    with followed.force.login("reader") as db:
        found = db.execute("SELECT count(*) FROM stored_events").fetchone()
    assert found == (followed.before["events"]["count"],)
    environment = followed.force.environment
    url = followed.force.url("reader", environment["READER_PASSWORD"])
    reader = Force(followed.force.dir, environment | {"HEARD_DATABASE_URL": url})
    assert reader.ask("auditor", "query", "worklist")["rows"]
