"""Every statement is one that both databases understand."""

import base64
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import pq

from mailforum.forum.newcomer import Newcomer
from mailforum.mail import msgid, subject, thread_index
from mailforum.settings import ListSettings
from mailforum.store import journal, lists, sqlite
from mailforum.store.connection import connect
from mailforum.store.journal import Entry
from mailforum.store.migrate import migrate
from mailforum.store.postgres import dialect
from tests.support.postgres import database_url
from tests.support.stores import STORES, transaction
from tests.support.threading import keep

# How the driver sends a value (store/postgres), for each type that the server takes a parameter for.
SENT = {16: 16, 17: 17, 20: 20, 23: 20, 701: 701, 25: 0, 114: 0, 3615: 0}
PARAMETER = re.compile(r"%%|%\((\w+)\)s")


@pytest.fixture
def server() -> Iterator[pq.abc.PGconn]:
    with database_url() as url, closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection.pgconn


def test_postgresql_prepares_every_statement_with_values_of_the_types_that_it_is_sent(server: pq.abc.PGconn) -> None:
    faults = {name: fault for name, text in dialect.queries().items() if (fault := _fault(server, text))}
    assert faults == {}


def _fault(server: pq.abc.PGconn, text: str) -> str:
    """Return what the server says against a statement, if anything."""
    names: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        return f"${names.setdefault(found[1], len(names) + 1)}" if found[1] else "%"

    statement = PARAMETER.sub(numbered, text).encode()
    result = server.prepare(b"", statement)  # as if each value were None
    if result.status == pq.ExecStatus.COMMAND_OK:
        described = server.describe_prepared(b"")
        types = [described.param_type(number) for number in range(described.nparams)]
        result = server.prepare(b"", statement, [SENT[each] for each in types])
    return result.error_message.decode() if result.status != pq.ExecStatus.COMMAND_OK else ""


@pytest.mark.parametrize("kind", STORES)
def test_the_longest_names_that_mails_may_bring_fit_into_the_indexes(kind: str, tmp_path: Path) -> None:
    """An entry of PostgreSQL's takes 2,704 bytes. What has four bytes and no order cannot be made shorter by it."""
    letters = [chr(letter) for letter in range(0x20000, 0x2A000)]
    random.Random(1).shuffle(letters)
    longest = "".join(letters)
    root, guid = random.Random(2), b"\x01" + bytes(range(thread_index.ROOT - 1))
    index = base64.b64encode(guid + root.randbytes(thread_index.STEP * thread_index.MOST_READ)).decode()
    newcomer = Newcomer(
        0,
        longest[: msgid.MAX_ID],
        "subject",
        1.0,
        index=thread_index.read(index),
        base=subject.topic(longest).base,
        was=subject.topic(longest).base,
        lonely=True,
    )
    assert len(newcomer.base) == subject.MAX_BASE and len(newcomer.index) > 2000
    event = Entry(longest[:26], 1.0, longest, longest[1:])
    with transaction(kind, tmp_path) as tx:
        list_id = lists.add(tx, "pmo@lists.example.test", "PMO", ListSettings(), 1.0)
        post_id = keep(tx, list_id or 0, newcomer)
        journal.add(tx, event)
        assert tx.one("post.own_index", id=post_id) and journal.of_mail(tx, event.mail)


def test_sqlite_compiles_every_statement(tmp_path: Path) -> None:
    migrate(tmp_path / "test.db")
    with closing(connect(tmp_path / "test.db")) as connection:
        for name, text in sqlite.queries().items():
            if not text.startswith("PRAGMA"):
                values = dict.fromkeys(re.findall(r":(\w+)", text))
                try:
                    connection.execute(f"EXPLAIN {text}", values)
                except sqlite3.Error as error:
                    pytest.fail(f"{name}: {error}")
