"""The server puts posts into the index of full-text search soon after they came, whoever stored them."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from mailforum import chores
from mailforum.forum import search
from mailforum.store import search as index
from mailforum.store.database import Tx
from mailforum.store.match import Term
from tests.support.site import Site, running_site


def mail(number: int) -> bytes:
    return f"From: zoe@example.org\r\nMessage-ID: <{number}@example.org>\r\n\r\nThe budget.\r\n".encode()


async def make_list(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "set", "pmo", "posting=anyone")


async def indexed(site: Site, posts: int) -> None:
    """Wait until so many posts are in the index, and none waits."""
    async with asyncio.timeout(30):
        while await site.service.core.db.read(_state) != (search.RULES, 0, posts):
            await asyncio.sleep(0.02)


def _state(tx: Tx) -> tuple[str, int, int]:
    return index.rules(tx), index.count_waiting(tx), index._count(tx, Term(("budget",)))


async def test_a_post_is_found_soon_after_it_came(site: Site) -> None:
    await make_list(site)
    for number in range(3):
        assert (await site.send("zoe@example.org", ["pmo@lists.example.test"], mail(number))).startswith("250")
    await indexed(site, 3)


async def test_what_was_stored_before_the_index_is_put_in_after_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SOME", 2)
    monkeypatch.setattr(chores, "GATHER", 0.0)
    async with running_site(tmp_path) as site:
        await make_list(site)
        for number in range(5):
            await site.send("zoe@example.org", ["pmo@lists.example.test"], mail(number))
        await indexed(site, 5)
    with sqlite3.connect(tmp_path / "mailforum.db") as connection:
        connection.execute("UPDATE indexed_by SET rules = 'of old'")
    connection.close()
    async with running_site(tmp_path) as site:
        await indexed(site, 5)


async def test_the_indexing_rests_longer_than_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rests = 0.0, []

    class Clock:
        def monotonic(self) -> float:
            return now

    async def wait(event: asyncio.Event, seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            indexing.stop()

    async def index_some(db: object) -> int:
        nonlocal now
        now += 2.0
        return 100

    class Leading:
        async def lead(self, job: str) -> bool:
            return True

    class Core:
        clock, db = Clock(), Leading()

    async def renewed(self: object) -> None: ...

    monkeypatch.setattr(chores, "comes", wait)
    monkeypatch.setattr(search, "index_some", index_some)
    monkeypatch.setattr(chores.Indexing, "_renew", renewed)
    indexing = chores.Indexing(Core())  # type: ignore[arg-type]
    await indexing.run()
    assert rests == [18.0, 18.0, 18.0]
