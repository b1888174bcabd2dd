"""Do two processes of each loop do together what one does, each once?

Each is a process of its own, over a real Apache Kafka and a real PostgreSQL: two of intake and of
projector share the partitions, of two `processes` one works and the other stands by. In the end all
is compared with what one process alone makes of the same messages.
"""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaAdminClient

from infra.installation import LOOPS
from infra.kafka_topics import PARTITIONS
from services.topics import EVENTS, INBOX
from tests.support.loaded import Undertaking, messages, same, undertaking, undisturbed
from tests.support.site import Site, until

TIMES: Final = 3
"""So many times the scenario and the imports: 12 s of load."""
SECOND: Final = ("intake.2", "projector.2", "processes.2")

# The clients' libraries drop connections that failed without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_two_of_each_loop_share_the_work_and_one_of_the_processes_stands_by(
    place: Site, tmp_path: Path
) -> None:
    # given two of each, which share as they should
    with undertaking(place, tmp_path / "shared") as run:
        run.prepare()
        run.begin(*LOOPS, *SECOND)
        until(lambda: shared(held(run, "intake", INBOX.name)), 60, "two to share the inbox")
        until(lambda: shared(held(run, "projector", EVENTS.name)), 60, "two to share the events")
        until(lambda: held(run, "processes", EVENTS.name) == [0, PARTITIONS], 60, "one to hold everything")

        # when messages come, and of the processes now one is away and now the other
        load = run.load(messages(TIMES))
        for name in ("processes", "processes.2"):
            run.processes[name].hold(signal.SIGKILL)
            until(lambda: held(run, "processes", EVENTS.name) == [PARTITIONS], 60, "the other to take over")
            run.caught_up(load)
            run.processes[name].release()
            until(lambda: held(run, "processes", EVENTS.name) == [0, PARTITIONS], 60, "one to stand by")
        sent = run.finish(load)

        # then everything is there, once
        assert {name: run.processes[name].starts for name in (*LOOPS, *SECOND)} == {
            name: 2 if name.startswith("processes") else 1 for name in (*LOOPS, *SECOND)
        }
        together = run.held(sent)
    same(undisturbed(place, tmp_path / "alone", sent), together)


def shared(counts: list[int]) -> bool:
    """Whether all is held by two, and neither holds all."""
    return len(counts) == 2 and min(counts) > 0 and sum(counts) == PARTITIONS


def held(run: Undertaking, group: str, topic: str) -> list[int]:
    """How many partitions of the topic each member of the group holds, the fewest first."""
    name = f"{run.prefix}heard.{group}"
    with closing(KafkaAdminClient(bootstrap_servers=run.site.servers)) as admin:
        members = admin.describe_groups([name])[name]["members"]
    nothing: dict[str, Any] = {"assigned_partitions": []}  # while the group shares out
    return sorted(
        sum(
            len(assigned["partitions"])
            for assigned in (member["member_assignment"] or nothing)["assigned_partitions"]
            if assigned["topic"] == run.prefix + topic
        )
        for member in members
    )
