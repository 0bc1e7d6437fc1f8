"""Bring the schema up to date: numbered SQL files, each applied once, each in one transaction.

A kill in the middle leaves the last whole step; the next start goes on from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

from mailforum.errors import ConfigError
from mailforum.store.connection import connect
from mailforum.store.lock import is_served
from mailforum.store.trouble import unavailable


def steps(dialect: str = "sqlite") -> list[tuple[int, str]]:
    """Return (number, SQL) of every migration of a dialect, in order."""
    folder = resources.files("mailforum.store") / "sql" / dialect / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(int(file.name.partition("_")[0]), file.read_text(encoding="utf-8")) for file in files]


def version(connection: sqlite3.Connection) -> int:
    """Return the number of the last migration that was applied."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def behind(path: Path) -> tuple[int, int]:
    """Return how far the database file at `path` is, and how far it will be. What is not there is up to date.

    Raises Deferred when it cannot be read.
    """
    newest = steps()[-1][0]
    if not path.exists():
        return newest, newest
    try:
        with closing(connect(path, readonly=True)) as connection:
            return version(connection) or newest, newest
    except sqlite3.Error as error:
        raise unavailable(error) from error


def migrate(path: Path, served: bool = False) -> None:
    """Apply what is missing to the database file at `path`, creating it if need be.

    `served`: we hold the lock of the server. Raises ConfigError when a newer mailforum has already taken
    it further than this one knows, or a server runs that knows less.
    """
    newest = steps()[-1][0]
    with closing(connect(path)) as connection:
        found = version(connection)
        if found > newest:
            raise ConfigError(f"{path}: made by a newer mailforum (schema {found}); please upgrade")
        if found == newest:
            return
        if not served and is_served(path):
            raise ConfigError(f"{path}: an older mailforum is running; restart it, then try again")
        for number, sql in steps():
            _apply(connection, number, sql)


def _apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] >= number:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have been faster.
        if connection.execute("PRAGMA user_version").fetchone()[0] < number:
            for statement in _statements(sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> Iterator[str]:
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
