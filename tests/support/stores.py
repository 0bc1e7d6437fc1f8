"""Both databases, each new and empty: what must be true of one must be true of the other.

def test_something(store: str) -> None:         # tests/conftest.py: once with each
    database = await open_database(store)

with transaction("postgres", tmp_path) as tx:   # without the event loop; what is done is undone
    ...
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mailforum.store.connection import connect as connect_file
from mailforum.store.database import Tx
from mailforum.store.migrate import migrate
from mailforum.store.postgres import dialect
from mailforum.store.postgres.session import Session, connect
from mailforum.store.postgres.tx import PostgresTx
from mailforum.store.sqlite import SqliteTx, queries
from tests.support import postgres

STORES = ("sqlite", "postgres")


@contextmanager
def new_store(kind: str, folder: Path) -> Iterator[str]:
    """Have a new database, as `open_database` finds it."""
    if kind == "sqlite":
        yield f"sqlite:{folder / 'test.db'}"
    else:
        with postgres.database_url() as url:
            yield url


@contextmanager
def transaction(kind: str, folder: Path) -> Iterator[Tx]:
    """Have a transaction on a new database; it is never committed."""
    if kind == "sqlite":
        migrate(folder / "test.db")
        with closing(connect_file(folder / "test.db")) as connection:
            connection.execute("BEGIN")
            yield SqliteTx(connection, queries())
    else:
        postgres.skip_if_missing()
        session = _session()
        session.begin(())
        try:
            yield PostgresTx(session, dialect.queries())
        finally:
            session.rollback()
            session.simple(_FIRST_IDS)


@contextmanager
def undone(tx: Tx) -> Iterator[None]:
    """Undo at the end what is done in between."""
    run = tx._connection.execute if isinstance(tx, SqliteTx) else session_of(tx).simple
    run("SAVEPOINT undone")
    try:
        yield
    finally:
        run("ROLLBACK TO undone")


def connection_of(tx: Tx) -> sqlite3.Connection:
    """Return the connection of a transaction on a file, to see what is done on it."""
    assert isinstance(tx, SqliteTx)
    return tx._connection


def session_of(tx: Tx) -> Session:
    """Return the connection of a transaction on a server."""
    assert isinstance(tx, PostgresTx)
    return tx._session


@functools.cache
def _session() -> Session:
    """A connection for all tests of this process: it has all statements prepared after the first few."""
    server = postgres.cluster()
    assert server
    return connect(server.url(server.create(server.schema)))


# What is undone has used up ids all the same.
_FIRST_IDS = """
SELECT setval(seqrelid::regclass, 1, false) FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL
"""
