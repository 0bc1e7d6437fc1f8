"""What is written down of attempts, whatever else goes wrong at that moment."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailforum.delivery.hand import Task
from mailforum.delivery.marks import Ended, Marks
from mailforum.delivery.pace import Pace
from mailforum.errors import Deferred
from mailforum.forum import bounces
from mailforum.model import Due, Kind, State, Status
from mailforum.options import DeliveryOptions
from mailforum.store import queue
from mailforum.store.database import Tx
from mailforum.store.sqlite import SqliteDatabase, open_sqlite
from tests.support.clock import ShiftedClock

BLOCKED = Status(State.FAILED, "5.7.1", "554 5.7.1 your host is listed")


class Desk:
    """Marks on a database of their own. `rests`: for how long the relay was to be left alone."""

    def __init__(self, db: SqliteDatabase) -> None:
        self.db, self.rests = db, list[float]()
        self.marks = Marks(db, Pace({}, 8), DeliveryOptions(), ShiftedClock(), self.rests.append)

    async def queued(self, count: int) -> list[Due]:
        """Queue a notice to addresses at five domains."""

        def unit(tx: Tx) -> list[Due]:
            mailing = queue.add_mailing(tx, Kind.NOTICE, list_id=None, mail_from="", now=1.0)
            for number in range(count):
                queue.address_to(tx, mailing, f"m{number}@d{number % 5}.example.com", 1.0)
            return queue.take(tx, 2.0, {}, count).due

        return await self.db.write(unit)

    async def refuse(self, due: list[Due]) -> None:
        """All are refused, at the same time as something else takes off."""
        ended = [Ended(Task(one.mailing_id, (one,), one.rcpt.partition("@")[2]), (BLOCKED,), 1) for one in due]
        await asyncio.gather(self.marks.take_off(0, (99,)), *map(self.marks.settle, ended))

    async def states(self) -> set[State]:
        return {row.state for row in await self.db.read(queue.deliveries)}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    db = await open_sqlite(tmp_path / "db")
    yield Desk(db)
    await db.close()


async def test_a_relay_that_refuses_all_is_left_alone_whatever_was_written_down_beside(desk: Desk) -> None:
    await desk.refuse([due for _ in range(3) for due in await desk.queued(9)])
    assert desk.rests == [300.0]
    assert await desk.states() == {State.DEFERRED}


async def test_refusals_come_back_also_if_the_database_is_locked_just_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    revive, locked = queue.revive, []

    def at_first_locked(tx: Tx, ids: list[int], due_at: float) -> int:
        if not locked:
            locked.append(ids)
            raise Deferred("Not now.", "locked")
        return revive(tx, ids, due_at)

    monkeypatch.setattr(queue, "revive", at_first_locked)
    monkeypatch.setattr("mailforum.delivery.marks.AGAIN", 0.01)
    await desk.refuse(await desk.queued(25))
    assert locked
    assert await desk.states() == {State.DEFERRED}


async def test_a_fault_in_counting_failures_leaves_every_mark_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_: object) -> None:
        raise ValueError("our own fault")

    monkeypatch.setattr(bounces, "failed", faulty)
    await desk.refuse(await desk.queued(3))
    assert await desk.states() == {State.FAILED}
