"""The database in one SQLite file: one writer with group commit, a few readers beside it.

WAL with synchronous=FULL: when `write` returns, the data has been fsynced. Units that arrive while
a commit is under way share the next one. If anything goes wrong with a shared commit, each of its
units is tried again in a transaction of its own, so one bad unit never takes others with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite

from mailforum.errors import Deferred
from mailforum.store.connection import connect
from mailforum.store.database import Row, Unit, load_queries
from mailforum.store.group import Group
from mailforum.store.migrate import migrate

T = TypeVar("T")

BATCH = 64
READERS = 2
PIECE = 256 * 1024


class SqliteTx:
    """A transaction on one connection (see `Tx`)."""

    def __init__(self, connection: sqlite3.Connection, queries: Mapping[str, str]) -> None:
        self.mail = ""
        self._connection = connection
        self._queries = queries

    def run(self, query: str, /, **params: object) -> int:
        return self._connection.execute(self._queries[query], cast(Any, params)).rowcount

    def insert(self, query: str, /, **params: object) -> int:
        # RETURNING takes half as long again as the insert itself.
        return self._connection.execute(self._queries[query], cast(Any, params)).lastrowid or 0

    def many(self, query: str, rows: Iterable[Mapping[str, object]], /) -> None:
        self._connection.executemany(self._queries[query], cast(Any, rows))

    def one(self, query: str, /, **params: object) -> Row | None:
        row: Row | None = self._connection.execute(self._queries[query], cast(Any, params)).fetchone()
        return row

    def all(self, query: str, /, **params: object) -> list[Row]:
        return self._connection.execute(self._queries[query], cast(Any, params)).fetchall()

    def fill(self, table: str, column: str, row_id: int, data: bytes, /) -> None:
        view = memoryview(data)
        with self._connection.blobopen(table, column, row_id) as blob:
            for start in range(0, len(view), PIECE):
                blob.write(view[start : start + PIECE])

    def close(self) -> None:
        self._connection.close()


class _Thread(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function on its thread in one hop."""

    async def work(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` on the connection's thread and return its result."""
        return cast(T, await self._execute(job, self._conn))  # type: ignore[no-untyped-call]


class SqliteDatabase:
    """See `Database`. Made by `open_sqlite`; to be closed, or the process will not end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queries = load_queries()
        self._group: Group[Unit[Any], Any] = Group(self._commit, BATCH)
        self._closing = False
        self._callbacks: list[Callable[[], None]] = []
        self._writer = _Thread(partial(connect, path), 64)
        self._readers: asyncio.Queue[_Thread] = asyncio.Queue()
        self._opened: list[_Thread] = []
        self._peeker: SqliteTx | None = None

    async def open(self) -> None:
        """Open the writer; readers follow when they are first needed."""
        await self._writer

    async def read(self, unit: Unit[T]) -> T:
        reader = await self._reader()
        try:
            return await reader.work(partial(_snapshot, self._queries, unit))
        except sqlite3.DatabaseError as error:
            raise _unavailable(error) from error
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
        if self._readers.empty() and len(self._opened) < READERS:
            reader = _Thread(partial(connect, self._path, readonly=True), 64)
            self._opened.append(reader)
            return cast(_Thread, await reader)
        return await self._readers.get()

    async def write(self, unit: Unit[T]) -> T:
        if self._closing:
            raise Deferred("The service is stopping.", "database closed", code=421, enhanced="4.3.2")
        return cast(T, await self._group.add(unit))

    async def _commit(self, units: list[Unit[Any]]) -> list[Any]:
        results = await self._writer.work(partial(_commit, self._queries, units))
        units.clear()  # the thread keeps its last job in hand until the next, and a large mail with it
        for callback in self._callbacks:
            callback()
        return results

    def on_commit(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def backup(self, path: str) -> None:
        def copy(connection: sqlite3.Connection) -> None:
            with sqlite3.connect(path) as target:
                connection.backup(target)
            target.close()

        reader = await self._reader()
        try:
            await reader.work(copy)
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        finally:
            self._readers.put_nowait(reader)

    async def close(self) -> None:
        self._closing = True
        await self._group.finish()
        if self._peeker:
            self._peeker.close()
        for thread in (*self._opened, self._writer):
            await thread.close()


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Open the database file, creating it and bringing its schema up to date as needed.

    Raises Deferred when it cannot be opened and ConfigError when a newer mailforum has made it.
    """
    database = SqliteDatabase(path)
    try:
        await asyncio.to_thread(migrate, path)
        await database.open()
    except sqlite3.Error as error:
        raise _unavailable(error) from error
    return database


def _snapshot(queries: Mapping[str, str], unit: Unit[T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN")
    try:
        return unit(SqliteTx(connection, queries))
    finally:
        connection.execute("ROLLBACK")


def _commit(queries: Mapping[str, str], units: list[Unit[Any]], connection: sqlite3.Connection) -> list[Any]:
    """Run `units` in one transaction; if that fails, each in its own. Errors come back as values."""
    if len(units) > 1:
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [unit(SqliteTx(connection, queries)) for unit in units]
            connection.execute("COMMIT")
            return results
        except Exception:
            _rollback(connection)
    return [_alone(queries, unit, connection) for unit in units]


def _alone(queries: Mapping[str, str], unit: Unit[Any], connection: sqlite3.Connection) -> Any:
    try:
        connection.execute("BEGIN IMMEDIATE")
        result = unit(SqliteTx(connection, queries))
        connection.execute("COMMIT")
        return result
    except Exception as error:
        _rollback(connection)
        return _unavailable(error) if isinstance(error, sqlite3.Error) else error


def _rollback(connection: sqlite3.Connection) -> None:
    # A full disk makes SQLite roll back by itself; a second ROLLBACK would be an error.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


# What an admin or time can mend. Any other error of the driver is a mistake of ours, to be heard of as one.
_PASSING = {"BUSY", "LOCKED", "FULL", "IOERR", "READONLY", "CORRUPT", "NOTADB", "CANTOPEN", "NOMEM", "PROTOCOL"}


def _unavailable(error: sqlite3.Error) -> Exception:
    """Turn the driver's error into what the sender may know: 452 for a full disk, else 451."""
    name = getattr(error, "sqlite_errorname", "SQLITE_").split("_")[1]
    if name not in _PASSING:
        return error
    if name == "FULL":
        return Deferred("There is no room for your mail just now.", str(error), code=452, enhanced="4.3.1")
    return Deferred("Mail cannot be stored just now; please try again later.", f"database: {error}")
