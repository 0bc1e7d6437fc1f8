"""What is given out: what was there when it began, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mailforum.forum import export, posts
from mailforum.model import MailingList, Selection
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store.database import Database, Tx
from mailforum.store.opening import open_database

NOW = 1_700_000_000.0


def mail(number: int, size: int = 0) -> bytes:
    return f"From: ada@example.org\r\nSubject: {number}\r\n\r\n{'x' * size}\r\n".encode()


class List:
    """A list in a database, and the numbers of its pages as they are read."""

    def __init__(self, db: Database, mlist: MailingList) -> None:
        self.db, self.mlist = db, mlist

    async def post(self, number: int, size: int = 0) -> None:
        msg, raw = posts.parse(mail(number, size))
        await self.db.write(lambda tx: posts.store(tx, self.mlist, msg, raw, NOW + number, mark=msg.fingerprint))

    def give_out(self, chosen: Selection = Selection()) -> AsyncIterator[tuple[str, int]]:  # noqa: B008
        return ((post.subject, len(raw)) async for post, raw in export.give_out(self.db, self.mlist, chosen))


@pytest.fixture
async def pmo(store: str) -> AsyncIterator[List]:
    db = await open_database(store)
    try:
        list_id = await db.write(lambda tx: lists.add(tx, "pmo@lists.example.org", "", ListSettings(), NOW))
        mlist = await db.read(lambda tx: lists.by_id(tx, list_id or 0))
        assert mlist
        yield List(db, mlist)
    finally:
        await db.close()


async def test_what_comes_in_meanwhile_is_left_out(pmo: List, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BATCH", 2)
    for number in range(5):
        await pmo.post(number)
    seen = []
    async for subject, _ in pmo.give_out():
        seen.append(subject)
        await pmo.post(100 + len(seen))
    assert seen == ["0", "1", "2", "3", "4"]
    assert len([subject async for subject, _ in pmo.give_out()]) == 10


async def test_no_more_is_in_hand_than_a_page_may_hold(pmo: List, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BATCH_BYTES", 10_000)
    read: list[list[int]] = []
    page = export._page

    def seen(tx: Tx, *words: object) -> object:
        found = page(tx, *words)  # type: ignore[arg-type]
        read.append([len(raw) for _, raw in found])
        return found

    monkeypatch.setattr(export, "_page", seen)
    for number, size in enumerate([4_000, 4_000, 4_000, 50_000, 4_000]):
        await pmo.post(number, size)
    assert [subject async for subject, _ in pmo.give_out()] == ["0", "1", "2", "3", "4"]
    assert [len(sizes) for sizes in read] == [2, 1, 1, 1, 0]


async def test_it_is_said_how_far_it_is(pmo: List) -> None:
    for number in range(3):
        await pmo.post(number)
    told: list[tuple[int, int]] = []
    async for _ in export.give_out(pmo.db, pmo.mlist, Selection(), lambda *now: told.append(now)):
        pass
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [one async for one in export.give_out(pmo.db, pmo.mlist, Selection((77,)))] == []
