"""Who of a group on Kafka reads which partitions?

Both ways are cooperative (KIP-429): whoever has a partition reads on while others come and go, and one
that is to move is first given up by who has it, and given to its new owner in a second round.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

_VERSION = 2
"""Of what members tell each other: from here on with the generation in which they got what they hold."""

Place = tuple[str, int]


class _Cooperative(AbstractPartitionAssignor):  # type: ignore[misc]
    """Tells the one that assigns what this member holds, and since which generation."""

    def __init__(self) -> None:
        self._held: dict[str, list[int]] = {}
        self._generation = -1

    def supported_protocols(self) -> list[RebalanceProtocol]:
        """Cooperative, and nothing else."""
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: Collection[str]) -> Any:
        """What this member tells."""
        held = [
            ConsumerProtocolSubscription.TopicPartition(topic=topic, partitions=partitions)
            for topic, partitions in sorted(self._held.items())
        ]
        return ConsumerProtocolSubscription(
            version=_VERSION, topics=sorted(topics), user_data=b"", owned_partitions=held,
            generation_id=self._generation,
        )  # fmt: skip

    def on_assignment(self, assignment: Any, generation: int) -> None:
        """Remember what this member was given."""
        self._held = dict(assignment.assignment)
        self._generation = generation

    def assign(self, cluster: Any, members: Sequence[Any]) -> dict[str, Any]:
        """{member: what it gets in this round}."""
        places = {
            (topic, number)
            for topic in members[0].metadata.topics
            for number in cluster.partitions_for_topic(topic) or ()
        }
        owners = _owners(members)
        meant = self._meant(places, owners, sorted(member.member_id for member in members))
        return {
            id_: _given([place for place in mine if owners.get(place, id_) == id_])
            for id_, mine in meant.items()
        }

    def _meant(
        self, places: Collection[Place], owners: dict[Place, str], members: Sequence[str]
    ) -> dict[str, list[Place]]:
        """{member: what it is to have in the end}."""
        raise NotImplementedError


class Alone(_Cooperative):
    """Gives everything to one member: to the one who has the most of it, else to whose id is the least."""

    name = "alone"

    def _meant(
        self, places: Collection[Place], owners: dict[Place, str], members: Sequence[str]
    ) -> dict[str, list[Place]]:
        held = list(owners.values())
        chosen = min(members, key=lambda id_: (-held.count(id_), id_))
        return {id_: sorted(places) if id_ == chosen else [] for id_ in members}


class Shared(_Cooperative):
    """Shares evenly, by number: the partitions of one number go together, whatever their topic.

    So whoever reads the events of a neighbourhood reads its sealed values, and a member more takes
    its part of the events, of which all the work is made. What one has it keeps, as far as that goes.
    """

    name = "shared"

    def _meant(
        self, places: Collection[Place], owners: dict[Place, str], members: Sequence[str]
    ) -> dict[str, list[Place]]:
        numbers = sorted({number for _, number in places})
        had = {place[1]: owners[place] for place in sorted(places) if place in owners}
        held = {id_: [number for number in numbers if had.get(number) == id_] for id_ in members}
        share, more = divmod(len(numbers), len(members))
        mine: dict[str, list[int]] = {}
        short: list[str] = []
        for at, id_ in enumerate(sorted(members, key=lambda id_: (-len(held[id_]), id_))):
            size = share + (at < more)
            mine[id_] = held[id_][:size]
            short += [id_] * (size - len(mine[id_]))
        kept = {number for kept in mine.values() for number in kept}
        for id_, number in zip(short, (number for number in numbers if number not in kept), strict=True):
            mine[id_].append(number)
        return {id_: [place for place in places if place[1] in mine[id_]] for id_ in members}


def _owners(members: Sequence[Any]) -> dict[Place, str]:
    """{partition: who has it}. Who was thrown out still says that it does, but of an older generation."""
    found: dict[Place, str] = {}
    for member in sorted(members, key=lambda member: (member.metadata.generation_id, member.member_id)):
        for held in member.metadata.owned_partitions or ():
            found |= {(held.topic, number): member.member_id for number in held.partitions}
    return found


def _given(places: Collection[Place]) -> Any:
    topics: dict[str, list[int]] = {}
    for topic, number in sorted(places):
        topics.setdefault(topic, []).append(number)
    return ConsumerProtocolAssignment(_VERSION, sorted(topics.items()), b"")
