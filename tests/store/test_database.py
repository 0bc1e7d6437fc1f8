"""What every database promises (the contract in store/database.py)."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator

import pytest

from mailforum.errors import ConfigError, Deferred
from mailforum.settings import ListSettings
from mailforum.store import intake, lists
from mailforum.store.database import Database, Tx
from mailforum.store.opening import is_server, open_database
from mailforum.store.postgres.session import connect
from mailforum.store.schema import steps
from tests.support.stores import by_hand


@pytest.fixture
async def db(store: str) -> AsyncIterator[Database]:
    database = await open_database(store)
    yield database
    await database.close()


def see(name: bytes):  # type: ignore[no-untyped-def]
    return lambda tx: intake.see(tx, "pmo", name, 1.0)


async def count(db: Database) -> int:
    def all_seen(tx: Tx) -> int:
        row = tx.one("intake.seen_count")
        assert row is not None
        return int(row["n"])

    return await db.read(all_seen)


async def test_what_write_returns_is_committed(db: Database) -> None:
    assert await db.write(see(b"a"))
    assert await count(db) == 1
    assert not await db.write(see(b"a"))


async def test_a_unit_that_fails_leaves_nothing_and_takes_no_other_with_it(db: Database) -> None:
    def bad(tx: Tx) -> None:
        intake.see(tx, "pmo", b"bad", 1.0)
        raise KeyError("mine")

    units = [see(b"%d" % n) for n in range(20)]
    results = await asyncio.gather(
        *[db.write(u) for u in units[:10]], db.write(bad), *[db.write(u) for u in units[10:]], return_exceptions=True
    )
    assert [r for r in results if isinstance(r, KeyError)] == [results[10]]
    assert await count(db) == 20


async def test_a_caller_that_is_cancelled_does_not_stop_its_unit(db: Database) -> None:
    task = asyncio.create_task(db.write(see(b"a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await db.write(see(b"b"))
    assert await count(db) == 2


async def test_units_that_wait_together_share_commits(db: Database) -> None:
    commits = 0

    def committed() -> None:
        nonlocal commits
        commits += 1

    db.on_commit(committed)
    await asyncio.gather(*[db.write(see(b"%d" % n)) for n in range(50)])
    assert commits < 10
    assert await count(db) == 50


async def test_a_mistake_of_ours_is_no_passing_trouble(db: Database) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        await db.write(lambda tx: tx.run("intake.see", rcpt="pmo"))
    assert not isinstance(caught.value, Deferred)
    assert await db.write(see(b"a"))


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(Deferred):
        await db.read(see(b"a"))
    assert await count(db) == 0


async def test_a_peek_sees_what_another_process_has_just_committed(store: str, db: Database) -> None:
    assert await db.peek(lambda tx: lists.by_address(tx, "pmo@example.org")) is None
    other = await open_database(store)
    await other.write(lambda tx: lists.add(tx, "pmo@example.org", "", ListSettings(), 0.0))
    await other.close()
    assert await db.peek(lambda tx: lists.by_address(tx, "pmo@example.org"))


async def test_a_peek_cannot_write(db: Database) -> None:
    with pytest.raises(Deferred):
        await db.peek(see(b"a"))


async def test_what_waits_is_finished_before_closing(store: str) -> None:
    database = await open_database(store)
    tasks = [asyncio.create_task(database.write(see(b"%d" % n))) for n in range(5)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*tasks) == [True] * 5
    with pytest.raises(Deferred) as caught:
        await database.write(see(b"late"))
    assert caught.value.code == 421


@contextlib.contextmanager
def another_writes(store: str) -> Iterator[None]:
    """Another process has begun to write and does not come to an end."""
    if is_server(store):
        with contextlib.closing(connect(store)) as session:
            session.begin(None)
            yield
    else:
        with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:"), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield


async def test_a_locked_database_defers_and_does_not_block_the_event_loop(store: str) -> None:
    database = await open_database(store, patience=0.3)
    with another_writes(store):
        ticks = 0
        task = asyncio.create_task(database.write(see(b"a")))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(Deferred) as caught:
            await task
        assert (caught.value.code, ticks > 5) == (451, True)
    assert await database.write(see(b"a"))
    await database.close()


async def test_a_newer_database_is_refused_with_a_clear_line(store: str) -> None:
    await (await open_database(store)).close()
    newer = steps()[-1].number + 1
    taken = f"INSERT INTO migration (number, name, at, runs_with) VALUES ({newer}, '', 1, {newer})"
    by_hand(store, taken if is_server(store) else f"{taken}; PRAGMA user_version = {newer}")
    with pytest.raises(ConfigError, match="newer mailforum"):
        await open_database(store)


@pytest.mark.parametrize(("said", "kept"), [("A\udcffnn\ud800", "A\ufffdnn\ufffd"), ("A\0nn", "A[\0\ufffd]nn")])
async def test_a_text_that_no_encoding_has_is_kept_as_far_as_it_goes(db: Database, said: str, kept: str) -> None:
    def unit(tx: Tx) -> str | None:
        request = intake.ask(tx, 1, "join", "ann@example.org", name=said, mode="", now=0.0, expires_at=1.0)
        found = intake.request(tx, request)
        return found and found.name

    await db.write(lambda tx: lists.add(tx, "pmo@example.org", "", ListSettings(), 0.0))
    assert re.fullmatch(kept, await db.write(unit) or "")
