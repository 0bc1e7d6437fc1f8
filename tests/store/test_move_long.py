"""The longest that mail can bring is moved to a database whose indexes take 2,700 bytes."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailforum.errors import UsageError
from mailforum.mail import address, failure, msgid, subject, thread_index
from mailforum.store import journal, migrate, schema
from mailforum.store.database import Tx
from mailforum.store.move import between
from mailforum.store.opening import open_database
from tests.store.test_move import ignore, sums
from tests.support.postgres import database_url

LETTERS = [chr(code) for code in range(0x20000, 0x2A6D0)]  # four bytes each, and no two alike to be compressed
SUBJECTS = 3


def text(length: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices(LETTERS, k=length))


def title(number: int) -> str:
    """A subject of 1,000 characters; the second grows when compatible characters are made equal."""
    return [text(1000, 1), "\ufdfa" * 1000, f"{text(450, 2)} (was: {text(520, 3)})"][number]


def as_before(title: str) -> tuple[str, str]:
    """What was kept of a subject before it was cut."""
    whole = " ".join(unicodedata.normalize("NFKC", title).split())
    head, was, rest = whole.partition(" (was: ")
    return head, rest.rstrip(")") if was else ""


def longest(connection: sqlite3.Connection) -> None:
    """Fill a database with the longest that each text in an index can be."""
    index = "01" + random.Random(4).randbytes(thread_index.ROOT - 1 + thread_index.STEP * thread_index.MOST_READ).hex()
    list_id, word = 1, address.MAX_ADDRESS * 2
    connection.execute(
        "INSERT INTO list (id, address, title, settings, digested_at, created_at) VALUES (1, 'pmo@x', '', '{}', 1, 1)"
    )
    connection.execute("INSERT INTO thread (id, list_id, number, subject, created_at) VALUES (1, 1, 1, 'x', 1)")
    for number in range(SUBJECTS):
        connection.execute(
            "INSERT INTO post (list_id, thread_id, label, message_id, from_address, from_name, subject, date, "
            "received_at, size, fingerprint, imported, base, was, lonely, thread_index) "
            "VALUES (1, 1, ?, '', '', '', ?, ?, 1, 1, x'', FALSE, ?, ?, TRUE, ?)",
            (f"1.{number}", title(number), number, *as_before(title(number)), index),
        )
    names = [f"<{text(msgid.MAX_ID - 2, 5)}>", f"ti:{index}"]
    connection.executemany("INSERT INTO message_id (list_id, msgid, post_id) VALUES (1, ?, 1)", [(n,) for n in names])
    connection.execute("INSERT INTO seen VALUES (?, x'', 1)", (text(word, 6),))
    connection.execute("INSERT INTO answer VALUES (1, 1, ?, 1)", (text(word + 20, 7),))
    told = (text(12, 8), 1.0, text(journal.LONGEST, 9), text(journal.LONGEST, 10))
    connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, '', 1, '', '', '', 1, NULL)", told)
    cause = text(failure.MAX_CAUSE, 11)
    bounce = (list_id, text(word, 12), "", "", "", 1.0, text(word, 13), cause)
    columns = "list_id, address, action, enhanced, diagnostic, at, domain, cause"
    connection.execute(f"INSERT INTO bounce ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", bounce)
    connection.execute("INSERT INTO storm VALUES (1, ?, ?, 1, 1, '', 0)", (text(255, 14), cause))
    member = (text(word, 15), text(word, 16))
    connection.execute(
        "INSERT INTO member (list_id, address, key, name, role, mode, status, own_posts, joined_at) "
        "VALUES (1, ?, ?, '', 'owner', 'mail', 'active', TRUE, 1)",
        member,
    )


@pytest.fixture
def old(tmp_path: Path) -> str:
    """A database of the time before subjects were cut."""
    path = tmp_path / "old.db"
    migrate.migrate(path, known=schema.steps()[:12])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        longest(connection)
        connection.commit()
    return f"sqlite:{path}"


@pytest.fixture
def server() -> Iterator[str]:
    with database_url() as url:
        yield url


def found(tx: Tx) -> list[tuple[int, ...]]:
    """Return the posts that answers to each subject find before themselves."""
    topics = [subject.topic(f"Re: {title(number)}") for number in range(SUBJECTS)]
    args = {"list_id": 1, "since": 0.0, "until": 99.0, "most": 9}
    rows = [tx.all("subject.before", base=topic.base, **args) for topic in topics]
    was = [tx.all("subject.seekers", base=topics[2].was, first=99.0, last=99.0, **args)]
    return [tuple(row["id"] for row in some) for some in rows + was]


async def found_in(url: str) -> list[tuple[int, ...]]:
    database = await open_database(url)
    try:
        return await database.read(found)
    finally:
        await database.close()


async def test_the_longest_that_mail_has_ever_brought_is_moved_and_comes_back(
    old: str, server: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="older mailforum"):
        between.copy(old, server, ignore)
    there = await found_in(old)
    assert there == [(1,), (2,), (3,), (3,)]
    back = f"sqlite:{tmp_path / 'back.db'}"
    moved = between.copy(old, server, ignore)
    assert sums(moved) == sums(between.copy(server, back, ignore))
    assert moved.changed == ()
    between.reopen(server)
    assert await found_in(server) == await found_in(back) == there


def test_a_nul_in_a_subject_does_not_hide_how_long_it_is(old: str, tmp_path: Path, server: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("UPDATE post SET base = 'a' || char(0) || base, was = 'b' || char(0) || was")
        connection.commit()
    migrate.migrate(tmp_path / "old.db")
    assert between.copy(old, server, ignore).faults() == []


def test_what_was_cut_by_postgresql_itself_is_what_sqlite_has_cut(server: str) -> None:
    from mailforum.store.postgres.session import connect

    long = "\u00e9 " * 400
    with contextlib.closing(connect(server)) as session:
        run = session.connection.execute
        run("INSERT INTO list (address, title, settings, digested_at, created_at) VALUES ('pmo@x', '', '{}', 1, 1)")
        run("INSERT INTO thread (list_id, number, subject, created_at) VALUES (1, 1, 'x', 1)")
        run(
            "INSERT INTO post (list_id, thread_id, label, message_id, from_address, from_name, subject, date, "
            "received_at, size, fingerprint, imported, base, was) "
            "VALUES (1, 1, '1.1', '', '', '', '', 1, 1, 1, '', FALSE, %s, %s)",
            [long, long],
        )
        run(next(step for step in schema.steps("postgres") if step.number == 13).sql.encode())
        assert run("SELECT base, was FROM post").fetchone() == (subject.topic(long).base,) * 2
