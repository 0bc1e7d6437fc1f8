"""The database on a PostgreSQL server (docs/decisions/0017).

Isolation is READ COMMITTED, and whoever decides something takes the lock of what it is decided about before
it looks: of lists, or of the site. Units of this process that wait for the same lane share a commit, as with
SQLite; if anything goes wrong with it, each of them is tried again in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import psycopg

from mailforum import log
from mailforum.errors import ConfigError, Deferred
from mailforum.store import rehearsal, server
from mailforum.store.database import Unit
from mailforum.store.group import Group
from mailforum.store.move.between import back_up
from mailforum.store.postgres import migrate
from mailforum.store.postgres.dialect import queries
from mailforum.store.postgres.lane import Lane
from mailforum.store.postgres.listen import CHANNEL, Listener
from mailforum.store.postgres.session import Session, complete, connect
from mailforum.store.postgres.tx import PostgresTx
from mailforum.store.schema import Step, steps
from mailforum.store.trouble import Alarm, Unavailable, kind_of, unavailable

T = TypeVar("T")

BATCH = 64
READERS = 2
LANES = 2  # for what is decided about lists; each has those whose id, divided by this, leaves its number
TRIES = 5  # of what met another's transaction in the wrong order
PAUSE = 0.02  # seconds before that, longer each time
COLLECT = 0.02  # seconds; other hosts hear of our commits at most so often
LET_GO = 5.0  # seconds that a server has to end what is under way when we close
FULL_PAUSE = 10.0  # seconds without new mail after the disk was full, unless something could be written meanwhile


class _Work(NamedTuple):
    unit: Unit[Any]
    lists: Collection[int] | None


class _Writer:
    """A lane whose units share commits."""

    def __init__(self, lane: Lane, queries: Mapping[str, str]) -> None:
        self.lane = lane
        self._queries = queries
        self.group: Group[_Work, Any] = Group(self._commit, BATCH)
        self.done: Callable[[Sequence[_Work], Sequence[Any]], None] = lambda works, results: None

    async def _commit(self, works: list[_Work]) -> Sequence[Any]:
        results: list[Any] = []
        try:
            await self.lane.work(partial(_commit, self._queries, works, results))
        except psycopg.Error as error:
            results += [unavailable(error)] * (len(works) - len(results))
        self.done(works, results)
        return results


class PostgresDatabase:
    """See `Database`. Made by `open_postgres`; to be closed, or the process will not end."""

    def __init__(self, url: str, patience: float, known: Sequence[Step] = ()) -> None:
        self._known = known or steps("postgres")
        self._waiting: Sequence[Step] = ()
        self._url = url
        self._patience = patience
        self._queries = queries()
        self._reading = Alarm("read", time.monotonic)
        self._writing = Alarm("written", time.monotonic)
        self._full_until = float("-inf")
        self._closing = False
        self._me = secrets.token_hex(8)
        self._callbacks: list[Callable[[], None]] = []
        self._listener = Listener(url, self._me, self._call_back)
        self._telling: asyncio.Task[None] | None = None
        self._upkeep = self._writer("upkeep")
        self._writers = [*(self._writer(f"write-{number}") for number in range(LANES + 2)), self._upkeep]
        self._claims = Lane(partial(connect, url, patience), "claim")
        self._peeks = Lane(partial(connect, url, patience, readonly=True), "peek")
        readers = [Lane(partial(connect, url, patience, readonly=True), f"read-{number}") for number in range(READERS)]
        self._readers: asyncio.Queue[Lane] = asyncio.Queue()
        for reader in readers:
            self._readers.put_nowait(reader)
        self._lanes = [*(writer.lane for writer in self._writers), self._claims, self._peeks, *readers]

    def _writer(self, name: str) -> _Writer:
        knows = self._known[-1].number
        writer = _Writer(Lane(partial(connect, self._url, self._patience, knows=knows), name), self._queries)
        writer.done = self._committed
        return writer

    async def open(self) -> None:
        """Look whether the server can keep what we have, and bring the schema up to date."""
        await self._writers[0].lane.work(partial(look_at_server, self._queries))
        await self._migrate()

    async def _migrate(self) -> None:
        self._waiting = await self._writers[0].lane.work(partial(migrate.migrate, known=self._known))

    async def read(self, unit: Unit[T]) -> T:
        lane = await self._readers.get()
        try:
            return await self._looked(lane, partial(_snapshot, self._queries, unit))
        finally:
            self._readers.put_nowait(lane)

    async def peek(self, unit: Unit[T]) -> T:
        return await self._looked(self._peeks, lambda session: unit(PostgresTx(session, self._queries)))

    async def _looked(self, lane: Lane, job: Callable[[Session], T]) -> T:
        try:
            result = await lane.work(job)
        except psycopg.Error as error:
            failure = unavailable(error)
            if isinstance(failure, Unavailable):
                self._reading.ring(failure)
            raise failure from error
        self._reading.quiet()
        return result

    async def write(self, unit: Unit[T], lists: Collection[int] | None = None) -> T:
        if lists is None:
            writer = self._writers[0]
        elif not lists:
            writer = self._writers[1]
        else:
            writer = self._writers[2 + min(lists) % LANES]
        return cast(T, await self._add(writer, _Work(unit, lists)))

    async def tend(self, unit: Unit[T]) -> T:
        return cast(T, await self._add(self._upkeep, _Work(unit, ())))

    async def _add(self, writer: _Writer, work: _Work) -> Any:
        if self._closing:
            raise Deferred("The service is stopping.", "database closed", code=421, enhanced="4.3.2")
        return await writer.group.add(work)

    async def rehearse(self, unit: Unit[T], list_id: int) -> T:
        try:
            return await asyncio.to_thread(self._rehearsed, unit, list_id)
        except psycopg.Error as error:
            raise unavailable(error) from error

    def _rehearsed(self, unit: Unit[T], list_id: int) -> T:
        with contextlib.closing(connect(self._url, self._patience)) as session:
            session.simple(rehearsal.on_server(list_id))
            return unit(PostgresTx(session, self._queries))

    async def claim(self, unit: Unit[T]) -> T:
        work = _Work(unit, ())
        try:
            result = await self._claims.work(partial(_alone, self._queries, work))
        except psycopg.Error as error:
            result = unavailable(error)
        self._judge([result])
        if isinstance(result, Exception):
            raise result
        return cast(T, result)

    async def lead(self, job: str) -> bool:
        number = zlib.crc32(job.encode())
        try:
            return await self._peeks.work(lambda session: session.lead(number))
        except psycopg.Error:
            return False

    def on_commit(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)
        self._listener.start()

    def _committed(self, works: Sequence[_Work], results: Sequence[Any]) -> None:
        self._judge(results)
        self._call_back()
        if self._telling is None and any(work.lists != () for work in works):
            self._telling = asyncio.create_task(self._tell())

    def _call_back(self) -> None:
        for callback in self._callbacks:
            callback()

    async def _tell(self) -> None:
        """Tell other hosts that there may be work. Inside a transaction it would keep all others from committing."""
        await asyncio.sleep(COLLECT)
        self._telling = None
        try:
            await self._peeks.work(lambda session: session.simple(f"NOTIFY {CHANNEL}, '{self._me}'"))
        except psycopg.Error:
            return  # they look anyway

    def _judge(self, results: Sequence[Any]) -> None:
        """Sound the alarm if the database could not be written."""
        failure = next((result for result in results if isinstance(result, Unavailable)), None)
        if failure is None:
            self._writing.quiet()
            self._full_until = float("-inf")
            return
        self._writing.ring(failure)
        if failure.kind == "FULL":
            self._full_until = time.monotonic() + FULL_PAUSE

    def has_room(self, floor: int) -> bool:
        return time.monotonic() > self._full_until

    async def tidy(self) -> int:
        if self._waiting:  # until no older program runs; not on a lane, where mail would have to wait as well
            with contextlib.suppress(Deferred, ConfigError):
                self._waiting = await asyncio.to_thread(
                    migrate.bring_up_to_date, self._url, finish=False, known=self._known
                )
        return 0

    async def backup(self, path: Path, now: float, advance: Callable[[int, int], None]) -> list[str]:
        given_up = threading.Event()

        def go_on(done: int, of: int) -> None:
            if given_up.is_set():
                raise InterruptedError
            advance(done, of)

        try:
            moved = await asyncio.to_thread(back_up, self._url, path, go_on, now)
        finally:
            given_up.set()
        return moved.faults()

    async def close(self) -> None:
        self._closing = True
        patience = asyncio.get_running_loop().call_later(LET_GO, self._tear)
        for writer in self._writers:
            await writer.group.finish()
        await self._listener.close()
        if self._telling:
            self._telling.cancel()
        for lane in self._lanes:
            await lane.close()
        patience.cancel()

    def _tear(self) -> None:
        """Wait no longer for a server that does not answer; what it has not confirmed counts as not done."""
        for lane in self._lanes:
            lane.tear()


async def open_postgres(url: str, *, patience: float, known: Sequence[Step] = ()) -> PostgresDatabase:
    """Open the database on a server, bringing its schema up to date as needed.

    `patience`: seconds to wait for what another process has locked. `known`: the steps of the schema, where these are
    not the package's. Raises Deferred when the server cannot be used now, and ConfigError when it never can.
    """
    complete(url)
    database = PostgresDatabase(url, patience, known)
    try:
        await database.open()
    except BaseException as error:
        await database.close()
        if isinstance(error, psycopg.Error):
            raise unavailable(error) from error
        raise
    return database


def look_at_server(queries: Mapping[str, str], session: Session) -> None:
    """Say in the log what a server is not set up well for. Raises ConfigError for one that cannot be used."""
    found = server.settings(PostgresTx(session, queries))
    if found.encoding != "UTF8":
        raise ConfigError(f"[store] url: the database is in {found.encoding}; make it anew with ENCODING 'UTF8'")
    if found.outdated:
        raise ConfigError(f"[store] url: {found.outdated}")
    if not (found.fsync and found.full_page_writes):
        what = "PostgreSQL runs with fsync or full_page_writes off: a crash may cost what it has taken."
        log.event("database_unsafe", logging.WARNING, what=what)
    if int(session.simple("SELECT pg_backend_pid()").get_value(0, 0) or b"0") != session.pgconn.backend_pid:
        what = "A pooler stands before PostgreSQL; it must leave each connection to one client (pool_mode=session)."
        log.event("database_unsafe", logging.WARNING, what=what)


def _snapshot(queries: Mapping[str, str], unit: Unit[T], session: Session) -> T:
    session.snapshot()
    return unit(PostgresTx(session, queries))


def _commit(queries: Mapping[str, str], works: Sequence[_Work], results: list[Any], session: Session) -> None:
    """Run units in one transaction; if that fails, each in its own. Fills in their results; errors are values.

    Raises psycopg.Error when the connection is lost; called again, it goes on where it was.
    """
    if len(works) > 1 and not results:
        try:
            results += _transaction(queries, works, session)
        except Exception as error:
            session.rollback()
            if session.failed(error):
                raise
            if kind_of(error) == "BUSY":
                results += [unavailable(error)] * len(works)  # each alone would wait as long once more
    for work in works[len(results) :]:
        results.append(_alone(queries, work, session))


def _alone(queries: Mapping[str, str], work: _Work, session: Session) -> Any:
    try:
        (result,) = _transaction(queries, [work], session)
        return result
    except Exception as error:
        session.rollback()
        if session.failed(error):
            raise
        return unavailable(error) if isinstance(error, psycopg.Error) else error


def _transaction(queries: Mapping[str, str], works: Sequence[_Work], session: Session) -> list[Any]:
    """Run units in one transaction, again if it met another's in the wrong order; return their results."""
    tries = TRIES
    while True:
        try:
            session.begin(_scope(works), len(works))
            results = [work.unit(PostgresTx(session, queries)) for work in works]
            session.commit()
            return results
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            tries -= 1
            if not tries:
                raise
            session.rollback()
            time.sleep(PAUSE * (TRIES - tries))  # or the other, who was let go on, would meet us again


def _scope(works: Sequence[_Work]) -> Collection[int] | None:
    """Return what all of them decide about."""
    lists: set[int] = set()
    for work in works:
        if work.lists is None:
            return None
        lists.update(work.lists)
    return lists
