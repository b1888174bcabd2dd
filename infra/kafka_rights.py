"""What may each service do on the cluster? One principal each, and no right that it does not use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from domain.errors import ConfigurationError
from infra.kafka_broker import Broker, our_errors
from infra.kafka_log import APPENDS
from services.topics import DEAD_LETTERS, EVENTS, INBOX, PARKED, SEALED, TOPICS, Topic

LATEST: Final = 10.0
"""Seconds after which we no longer wait for the brokers to hear of new rights."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one principal may do; groups and transactional ids without `heard.` before them."""

    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    describes: tuple[Topic, ...] = ()
    """Topics of which it only asks how far they go."""
    inspects: tuple[Topic, ...] = ()
    """Topics of which it asks how they are set."""
    groups: tuple[str, ...] = ()
    transactions: tuple[str, ...] = ()
    """Those that end in a full stop stand for all that begin so."""


# Whoever consumes asks first whether topics and databases fit each other: events, and how far the
# inbox goes. Only intake and the operator ever see what lies in the inbox.
RIGHTS: Final[dict[str, Rights]] = {
    "publisher": Rights(writes=(INBOX,), transactions=(APPENDS,)),
    "intake": Rights(
        reads=(INBOX, EVENTS), writes=(PARKED, DEAD_LETTERS), groups=("intake",),
        transactions=(APPENDS,),
    ),
    "sequencer": Rights(
        reads=(EVENTS, SEALED), writes=(EVENTS, SEALED), describes=(INBOX,), transactions=("sequencer",)
    ),
    "projector": Rights(reads=(EVENTS, SEALED), describes=(INBOX,), groups=("projector",)),
    "processes": Rights(reads=(EVENTS,), describes=(INBOX,), groups=("processes",)),
    "auditor": Rights(reads=(EVENTS,)),
    "operator": Rights(
        reads=(INBOX, EVENTS, SEALED, PARKED), writes=(EVENTS, SEALED, PARKED, DEAD_LETTERS),
        inspects=TOPICS, groups=("projector", "processes"), transactions=("sequencer", APPENDS),
    ),
}  # fmt: skip
"""By service; the auditor asks questions, the operator runs every verb but `publish` and `demo`."""


def rows(prefix: str) -> list[dict[str, Any]]:
    """Every right as a row of principal, operation, resource, name and pattern."""
    return [
        {
            "principal": acl.principal,
            "operation": acl.operation.name,
            "resource": acl.resource_pattern.resource_type.name,
            "name": acl.resource_pattern.resource_name,
            "pattern": acl.resource_pattern.pattern_type.name,
        }
        for acl in _acls(prefix)
    ]


def create(broker: Broker) -> None:
    """Give every principal its rights, from every host; those that are there already stay.

    Raises ConfigurationError when the cluster knows no rights, or we may not give any.
    """
    wanted = list(_acls(broker.prefix))
    with our_errors(broker):
        admin = broker.opened(KafkaAdminClient)
        try:
            failed = admin.create_acls(wanted)["failed"]
            # The brokers hear of it from the controller, a moment later.
            deadline = time.monotonic() + LATEST
            while not failed and not _are_there(admin, wanted) and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            admin.close()
    if failed:
        raise ConfigurationError(
            "the cluster did not take the rights", expected="a cluster with an authorizer, and leave to give",
            got=failed[0].__name__, hint="set authorizer.class.name on the brokers, or ask who runs them",
        )  # fmt: skip


def _are_there(admin: KafkaAdminClient, wanted: list[ACL]) -> bool:
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, anything))
    return set(wanted) <= set(found)


def _acls(prefix: str) -> Iterator[ACL]:
    for service, rights in RIGHTS.items():
        wanted = [
            *((ACLOperation.READ, ResourceType.TOPIC, topic.name) for topic in rights.reads),
            *((ACLOperation.WRITE, ResourceType.TOPIC, topic.name) for topic in rights.writes),
            *((ACLOperation.DESCRIBE, ResourceType.TOPIC, topic.name) for topic in rights.describes),
            *((ACLOperation.DESCRIBE_CONFIGS, ResourceType.TOPIC, topic.name) for topic in rights.inspects),
            *((ACLOperation.READ, ResourceType.GROUP, f"heard.{group}") for group in rights.groups),
            *(
                (ACLOperation.WRITE, ResourceType.TRANSACTIONAL_ID, f"heard.{name}")
                for name in rights.transactions
            ),
        ]
        for operation, resource, name in wanted:
            pattern = (
                ACLResourcePatternType.PREFIXED if name.endswith(".") else ACLResourcePatternType.LITERAL
            )
            yield ACL(
                f"User:{prefix}heard-{service}",
                "*",
                operation,
                ACLPermissionType.ALLOW,
                ResourcePattern(resource, prefix + name, pattern),
            )
