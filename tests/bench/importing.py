"""How fast an archive is taken in and given out again.

    python -m tests.bench.importing [COUNT [SEED]] [--profile]

Makes COUNT mails (5,000) from SEED, imports them as `mailforum import` does, imports them again (all
are duplicates then), and exports them. Prints mails a second, and megabytes of memory at the peak.
With --profile the time is shown by function; the database works on a thread of its own, so units are
profiled there.
"""

from __future__ import annotations

import asyncio
import cProfile
import io
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from mailforum.archives.source import Mail
from mailforum.clock import SystemClock
from mailforum.forum import archive, export
from mailforum.mail import jsonl, mbox
from mailforum.model import MailingList, Post, Selection
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store.database import Database
from mailforum.store.sqlite import open_sqlite
from tests.support.archive import letters
from tests.support.archive import mbox as as_mbox

T = TypeVar("T")


def mails(path: Path) -> Iterator[Mail]:
    """Read an mbox file as the command does."""
    with path.open("rb") as file:
        for number, entry in enumerate(mbox.read(file), 1):
            yield Mail(f"mail {number}", entry.raw, entry.received)


async def measured(what: str, count: int, work: Awaitable[T]) -> T:
    """Wait for `work`, and print how many a second that made; by the CPU's clock too, for a busy machine."""
    started, cpu = time.perf_counter(), time.process_time()
    result = await work
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what:<14} {count:>6} mails {seconds:>7.2f} s {count / seconds:>8.0f}/s"
        f"   CPU {cpu:>6.2f} s {count / cpu:>8.0f}/s   peak {peak:.0f} MB"
    )
    return result


def in_mbox(out: BinaryIO, post: Post, raw: bytes) -> None:
    """Write a post as an export to an mbox does."""
    mbox.write(out, raw, received=post.received_at)


async def give_out(db: Database, mlist: MailingList, write: Callable[[BinaryIO, Post, bytes], object]) -> int:
    """Export into memory; return the bytes."""
    out = io.BytesIO()
    async for post, raw in export.give_out(db, mlist, Selection()):
        write(out, post, raw)
    return out.tell()


async def run(folder: Path, count: int, seed: int) -> None:
    """Do all three, in a database in `folder`."""
    path = folder / "archive.mbox"
    path.write_bytes(as_mbox(letters(count, seed)))
    print(f"archive of {count} mails, {path.stat().st_size / count / 1024:.1f} KB each")
    db = await open_sqlite(folder / "mailforum.db")
    try:
        list_id = await db.write(lambda tx: lists.add(tx, "pmo@lists.example.org", "PMO", ListSettings(), 0.0))
        mlist = await db.read(lambda tx: lists.by_id(tx, list_id or 0))
        assert mlist
        clock = SystemClock()
        report = await measured("import", count, archive.take_in(db, mlist, mails(path), clock))
        print(f"  {report.imported} posts, {report.threads} threads, {report.duplicates} duplicates, {report.bad} bad")
        again = await measured("import again", count, archive.take_in(db, mlist, mails(path), clock))
        assert again.imported == 0, again
        await measured("export, mbox", report.imported, give_out(db, mlist, in_mbox))
        await measured("export, JSON", report.imported, give_out(db, mlist, jsonl.write))
    finally:
        await db.close()


def main(words: list[str]) -> None:
    """Run the bench."""
    numbers = [int(word) for word in words if word.isdecimal()] + [5000, 1]
    count, seed = numbers[0], numbers[1] if len(numbers) > 3 else 1
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        if "--profile" in words:
            from mailforum.store import sqlite

            commit = sqlite._commit
            sqlite._commit = lambda *args: profile.runcall(commit, *args)
            asyncio.run(run(Path(folder), count, seed))
            pstats.Stats(profile).sort_stats("cumulative").print_stats(40)
        else:
            asyncio.run(run(Path(folder), count, seed))


if __name__ == "__main__":
    main(sys.argv[1:])
