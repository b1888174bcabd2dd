"""How does a member hear what its group answers, and how does it leave while it still waits for that?"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from kafka.structs import MemberState

NAMED: Final = 1.0
"""Seconds to wait at most, before leaving, for the name that the broker gives whoever asks to join."""


class Joining:
    """The library's way into its group and out of it, so that nothing between them is forgotten.

    The library itself throws away an answer that comes between two polls. Then it asks anew, and has the
    group share out once more. Or, where the reason for which it asked is gone by then, it never asks
    again: it sends no heartbeats, is thrown out, and believes for ever that it holds what others have got.
    """

    def __init__(self, coordinator: Any, session_ms: int) -> None:
        self._coordinator = coordinator
        self._session = session_ms / 1000
        self._ask: Callable[[], Awaitable[bytes]] = coordinator._do_join_and_sync_async
        self._answer: tuple[float, bytes] | None = None
        """When it came, and what it is."""
        coordinator._do_join_and_sync_async = self._asked

    async def _asked(self) -> bytes:
        """What the group answers, or has answered and nobody has heard yet."""
        self._coordinator.request_rejoin()  # until the answer is heard
        # Once it is heard the group counts as stable. After a session in silence we are thrown out.
        if self._answer is not None and self._coordinator.rebalance_in_progress():
            came, answer = self._answer
            if time.monotonic() < came + self._session:
                return answer
        self._answer = None
        answer = await self._ask()
        self._answer = time.monotonic(), answer
        return answer

    def leave(self) -> None:
        """Have the library, when it is closed next, take leave also while it joins.

        By itself it does not, as long as it only has a name or is about to get one; and once it waits for
        the answer, what it says waits behind that, for a broker answers one by one what comes over the
        same connection. The group would wait for it until its session is over, and share out nothing.
        """
        coordinator = self._coordinator
        until = time.monotonic() + NAMED
        while self._waits() and not coordinator._generation.has_member_id() and time.monotonic() < until:
            time.sleep(0.005)
        if coordinator._generation.has_member_id():
            coordinator.state = MemberState.REBALANCING
        if self._waits() and coordinator.coordinator_id is not None:
            # The same broker, over the connection that all else goes over.
            coordinator.coordinator_id = int(str(coordinator.coordinator_id).removeprefix("coordinator-"))

    def _waits(self) -> bool:
        task = self._coordinator._join_task
        return task is not None and not task.is_done
