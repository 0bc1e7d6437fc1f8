"""How long it takes to read a thread: from the database to lines that can be shown."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

from mailforum.cli.threads import lines
from mailforum.forum import order, posts
from mailforum.model import MailingList
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import posts as rows
from mailforum.store.database import Database, Tx
from mailforum.store.sqlite import open_sqlite
from tests.bench.table import Row, at_most
from tests.support.site import DOMAIN

NOW = 1_790_000_000.0
REACH = 50  # milliseconds


def page(folder: Path, count: int = 2000, tries: int = 5) -> Row:
    """A thread of so many posts, in thread order, as lines: the CPU time of the best of a few tries."""
    return asyncio.run(_page(folder, count, tries))


async def _page(folder: Path, count: int, tries: int) -> Row:
    db = await open_sqlite(folder / "mailforum.db")
    try:
        mlist = await db.write(lambda tx: _make(tx, count))
        best = min([await _read(db, mlist) for _ in range(tries)], key=sum)
    finally:
        await db.close()
    beside = f"{best[0]:.0f} ms to read, {best[1]:.0f} to order, {best[2]:.0f} to lay out"
    return Row(
        f"thread page of {count:,} posts", f"{sum(best):.0f} ms", None, (beside,), (at_most(sum(best), REACH, " ms"),)
    )


def _make(tx: Tx, count: int) -> MailingList:
    """A list with a thread of `count` posts; a quarter of them answer the one before, the others any."""
    list_id = lists.add(tx, f"pmo@{DOMAIN}", "", ListSettings(), NOW) or 0
    mlist, random = lists.by_id(tx, list_id), Random(1)
    assert mlist
    for number in range(count):
        parent = number - 1 if random.random() < 0.25 else random.randrange(number or 1)
        answers = f"In-Reply-To: <{parent}@example.org>\r\n" if number else ""
        head = f"From: Author {number % 50} <author{number % 50}@example.org>\r\nSubject: Re: Budget for the year\r\n"
        msg, raw = posts.parse(f"{head}Message-ID: <{number}@example.org>\r\n{answers}\r\nHello {number}\r\n".encode())
        posts.store(tx, mlist, msg, raw, NOW + number, mark=msg.fingerprint)
    return mlist


async def _read(db: Database, mlist: MailingList) -> tuple[float, float, float]:
    """Return the milliseconds that reading, ordering and laying out take."""
    times = [time.process_time()]
    thread = await db.read(lambda tx: rows.thread_by_number(tx, mlist.id, 1))
    assert thread
    found = await db.read(lambda tx: rows.of_thread(tx, thread.id))
    times.append(time.process_time())
    placed = order.posts(found, order.PostOrder.THREAD)
    times.append(time.process_time())
    shown = list(lines(mlist, thread, placed, indented=True))
    times.append(time.process_time())
    assert len(shown) > len(placed) == thread.posts
    return (times[1] - times[0]) * 1e3, (times[2] - times[1]) * 1e3, (times[3] - times[2]) * 1e3
