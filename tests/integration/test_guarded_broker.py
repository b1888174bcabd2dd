"""Does the program keep to its rights on a broker with TLS and passwords, and say which one it lacks?"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from infra import scenario
from infra.kafka_rights import RIGHTS
from services.topics import EVENTS
from tests.support.kafka_guarded import OWNER, Guarded, guarded, token
from tests.support.program import Answer, heard

NOW = f"{scenario.CLOCK:%Y-%m-%d}"
STRANGER = "stranger"
"""A principal without any right."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Guarded]:
    """A broker with Heard's topics, and a principal with its rights for each service."""
    users = {f"heard-{service}": f"{service}-pass" for service in RIGHTS} | {STRANGER: "stranger-pass"}
    with guarded(users) as running:
        for call in (("topics", "create"), ("topics", "rights", "--create")):
            answer = heard(*call, dir=None, env=running.env(OWNER))
            assert answer.code == 0, answer.err
        yield running


REFUSED = [
    pytest.param({"HEARD_KAFKA_PASSWORD": "wrong-pass"}, "password of heard-", id="wrong password"),
    pytest.param({"HEARD_KAFKA_CA_FILE": "{other}"}, "certificate is not trusted", id="unknown authority"),
    pytest.param(
        {"HEARD_KAFKA_USERNAME": STRANGER, "HEARD_KAFKA_PASSWORD": "stranger-pass"},
        f"does not allow {STRANGER}", id="no right",
    ),
]  # fmt: skip
CALLS = [("demo",), ("consume", "sequencer"), ("topics", "create")]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
@pytest.mark.parametrize(("wrong", "named"), REFUSED)
def test_who_is_not_to_come_in_hears_within_five_seconds_what_is_wrong(
    broker: Guarded, wrong: dict[str, str], named: str, call: tuple[str, ...], tmp_path: Path
) -> None:
    env = broker.env("heard-sequencer") | {
        name: value.format(other=broker.other_ca) for name, value in wrong.items()
    }
    began = time.monotonic()
    answer = heard(*call, dir=tmp_path, now=NOW, env=env)
    took = time.monotonic() - began
    assert answer.code == 3, answer.err
    assert answer.error["code"] == "configuration"
    assert named in answer.error["message"]
    assert took < 5
    for password in (*broker.users.values(), "wrong-pass"):
        assert password not in answer.err + answer.text
    gc.collect()


class Told(NamedTuple):
    """Where the scenario went its way, each step of it as another principal."""

    dir: Path
    broker: Guarded

    def ask(self, service: str, *call: str, **more: str) -> Answer:
        """What the program answers to this service's principal."""
        env = self.broker.env(f"heard-{service}") | more
        return heard(*call, dir=self.dir, now=NOW, env=env)


@pytest.fixture(scope="module")
def told(broker: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Told:
    told = Told(tmp_path_factory.mktemp("told"), broker)
    file = told.dir / "scenario.ndjson"
    file.write_text("\n".join(scenario.lines()))
    answers = [told.ask("publisher", "publish", str(file))]
    for loop in ("intake", "sequencer", "projector", "processes", "sequencer", "projector"):
        answers.append(told.ask(loop, "consume", loop, "--until-idle"))
    assert [(answer.code, answer.err) for answer in answers if answer.code] == []
    return told


def test_the_scenario_goes_its_way_with_one_principal_for_each_service(told: Told) -> None:
    trace = told.ask("auditor", "trace", "C1", "--forward").json
    assert {node["ref"] for node in trace["nodes"]} >= {"C1", "N1", "D1", "A1", "F1", "P1"}
    assert told.ask("auditor", "query", "worklist").json["rows"]
    doctor = told.ask("operator", "doctor")
    messages = doctor.json["messages"]
    assert (doctor.code, messages["accepted"], messages["balanced"]) == (0, len(scenario.lines()), True)
    assert told.ask("operator", "erase", "N1").code == 0


LACKING = [
    ("publisher", ("consume", "intake")),
    ("auditor", ("consume", "intake")),
    ("projector", ("consume", "sequencer")),
    ("sequencer", ("consume", "projector")),
    ("projector", ("consume", "processes")),
    ("intake", ("demo",)),
    ("auditor", ("doctor",)),
]


@pytest.mark.parametrize(
    ("service", "call"), LACKING, ids=[f"{service} {' '.join(call)}" for service, call in LACKING]
)
def test_no_service_can_do_the_work_of_another(told: Told, service: str, call: tuple[str, ...]) -> None:
    answer = told.ask(service, *call)
    assert answer.code == 3, answer.err
    assert f"does not allow heard-{service}" in answer.error["message"]


def test_a_token_serves_as_well_as_a_password_until_it_has_expired(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "token"
    more = {"HEARD_KAFKA_SASL_MECHANISM": "OAUTHBEARER", "HEARD_KAFKA_TOKEN_FILE": str(file)}
    file.write_text(token("heard-auditor"))
    assert told.ask("auditor", "query", "worklist", **more).code == 0
    file.write_text(token("heard-auditor", seconds=-60))
    refused = told.ask("auditor", "query", "worklist", **more)
    assert refused.code == 3
    assert "refused the token" in refused.error["message"]
    file.unlink()
    assert told.ask("auditor", "query", "worklist", **more).error["code"] == "configuration"


def test_the_rights_can_be_read_without_a_cluster(tmp_path: Path) -> None:
    rows = heard("topics", "rights", dir=tmp_path, env={"HEARD_KAFKA_PREFIX": "county."}).json["rows"]
    of_auditor = [row for row in rows if row["principal"] == "User:county.heard-auditor"]
    assert of_auditor == [
        {
            "principal": "User:county.heard-auditor", "operation": "READ", "resource": "TOPIC",
            "name": f"county.{EVENTS.name}", "pattern": "LITERAL",
        }
    ]  # fmt: skip
