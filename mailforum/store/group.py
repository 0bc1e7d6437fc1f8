"""Work that is asked for at the same time is done together: one commit, one fsync for many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LONGEST = 0.05  # seconds to wait for others, however long the last list took: it may have met a lock


class Group(Generic[T, R]):
    """Gives `work` all items that wait, at most `most` at once, one list after the other.

    `work` returns a result for each item; one that is an exception is raised where the item came from.

    While one list is worked on, the next one gathers. Those who shared the last list mostly come back
    soon, each with the next item; so those who wait already wait for them, for as long as the last list
    took. Otherwise they fall apart into two halves that take turns.
    """

    def __init__(self, work: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._expected = 1
        self._patience = 0.0
        self._complete: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Return what became of `item`. Cancelling the caller does not take it back."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._complete and len(self._waiting) >= self._expected:
            _wake(self._complete)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def finish(self) -> None:
        """Return when nothing waits any more."""
        if self._task:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await self._gather(loop)
            now, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            started = loop.time()
            await self._do(now)
            self._expected = min(len(now) + len(self._waiting), self._most)
            self._patience = min(loop.time() - started, LONGEST)
            now = []  # a large mail is not to be kept until the next
        self._task = None

    async def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until as many have come as are expected, or for as long as patience lasts."""
        if len(self._waiting) < self._expected:
            self._complete = loop.create_future()
            timer = loop.call_later(self._patience, _wake, self._complete)
            await self._complete
            timer.cancel()
            self._complete = None

    async def _do(self, now: list[tuple[T, asyncio.Future[R]]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._work([item for item, _ in now])
        except Exception as error:
            results = [error] * len(now)
        for (_, future), result in zip(now, results, strict=True):
            if future.done():  # whoever wanted it has gone
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
