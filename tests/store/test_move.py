"""A database is moved to another, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mailforum.errors import ConfigError, Deferred, UsageError
from mailforum.store import fence, hosts, intake
from mailforum.store.database import Tx
from mailforum.store.lock import alone
from mailforum.store.move import between, rows, tables
from mailforum.store.move.moving import Moved
from mailforum.store.move.rows import Sum
from mailforum.store.opening import file_of, is_server, open_database
from mailforum.store.postgres.session import connect
from mailforum.store.schema import step, steps
from tests.support.postgres import database_url

SITE = """
INSERT INTO list (id, address, title, settings, last_thread, digested_at, created_at)
VALUES (3, 'pmo@x', 'Ü', '{"prefix": "é"}', 2, 1.5, 0.1);
INSERT INTO thread (id, list_id, number, subject, merged_into, created_at)
VALUES (1, 3, 1, 'one', 2, 1e9), (2, 3, 2, 'two', NULL, 1.7e9);
INSERT INTO post (id, list_id, thread_id, label, parent_id, message_id, from_address, from_name, subject, date,
                  received_at, size, fingerprint, imported, lonely, put_under)
VALUES (7, 3, 1, '1.1', 9, '<1@x>', 'a@x', 'Ada', 'x', 1, 2, 3, x'00ff', FALSE, TRUE, 9),
       (9, 3, 2, '2.1', NULL, '<2@x>', 'b@x', '', '', 1, 2, 3, x'', TRUE, FALSE, NULL);
INSERT INTO body (post_id, raw) VALUES (7, x'0d0a00ff'), (9, x'');
INSERT INTO member (id, list_id, address, key, name, role, mode, status, own_posts, joined_at)
SELECT value, 3, 'm' || value, 'm' || value, 'Ünal', 'member', 'mail', 'active', value % 2, value / 3.0
FROM json_each('[1, 2, 3, 4, 5, 6, 7]');
INSERT INTO seen (rcpt, digest, at) VALUES ('pmo', x'02', 1), ('pmo', x'01', 1), ('Pmo', x'03', 1), ('é', x'', 1);
INSERT INTO answer (day, list_id, key, sent) VALUES (10, 3, 'b', 1), (9, 3, 'a', 2), (10, 3, 'a', 3);
INSERT INTO event (mail, at, rcpt, what, text, code, message_id, mail_from, peer, size)
VALUES ('a', 0.1, 'r', 'w', '', 250, '', '', '', 1), ('a', 0.30000000000000004, 'r', 'w', '', 250, '', '', '', 1);
INSERT INTO mailing (id, list_id, kind, ref_id, template, data, reply_to, mail_from, created_at)
VALUES (1, 3, 'post', 7, '', '{}', '', '', 1);
INSERT INTO delivery (id, mailing_id, member_id, rcpt, state, created_at, due_at)
VALUES (5, 1, 1, 'm1', 'queued', 1, 1);
INSERT INTO in_flight (lane, deliveries) VALUES (2, '[5]');
INSERT INTO indexed (post_id, entry) VALUES (7, 12), (9, NULL);
UPDATE indexed_by SET rules = '1';
UPDATE upkeep SET bodies_to = 4;
UPDATE sqlite_sequence SET seq = 50 WHERE name = 'post';
UPDATE fence SET served = 6;
"""
HOST = """
INSERT INTO host (name, roles, version, keys, started_at, seen_at)
SELECT 'mx2', '', '', '', now, now FROM (SELECT extract(epoch FROM clock_timestamp()) AS now) AS clock
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
LARGEST = {"post": 50, "list": 3, "member": 7, "delivery": 5, "audit": 0}


async def make(path: Path) -> str:
    """Make a database with something in each kind of column."""
    await (await open_database(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SITE)
    return f"sqlite:{path}"


@pytest.fixture
async def site(tmp_path: Path) -> str:
    return await make(tmp_path / "site.db")


@pytest.fixture
def server() -> Iterator[str]:
    with database_url() as url:
        yield url


def ignore(done: int, of: int) -> None:
    pass


def sums(moved: Moved) -> dict[str, Sum]:
    assert moved.faults() == []
    return {each.table: each.there for each in moved.arrived}


async def asked(url: str, sql: str) -> object:
    """Return the one value that a query gives."""
    if is_server(url):
        with contextlib.closing(connect(url)) as session:
            return session.connection.execute(sql).fetchone()[0]  # type: ignore[index]
    with contextlib.closing(sqlite3.connect(file_of(url))) as connection:
        return connection.execute(sql).fetchone()[0]


@pytest.fixture(scope="module")
def fresh() -> Iterator[str]:
    """A PostgreSQL that has our tables, and nothing in them."""
    with database_url() as url:
        yield url


def test_every_table_of_postgresql_is_moved_or_of_one_database_alone(fresh: str) -> None:
    with contextlib.closing(connect(fresh)) as session:
        found = session.connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    moved = {table.name for table in tables.tables(steps())}
    there = {name for (name,) in found}
    assert moved <= there
    assert there - moved <= tables.LEFT | {"host", "breaker", "rate"}


def around(url: str) -> list[tuple[str, ...]]:
    """Return all indexes and constraints of a PostgreSQL."""
    query = """
    SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY 1
    """
    with contextlib.closing(connect(url)) as session:
        return session.connection.execute(query).fetchall()


async def test_all_of_it_arrives_and_comes_back_the_same(site: str, server: str, fresh: str, tmp_path: Path) -> None:
    moved = between.copy(site, server, ignore)
    there = sums(moved)
    assert there["post"].rows == 2 and there["event"].rows == 2 and there["seen"].rows == 4
    assert moved.uncertain == (5,)
    assert around(server) == around(fresh)
    assert await asked(server, "SELECT count(*) FROM pg_class WHERE relname IN ('copying', 'copied', 'changed')") == 0
    back = f"sqlite:{tmp_path / 'back.db'}"
    with database_url(empty=True) as other:
        assert sums(between.copy(server, other, ignore)) == there
        assert around(other) == around(fresh)
        assert sums(between.copy(other, back, ignore)) == there
    assert sums(between.copy(back, f"sqlite:{tmp_path / 'third.db'}", ignore)) == there
    with contextlib.closing(sqlite3.connect(tmp_path / "third.db")) as one:
        assert one.execute("SELECT count(*) FROM indexed WHERE entry IS NULL").fetchone() == (2,)
        assert one.execute("SELECT rules FROM indexed_by").fetchone() == ("",)
        names = "SELECT group_concat(sql, '; ') FROM (SELECT sql FROM sqlite_master ORDER BY name)"
        with contextlib.closing(sqlite3.connect(file_of(site))) as other:
            other.executescript("".join(f"DROP TRIGGER {name};" for (name,) in other.execute(_TRIGGERS).fetchall()))
            assert one.execute(names).fetchone() == other.execute(names).fetchone()
        (served,) = one.execute("SELECT served FROM fence").fetchone()
        assert fence.Marker.of(tmp_path / "third.db").read() == served > 6


_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"


async def test_an_id_that_was_given_never_comes_back(site: str, server: str, tmp_path: Path) -> None:
    given = [between.copy(site, server, ignore), between.copy(server, f"sqlite:{tmp_path / 'back.db'}", ignore)]
    assert all(not moved.faults() for moved in given)
    with contextlib.closing(sqlite3.connect(tmp_path / "back.db")) as connection:
        kept = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        assert {name: kept[name] for name in LARGEST} == LARGEST
    between.reopen(server)
    with contextlib.closing(connect(server)) as session:
        for name, largest in LARGEST.items():
            query = f"SELECT nextval(pg_get_serial_sequence('{name}', 'id'))"
            assert session.connection.execute(query).fetchone() == (largest + 1,)


class Killed(Exception):
    pass


def killed_at(moment: int) -> Callable[[int, int], None]:
    """Return a step that ends it all the `moment`-th time."""
    left = [moment]

    def step(done: int, of: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    return step


@pytest.mark.parametrize("way", ["to", "from"])
async def test_killed_after_each_step_it_goes_on_where_it_was(
    site: str, server: str, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS", 3)
    source, target = (site, server) if way == "to" else (server, f"sqlite:{tmp_path / 'back.db'}")
    expected = sums(between.copy(site, server if way == "from" else f"sqlite:{tmp_path / 'whole.db'}", ignore))
    between.reopen(site)
    killed = 0
    while True:
        try:
            moved = between.copy(source, target, killed_at(1 + 2 * (killed % 4)))
            break
        except Killed:
            killed += 1
            with pytest.raises(UsageError, match="give `mailforum store copy` once more"):
                between.reopen(target)
    assert killed > 8
    assert sums(moved) == expected
    with pytest.raises(UsageError, match=r"is whole: .* was moved there"):
        between.copy(source, target, ignore)


_KILL = """
import os, sys
from mailforum.store.move import between, file
from mailforum.store.postgres import end as server
for end in (file.FileEnd, server.ServerEnd):
    def insert(self, table, rows, real=end.insert):
        real(self, table, rows)
        if table.name == sys.argv[3]:
            os.kill(os.getpid(), 9)
    end.insert = insert
between.copy(sys.argv[1], sys.argv[2], lambda done, of: None)
"""


async def test_a_kill_in_a_transaction_costs_nothing_but_that(site: str, server: str) -> None:
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", _KILL, site, server, "post"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "is not whole" in str(await closed_of(server))
    assert sums(between.copy(site, server, ignore))["post"].rows == 2


async def closed_of(url: str) -> str | None:
    database = await open_database(url)
    try:
        return await database.read(fence.closed)
    finally:
        await database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_database_that_has_moved_takes_nothing_in_from_anybody(
    site: str, server: str, tmp_path: Path, kind: str
) -> None:
    if kind == "postgres":
        between.copy(site, server, ignore)
        site, target = server, f"sqlite:{tmp_path / 'back.db'}"
    else:
        target = server

    def see(tx: Tx) -> bool:
        return intake.see(tx, "pmo", b"late", 1.0)

    database = await open_database(site)  # an import, say, which is at it already
    try:
        between.copy(site, target, ignore)
        with pytest.raises((sqlite3.IntegrityError, Deferred)) as caught:
            await database.write(see)
        assert "it was moved to" in (caught.value.reason if isinstance(caught.value, Deferred) else str(caught.value))
        assert await closed_of(site)
        assert between.reopen(site)
        assert not between.reopen(site)
        assert await database.write(see)
    finally:
        await database.close()


async def test_what_is_in_the_target_is_not_touched(site: str, tmp_path: Path) -> None:
    target = f"sqlite:{tmp_path / 'target.db'}"
    other = await make(tmp_path / "other.db")
    with contextlib.closing(sqlite3.connect(file_of(other))) as connection:
        connection.executescript("UPDATE delivery SET id = 6")
    with pytest.raises(Killed):
        between.copy(site, target, killed_at(4))
    with pytest.raises(UsageError, match="the beginning of a copy of something else"):
        between.copy(other, target, ignore)
    assert await closed_of(other) is None, "it is served as before"
    full = await make(tmp_path / "full.db")
    with pytest.raises(UsageError, match="is not empty"):
        between.copy(other, full, ignore)
    with pytest.raises(UsageError, match="one and the same"):
        between.copy(site, site, ignore)
    with pytest.raises(UsageError, match="was moved to"):
        between.copy(site, f"sqlite:{tmp_path / 'new.db'}", ignore)


async def test_a_source_that_was_opened_again_meanwhile_is_another(site: str, tmp_path: Path) -> None:
    target = f"sqlite:{tmp_path / 'new.db'}"
    with pytest.raises(Killed):
        between.copy(site, target, killed_at(4))
    between.reopen(site)
    with pytest.raises(UsageError, match="the beginning of a copy of something else"):
        between.copy(site, target, ignore)


async def test_a_server_that_has_crashed_is_the_same_source(site: str, server: str, tmp_path: Path) -> None:
    between.copy(site, server, ignore)
    back = f"sqlite:{tmp_path / 'back.db'}"
    with pytest.raises(Killed):
        between.copy(server, back, killed_at(4))
    with contextlib.closing(connect(server)) as session:  # it goes on behind ids that it has only reserved
        session.simple("SELECT setval('post_id_seq', 99)")
    assert between.copy(server, back, ignore).faults() == []


async def test_a_site_that_is_served_is_not_moved_but_may_be_rehearsed(site: str, server: str, tmp_path: Path) -> None:
    with alone(file_of(site)):
        with pytest.raises(ConfigError, match="already being served"):
            between.copy(site, server, ignore)
        assert between.copy(site, server, ignore, rehearsed_at=5.0).faults() == []
    assert await closed_of(site) is None and await closed_of(server) is None
    assert await asked(server, "SELECT copied_at FROM fence") == 5.0
    with contextlib.closing(connect(server)) as session:
        session.simple(HOST)
        session.simple("UPDATE fence SET copied_at = NULL")
    with pytest.raises(UsageError, match="being served by mx2"):
        between.copy(server, f"sqlite:{tmp_path / 'back.db'}", ignore)
    with pytest.raises(UsageError, match="being served by mx2"):
        between.copy(site, server, ignore)
    assert await closed_of(server) is None


async def test_a_host_that_comes_at_that_moment_is_seen_or_told(site: str, server: str, tmp_path: Path) -> None:
    between.copy(site, server, ignore)
    database = await open_database(server)
    moving: list[asyncio.Task[Moved]] = []
    back = tmp_path / "back.db"

    def come(tx: Tx) -> int:
        number = hosts.register(tx, "mx2", (), "", "")
        loop.call_soon_threadsafe(lambda: moving.append(loop.create_task(asyncio.to_thread(copy))))
        with contextlib.closing(connect(server)) as session:  # until it has to wait for us
            while not int(session.simple(WAITING).get_value(0, 0) or b"0"):
                pass
        return number

    def copy() -> Moved:
        return between.copy(server, back, ignore)

    loop = asyncio.get_running_loop()
    try:
        number = await database.write(come, ())
        with pytest.raises(UsageError, match="being served by mx2"):
            await moving[0]
        assert await database.read(fence.closed) is None
        await database.write(lambda tx: tx.run("host.renew", id=number, now=1.0), ())  # stopped, and thought dead
        assert copy().faults() == []
        assert await database.write(lambda tx: hosts.standing(tx, [number]), ()) == set(), "it sends nothing more"
        with pytest.raises(ConfigError, match="it was moved to"):
            await database.write(lambda tx: hosts.register(tx, "mx2", (), "", ""), ())
    finally:
        await database.close()


async def test_a_text_that_postgresql_cannot_hold_is_named(site: str, server: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(file_of(site))) as connection:
        connection.execute("UPDATE post SET subject = ? WHERE id = 9", ("a\0b",))
        connection.commit()
    exact = between.copy(site, f"sqlite:{tmp_path / 'new.db'}", ignore)
    assert exact.changed == () and exact.faults() == []
    between.reopen(site)
    moved = between.copy(site, server, ignore)
    assert moved.changed == ("post 9",) and moved.faults() == []
    assert await asked(server, "SELECT subject FROM post WHERE id = 9") == "a\ufffdb"


async def test_a_server_that_could_not_be_served_from_is_moved_to_by_nobody(site: str, server: str) -> None:
    with contextlib.closing(connect(server)) as session:
        session.simple("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            with pytest.raises(ConfigError, match="the database is in LATIN1"):
                between.copy(site, server.replace(f"/{session.connection.info.dbname}?", "/latin?"), ignore)
        finally:
            session.simple("DROP DATABASE latin")
    assert await closed_of(site) is None


async def test_a_key_with_a_nul_loses_none_of_those_behind_it(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS", 1)
    await (await open_database(tmp_path / "few.db")).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "few.db")) as connection:
        keys = [("b\0",), ("bc",), ("c",)]
        connection.executemany("INSERT INTO seen (rcpt, digest, at) VALUES (?, x'', 1)", keys)
        connection.commit()
    for _ in range(5):
        with pytest.raises(Killed):
            between.copy(tmp_path / "few.db", server, killed_at(1))  # after one portion more
    assert sums(between.copy(tmp_path / "few.db", server, ignore))["seen"].rows == len(keys)


async def test_what_refers_to_nothing_is_mended_before(site: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(file_of(site))) as connection:
        connection.execute("DELETE FROM thread WHERE id = 1")
        connection.commit()
    with pytest.raises(UsageError, match=r"rows of post refer to rows of thread .* check --repair"):
        between.copy(site, tmp_path / "new.db", ignore)


async def test_a_row_that_went_wrong_on_the_way_is_found(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mailforum.store.move.file import FileEnd

    real = FileEnd.insert

    def insert(self: FileEnd, table: tables.Table, some: list[rows.Row]) -> None:
        real(self, table, [(*row[:-1], row[-1] + 1) if table.name == "upkeep" else row for row in some])

    monkeypatch.setattr(FileEnd, "insert", insert)
    assert between.copy(site, tmp_path / "new.db", ignore).faults() == ["upkeep is not what was read"]
    assert await closed_of(f"sqlite:{tmp_path / 'new.db'}")


async def test_a_row_that_was_left_out_is_missed(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailforum.store.move.file import FileEnd

    real = FileEnd.rows

    def some(self: FileEnd, table: tables.Table, after: Sequence[object] | None = None) -> Iterator[rows.Row]:
        return (row for row in real(self, table, after) if table.name != "member" or row[0] != 3)

    monkeypatch.setattr(FileEnd, "rows", some)
    assert between.copy(site, tmp_path / "new.db", ignore).faults() == ["not all of member was read"]


async def test_a_disk_that_is_full_at_the_last_moment_is_told_as_such(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: fence.Marker, served: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(fence.Marker, "write", full)
        with pytest.raises(Deferred) as caught:
            between.copy(site, tmp_path / "new.db", ignore)
    assert caught.value.reason == "database: the disk is full ([Errno 28] No space left on device)"
    assert between.copy(site, tmp_path / "new.db", ignore).faults() == []


def test_portions_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    large = [(number, b"x" * (rows.BYTES // 3)) for number in range(7)]
    assert [len(batch.rows) for batch in rows.batches(iter(large))] == [3, 3, 1]
    assert rows.summed(large) == Sum().plus([form for batch in rows.batches(iter(large)) for form in batch.forms])


async def test_a_target_that_is_of_a_newer_program_is_not_taken(site: str, tmp_path: Path) -> None:
    newer = step(f"{steps()[-1].number + 1:04}_later.sql", "CREATE TABLE extra (id INTEGER);")
    await (await open_database(tmp_path / "new.db", known=(*steps(), newer))).close()
    with pytest.raises(UsageError, match="is ahead of"):
        between.copy(site, tmp_path / "new.db", ignore)
    assert await closed_of(site) is None
