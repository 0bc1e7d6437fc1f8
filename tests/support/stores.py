"""Both databases, each new and empty: what must be true of one must be true of the other.

def test_something(store: str) -> None:         # tests/conftest.py: once with each
    database = await open_database(store)

with transaction("postgres", tmp_path) as tx:   # without the event loop; what is done is undone
    ...
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mailforum.store.connection import connect as connect_file
from mailforum.store.database import Tx
from mailforum.store.migrate import migrate
from mailforum.store.opening import is_server
from mailforum.store.postgres import dialect
from mailforum.store.postgres.session import Session, connect
from mailforum.store.postgres.tx import PostgresTx
from mailforum.store.sqlite import SqliteTx, queries
from tests.support import postgres

F = TypeVar("F", bound=Callable[..., Any])
STORES = ("sqlite", "postgres")


def one_store(test: F) -> F:
    """Have a test with the fixture `store` run on SQLite alone."""
    test.STORES = ["sqlite"]  # type: ignore[attr-defined]
    return test


# For a test with the fixture `tx` (tests/forum/conftest.py) that is about one of them, or takes long.
on_sqlite = pytest.mark.parametrize("tx", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("tx", ["postgres"], indirect=True)


@contextmanager
def new_store(kind: str, folder: Path) -> Iterator[str]:
    """Have a new database, as `open_database` finds it."""
    if kind == "sqlite":
        yield f"sqlite:{folder / 'test.db'}"
    else:
        with postgres.emptied_url() as url:
            yield url


def by_hand(store: str, sql: str) -> None:
    """Run some statements on a database, past the program."""
    if is_server(store):
        with closing(connect(store)) as session:
            session.simple(sql)
    else:
        with closing(sqlite3.connect(store.removeprefix("sqlite:"), isolation_level=None)) as connection:
            connection.executescript(sql)


@contextmanager
def transaction(kind: str, folder: Path) -> Iterator[Tx]:
    """Have a transaction on a new database; it is never committed."""
    if kind == "sqlite":
        migrate(folder / "test.db")
        with closing(connect_file(folder / "test.db")) as connection:
            connection.execute("BEGIN")
            yield SqliteTx(connection, queries())
    else:
        session = _sessions.pop() if _sessions else _new_session()
        session.begin(())
        try:
            yield PostgresTx(session, dialect.queries())
        finally:
            session.rollback()
            session.simple(_FIRST_IDS)
            _sessions.append(session)


@contextmanager
def undone(tx: Tx) -> Iterator[None]:
    """Undo at the end what is done in between."""
    _command(tx, "SAVEPOINT undone")
    try:
        yield
    finally:
        _command(tx, "ROLLBACK TO undone")
        _command(tx, "RELEASE undone")


def _command(tx: Tx, sql: str) -> None:
    if isinstance(tx, SqliteTx):
        tx._connection.execute(sql)
        return
    session = session_of(tx)
    if session.statements.under_way:
        session.statements.settle()
    session.simple(sql)


def connection_of(tx: Tx) -> sqlite3.Connection:
    """Return the connection of a transaction on a file, to see what is done on it."""
    assert isinstance(tx, SqliteTx)
    return tx._connection


def session_of(tx: Tx) -> Session:
    """Return the connection of a transaction on a server."""
    assert isinstance(tx, PostgresTx)
    return tx._session


# Connections that no test has now, each to a database of its own, with many statements prepared.
_sessions: list[Session] = []


def _new_session() -> Session:
    postgres.skip_if_missing()
    server = postgres.cluster()
    assert server
    return connect(server.url(server.create(server.schema)))


# What is undone has used up ids all the same.
_FIRST_IDS = """
SELECT setval(seqrelid::regclass, 1, false) FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL
"""
