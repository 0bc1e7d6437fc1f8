"""Bring the schema of a file up to date: numbered SQL files, each applied once, each in one transaction.

A kill in the middle leaves the last whole step; the next start goes on from there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mailforum.store.connection import connect
from mailforum.store.lock import is_served
from mailforum.store.schema import RECORDED, Schema, Step, failed, missing, possible, steps
from mailforum.store.trouble import unavailable


def version(connection: sqlite3.Connection) -> int:
    """Return the number of the last migration that was applied."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema(connection: sqlite3.Connection) -> Schema:
    """Return how far a database is, and who can work with it."""
    number = version(connection)
    if number < RECORDED:
        return Schema(number, number)
    return Schema(number, connection.execute("SELECT max(runs_with) FROM migration").fetchone()[0])


def look(path: Path) -> Schema:
    """Return how far the database file at `path` is, if there is one. Raises Deferred when it cannot be read."""
    if not path.exists():
        return Schema(0, 0)
    try:
        with closing(connect(path, readonly=True)) as connection:
            return schema(connection)
    except sqlite3.Error as error:
        raise unavailable(error) from error


def bring_up_to_date(path: Path, finish: bool, known: Sequence[Step] = ()) -> tuple[Step, ...]:
    """Do as `migrate`. Raises also Deferred, when the file cannot be used."""
    try:
        return migrate(path, finish=finish, known=known)
    except sqlite3.Error as error:
        raise unavailable(error) from error


def migrate(path: Path, served: bool = False, *, known: Sequence[Step] = (), finish: bool = False) -> tuple[Step, ...]:
    """Take the steps that are missing in the database file at `path`, creating it if need be.

    `served`: we hold the lock of the server. `finish`: whoever runs. Returns the steps that have to wait
    until no older program runs. Raises ConfigError when a newer mailforum has already taken it further
    than this one can follow, or a server runs that knows less than it would have to.
    """
    known = known or steps()
    with closing(connect(path)) as connection:
        found = schema(connection)
        todo = missing(known, found)
        alone = not todo or served or finish or not is_served(path)
        # What the other one knows stands nowhere; but it runs on what is here.
        now = possible(todo, None if alone else found.runs_with)
        for step in now:
            _apply(connection, step)
    return todo[len(now) :]


def _apply(connection: sqlite3.Connection, step: Step) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have been faster.
        if version(connection) < step.number:
            for statement in _statements(step.sql):
                connection.execute(statement)
            _record(connection, step)
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise failed(step, error) from None
        raise


def _record(connection: sqlite3.Connection, step: Step) -> None:
    connection.execute(f"PRAGMA user_version = {step.number}")
    if step.number >= RECORDED:
        row = (step.number, step.name, time.time(), step.runs_with)
        connection.execute("INSERT INTO migration (number, name, at, runs_with) VALUES (?, ?, ?, ?)", row)


def _statements(sql: str) -> Iterator[str]:
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
