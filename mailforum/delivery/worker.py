"""One delivery from the queue to settled, in order. This is the way out; read it second.

    take    deliveries that are due are taken in hand, runs taking turns   store/queue, hand
    next    a connection gets the first whose destination may have it      hand, pace
    job     the mail's bytes are made and signed                           mailings, sign
    send    the connection takes the job to the next hop                   transport
    settle  sent, deferred or failed: written down, durable                marks, store/queue

Connections (`Lane`) run side by side; each sends one job after the other and does not finish the
next before the last one's mark is durable. That mark also says what the connection sends next. So a
crash can repeat at most what the open connections had on their way, and at the next start the log
names exactly these deliveries.

Several hosts may take from one queue (source.py). One that was taken for dead sends nothing more of
what it has in hand (`Fenced`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from mailforum import log
from mailforum.clock import Clock, comes
from mailforum.delivery.fanning import Fanning
from mailforum.delivery.hand import Hand, Task, ids_of, tasks_of
from mailforum.delivery.lane import Lane
from mailforum.delivery.making import JobMaker, Mailings
from mailforum.delivery.marks import Ended, Marks
from mailforum.delivery.pace import Pace
from mailforum.delivery.source import Alone, Shared, Source
from mailforum.delivery.transport import Job, NoSession, RelayDown, Transport
from mailforum.errors import Deferred
from mailforum.hosting import Host
from mailforum.mail.address import domain_of
from mailforum.model import State, Status
from mailforum.options import DeliveryOptions
from mailforum.store import hurry, queue
from mailforum.store.database import Database
from mailforum.store.hosts import Rest
from mailforum.store.queue import WHOLE, Part
from mailforum.store.trouble import Unavailable
from mailforum.units import Place

logger = logging.getLogger("mailforum")

WANT = (200, 4000)  # fewest and most deliveries taken in hand at once,
HAND = (0.1, 0.4)  # so that they last for so many seconds: new mail waits behind them
BEGIN = 8  # connections that are opened at first, or after trouble; one more for each mail that was taken
IDLE = 3.0  # seconds without work after which a connection is given up
LOOK = 1.0  # seconds between looks for work that another process has queued
CROWDED = 30.0  # seconds before a relay that wanted no more connections is asked for more
PAUSE = (2.0, 300.0)  # first and longest wait, in seconds, before a relay that is down is tried again


class Worker:
    """Sends what is queued. `mailings` makes a mailing ready; `transport` takes it to the next hop."""

    def __init__(
        self,
        db: Database,
        transport: Transport,
        mailings: Mailings,
        options: DeliveryOptions,
        clock: Clock,
        part: Part = WHOLE,
        host: Host | None = None,
    ) -> None:
        """`part`: which of the processes on this machine it is. As a `host` it takes from all that is queued."""
        self._db = db
        self._source: Source = Shared(db, host) if host else Alone(db, part)
        self._places: tuple[Place, ...] = ()
        # The limits are divided among all hosts, by the pace, where there are hosts.
        self._shared = partial(DeliveryOptions.shared, by=part.count, limited=host is None)
        self._options = options = self._shared(options)
        self._clock = clock
        self.pace = Pace({limit.domain: limit for limit in options.limits}, options.connections)
        self._hand = Hand(self.pace)
        self._jobs = JobMaker(db, mailings)
        self._marks = Marks(db, self.pace, options, clock, self._rest)
        self._look = asyncio.Event()
        self._fanning = Fanning(db, clock)
        self._lanes: set[asyncio.Task[None]] = set()
        self._numbers: set[int] = set()  # of the lanes that are open
        self._waiting: list[asyncio.Future[None]] = []  # lanes with nothing to do
        self._want, self._filled_at, self._looked_at = WANT[0], 0.0, 0.0
        self._most, self._grow_at = BEGIN, 0.0
        self._stopping = False
        self._resume_at = self._asked_at = 0.0
        self._retried: int | None = None
        self._down_at: float | None = None
        self.transport = transport
        if host:
            host.hear(self._hear)

    async def run(self) -> None:
        """Send until `stop` is called. Starts with what an earlier process may have sent."""
        while not self._stopping and not await self._source.recovered():
            await self._clock.sleep(LOOK)
        self._db.on_commit(self.look)
        fanning = [asyncio.create_task(self._fanning.run())] if self._source.fans_out else []
        while not self._stopping:
            self._look.clear()
            if not await self._fill() and not await comes(self._look, LOOK):
                self._look_around()
        await asyncio.gather(*fanning, *self._lanes, return_exceptions=True)
        self._hand.take_back()
        self._jobs.close()

    def _look_around(self) -> None:
        """Time has passed: who stood aside may go now, and where all connections are busy more are opened."""
        if self._hand.size and not self._marks.pause:
            self._grow(BEGIN)

    def look(self) -> None:
        """Something may have been queued; that matters only to empty hands."""
        if self._hand.size <= self._want // 2:
            self._look.set()

    def stop(self) -> None:
        """Take nothing more in hand; `run` returns when what is under way is settled."""
        self._stopping = True
        self._look.set()
        self._fanning.stop()
        self._wake(len(self._waiting))

    @property
    def connections(self) -> int:
        """How many connections to the relay there are."""
        return len(self._lanes)

    @property
    def down_for(self) -> float:
        """For how many seconds the relay has taken nothing, being down or refusing all; 0: it takes mail."""
        return self._clock.monotonic() - self._down_at if self._down_at is not None else 0.0

    @property
    def in_hand(self) -> int:
        """How many deliveries are taken in hand and not settled."""
        return self._hand.whole

    @property
    def resting(self) -> int:
        """How many destinations are left alone for a while."""
        return sum(bool(domain) and " " not in domain for domain, _ in self.pace.resting(self._clock.monotonic()))

    def use(self, mailings: Mailings, options: DeliveryOptions) -> None:
        """Go on with other texts, keys and options."""
        self._options = options = self._shared(options)
        self._divide()
        self._jobs.use(mailings)
        self._marks.use(options)

    def _divide(self) -> None:
        limits = {limit.domain: limit for limit in self._options.limits}
        self.pace.use(limits, self._options.connections, self._places)

    # -- from the queue into the hand

    async def _fill(self) -> bool:
        """Take in hand what is due, and open connections for it; False if there was nothing to take."""
        now = self._clock.monotonic()
        if now - self._looked_at > LOOK and not self._marks.stuck:  # no destination is slow because our database is
            self._looked_at = now
            self.pace.look_around(now)
        self._notice()
        try:
            await self._hear_the_admin(now)
            await self._put_off(now)
            await self._source.let_go()
            if self._has_enough() or now < self._resume_at:
                return False
            due, want = self._clock.now(), 1 if self._marks.pause else self._want
            elsewhere, host = self._is_elsewhere if self._options.limits else None, self._source.host
            taken = await self._source.take(now, due, self._hand.reached, want, elsewhere)
        except Deferred as error:  # the database is locked or full
            logger.debug("the queue cannot be read: %s", error.reason)  # the database has said so, not each second
            return False
        if self._source.host != host:  # who claimed that was buried meanwhile, and it is free again
            return True
        if taken.fanning:
            self._fanning.go_on()
        self._adapt(now, len(taken.due))
        self._hand.add(tasks_of(taken, self._options.recipients, host))
        self._open_lanes()
        await self._withdraw(taken.gone)
        return bool(taken.due)

    async def _hear_the_admin(self, now: float) -> None:
        """Try at once what is left alone, if an admin wants all that waits to be tried (`queue retry --all`)."""
        if now - self._asked_at > LOOK:
            before, self._asked_at = self._retried, now
            self._retried = await self._db.peek(hurry.times)
            if before is not None and self._retried not in (before, 0):  # 0: it was noted, but long ago
                self.pace.wake()
                self._resume_at = 0.0
                # What was put off just now, while that was not heard yet, is meant too.
                await self._db.write(lambda tx: queue.retry(tx, self._clock.now()), ())

    async def _withdraw(self, gone: list[int]) -> None:
        """Delete deliveries to members who have left."""
        try:
            if gone:
                await self._db.write(lambda tx: queue.withdraw(tx, gone), ())
        except Deferred:
            self._source.will_not_send(gone)  # they are taken again

    def _has_enough(self) -> bool:
        return self._hand.size > self._want // 2

    def _adapt(self, now: float, taken: int) -> None:
        """Take more at once where a full hand is soon empty, and less where it lasts."""
        if taken < self._want:
            return
        since, self._filled_at = now - self._filled_at, now
        if since < HAND[0]:
            self._want = min(self._want * 2, WANT[1])
        elif since > HAND[1]:
            self._want = max(self._want // 2, WANT[0])

    async def _put_off(self, now: float) -> None:
        """Give back to the queue what its destination will not take for some time."""
        overdue = self._hand.overdue(now)
        for _, _, tasks in overdue:  # all of them first: who cannot be put off is due as before, and is taken again
            for task in tasks:
                self._hand.done(task)
            self._source.will_not_send(ids_of(tasks))
        for domain, wait, tasks in overdue:
            ids, due_at = ids_of(tasks), self._clock.now() + wait
            await self._db.write(partial(queue.put_off, ids=ids, due_at=due_at, host=tasks[0].host), ())
            self._source.have_put_off(ids)
            log.event("put_off", domain=domain, deliveries=len(ids), seconds=round(wait))

    # -- among other hosts

    def _notice(self) -> None:
        """Take notice of which host we are, and of which part of the limits is ours."""
        if self._source.renewed():
            self._hand.take_back()
            self._wake(len(self._waiting))
        if self._source.places != self._places:
            self._places = self._source.places
            self._divide()
            if self._options.limits:
                self._source.will_not_send(ids_of(self._hand.take_back()))

    def _is_elsewhere(self, rcpt: str) -> bool:
        return self.pace.is_elsewhere(domain_of(rcpt))

    def _hear(self, rest: Rest) -> None:
        """Leave alone what another host has found out about."""
        if self.pace.rest(rest.key, rest.reason, rest.seconds, self._clock.monotonic()):
            log.event("breaker_heard", domain=rest.key or "relay", next_try_in=round(rest.seconds))
            if not rest.key:
                self._rest(rest.seconds)

    def fenced(self, lane: int) -> None:
        """Send nothing more of what the host, which we were when `lane` was opened, has in hand."""
        self._source.lost(lane)
        self._notice()

    # -- connections

    def _open_lanes(self) -> None:
        most = 1 if self._marks.pause else min(self._most, self._options.connections)
        for _ in range(min(most - len(self._lanes), self._hand.size - len(self._waiting))):
            number = next(free for free in self._source.part.lanes if free not in self._numbers)
            self._numbers.add(number)
            lane = asyncio.create_task(Lane(self, number).run())
            self._lanes.add(lane)
            lane.add_done_callback(lambda ended, number=number: self._lane_ended(ended, number))  # type: ignore[misc]
        self._wake(self._hand.size)

    def _grow(self, by: int) -> None:
        if self._clock.monotonic() >= self._grow_at:
            self._most = min(self._most + by, self._options.connections)
        self._open_lanes()

    def _lane_ended(self, lane: asyncio.Task[None], number: int) -> None:
        self._lanes.discard(lane)
        self._numbers.discard(number)
        if not lane.cancelled() and lane.exception() is not None:
            logger.error("a connection ended", exc_info=lane.exception())
        if not self._stopping:
            self._open_lanes()

    def _wake(self, most: int = 1) -> None:
        """Have lanes without work look again."""
        for _ in range(min(most, len(self._waiting))):
            future = self._waiting.pop()
            if not future.done():
                future.set_result(None)

    async def next_task(self, lane: int, wait: bool) -> Task | None:
        """Hand a lane its next task; with `wait`, for as long as an idle connection is worth keeping."""
        until = self._clock.monotonic() + IDLE
        while self._may_go_on(lane):
            now = self._clock.monotonic()
            task = self._hand.next(now)
            if task:
                self.pace.begin(task.domain, now)
                if not self._has_enough():
                    self._look.set()
            if task or not wait or now >= until:
                return task
            await self._wait_for_work(until - now)
        return None

    def _may_go_on(self, lane: int) -> bool:
        most = self._options.connections
        return not self._stopping and len(self._lanes) <= most and lane in self._source.part.lanes

    async def _wait_for_work(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait([future], timeout=seconds)
        if not future.done():
            self._waiting.remove(future)
            future.cancel()

    async def job(self, task: Task) -> Job | None:
        """Make the mail of a task, as soon as it can be read; None if that failed, and is written down."""
        while not self._stopping:
            try:
                return await self._jobs.job(task, self._hand.ready)
            except Unavailable:  # that is not the task's fault
                await self._clock.sleep(LOOK)
            except Exception as error:
                logger.error("a mail cannot be made", exc_info=error)
                await self.postpone(task, f"the mail could not be made: {type(error).__name__}")
                return None
        self.put_back([task])
        return None

    async def postpone(self, task: Task, why: str) -> None:
        """Have a task that a fault of ours has met tried again later, as if the relay had put it off."""
        status = Status(State.DEFERRED, "4.3.0", why)
        await self._marks.settle(Ended(task, (status,) * len(task.deliveries)))
        self._forget(task)

    async def take_off(self, lane: int, deliveries: tuple[int, ...] = (), host: int = 0) -> None:
        """Write down that these deliveries, or none, may be on their way; returns when that is durable."""
        await self._marks.take_off(lane, deliveries, host)

    async def settle(self, ended: Ended, seconds: float) -> None:
        """Write down how a task ended, after `seconds`; returns when that is durable."""
        await self._marks.settle(ended)
        self.pace.end(ended.task.domain, seconds, self._clock.monotonic())
        self._hand.done(ended.task)
        if any(status.state is State.SENT for status in ended.statuses):
            self._marks.pause = 0.0
            self._down_at = None
            if self._most < self._options.connections:
                self._grow(1)
        if self._waiting:
            self._wake()

    # -- when the relay cannot be reached

    def relay_is_down(self, down: RelayDown) -> None:
        """Put back what is not under way, and leave the relay alone for a while, each time longer.

        Not while other connections have mail under way: the relay may only want fewer of them. If it is
        down, they will say so as well, the last one for all.
        """
        now = self._clock.monotonic()
        if now < self._resume_at:
            return
        if self._hand.under_way:
            self._most = max(1, len(self._lanes) - 1)
            if isinstance(down, NoSession):
                self._grow_at = now + CROWDED
            log.event("relay_crowded", logging.INFO, reason=down.text, connections=self._most)
            return
        first, longest = PAUSE
        pause = min(self._marks.pause * 2, longest) or first
        log.event("relay_down", logging.WARNING, reason=down.text, next_try_in=pause)
        self._rest(pause)

    def _rest(self, pause: float) -> None:
        now = self._clock.monotonic()
        self._marks.pause = pause
        self._resume_at = now + pause
        self._down_at = now if self._down_at is None else self._down_at
        self._most = BEGIN
        self._source.will_not_send(ids_of(self._hand.take_back()))

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Let go of tasks that a lane has taken, and that have no mark: they are due as before."""
        for task in tasks:
            self._forget(task)
            if task.host == self._source.host:
                self._source.will_not_send(ids_of([task]))

    def _forget(self, task: Task) -> None:
        self.pace.end(task.domain, 0, self._clock.monotonic())
        self._hand.done(task)
