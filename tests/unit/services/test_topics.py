"""Are the topics those of the contract?"""

from __future__ import annotations

from services.topics import TOPICS


def test_the_topics_are_what_upstream_and_the_loops_rely_on() -> None:
    assert [(topic.name, topic.compacted, topic.max_bytes, topic.redactable) for topic in TOPICS] == [
        ("heard.inbox.v1", False, 262_144, True),
        ("heard.events.v1", False, 1_048_576, False),
        ("heard.sealed.v1", True, 1_048_576, False),
        ("heard.parked.v1", True, 1_048_576, False),
        ("heard.dead-letters.v1", False, 1_048_576, False),
    ]
