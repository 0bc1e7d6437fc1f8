"""Is it alive, is it ready, and how does it stand: for HTTP, for systemd, for Prometheus.

Asking costs next to nothing, however long the queue is and however often somebody asks: what takes
long to count is kept for many times as long as counting it took.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mailforum import __version__, log
from mailforum.clock import Clock
from mailforum.errors import MailforumError
from mailforum.metrics import Labels, Metric, Value, by, one
from mailforum.options import Config
from mailforum.store import stats
from mailforum.store.database import Database
from mailforum.store.stats import Numbers
from mailforum.store.trouble import Unavailable

T = TypeVar("T")

PATIENCE = 5.0  # seconds in which the database has to answer
FRESH = 1.0  # seconds for which a count is good in any case,
SHARE = 30  # and times as long as it took
DOWN_TOO_LONG = 900.0  # seconds that the relay may be down before we call ourselves not ready

# Counted from the start on, so that a rate can be had from the first one.
EVENTS = (
    "received",
    "handled",
    "refused",
    "shunted",
    "fault",
    "sent",
    "deferred",
    "failed",
    "turned_away",
    "database_trouble",
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the running parts say of themselves; None for those that are not this process's.

    Times are seconds. `digest_lag` is how long ago all digests that were due had been cut, which is
    looked after three times a minute, by one process of all. `hosts` are all processes that serve.
    """

    roles: tuple[str, ...] = ()
    hosts: int | None = None
    clients: int | None = None
    connections: int | None = None
    relay_down: float | None = None
    resting: int | None = None
    in_hand: int | None = None
    digest_lag: float | None = None


class Kept(Generic[T]):
    """A value that takes a while to find out; `get` finds it out again when that is worth it."""

    def __init__(self, ask: Callable[[], Awaitable[T]], monotonic: Callable[[], float]) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._until = float("-inf")
        self._value: T

    async def get(self) -> T:
        """Return the value as it is now, or as it was a moment ago."""
        async with self._lock:
            started = self._monotonic()
            if started >= self._until:
                self._value = await self._ask()
                now = self._monotonic()
                self._until = now + max(FRESH, SHARE * (now - started))
            return self._value


class Health:
    """How a service is. `room` says whether the disk has room for mail, `parts` what its parts say."""

    def __init__(
        self, db: Database, clock: Clock, config: Config, room: Callable[[], bool], parts: Callable[[], Parts]
    ) -> None:
        self._db = db
        self._clock = clock
        self._config = config
        self._room = room
        self._parts = parts
        self._started = clock.monotonic()
        self._numbers = Kept(lambda: db.read(lambda tx: (stats.numbers(tx), stats.size(tx))), clock.monotonic)

    async def alive(self) -> str:
        """Return "" if a new start would not help, or why it may. That we answer at all says most of it.

        A database on a server is waited for: a new start does not bring it back, and nobody would say 451.
        """
        return await self._readable() if isinstance(self._config.database, Path) else ""

    async def ready(self) -> list[str]:
        """Return why no mail can be taken in or sent just now; nothing if it can."""
        found = [await self._readable(), await self._writable()]
        if not self._room():
            found.append("the disk is nearly full")
        if (self._parts().relay_down or 0) > DOWN_TOO_LONG:
            found.append("the relay has been down for long")
        return [problem for problem in found if problem]

    async def _readable(self) -> str:
        return await _tried("the database cannot be read", self._db.read(stats.alive))

    async def _writable(self) -> str:
        return await _tried("the database cannot be written", self._db.write(lambda tx: None, ()))

    async def status(self) -> str:
        """Say in one line how we are. Raises MailforumError if the database, a file, does not answer.

        One on a server is waited for: to be started again does not bring it back.
        """
        if isinstance(self._config.database, Path):
            return await self._status()
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._status()
        except (MailforumError, TimeoutError):
            return "waiting for the database"

    async def _status(self) -> str:
        await self._db.read(stats.alive)
        (numbers, _), parts = await self._numbers.get(), self._parts()
        text = f"{numbers.waiting} to be sent"
        if numbers.oldest is not None:
            text += f", the oldest for {max(0.0, self._clock.now() - numbers.oldest):.0f} s"
        if parts.relay_down:
            text += f"; the relay is down for {parts.relay_down:.0f} s"
        ways = {"clients": parts.clients, "connections to the relay": parts.connections}
        open_ones = ", ".join(f"{number} {what}" for what, number in ways.items() if number is not None)
        return f"{text}; {open_ones}" if open_ones else text

    async def metrics(self) -> list[Metric]:
        """Return everything that is counted and measured (docs/observing.md says what it means)."""
        numbers, size = await self._numbers.get()
        return [*_counted(), *self._measured(numbers), *self._own(), *self._of_machine(size)]

    def _measured(self, numbers: Numbers) -> list[Metric]:
        now = self._clock.now()
        waiting = {"queued": numbers.queued, "deferred": numbers.deferred, "to_come": numbers.to_come}
        ages = {
            "any": _age(numbers.oldest, now),
            "deferred": _age(numbers.oldest_deferred, now),
        }
        return [
            by("deliveries", "gauge", "Deliveries that are still to be made, by state", "state", waiting),
            by("oldest_seconds", "gauge", "Age of the oldest delivery that is still to be made", "state", ages),
            one("failed_deliveries", "gauge", "Deliveries given up and still kept", numbers.failed),
            one("paused_deliveries", "gauge", "Deliveries that wait for an admin since a restore", numbers.paused),
            one("suspended_members", "gauge", "Members who get no mail because theirs came back", numbers.suspended),
            one("held_posts", "gauge", "Posts that wait for a moderator", numbers.held),
            one("shunted_mails", "gauge", "Mails kept aside because of a fault of ours", numbers.shunts),
        ]

    def _own(self) -> list[Metric]:
        """Return what this process measures of the roles that it has."""
        parts = self._parts()
        lag, down = parts.digest_lag, parts.relay_down
        found = [
            (parts.hosts, one("hosts", "gauge", "Processes that serve this database", parts.hosts or 0)),
            (lag, one("digest_lag_seconds", "gauge", "How long ago all digests that were due had been cut", lag or 0)),
            (parts.clients, one("clients", "gauge", "Connections of clients that bring mail", parts.clients or 0)),
            (parts.connections, one("connections", "gauge", "Connections to the relay", parts.connections or 0)),
            (down, one("relay_down_seconds", "gauge", "For how long the relay has been down; 0: it is not", down or 0)),
            (parts.in_hand, one("in_hand", "gauge", "Deliveries this process has in hand", parts.in_hand or 0)),
            (parts.resting, one("resting_destinations", "gauge", "Destinations left alone", parts.resting or 0)),
        ]
        roles = by("roles", "gauge", "What this process does", "role", dict.fromkeys(parts.roles, 1))
        return [roles, *(metric for value, metric in found if value is not None)]

    def _of_machine(self, size: int) -> list[Metric]:
        uptime, free = self._clock.monotonic() - self._started, shutil.disk_usage(self._config.folder).free
        found = [
            by("info", "gauge", "Which mailforum this is", "version", {__version__: 1}),
            one("uptime_seconds", "gauge", "For how long this process serves", uptime),
            one("database_bytes", "gauge", "Size of the database", size),
            one("disk_free_bytes", "gauge", "Room on the disk of [store] folder", free),
        ]
        if isinstance(file := self._config.database, Path):
            wal = file.with_name(f"{file.name}-wal")
            found.append(one("wal_bytes", "gauge", "Size of its write-ahead log", _size(wal)))
        return found


async def _tried(problem: str, work: Awaitable[object]) -> str:
    """Return "" if the database does `work` in time, else the problem, and why."""
    try:
        async with asyncio.timeout(PATIENCE):
            await work
    except Unavailable as error:
        return f"{problem}: {error.what}"
    except (MailforumError, TimeoutError) as error:
        return f"{problem}: {type(error).__name__}"
    return ""


def _counted() -> list[Metric]:
    events = dict.fromkeys(EVENTS, 0) | log.counters
    refusals: dict[Labels, Value] = {
        (("status", status), ("reason", reason)): times for (status, reason), times in log.refusals.items()
    }
    return [
        by("events_total", "counter", "Lines in the log, by event", "event", events),
        by("mails_total", "counter", "Mails dealt with, by what became of them", "what", log.outcomes),
        Metric("refusals_total", "counter", "Senders told no or not now, by status and reason", refusals),
        one("handling_seconds", "histogram", "From the end of a mail to its being on disk", log.handling),
        one("arrival_seconds", "histogram", "From a mail being queued to the relay taking it", log.arrival),
    ]


def _age(since: float | None, now: float) -> float:
    return max(0.0, now - since) if since is not None else 0.0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
