"""Bring the schema up to date: numbered SQL files, each applied once, each in one transaction.

A kill in the middle leaves the last whole step; the next start goes on from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from mailforum.errors import ConfigError
from mailforum.store.connection import connect


def steps() -> list[tuple[int, str]]:
    """Return (number, SQL) of every migration, in order."""
    folder = resources.files("mailforum.store") / "sql" / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(int(file.name.partition("_")[0]), file.read_text(encoding="utf-8")) for file in files]


def migrate(path: Path) -> None:
    """Apply what is missing to the database file at `path`, creating it if need be.

    Raises ConfigError when a newer mailforum has already taken it further than this one knows.
    """
    connection = connect(path)
    try:
        for number, sql in steps():
            _apply(connection, number, sql)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > steps()[-1][0]:
            raise ConfigError(f"{path}: made by a newer mailforum (schema {version}); please upgrade")
    finally:
        connection.close()


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
