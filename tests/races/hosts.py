"""Hosts that share a database, and meet in the middle of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from mailforum import config
from mailforum.cli.intake import take_in
from mailforum.core import Core, site_of
from mailforum.forum import members
from mailforum.ids import Ids
from mailforum.mail import address
from mailforum.model import MailingList, Member, Mode, Outcome, Role
from mailforum.settings import ListSettings
from mailforum.smtpd.backlog import Backlog
from mailforum.smtpd.intake import Intake
from mailforum.store import lists
from mailforum.store.database import Database, Row, T, Tx, Unit
from mailforum.store.opening import open_database
from tests.support.clock import ShiftedClock
from tests.support.site import DOMAIN, write_config

END = 10**9
LONGEST = 30  # statements behind which hosts meet; most of what they do has fewer


class Meeting:
    """Where two that are at work at the same time wait for each other, once, some statements after their beginning.

    Whoever is alone, because the other has to wait for a lock, goes on after a moment.
    """

    def __init__(self, after: int, patience: float) -> None:
        self.after = after
        self._patience = patience
        self._barrier = threading.Barrier(2)

    def meet(self) -> None:
        """Wait for the other, if it has not been here."""
        with contextlib.suppress(threading.BrokenBarrierError):
            if not self._barrier.broken:
                self._barrier.wait(self._patience)
        self._barrier.abort()


class _MeetingTx:
    """A transaction that stops at a meeting (see `Tx`)."""

    def __init__(self, tx: Tx, meeting: Meeting) -> None:
        self.mail = ""
        self._tx, self._meeting = tx, meeting
        self._statements = 0

    def _step(self) -> Tx:
        if self._statements == self._meeting.after:
            self._meeting.meet()
        self._statements += 1
        self._tx.mail = self.mail
        return self._tx

    def ends(self) -> None:
        if self._statements <= self._meeting.after:
            self._meeting.meet()

    def run(self, query: str, /, **params: object) -> int:
        return self._step().run(query, **params)

    def put(self, query: str, /, **params: object) -> None:
        self._step().put(query, **params)

    def insert(self, query: str, /, **params: object) -> int:
        return self._step().insert(query, **params)

    def many(self, query: str, rows: Iterable[Mapping[str, object]], /) -> None:
        self._step().many(query, rows)

    def one(self, query: str, /, **params: object) -> Row | None:
        return self._step().one(query, **params)

    def all(self, query: str, /, **params: object) -> list[Row]:
        return self._step().all(query, **params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)


class MeetingDatabase:
    """A host's database. `meeting`: where its transactions meet those of others; `locked`: they say what they decide
    about, as the program has it."""

    def __init__(self, db: Database, *, locked: bool) -> None:
        self._db, self._locked = db, locked
        self.meeting: Meeting | None = None

    async def write(self, unit: Unit[T], lists: Collection[int] | None = None) -> T:
        meeting = self.meeting

        def met(tx: Tx) -> T:
            if meeting is None:
                return unit(tx)
            stopping = _MeetingTx(tx, meeting)
            result = unit(stopping)
            stopping.ends()
            return result

        return await self._db.write(met, lists if self._locked else ())

    async def tend(self, unit: Unit[T]) -> T:
        return await self.write(unit, ())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


class Hosts:
    """Two hosts. What a game does by `one` alone is not disturbed; what it does `at_once` is."""

    def __init__(self, cores: list[Core], look: psycopg.Connection[Any], random: Random, *, locked: bool) -> None:
        self.cores = cores
        self._look = look
        self.random = random
        self._patience = 0.003 if locked else 0.05
        self._lists = 0

    @property
    def one(self) -> Core:
        """The first host."""
        return self.cores[0]

    @property
    def now(self) -> float:
        """The time, which is the same everywhere."""
        return self.one.clock.now()

    async def at_once(self, first: Any, second: Any) -> list[Any]:
        """Await what both do; return what came of it, exceptions too."""
        meeting = Meeting(self.random.randrange(LONGEST), self._patience)
        for core in self.cores:
            core.db.meeting = meeting  # type: ignore[attr-defined]
        try:
            return await asyncio.gather(first, second, return_exceptions=True)
        finally:
            for core in self.cores:
                core.db.meeting = None  # type: ignore[attr-defined]

    async def while_it_ends(self, first: Any, second: Any) -> list[Any]:
        """Await what both do: the first host is about to commit, and does when the second has come to its end."""
        meeting = Meeting(END, self._patience * 10)
        self.one.db.meeting = meeting  # type: ignore[attr-defined]

        async def then() -> Any:
            result = await second
            await asyncio.to_thread(meeting.meet)
            return result

        try:
            return await asyncio.gather(first, then(), return_exceptions=True)
        finally:
            self.one.db.meeting = None  # type: ignore[attr-defined]

    async def row(self, sql: str, *values: object) -> tuple[Any, ...]:
        """Return the first row of a question of the game's own."""
        return await asyncio.to_thread(lambda: self._look.execute(sql, values).fetchone())

    async def change(self, sql: str) -> None:
        """Run a statement of the game's own."""
        await asyncio.to_thread(self._look.execute, sql)

    async def count(self, sql: str, *values: object) -> int:
        """Return the only number that a question of the game's own is answered with."""
        return int((await self.row(sql, *values))[0])

    async def new_list(self, *names: str, mode: Mode = Mode.EACH, **settings: Any) -> MailingList:
        """Make a list with members `name@example.org`."""
        self._lists += 1
        own = ListSettings(**settings)

        def make(tx: Tx) -> MailingList:
            list_id = lists.add(tx, f"list{self._lists}@{DOMAIN}", "", own, self.now - 86400 * 2)
            mlist = lists.by_id(tx, list_id or 0)
            assert mlist
            for name in names:
                role = Role.OWNER if name == "owner" else Role.MEMBER
                members.add(tx, mlist, f"{name}@example.org", self.now, role=role, mode=mode, welcome=False)
            return mlist

        return await self.one.db.write(make)

    async def member(self, mlist: MailingList, name: str) -> Member | None:
        """Return a member."""
        return await self.one.db.read(lambda tx: lists.member(tx, mlist.id, address.key(f"{name}@example.org")))


@dataclass(frozen=True)
class Game:
    """`once` raises AssertionError where it does not come out as it has to. With `guarded`, it does only because
    those who act wait for each other; else each statement sees to it by itself."""

    once: Callable[[Hosts], Awaitable[None]]
    guarded: bool = True


async def play(game: Game, hosts: Hosts, rounds: int) -> AsyncIterator[str]:
    """Play a game so often; yield what went wrong."""
    for number in range(rounds):
        try:
            await game.once(hosts)
        except AssertionError as fault:
            yield f"round {number}: {fault}"


async def take(core: Core, sender: str, rcpts: str | list[str], raw: bytes) -> list[Outcome]:
    """Have a host take a mail in."""
    return await take_in(core, sender, [rcpts] if isinstance(rcpts, str) else rcpts, raw)


@contextlib.asynccontextmanager
async def hosts(url: str, folder: Path, seed: int, *, locked: bool = True) -> AsyncIterator[Hosts]:
    """Bring two hosts up."""
    options = config.load(write_config(folder, "maildir:out", store_keep_held='"30d"'), {})
    async with contextlib.AsyncExitStack() as stack:
        cores = []
        for _ in range(2):
            real = await open_database(url)
            stack.push_async_callback(real.close)
            if not locked:
                _unlock(real)
            db: Any = MeetingDatabase(real, locked=locked)
            clock, site = ShiftedClock(), site_of(options)
            intake = Intake(db, site, clock, lambda: True, Backlog(db, clock, 0))
            cores.append(Core(options, db, site, clock, intake, Ids(clock.now, Random(len(cores)).getrandbits(20))))
        look = stack.enter_context(psycopg.connect(url, autocommit=True))
        yield Hosts(cores, look, Random(seed), locked=locked)


def _unlock(db: Any) -> None:
    """Take out of statements what makes those who come second look once more."""
    stops = {"queue.fan_next": "FOR NO KEY UPDATE", "upkeep.drop_seen": "AND at <", "search.hold": "FOR UPDATE"}
    for name, what in stops.items():
        db._queries[name], found, _ = db._queries[name].rpartition(what)
        assert found
