"""What is too old goes, in small steps; what is still needed stays; the file does not grow for ever."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mailforum.options import Store
from mailforum.store import intake, upkeep
from mailforum.store.connection import connect
from mailforum.store.migrate import migrate
from mailforum.store.sqlite import SqliteTx, queries
from mailforum.units import Duration

DAY = 86400.0
KEEP = Store(keep_sent=Duration(14 * DAY), keep_held=Duration(30 * DAY), keep_bounces=Duration(90 * DAY))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    migrate(tmp_path / "test.db")
    with contextlib.closing(connect(tmp_path / "test.db")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        yield connection


def clear(connection: sqlite3.Connection, now: float, keep: Store = KEEP) -> dict[str, int]:
    """Do all that is to be done, as the server does; return how many rows of each kind went."""
    tx = SqliteTx(connection, queries())
    gone = {}
    for name, step, _ in upkeep.steps(keep, 14 * DAY, now):
        at, rows = upkeep.BEGIN, 0
        while at is not None:
            before = connection.total_changes
            at, done = step(at, tx)
            assert connection.total_changes - before <= 2 * upkeep.ROWS, "a step that takes long"
            rows += done
        gone[name] = rows
    return {name: rows for name, rows in gone.items() if rows}


def queue(connection: sqlite3.Connection, count: int, at: float, done_at: float | None) -> int:
    """Queue a mailing to `count` recipients at `at`; return its id."""
    connection.execute("BEGIN")
    row = connection.execute(
        "INSERT INTO mailing (kind, template, data, reply_to, mail_from, created_at)"
        " VALUES ('notice', '', '{}', '', '', ?)",
        (at,),
    )
    connection.executemany(
        "INSERT INTO delivery (mailing_id, rcpt, state, created_at, due_at, done_at) VALUES (?, ?, 'sent', ?, ?, ?)",
        [(row.lastrowid, f"somebody-{n}@example.org", at, at, done_at) for n in range(count)],
    )
    connection.execute("COMMIT")
    return int(row.lastrowid or 0)


def left(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_a_mailing_with_many_finished_deliveries_goes_in_steps(connection: sqlite3.Connection) -> None:
    queue(connection, 20_000, 0, DAY)
    connection.execute("INSERT INTO attempt (delivery_id, at, enhanced, reply) VALUES (7, 1, '', '')")
    assert clear(connection, 15 * DAY - 1) == {}
    assert clear(connection, 15 * DAY + 1) == {"deliveries": 20_000, "mailings": 1}
    assert [left(connection, table) for table in ("delivery", "mailing", "attempt")] == [0, 0, 0]


def test_what_still_waits_among_the_oldest_stays_and_stands_in_nobodys_way(connection: sqlite3.Connection) -> None:
    waits = queue(connection, 3000, 0, None)
    queue(connection, 10, DAY, DAY)
    kept = queue(connection, 10, 20 * DAY, 20 * DAY)
    assert clear(connection, 21 * DAY) == {"deliveries": 10, "mailings": 1}
    assert left(connection, "delivery") == 3010
    assert [row[0] for row in connection.execute("SELECT id FROM mailing")] == [waits, kept]


def test_a_mailing_that_is_not_fanned_out_stays(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE mailing SET fan_last = 5 WHERE id = ?", (queue(connection, 0, 0, None),))
    assert clear(connection, 100 * DAY) == {}


def test_looking_for_what_is_old_stops_at_what_is_new(connection: sqlite3.Connection) -> None:
    queue(connection, 5000, 20 * DAY, 20 * DAY)
    looked: list[str] = []
    connection.set_trace_callback(looked.append)
    assert clear(connection, 21 * DAY) == {}
    assert len([sql for sql in looked if "FROM delivery" in sql]) == 1


def test_each_kind_is_kept_for_as_long_as_is_said(connection: sqlite3.Connection) -> None:
    connection.executescript(
        """
        INSERT INTO list (id, address, title, settings, digested_at, created_at) VALUES (1, 'pmo@x', '', '{}', 1, 1);
        INSERT INTO held (list_id, mail_from, from_address, subject, message_id, reason, under, received_at, raw)
        VALUES (1, '', '', '', '', '', '', 0, ''), (1, '', '', '', '', '', '', 864000, '');
        INSERT INTO shunt (digest, mail_from, rcpts, reason, times, at, raw) VALUES ('a', '', '[]', '', 1, 0, '');
        INSERT INTO bounce (list_id, address, action, enhanced, diagnostic, at) VALUES (1, '', '', '', '', 0);
        INSERT INTO seen (rcpt, digest, at) VALUES ('pmo@x', 'a', 0);
        INSERT INTO answer (day, list_id, key, sent) VALUES (0, 1, 'ada@x', 1), (90, 1, 'ada@x', 1);
        INSERT INTO request (list_id, action, address, name, mode, created_at, expires_at)
        VALUES (1, 'join', '', '', 'each', 0, 1);
        """
    )
    assert clear(connection, 13 * DAY) == {"answers": 1}
    assert clear(connection, 31 * DAY) == {"seen": 1, "requests": 1, "held": 1}
    assert left(connection, "event") == 1, "that a held post was not looked at in time is written down"
    later = clear(connection, 91 * DAY, msgspec.structs.replace(KEEP, keep_held=Duration(0)))
    assert later == {"journal": 1, "bounces": 1}
    for_ever = msgspec.structs.replace(KEEP, keep_held=Duration(0), keep_bounces=Duration(0))
    assert clear(connection, 10_000 * DAY, for_ever) == {"answers": 1}
    assert left(connection, "shunt") == 1, "0 is for ever"
    assert clear(connection, 10_000 * DAY, msgspec.structs.replace(KEEP, keep_shunted=Duration(DAY)))["shunts"] == 1


def test_the_file_stops_growing_when_as_much_goes_as_comes(connection: sqlite3.Connection) -> None:
    sizes = []
    for day in range(60):
        for _ in range(3):
            queue(connection, 300, day * DAY, day * DAY + 60)
        tx = SqliteTx(connection, queries())
        intake.shunt(tx, digest=b"%d" % day, mail_from="", rcpts=(), reason="", raw=bytes(50_000), now=day * DAY)
        clear(connection, day * DAY, msgspec.structs.replace(KEEP, keep_shunted=Duration(14 * DAY)))
        sizes.append(connection.execute("PRAGMA page_count").fetchone()[0])
    assert sizes[-1] <= sizes[20] * 1.05, sizes
