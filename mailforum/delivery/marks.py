"""What is written down of each attempt, durable before the connection goes on.

All marks that are asked for at the same time share a transaction. While none can be written nothing more
is sent, or it would be sent twice.

Where there are several hosts, what a connection sends next is written down only as long as the host stands:
others may take what one that is buried had in hand (`Fenced`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from mailforum import log
from mailforum.clock import Clock
from mailforum.delivery.hand import Task
from mailforum.delivery.pace import Lesson, Opened, Pace
from mailforum.errors import Deferred, MailforumError
from mailforum.forum import bounces
from mailforum.mail.address import domain_of
from mailforum.model import Due, State, Status
from mailforum.options import DeliveryOptions
from mailforum.store import hosts, queue
from mailforum.store.database import Database, Tx
from mailforum.store.group import Group
from mailforum.store.hosts import Rest

logger = logging.getLogger("mailforum")

TOGETHER = 500  # tasks whose ends are written down in one transaction
AGAIN = 1.0  # seconds until marks that could not be written are tried again


def least_attempts(options: DeliveryOptions) -> int:
    """Return how many attempts a delivery has before it is given up: half of those it has time for.

    Its age alone does not count: a clock that jumps ahead would give up all that waits at once.
    """
    *first, last = options.retry
    return (len(first) + max(0, int((options.give_up - sum(first)) / max(last, 1)))) // 2 or 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended at lane number `lane`, and the deliveries (ids) that lane sends next. -1: at no lane."""

    task: Task
    statuses: tuple[Status, ...]
    lane: int = -1
    following: tuple[int, ...] = ()


class Fenced(MailforumError):
    """Nothing more is to be sent of what the host has in hand: it was taken for dead, and others have it."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What came of writing: how many deliveries each breaker has revived, and which hosts are none any more."""

    revived: list[int]
    gone: set[int]


class Marks:
    """Writes down what has been sent, deferred or failed, and what is about to be sent."""

    def __init__(
        self, db: Database, pace: Pace, options: DeliveryOptions, clock: Clock, rest: Callable[[float], None]
    ) -> None:
        """`rest` is told for how many seconds the relay is to be left alone, when it refuses all."""
        self._db = db
        self._pace = pace
        self._options = options
        self._clock = clock
        self._rest = rest
        self._group: Group[Ended | queue.Mark, Fenced | None] = Group(self._write_down, TOGETHER)
        self.pause = 0.0  # how long the relay is left alone, when it is
        self.stuck = False  # what waits for them now waits for the database

    def use(self, options: DeliveryOptions) -> None:
        """Go on with other options."""
        self._options = options

    async def settle(self, ended: Ended) -> None:
        """Return when the end of a task is durable. Raises Fenced if what follows must not be sent."""
        await self._group.add(ended)

    async def take_off(self, lane: int, deliveries: tuple[int, ...], host: int = 0) -> None:
        """Return when it is durable that these deliveries may be on their way. Raises Fenced if they must not be."""
        await self._group.add(queue.Mark(lane, (), deliveries, host))

    async def _write_down(self, items: list[Ended | queue.Mark]) -> list[Fenced | None]:
        now = self._clock.now()
        judged = [item if isinstance(item, queue.Mark) else self._mark(item, now) for item in items]
        opened = self._pace.learn(_lessons(items, judged), self._clock.monotonic())
        written = await self._write(judged, opened, now, _lists_of_failures(items, judged))
        _log(items, judged, now)
        for breaker, count in zip(opened, written.revived, strict=True):
            self._open(breaker, count)
        return [Fenced() if mark.lane >= 0 and mark.host in written.gone else None for mark in judged]

    async def _write(
        self, marks: list[queue.Mark], opened: list[Opened], now: float, lists: Collection[int]
    ) -> _Written:
        """Write marks down as soon as that can be done. `lists`: those whose members' failures are counted."""
        counted = True
        while True:
            unit = partial(_settle, marks=marks, opened=opened, now=now, counted=counted)
            try:
                written = await self._db.write(unit, lists if counted else ())
                self.stuck = False
                return written
            except Deferred as error:
                self.stuck = True
                logger.error("marks cannot be written, sending waits: %s", error.reason)
                await self._clock.sleep(AGAIN)
            except Exception as error:  # our own fault; what was sent must have its mark, or it is sent again
                if not counted:
                    raise
                logger.error("failures cannot be counted", exc_info=error)
                counted = False

    def _mark(self, ended: Ended, now: float) -> queue.Mark:
        final = [
            (due, *self._judge(due, status, now))
            for due, status in zip(ended.task.deliveries, ended.statuses, strict=True)
        ]
        return queue.Mark(ended.lane, final, ended.following, ended.task.host)

    def _judge(self, due: Due, status: Status, now: float) -> tuple[Status, float]:
        """Return the status to keep and, if it is deferred, when to try again."""
        if status.state is not State.DEFERRED:
            return status, now
        waits = self._options.retry
        wait = float(waits[min(due.attempts, len(waits) - 1)])
        old = now + wait - due.created_at > self._options.give_up
        if old and due.attempts + 1 >= least_attempts(self._options):
            return Status(State.FAILED, "4.4.7", f"given up; the last answer was: {status.reply}"), now
        return status, now + wait

    def _open(self, breaker: Opened, revived: int) -> None:
        """A destination refuses nearly all for one reason: it is left alone, and nobody is held to blame."""
        if not breaker.anew:
            return
        log.event(
            "breaker",
            logging.ERROR,
            domain=breaker.domain or "relay",
            reason=breaker.reason,
            next_try_in=round(breaker.pause),
            revived=revived,
        )
        if not breaker.domain:
            self._rest(breaker.pause)


def _settle(tx: Tx, marks: list[queue.Mark], opened: list[Opened], now: float, counted: bool) -> _Written:
    here = {mark.host for mark in marks if mark.host}
    gone = here - hosts.standing(tx, here) if here else set()
    if counted:
        _count(tx, marks, now)
    queue.settle(tx, marks, now, gone)
    if here:
        hosts.rest(tx, [Rest(breaker.domain, breaker.why, breaker.pause) for breaker in opened if breaker.anew])
    return _Written([queue.revive(tx, breaker.refused, now + breaker.pause) for breaker in opened], gone)


def _count(tx: Tx, marks: list[queue.Mark], now: float) -> None:
    """Count what has failed, but not what others have in hand by now, nor what was written down before."""
    for mark in marks:
        failed = [(due, status) for due, status, _ in mark.ended if status.state is State.FAILED]
        ours = queue.still_ours(tx, [due.id for due, _ in failed], mark.host) if failed else ()
        for due, status in failed:
            if due.id in ours:
                bounces.failed(tx, due.member_id, due.mailing_id, status, now)


def _lists_of_failures(items: list[Ended | queue.Mark], marks: list[queue.Mark]) -> set[int]:
    """Return the lists (ids) whose members' failures are counted; of what went well or waits, nothing is."""
    return {
        item.task.list_id
        for item, mark in zip(items, marks, strict=True)
        if isinstance(item, Ended) and item.task.list_id and any(one.state is State.FAILED for _, one, _ in mark.ended)
    }


def _lessons(items: list[Ended | queue.Mark], marks: list[queue.Mark]) -> list[Lesson]:
    """Return what the pace can learn from: one lesson of a task in which all went well."""
    lessons = []
    for item, mark in zip(items, marks, strict=True):
        if isinstance(item, Ended):
            all_good = all(status.state is State.SENT for _, status, _ in mark.ended)
            some = mark.ended[:1] if all_good else mark.ended
            domain, mailing = item.task.domain, item.task.mailing_id
            lessons += [Lesson(domain or domain_of(d.rcpt), d.id, mailing, d.rcpt, status) for d, status, _ in some]
    return lessons


def _log(items: list[Ended | queue.Mark], marks: list[queue.Mark], now: float) -> None:
    """Log how attempts ended; those that went well, nearly all, in one go."""
    sent: list[log.Delivered] = []
    for item, mark in zip(items, marks, strict=True):
        mail = item.task.mail if isinstance(item, Ended) else ""
        for due, status, due_at in mark.ended:
            if status.state is State.SENT:
                delay = now - due.created_at
                sent.append(log.Delivered(mail, due.id, due.mailing_id, due.rcpt, delay, status.reply))
            else:
                _log_trouble(mail, due, status, due_at - now)
    log.sent(sent)


def _log_trouble(mail: str, due: Due, status: Status, retry_in: float) -> None:
    ids = {"mail": mail, "delivery": due.id, "mailing": due.mailing_id}
    if status.state is State.DEFERRED:
        log.deferred(**ids, rcpt=due.rcpt, reply=status.reply, retry_in=retry_in)  # type: ignore[arg-type]
    else:
        log.failed(**ids, rcpt=due.rcpt, reply=status.reply)  # type: ignore[arg-type]
