"""What is taken in hand."""

from pathlib import Path

import pytest

from mailforum.model import Kind
from mailforum.store import queue
from mailforum.store.connection import connect
from mailforum.store.database import Tx
from mailforum.store.sqlite import SqliteTx, open_sqlite, queries


@pytest.mark.parametrize("part", [queue.WHOLE, queue.Part(0, 2)])
async def test_old_mail_that_stays_in_hand_keeps_no_new_mail_from_being_taken(
    part: queue.Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "STEPS", 5)

    def add(tx: Tx, at: int) -> None:
        mailing = queue.add_mailing(tx, Kind.NOTICE, list_id=None, mail_from="", now=at)
        queue.address_to(tx, mailing, f"m{at}@example.com", at)

    def take(tx: Tx, hand: dict[queue.Run, int]) -> list[str]:
        due = queue.take(tx, 100, hand, 40, part).due
        hand.update({(one.due_at, one.mailing_id): one.id for one in due})
        return [one.rcpt for one in due]

    def unit(tx: Tx) -> list[str]:
        hand: dict[queue.Run, int] = {}
        for at in range(40):
            add(tx, at)
        while take(tx, hand):
            pass
        assert len(hand) == 40 / part.count
        add(tx, 40)
        add(tx, 41)
        return take(tx, hand)

    db = await open_sqlite(tmp_path / "db")
    found = await db.write(unit)
    await db.close()
    assert found == (["m40@example.com", "m41@example.com"] if part.count == 1 else ["m41@example.com"])


async def test_the_next_run_costs_the_same_however_many_deliveries_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await (await open_sqlite(path)).close()
    connection = connect(path)
    many = [(1, "x@example.com", "queued", 1.0, 10.0)] * 5000 + [(2, "x@example.com", "queued", 1.0, 11.0)] * 5000
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.executemany(
        "INSERT INTO delivery (mailing_id, rcpt, state, created_at, due_at) VALUES (?, ?, ?, ?, ?)", many
    )
    steps = []
    connection.set_progress_handler(lambda: steps.append(1), 1)
    tx = SqliteTx(connection, queries())
    assert list(queue._oldest(tx, 50.0)) == [(10.0, 1), (11.0, 2)]
    assert list(queue._newest(tx, 50.0)) == [(11.0, 2), (10.0, 1)]
    connection.close()
    assert len(steps) < 1000
