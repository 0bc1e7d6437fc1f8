"""Goes on with fan-outs that their own transactions have only begun."""

from __future__ import annotations

import asyncio
import contextlib

from mailforum.clock import Clock
from mailforum.errors import Deferred
from mailforum.store import queue
from mailforum.store.database import Database

FIRST_READERS = 0.02  # seconds in which the first readers' mail leaves before a fan-out goes on


class Fanning:
    """Does the rest of fan-outs, in steps between the transactions of others."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._wanted = asyncio.Event()
        self._wanted.set()  # an earlier process may have left something
        self._stopping = False

    def go_on(self) -> None:
        """Hear that there is something to be done."""
        self._wanted.set()

    def stop(self) -> None:
        """Have `run` return after the step that is under way; the next process goes on from there."""
        self._stopping = True
        self._wanted.set()

    async def run(self) -> None:
        """Fan out until `stop` is called."""
        while not self._stopping:
            await self._wanted.wait()
            self._wanted.clear()
            await self._clock.sleep(FIRST_READERS)
            with contextlib.suppress(Deferred):  # the next look at the queue finds it again
                while not self._stopping and await self._db.write(queue.go_on_fanning_out, ()):
                    pass
