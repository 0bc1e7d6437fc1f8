"""A copy of the database while it is in use.

SQLite's own backup, in steps, of one snapshot: since a read transaction is open all the while, what is
written meanwhile neither changes the copy nor makes it start anew, and nobody waits for it. It only
keeps the write-ahead log from being emptied. VACUUM INTO would give a smaller copy, but takes several
times as long and so keeps the log longer, and cannot say how far it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

STEP = 2000  # pages of 4 KiB


def copy(source: sqlite3.Connection, path: Path, now: float, advance: Callable[[int, int], None]) -> list[str]:
    """Write a copy to `path`, on disk when this returns; `advance` is told how many pages of how many are done.

    The copy says of itself that it is one (fence.py). Returns what is wrong with it: nothing, if the
    database itself is whole.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        _snapshot(source, target, advance)
        target.execute("PRAGMA journal_mode=DELETE")  # one file, with no others beside it
        target.execute("PRAGMA synchronous=FULL")
        target.execute("UPDATE fence SET copied_at = ?", (now,))
        found = _problems(target)
    _sync(path)
    _sync(path.parent)  # or the file's name could be lost
    return [line for line in found if line != "ok"]


def _snapshot(source: sqlite3.Connection, target: sqlite3.Connection, advance: Callable[[int, int], None]) -> None:
    source.execute("BEGIN")
    try:
        source.execute("SELECT 1 FROM sqlite_master").fetchone()  # from here on nothing changes for us
        source.backup(target, pages=STEP, sleep=0, progress=lambda _, left, of: advance(of - left, of))
    finally:
        source.execute("ROLLBACK")


def _problems(target: sqlite3.Connection) -> list[str]:
    try:
        return [str(row[0]) for row in target.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:  # so damaged that it cannot even be looked through
        return [str(error)]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
