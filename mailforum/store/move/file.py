"""A SQLite file as an end of a move."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mailforum.errors import UsageError
from mailforum.store import migrate
from mailforum.store.connection import connect
from mailforum.store.fence import Marker
from mailforum.store.lock import alone
from mailforum.store.move.ends import Fence
from mailforum.store.move.rows import Row
from mailforum.store.move.tables import Table
from mailforum.store.schema import Schema, steps

_EVENTS = ("INSERT", "UPDATE", "DELETE")


class FileEnd:
    """See `End`. To be closed."""

    holds_nul = True

    def __init__(self, path: Path, connection: sqlite3.Connection, held: ExitStack, *, single: bool = False) -> None:
        """`held`: what is let go of at the end. `single`: at the end it is one file, with none beside it."""
        self.name = f"sqlite:{path}"
        self._path = path
        self._connection = connection
        self._held = held
        self._single = single
        self._held.callback(connection.close)

    def schema(self) -> Schema:
        return migrate.schema(self._connection)

    def make(self, number: int) -> None:
        migrate.migrate(self._path, True, known=[step for step in steps("sqlite") if step.number <= number])

    def has(self, table: str) -> bool:
        return bool(self.run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", table))

    def served_by(self) -> list[str]:
        return []  # we hold the lock, or it was said that it does not matter

    def bar(self, tables: Sequence[Table], reason: str) -> None:
        text = reason.replace("'", "''")
        for table in tables:
            for event in _EVENTS:
                self.run(
                    f"CREATE TRIGGER IF NOT EXISTS barred_{event}_{table.name} BEFORE {event} ON {table.name} "
                    f"BEGIN SELECT RAISE(ABORT, '{text}'); END"
                )

    def unbar(self, tables: Sequence[Table]) -> None:
        for table in tables:
            for event in _EVENTS:
                self.run(f"DROP TRIGGER IF EXISTS barred_{event}_{table.name}")

    def run(self, sql: str, *params: object) -> list[Sequence[Any]]:
        return self._connection.execute(sql, params).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield from self._within("BEGIN IMMEDIATE")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield from self._within("BEGIN")

    def _within(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            if begin == "BEGIN":
                self._connection.execute(
                    "SELECT 1 FROM sqlite_master"
                ).fetchone()  # from here on nothing changes for us
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def rows(self, table: Table, after: Sequence[object] | None = None) -> Iterator[Row]:
        cursor = self._connection.cursor()
        cursor.row_factory = None
        yield from cursor.execute(table.select(table.columns, after), after or ())

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        places = ", ".join("?" * len(table.columns))
        statement = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})"  # noqa: S608 (ours)
        self._connection.executemany(statement, rows)

    def strip(self) -> list[str]:
        found = self.run("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        for name, _ in found:
            self.run(f"DROP INDEX {name}")
        return [statement for _, statement in found]

    def given(self, tables: Sequence[Table]) -> Mapping[str, int]:
        kept: dict[str, int] = dict(self.run("SELECT name, seq FROM sqlite_sequence"))  # type: ignore[arg-type]
        highest = {
            table.name: self.run(f"SELECT coalesce(max(id), 0) FROM {table.name}")[0][0]  # noqa: S608 (ours)
            for table in tables
            if table.numbered
        }
        return {name: max(last, kept.get(name, 0)) for name, last in highest.items()}

    def give(self, given: Mapping[str, int]) -> None:
        for name, last in given.items():
            ((sql,),) = self.run("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", name)
            if "AUTOINCREMENT" in sql:
                self.run("DELETE FROM sqlite_sequence WHERE name = ?", name)
                self.run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", name, last)

    def settle(self, fence: Fence) -> None:
        if fence.copied_at is None and not self._single:
            Marker.of(self._path).write(fence.served)

    def dangling(self) -> list[str]:
        found = {(row[0], row[2]) for row in self.run("PRAGMA foreign_key_check")}
        return [f"rows of {table} refer to rows of {parent} that are not there" for table, parent in sorted(found)]

    def damage(self) -> list[str]:
        return [row[0] for row in self.run("PRAGMA integrity_check") if row[0] != "ok"]

    def close(self) -> None:
        if self._single:
            self._connection.execute("PRAGMA journal_mode=DELETE")
        self._held.close()
        if self._single:
            for path in (self._path, self._path.parent):  # the file's name as well
                _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def source(path: Path, *, served: bool = False) -> FileEnd:
    """Open a file to move from. A copy of a database (fence.py) is only read; any other is locked, but for `served`.

    Raises UsageError where there is none, ConfigError where somebody serves it, and sqlite3.Error.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    held = ExitStack()
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, isolation_level=None)
        if _is_copy(connection) or served:
            return FileEnd(path, connection, held)
        connection.close()
        held.enter_context(alone(path))
        return FileEnd(path, connect(path), held)
    except BaseException:
        held.close()
        raise


def _is_copy(connection: sqlite3.Connection) -> bool:
    try:
        return connection.execute("SELECT copied_at FROM fence").fetchone()[0] is not None
    except sqlite3.OperationalError:  # so old that it has no such table
        return False


def target(path: Path, *, single: bool = False) -> FileEnd:
    """Open a file to move to, and make it where there is none. Raises ConfigError where somebody serves it."""
    held = ExitStack()
    try:
        if not single:
            held.enter_context(alone(path))
        connection = connect(path)
        connection.execute("PRAGMA foreign_keys=OFF")  # rows come table by table; looked at when all are there
        connection.execute("PRAGMA cache_size=-64000")
        return FileEnd(path, connection, held, single=single)
    except BaseException:
        held.close()
        raise
