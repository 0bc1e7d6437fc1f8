"""The database in one SQLite file: one writer with group commit, a few readers beside it.

WAL with synchronous=FULL: when `write` returns, the data has been fsynced. Units that arrive while
a commit is under way share the next one. If anything goes wrong with a shared commit, each of its
units is tried again in a transaction of its own, so one bad unit never takes others with it.

When the disk is full the reserve is given up (reserve.py), so that what was sent can be written down.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite

from mailforum.errors import Deferred
from mailforum.store import rehearsal
from mailforum.store.connection import BUSY_SECONDS as BUSY_SECONDS
from mailforum.store.connection import connect
from mailforum.store.copy import copy
from mailforum.store.database import Row, Unit, kept, load_queries
from mailforum.store.group import Group
from mailforum.store.migrate import migrate
from mailforum.store.reserve import Reserve
from mailforum.store.schema import Step
from mailforum.store.trouble import Alarm, Unavailable, kind_of, unavailable

T = TypeVar("T")

BATCH = 64
READERS = 2
PIECE = 256 * 1024
LARGE_LOG = 64 * 1024**2  # bytes; the write-ahead log is that large only if a reader keeps it from being emptied
MOVE_MS = 200  # how long readers are waited for when the log is to be emptied; mail waits as well


class SqliteTx:
    """A transaction on one connection (see `Tx`)."""

    def __init__(self, connection: sqlite3.Connection, queries: Mapping[str, str]) -> None:
        self.mail = ""
        self._connection = connection
        self._queries = queries

    def run(self, query: str, /, **params: object) -> int:
        return self._execute(query, params).rowcount

    def put(self, query: str, /, **params: object) -> None:
        self._execute(query, params)

    def ahead(self, query: str, /, **params: object) -> None:
        pass  # nobody waits for an answer here

    def anew(self) -> None:
        pass

    def insert(self, query: str, /, **params: object) -> int:
        # RETURNING takes half as long again as the insert itself.
        return self._execute(query, params).lastrowid or 0

    def many(self, query: str, rows: Iterable[Mapping[str, object]], /) -> None:
        for row in rows:
            self._execute(query, row)

    def one(self, query: str, /, **params: object) -> Row | None:
        row: Row | None = self._execute(query, params).fetchone()
        return row

    def all(self, query: str, /, **params: object) -> list[Row]:
        return self._execute(query, params).fetchall()

    def _execute(self, query: str, params: Mapping[str, Any]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(self._queries[query], params)
        except UnicodeEncodeError:
            good = {name: kept(value) if isinstance(value, str) else value for name, value in params.items()}
            return self._connection.execute(self._queries[query], good)

    def inline(self, data: bytes, /) -> bytes | None:
        return data if len(data) <= PIECE else None

    def fill(self, table: str, column: str, row_id: int, data: bytes, /) -> None:
        if len(data) <= PIECE:
            return
        view = memoryview(data)
        with self._connection.blobopen(table, column, row_id) as blob:
            for start in range(0, len(view), PIECE):
                blob.write(view[start : start + PIECE])

    def head(self, table: str, column: str, row_id: int, size: int, /) -> bytes:
        with self._connection.blobopen(table, column, row_id, readonly=True) as blob:
            return blob.read(size)

    def close(self) -> None:
        self._connection.close()


class _Thread(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function on its thread in one hop."""

    async def work(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` on the connection's thread and return its result."""
        return cast(T, await self._execute(job, self._conn))  # type: ignore[no-untyped-call]


class SqliteDatabase:
    """See `Database`. Made by `open_sqlite`; to be closed, or the process will not end."""

    def __init__(
        self, path: Path, patience: float = BUSY_SECONDS, reserve: int = 0, known: Sequence[Step] = ()
    ) -> None:
        self._path = path
        self._known = known
        self._patience = patience
        self._reserve = Reserve(path, reserve)
        self._reading = Alarm("read", time.monotonic)
        self._writing = Alarm("written", time.monotonic)
        self._queries = queries()
        self._group: Group[Unit[Any], Any] = Group(self._commit, BATCH)
        self._closing = False
        self._commits = self._commits_seen = 0
        self._callbacks: list[Callable[[], None]] = []
        self._writer = self._thread()
        self._readers: asyncio.Queue[_Thread] = asyncio.Queue()
        self._opened: list[_Thread] = []
        self._peeker: SqliteTx | None = None

    def _thread(self, *, readonly: bool = False) -> _Thread:
        return _Thread(partial(connect, self._path, readonly=readonly, patience=self._patience), 64)

    async def open(self, served: bool) -> None:
        """Bring the schema up to date and open the writer; readers follow when they are first needed."""
        try:
            await self._open(served)
        except sqlite3.OperationalError:  # a full disk has many names here; with the reserve's room it may go
            self._reserve.give_up()
            self._writer = self._thread()
            await self._open(served)
        self.has_room(0)

    async def _open(self, served: bool) -> None:
        await asyncio.to_thread(migrate, self._path, served, known=self._known)
        await self._writer

    async def read(self, unit: Unit[T]) -> T:
        try:
            result = await self._read(partial(_snapshot, self._queries, unit))
        except sqlite3.Error as error:
            failure = unavailable(error)
            if isinstance(failure, Unavailable):
                self._reading.ring(failure)
            raise failure from error
        self._reading.quiet()
        return result

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        reader = await self._reader()
        try:
            return await reader.work(job)
        finally:
            self._readers.put_nowait(reader)

    async def peek(self, unit: Unit[T]) -> T:
        try:
            if self._peeker is None:
                self._peeker = SqliteTx(connect(self._path, readonly=True, patience=0.0), self._queries)
            return unit(self._peeker)
        except sqlite3.DatabaseError:  # such as locked: there, it may wait, and say what is wrong
            return await self.read(unit)

    async def _reader(self) -> _Thread:
        if not self._readers.empty() or len(self._opened) == READERS:
            return await self._readers.get()
        reader = self._thread(readonly=True)
        self._opened.append(reader)
        try:
            return cast(_Thread, await reader)
        except BaseException:
            self._opened.remove(reader)
            raise

    async def claim(self, unit: Unit[T]) -> T:
        return await self.read(unit)

    async def rehearse(self, unit: Unit[T], list_id: int) -> T:
        try:
            return await asyncio.to_thread(_rehearsed, self._path, self._patience, self._queries, unit, list_id)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    async def lead(self, job: str) -> bool:
        return True

    async def write(self, unit: Unit[T], lists: Collection[int] | None = None) -> T:
        if self._closing:
            raise Deferred("The service is stopping.", "database closed", code=421, enhanced="4.3.2")
        return cast(T, await self._group.add(unit))

    async def tend(self, unit: Unit[T]) -> T:
        return await self.write(unit, ())

    async def _commit(self, units: list[Unit[Any]]) -> list[Any]:
        results = await self._writer.work(partial(_commit, self._queries, units))
        units.clear()  # the thread keeps its last job in hand until the next, and a large mail with it
        self._commits += 1
        await self._judge(results)
        for callback in self._callbacks:
            callback()
        return results

    async def _judge(self, results: Sequence[Any]) -> None:
        """Sound the alarm if the database could not be written, and make what room there is."""
        failure = next((result for result in results if isinstance(result, Unavailable)), None)
        if failure is None:
            self._writing.quiet()
            return
        self._writing.ring(failure)
        if failure.kind == "FULL":
            self._reserve.give_up()
            await self._writer.work(_move_log)

    def has_room(self, floor: int) -> bool:
        free = shutil.disk_usage(self._path.parent).free
        return free >= floor and self._reserve.whole(free, floor)

    async def tidy(self) -> int:
        log = self._path.with_name(self._path.name + "-wal")
        idle, self._commits_seen = self._commits == self._commits_seen, self._commits
        size = log.stat().st_size if log.exists() else 0
        if size and (idle or size > LARGE_LOG) and not await self._writer.work(_move_log):
            return size if size > LARGE_LOG else 0
        return 0

    def on_commit(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def backup(self, path: Path, now: float, advance: Callable[[int, int], None]) -> list[str]:
        given_up = threading.Event()

        def go_on(done: int, of: int) -> None:
            if given_up.is_set():
                raise InterruptedError
            advance(done, of)

        try:
            return await self._read(lambda connection: copy(connection, path, now, go_on))
        except sqlite3.Error as error:
            raise unavailable(error) from error
        finally:
            given_up.set()

    async def close(self) -> None:
        self._closing = True
        await self._group.finish()
        if self._peeker:
            self._peeker.close()
        for thread in (*self._opened, self._writer):
            await thread.close()


async def open_sqlite(
    path: Path,
    *,
    patience: float = BUSY_SECONDS,
    reserve: int = 0,
    served: bool = False,
    known: Sequence[Step] = (),
) -> SqliteDatabase:
    """Open the database file, creating it and bringing its schema up to date as needed.

    `patience`: seconds to wait for another process that writes. `reserve`: bytes kept for a full disk.
    `served`: we hold the lock of the server. `known`: the steps of the schema, where these are not the package's.
    Raises Deferred when it cannot be opened, and ConfigError when a newer mailforum has made it, or an older one
    serves it.
    """
    database = SqliteDatabase(path, patience, reserve, known)
    try:
        await database.open(served)
    except sqlite3.Error as error:
        raise unavailable(error) from error
    return database


def queries() -> dict[str, str]:
    """Return all statements as SQLite has them.

    To it the values of a JSON list are json_each, whatever their type, and a large blob is made first and filled then.
    """
    return {name: _as_sqlite_has_it(statement) for name, statement in load_queries("sqlite").items()}


def _as_sqlite_has_it(statement: str) -> str:
    statement = re.sub(r"\b(?:number|text)_each\(", "json_each(", statement)
    return statement.replace("blob(:raw, :size)", "coalesce(:raw, CASE WHEN :size > 0 THEN zeroblob(:size) END)")


def _snapshot(queries: Mapping[str, str], unit: Unit[T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN")
    try:
        return unit(SqliteTx(connection, queries))
    finally:
        connection.execute("ROLLBACK")


def _rehearsed(path: Path, patience: float, queries: Mapping[str, str], unit: Unit[T], list_id: int) -> T:
    with closing(connect(path, patience=patience)) as connection:
        rehearsal.in_file(connection, list_id)
        return unit(SqliteTx(connection, queries))


def _commit(queries: Mapping[str, str], units: list[Unit[Any]], connection: sqlite3.Connection) -> list[Any]:
    """Run `units` in one transaction; if that fails, each in its own. Errors come back as values."""
    if len(units) > 1:
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [unit(SqliteTx(connection, queries)) for unit in units]
            connection.execute("COMMIT")
            return results
        except Exception as error:
            _rollback(connection)
            if isinstance(error, sqlite3.Error) and kind_of(error) == "BUSY":
                return [unavailable(error) for _ in units]  # each alone would wait as long once more
    return [_alone(queries, unit, connection) for unit in units]


def _alone(queries: Mapping[str, str], unit: Unit[Any], connection: sqlite3.Connection) -> Any:
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = unit(SqliteTx(connection, queries))
        connection.execute("COMMIT")
        return result
    except Exception as error:
        _rollback(connection)
        return unavailable(error) if isinstance(error, sqlite3.Error) else error


def _rollback(connection: sqlite3.Connection) -> None:
    # A full disk makes SQLite roll back by itself; a second ROLLBACK would be an error.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _move_log(connection: sqlite3.Connection) -> bool:
    """Move what is in the write-ahead log into the database and empty the log; False if readers need it."""
    patience = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout={MOVE_MS}")
    try:
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error:  # the disk may be too full even for that
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout={patience}")
