"""What is SQLite's own: its file, its log, its locks, and copies made while it is used."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailforum.errors import Deferred
from mailforum.settings import ListSettings
from mailforum.store import intake, lists
from mailforum.store.database import Database, Tx
from mailforum.store.sqlite import open_sqlite
from tests.store.test_database import count, see
from tests.support.disk import damage


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await open_sqlite(tmp_path / "test.db")
    yield database
    await database.close()


async def test_a_peek_that_would_have_to_wait_does_so_on_a_thread(db: Database) -> None:
    def unit(tx: Tx) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise sqlite3.OperationalError("database is locked")
        return tx.one("list.by_id", id=1) is None

    assert await db.peek(unit)


async def test_a_peek_keeps_nothing_from_being_moved_out_of_the_log(tmp_path: Path, db: Database) -> None:
    await db.write(lambda tx: lists.add(tx, "pmo@example.org", "", ListSettings(), 0.0))
    assert await db.peek(lambda tx: lists.by_address(tx, "pmo@example.org"))
    await db.write(see(b"a"))
    with sqlite3.connect(tmp_path / "test.db", isolation_level=None) as other:
        busy, left, moved = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    other.close()
    assert (busy, left, moved) == (0, 0, 0)


async def test_a_full_disk_is_452_and_mail_flows_again_when_there_is_room(tmp_path: Path) -> None:
    database = await open_sqlite(tmp_path / "test.db")
    fill = b"x" * 200_000

    def limit(pages: int):  # type: ignore[no-untyped-def]
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    await database._writer.work(limit(60))
    with pytest.raises(Deferred) as caught:
        await database.write(see(fill))
    assert (caught.value.code, caught.value.enhanced) == (452, "4.3.1")
    results = await asyncio.gather(database.write(see(b"small")), database.write(see(fill)), return_exceptions=True)
    assert results[0] is True
    assert isinstance(results[1], Deferred)
    await database._writer.work(limit(100000))
    assert await database.write(see(fill))
    await database.close()


async def test_a_backup_is_a_database_to_go_on_with(tmp_path: Path, db: Database) -> None:
    await db.write(see(b"a"))
    steps: list[tuple[int, int]] = []
    assert await db.backup(tmp_path / "copy.db", 1e9, lambda done, of: steps.append((done, of))) == []
    assert steps[-1][0] == steps[-1][1] > 0
    await db.write(see(b"b"))
    copy = await open_sqlite(tmp_path / "copy.db")
    assert await count(copy) == 1
    assert await copy.write(see(b"b"))
    await copy.close()


async def test_a_backup_that_takes_long_keeps_nobody_waiting_and_does_not_start_anew(
    tmp_path: Path, db: Database
) -> None:
    await db.write(lambda tx: [intake.see(tx, "pmo", b"%d" % n * 500, 1.0) for n in range(6000)])
    half, go_on = threading.Event(), threading.Event()
    steps: list[int] = []

    def advance(done: int, of: int) -> None:
        steps.append(done)
        if 0 < done < of and not half.is_set():
            half.set()
            assert go_on.wait(20)

    copying = asyncio.create_task(db.backup(tmp_path / "copy.db", 1e9, advance))
    assert await asyncio.to_thread(half.wait, 20)
    for number in range(50):
        await asyncio.wait_for(db.write(see(b"%d" % number)), 10)
    go_on.set()
    assert await copying == []
    assert steps == sorted(set(steps)), "it has started anew"
    copy = await open_sqlite(tmp_path / "copy.db")
    assert (await count(copy), await count(db)) == (6000, 6050)
    await copy.close()


async def test_a_backup_that_is_given_up_ends_at_once(tmp_path: Path, db: Database) -> None:
    await db.write(lambda tx: [intake.see(tx, "pmo", b"%d" % n * 500, 1.0) for n in range(6000)])
    begun, go_on = threading.Event(), threading.Event()
    steps: list[int] = []

    def advance(done: int, of: int) -> None:
        steps.append(done)
        begun.set()
        assert go_on.wait(20)

    copying = asyncio.create_task(db.backup(tmp_path / "copy.db", 1e9, advance))
    assert await asyncio.to_thread(begun.wait, 20)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    go_on.set()
    assert [await count(db) for _ in range(3)] == [6000] * 3, "each reader is of use again"
    assert len(steps) == 1


async def test_a_backup_of_a_damaged_database_says_so(tmp_path: Path) -> None:
    database = await open_sqlite(tmp_path / "test.db")
    await database.write(lambda tx: [intake.see(tx, "pmo", b"%d" % n * 500, 1.0) for n in range(1000)])
    await database.close()
    damage(tmp_path / "test.db", "seen")
    database = await open_sqlite(tmp_path / "test.db")
    assert await database.backup(tmp_path / "copy.db", 1e9, lambda done, of: None)
    await database.close()


def test_a_kill_in_the_middle_of_the_first_start_leaves_a_database_that_starts(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom mailforum.store import migrate\n"
        "real = migrate._statements\n"
        "def some(sql):\n    for n, s in enumerate(real(sql)):\n"
        "        if n == 5: os.kill(os.getpid(), 9)\n        yield s\n"
        "migrate._statements = some\nmigrate.migrate(Path(sys.argv[1]))\n"
    )
    path = tmp_path / "test.db"
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9

    async def start() -> int:
        database = await open_sqlite(path)
        await database.write(see(b"a"))
        number = await count(database)
        await database.close()
        return number

    assert asyncio.run(start()) == 1
