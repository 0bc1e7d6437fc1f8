"""One delivery from claim to settled, in order. This is the way out; read it second.

    claim   a batch of deliveries that are due is marked as in hand        store/queue
    job     the mail's bytes are made and signed                          mailings, sign
    send    a connection takes the job to the next hop                     transport
    settle  sent, deferred or failed: written down, durable               store/queue

Connections (`Lane`) run side by side; each sends one job after the other and does not finish the
next before the last one's mark is durable. So a crash can repeat at most what the open connections
had on their way. What was in hand at a crash is put back at the next start, and named in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from mailforum import log
from mailforum.clock import Clock
from mailforum.config import DeliveryOptions
from mailforum.delivery.mailings import Prepared
from mailforum.delivery.transport import Job, RelayDown, Transport
from mailforum.errors import Deferred
from mailforum.model import Delivery, State, Status
from mailforum.store import queue
from mailforum.store.database import Database, Tx
from mailforum.store.group import Group

logger = logging.getLogger("mailforum")

CLAIM = 500  # deliveries taken in hand at once
AHEAD = 4  # mails that are signed at a time, where that takes long
MARKS = 500  # jobs whose ends are written down together
KEPT = 8  # mailings kept ready at once
IDLE = 3.0  # seconds without work after which a connection is given up
LOOK = 1.0  # seconds between looks for work that another process has queued
PAUSE = (2.0, 300.0)  # first and longest wait, in seconds, before a relay that is down is tried again
NO_CONNECTION = "4.4.1"  # RFC 3463: no answer from host; the recipient has nothing to do with it


@dataclass(frozen=True, slots=True)
class Task:
    """Deliveries of one mailing that go out in one transaction.

    Where signing takes long it is done ahead: `signed` will hold the recipients' own fields of this
    task, at `place`, and of its neighbours.
    """

    prepared: Prepared
    deliveries: tuple[Delivery, ...]
    signed: asyncio.Future[list[bytes]] | None = None
    place: int = 0

    async def own(self) -> bytes:
        """Return the fields that this mail alone has."""
        return (await self.signed)[self.place] if self.signed else self.prepared.own(self.deliveries[0])


Ended = tuple[Delivery, Status]


class Worker:
    """Sends what is queued. `prepare` makes a mailing ready; `transport` takes it to the next hop."""

    def __init__(
        self,
        db: Database,
        transport: Transport,
        prepare: Callable[[Tx, int], Prepared],
        options: DeliveryOptions,
        clock: Clock,
    ) -> None:
        self._db = db
        self._prepare = prepare
        self._options = options
        self._clock = clock
        self._ready: OrderedDict[int, Prepared] = OrderedDict()
        self._tasks: asyncio.Queue[Task | None] = asyncio.Queue()  # None: a lane shall end
        self._ended: Group[list[Ended], None] = Group(self._write_down, MARKS)
        self._look = asyncio.Event()
        self._signers = ThreadPoolExecutor(os.cpu_count(), "signer")
        self._lanes: set[asyncio.Task[None]] = set()
        self._idle = 0
        self._stopping = False
        self._pause = 0.0
        self._resume_at = 0.0
        self.transport = transport

    async def run(self) -> None:
        """Send until `stop` is called. Starts with what an earlier process left in hand."""
        for delivery in await self._db.write(queue.recover):
            log.uncertain(mail="", delivery=delivery.id, mailing=delivery.mailing_id, rcpt=delivery.rcpt)
        self._db.on_commit(self._committed)
        while not self._stopping:
            self._look.clear()
            try:
                claimed = await self._claim()
            except Deferred as error:  # the database is locked or full
                logger.error("the queue cannot be read: %s", error.reason)
                claimed = False
            if not claimed:
                await _wait(self._look, LOOK)
        await asyncio.gather(*self._lanes, return_exceptions=True)
        await self._put_back_all()
        self._signers.shutdown(wait=False, cancel_futures=True)

    def _committed(self) -> None:
        """Something may have been queued; that matters only to empty hands."""
        if self._tasks.qsize() <= CLAIM // 2:
            self._look.set()

    def stop(self) -> None:
        """Take nothing more in hand; `run` returns when what is under way is settled."""
        self._stopping = True
        self._look.set()
        for _ in range(self._idle):
            self._tasks.put_nowait(None)

    def use(self, prepare: Callable[[Tx, int], Prepared], options: DeliveryOptions) -> None:
        """Go on with other texts, keys and options."""
        self._prepare, self._options = prepare, options
        self._ready.clear()

    async def _claim(self) -> bool:
        """Take a batch in hand and open lanes for it; False if nothing is due or hands are full."""
        now = self._clock.now()
        if self._tasks.qsize() > CLAIM // 2 or self._clock.monotonic() < self._resume_at:
            return False
        due_at = await self._db.read(queue.next_due)
        if due_at is None or due_at > now:
            return False
        limit = 1 if self._pause else CLAIM  # a relay that was down is tried with one delivery
        deliveries = await self._db.write(lambda tx: queue.claim(tx, now, limit))
        for mailing_id, some in groupby(deliveries, lambda delivery: delivery.mailing_id):
            await self._make_tasks(mailing_id, list(some))
            self._open_lanes()
        return bool(deliveries)

    async def _make_tasks(self, mailing_id: int, deliveries: list[Delivery]) -> None:
        try:
            prepared = await self._prepared(mailing_id)
        except Exception as error:  # one mailing that cannot be made must not stop the others
            await self._cannot_make(deliveries, error)
            return
        size = 1 if prepared.personal else self._options.recipients
        together = [tuple(deliveries[start : start + size]) for start in range(0, len(deliveries), size)]
        for start in range(0, len(together), AHEAD):
            self._enlist(prepared, together[start : start + AHEAD])

    def _enlist(self, prepared: Prepared, together: list[tuple[Delivery, ...]]) -> None:
        """Make tasks of some deliveries, and begin to sign them if that takes long."""
        signed: asyncio.Future[list[bytes]] | None = None
        if prepared.slow:
            firsts = [some[0] for some in together]
            loop = asyncio.get_running_loop()
            signed = loop.run_in_executor(self._signers, lambda: [prepared.own(first) for first in firsts])
        for place, some in enumerate(together):
            self._tasks.put_nowait(Task(prepared, some, signed, place))

    async def _prepared(self, mailing_id: int) -> Prepared:
        if mailing_id not in self._ready:
            self._ready[mailing_id] = await self._db.read(lambda tx: self._prepare(tx, mailing_id))
            if len(self._ready) > KEPT:
                self._ready.popitem(last=False)
        self._ready.move_to_end(mailing_id)
        return self._ready[mailing_id]

    async def _cannot_make(self, deliveries: Iterable[Delivery], error: Exception) -> None:
        logger.error("a mail cannot be made", exc_info=error)
        status = Status(State.DEFERRED, "4.3.0", f"the mail could not be made: {type(error).__name__}")
        await self.settle([(delivery, status) for delivery in deliveries])

    def _open_lanes(self) -> None:
        limit = 1 if self._pause else self._options.connections
        for _ in range(min(limit - len(self._lanes), self._tasks.qsize() - self._idle)):
            lane = asyncio.create_task(Lane(self).run())
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_ended)

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if not lane.cancelled() and lane.exception() is not None:
            logger.error("a connection ended", exc_info=lane.exception())
        if not self._stopping:
            self._open_lanes()

    async def next_task(self, wait: bool) -> Task | None:
        """Hand a lane its next task; with `wait`, for as long as an idle connection is worth keeping."""
        if self._stopping:
            return None
        if self._tasks.empty():
            return await self._wait_for_task() if wait else None
        if self._tasks.qsize() == CLAIM // 2:
            self._look.set()
        return self._tasks.get_nowait()

    async def _wait_for_task(self) -> Task | None:
        self._idle += 1
        try:
            return await asyncio.wait_for(self._tasks.get(), IDLE)
        except TimeoutError:
            return None
        finally:
            self._idle -= 1

    async def job(self, task: Task) -> Job | None:
        """Make the mail of a task; None if that failed, and is written down."""
        first, prepared = task.deliveries[0], task.prepared
        try:
            data = prepared.data(await task.own())
        except Exception as error:
            await self._cannot_make(task.deliveries, error)
            return None
        rcpts = tuple(delivery.rcpt for delivery in task.deliveries)
        return Job(prepared.envelope_sender(first), rcpts, tuple(delivery.id for delivery in task.deliveries), data)

    async def settle(self, results: list[Ended]) -> None:
        """Write down how attempts ended; returns when that is durable."""
        await self._ended.add(results)

    async def _write_down(self, ended: list[list[Ended]]) -> list[None]:
        """Write down all that has ended at about the same time.

        While the database cannot be written nothing more is sent, or it would be sent twice.
        """
        now = self._clock.now()
        final = [(delivery, *self._judge(delivery, status, now)) for some in ended for delivery, status in some]
        rows = [(delivery.id, status, due_at) for delivery, status, due_at in final]
        while True:
            try:
                await self._db.write(lambda tx: queue.settle(tx, rows, now))
                break
            except Deferred as error:
                logger.error("marks cannot be written, sending waits: %s", error.reason)
                await self._clock.sleep(LOOK)
        _log(final, now)
        return [None] * len(ended)

    def _judge(self, delivery: Delivery, status: Status, now: float) -> tuple[Status, float]:
        """Return the status to keep and, if it is deferred, when to try again."""
        if status.state is not State.DEFERRED:
            self._pause = 0.0
            return status, now
        waits = self._options.retry
        wait = float(waits[min(delivery.attempts, len(waits) - 1)])
        if status.enhanced == NO_CONNECTION:
            wait = self._pause or PAUSE[0]
        if now + wait - delivery.created_at > self._options.give_up:
            return Status(State.FAILED, "4.4.7", f"given up; the last answer was: {status.reply}"), now
        return status, now + wait

    async def relay_is_down(self, down: RelayDown) -> None:
        """Put back what is not under way, and leave the relay alone for a while, each time longer."""
        if self._clock.monotonic() < self._resume_at:
            return
        first, longest = PAUSE
        self._pause = min(self._pause * 2, longest) or first
        self._resume_at = self._clock.monotonic() + self._pause
        log.event("relay_down", logging.WARNING, reason=down.text, next_try_in=self._pause)
        await self._put_back_all()

    async def _put_back_all(self) -> None:
        tasks = [self._tasks.get_nowait() for _ in range(self._tasks.qsize())]
        await self.put_back([delivery.id for task in tasks if task for delivery in task.deliveries])

    async def put_back(self, ids: list[int]) -> None:
        """Give deliveries back to the queue that were in hand but not tried."""
        if ids:
            await self._db.write(lambda tx: queue.unclaim(tx, ids))


class Lane:
    """One connection to the next hop, opened again as long as there is work."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._in_hand: dict[int, Task] = {}

    async def run(self) -> None:
        """Send until there has been nothing to send for a while, or the relay is down."""
        try:
            await self._worker.transport.run(self._take, self._settle)
        except RelayDown as down:
            await self._worker.relay_is_down(down)
        finally:
            left = [delivery.id for task in self._in_hand.values() for delivery in task.deliveries]
            await self._worker.put_back(left)

    async def _take(self, wait: bool) -> Job | None:
        while task := await self._worker.next_task(wait):
            job = await self._worker.job(task)
            if job is not None:
                self._in_hand[job.ids[0]] = task
                return job
        return None

    async def _settle(self, job: Job, statuses: tuple[Status, ...]) -> None:
        task = self._in_hand[job.ids[0]]
        await self._worker.settle(list(zip(task.deliveries, statuses, strict=True)))
        del self._in_hand[job.ids[0]]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _log(final: list[tuple[Delivery, Status, float]], now: float) -> None:
    log.sent(
        [
            log.Delivered("", d.id, d.mailing_id, d.rcpt, now - d.created_at, status.reply)
            for d, status, _ in final
            if status.state is State.SENT
        ]
    )
    for delivery, status, due_at in final:
        names = {
            "mail": "",
            "delivery": delivery.id,
            "mailing": delivery.mailing_id,
            "rcpt": delivery.rcpt,
            "reply": status.reply,
        }
        if status.state is State.DEFERRED:
            log.deferred(**names, retry_in=due_at - now)  # type: ignore[arg-type]
        elif status.state is State.FAILED:
            log.failed(**names)  # type: ignore[arg-type]
