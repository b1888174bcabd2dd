"""What does a message ask Heard to record, once it has been read and checked?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from domain.event import Reported
from domain.values import Influence, Occurred

PATIENCE: Final = timedelta(days=30)
"""How long a message may wait for what it refers to, and the body of a dead one can be opened."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A cause as upstream names it."""

    relation: str
    kind: str
    source: str
    ref: str
    influence: Influence | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One fact that an upstream system reports, valid in itself.

    `event` holds its sealed fields in the clear, and a placeholder where the contributor's random
    id goes. `time` is the CloudEvent's time in Heard's written form. `fingerprint` tells whether
    another message of the same source and id has the same body.
    """

    source: str
    id: str
    fingerprint: str
    time: str | None
    force: str
    neighbourhood: str | None
    occurred: Occurred
    role: str
    actor_ref: str | None
    causes: tuple[Reference, ...]
    contributor_ref: str | None
    event: Reported

    @property
    def kind(self) -> str:
        """The aggregate that it is about."""
        return self.event.TOPIC.split(".", 2)[1]

    @property
    def contributor(self) -> str | None:
        """The name under which the key store's contact map knows the contributor."""
        if self.contributor_ref is None:
            return None
        return f"{self.force}\0{self.source}\0{self.contributor_ref}"
