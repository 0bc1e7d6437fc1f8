"""Is more waiting to be sent than there should be?"""

from __future__ import annotations

from mailforum.clock import Clock
from mailforum.store import queue
from mailforum.store.database import Database

_FRESH = 1.0  # seconds that a count is believed,
_SHARE = 20  # and at least so many times as long as it took


class Backlog:
    """Says whether `most` deliveries or more wait; 0 is no limit. Counted is only now and then."""

    def __init__(self, db: Database, clock: Clock, most: int) -> None:
        self._db, self._clock, self._most = db, clock, most
        self._full = False
        self._until = float("-inf")

    async def full(self) -> bool:
        """Return whether the queue is full, as of a second ago. Raises Deferred if it cannot be read."""
        started = self._clock.monotonic()
        if self._most and started >= self._until:
            self._until = started + _FRESH  # meanwhile the others have the last answer
            waiting = await self._db.read(lambda tx: queue.backlog(tx, self._most))
            took = self._clock.monotonic() - started
            self._full = waiting >= self._most
            self._until = started + max(_FRESH, _SHARE * took)
        return self._full
