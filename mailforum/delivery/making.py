"""Makes the mails that lanes ask for: each mailing is made ready once, each mail signed ahead where that takes long."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol

from mailforum.delivery.hand import Task
from mailforum.delivery.mailings import Prepared
from mailforum.delivery.transport import Job
from mailforum.store.database import Database, Tx

KEPT = 16  # mailings kept ready at once,
KEPT_BYTES = 32 * 1024**2  # and how large they may be together, but for the last one
AHEAD = 8  # mails that are signed at a time, where that takes long


class Mailings(Protocol):
    """Knows what a mailing looks like (`mailings.Preparer`)."""

    def prepare(self, tx: Tx, mailing_id: int) -> Prepared:
        """Make what all its recipients have in common."""
        ...


class JobMaker:
    """Makes jobs of tasks."""

    def __init__(self, db: Database, mailings: Mailings) -> None:
        self._db = db
        self._mailings = mailings
        self._ready: OrderedDict[int, asyncio.Future[Prepared]] = OrderedDict()
        self._signers = ThreadPoolExecutor(os.cpu_count(), "signer")

    def use(self, mailings: Mailings) -> None:
        """Go on with other texts and keys."""
        self._mailings = mailings
        self._ready.clear()

    def close(self) -> None:
        """Let go of the threads."""
        self._signers.shutdown(wait=False, cancel_futures=True)

    async def job(self, task: Task, others: deque[Task]) -> Job:
        """Make the mail of a task; `others` are those that come next. Raises what goes wrong in making it."""
        prepared = await self._prepared(task.mailing_id)
        first = task.deliveries[0]
        own = (await self._signed(task, prepared, others)) if prepared.slow else prepared.own(first)
        rcpts, ids = tuple([due.rcpt for due in task.deliveries]), tuple([due.id for due in task.deliveries])
        return Job(prepared.envelope_sender(first), rcpts, ids, prepared.content, own)

    async def _prepared(self, mailing_id: int) -> Prepared:
        """Make a mailing ready, once for all who ask for it at the same time."""
        future = self._ready.get(mailing_id)
        if future is None:
            mailings = self._mailings
            future = asyncio.ensure_future(self._db.read(lambda tx: mailings.prepare(tx, mailing_id)))
            self._ready[mailing_id] = future
            await asyncio.wait([future])
            self._forget()
        if not future.done():
            await asyncio.wait([future])
        if mailing_id in self._ready:  # others may have crowded it out meanwhile
            self._ready.move_to_end(mailing_id)
        if future.exception():
            self._ready.pop(mailing_id, None)
        return future.result()

    def _forget(self) -> None:
        """Keep a few mailings, and a few bytes."""
        sizes = {one: len(ready.result().content.data) if _is_good(ready) else 0 for one, ready in self._ready.items()}
        while len(sizes) > 1 and (len(sizes) > KEPT or sum(sizes.values()) > KEPT_BYTES):
            oldest = next(iter(sizes))
            del sizes[oldest], self._ready[oldest]

    async def _signed(self, task: Task, prepared: Prepared, others: deque[Task]) -> bytes:
        """Return the fields of a mail, signed in a thread together with some that come next."""
        if task.signed is None or task.prepared is not prepared:  # as after a reload: a footer may have changed
            alike = (one for one in islice(others, AHEAD - 1) if one.mailing_id == task.mailing_id and not one.signed)
            together = [task, *alike]
            firsts = [one.deliveries[0] for one in together]
            loop = asyncio.get_running_loop()
            signed = loop.run_in_executor(self._signers, lambda: [prepared.own(first) for first in firsts])
            for place, one in enumerate(together):
                one.signed, one.prepared, one.place = signed, prepared, place
        assert task.signed is not None
        return (await task.signed)[task.place]


def _is_good(future: asyncio.Future[Prepared]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
