"""One connection to the next hop: the worker's tasks go in, marks come out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from mailforum.delivery.hand import Task
from mailforum.delivery.marks import Ended, Fenced
from mailforum.delivery.transport import Job, RelayDown, Transport
from mailforum.model import Status

logger = logging.getLogger("mailforum")


class Desk(Protocol):
    """Where tasks come from and marks go: the worker."""

    transport: Transport

    async def next_task(self, lane: int, wait: bool) -> Task | None: ...
    async def job(self, task: Task) -> Job | None: ...
    async def take_off(self, lane: int, deliveries: tuple[int, ...] = (), host: int = 0) -> None: ...
    async def settle(self, ended: Ended, seconds: float) -> None: ...
    async def postpone(self, task: Task, why: str) -> None: ...
    def put_back(self, tasks: Iterable[Task]) -> None: ...
    def relay_is_down(self, down: RelayDown) -> None: ...
    def fenced(self, lane: int) -> None: ...


class Lane:
    """One connection to the next hop, opened again as long as there is work. `number` is its own while it lives."""

    def __init__(self, desk: Desk, number: int) -> None:
        self._desk = desk
        self._number = number
        self._in_hand: dict[int, Task] = {}
        self._since = 0.0
        self._time = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Send until there has been nothing to send for a while, or the relay is down."""
        try:
            await self._desk.transport.run(self._take, self._settle)
        except RelayDown as down:
            await self._give_back()
            self._desk.relay_is_down(down)
        except Fenced:
            self._desk.fenced(self._number)
        except Exception as error:  # our own fault; tried again at once, it would only come again
            logger.error("a connection has failed", exc_info=error)
            for number, task in list(self._in_hand.items()):
                await self._desk.postpone(task, f"fault: {type(error).__name__}")
                del self._in_hand[number]
        finally:
            self._desk.put_back(self._in_hand.values())

    async def _give_back(self) -> None:
        """Let go of what the relay was not offered, and write down that it is not on its way."""
        if self._in_hand:
            await self._desk.take_off(self._number)
            self._desk.put_back(self._in_hand.values())
            self._in_hand.clear()

    async def _take(self, wait: bool) -> Job | None:
        while task := await self._desk.next_task(self._number, wait):
            job = await self._desk.job(task)
            if job is not None:
                self._in_hand[job.ids[0]] = task
                if wait:
                    await self._desk.take_off(self._number, job.ids, task.host)
                    self._since = self._time()
                return job
        return None

    async def _settle(self, job: Job, statuses: tuple[Status, ...], following: Job | None) -> None:
        seconds = self._time() - self._since
        ended = Ended(self._in_hand[job.ids[0]], statuses, self._number, following.ids if following else ())
        await self._desk.settle(ended, seconds)
        self._since = self._time()  # the next one's dot goes out now; no destination is slow because our disk is
        del self._in_hand[job.ids[0]]
