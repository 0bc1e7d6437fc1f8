"""What it takes to find the place of one new post in an archive, and to write it down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from mailforum.forum import posts, threads
from mailforum.model import MailingList
from mailforum.store import lists
from mailforum.store.database import Tx
from mailforum.store.sqlite import open_sqlite
from tests.bench.table import Row, at_most

NEW = 400
LIMIT_MS = 2.0


class _UndoneError(Exception):
    """Takes everything back that was stored."""


def placed(database: Path, address: str, count: int) -> Row:
    """Store new posts in a list with `count` posts, by the CPU time of the threading alone; nothing of it stays."""
    place, settle = asyncio.run(_measured(database, address, count))
    total = sorted(one + other for one, other in zip(place, settle, strict=True))
    middle, slowest = total[len(total) // 2], total[len(total) * 99 // 100]
    beside = (f"to find it {sorted(place)[len(place) // 2]:.2f} ms", f"99 % within {slowest:.2f} ms")
    goals = (at_most(slowest, LIMIT_MS, " ms"),)
    return Row(f"place of one new post in a list with {count:,}", f"{middle:.2f} ms", None, beside, goals)


async def _measured(database: Path, address: str, count: int) -> tuple[list[float], list[float]]:
    db = await open_sqlite(database)
    place: list[float] = []
    settle: list[float] = []
    try:
        mlist = await db.read(lambda tx: lists.by_address(tx, address))
        assert mlist
        with _clocked("place", place), _clocked("settle", settle), contextlib.suppress(_UndoneError):
            await db.write(lambda tx: _store(tx, mlist, list(_new(tx, mlist.id, count))))
    finally:
        await db.close()
    return place, settle


@contextlib.contextmanager
def _clocked(name: str, spent: list[float]) -> Iterator[None]:
    """Let a function of forum/threads.py write down the milliseconds of CPU that each call takes."""
    real: Callable[..., Any] = getattr(threads, name)

    def clocked(*args: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return real(*args, **named)
        finally:
            spent.append((time.thread_time() - started) * 1e3)

    with mock.patch.object(threads, name, clocked):
        yield


def _store(tx: Tx, mlist: MailingList, mails: Iterable[bytes]) -> None:
    for raw in mails:
        msg, raw = posts.parse(raw)
        posts.store(tx, mlist, msg, raw, time.time(), mark=msg.fingerprint)
    raise _UndoneError


def _new(tx: Tx, list_id: int, count: int) -> Iterator[bytes]:
    """Yield mails that answer any post of the list, one that was lost, one that only its subject names, or none."""
    random = Random(1)
    for number in range(NEW):
        (row,) = tx.all("post.of_list", list_id=list_id, after=random.randrange(count), limit=1)
        named = random.choice([row["message_id"], row["message_id"], f"<lost.{number}@example.org>", "", ""])
        subject = random.choice([f"Re: {row['subject']}", f"Something new {number}"])
        head = f"Message-ID: <new.{number}@example.org>\r\nFrom: Ada <ada@example.org>\r\nSubject: {subject}\r\n"
        names = f"In-Reply-To: {named}\r\nReferences: {named}\r\n" if named else ""
        yield f"{head}{names}\r\nHello.\r\n".encode()
