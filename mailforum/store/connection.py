"""How the SQLite file is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

BUSY_SECONDS = 10


def connect(path: Path, *, readonly: bool = False, patient: bool = True) -> sqlite3.Connection:
    """Open the file for one thread, with everything set that durability and speed ask for.

    One that is not `patient` raises OperationalError where it would have to wait for another process.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    connection.row_factory = sqlite3.Row
    for pragma in (
        f"busy_timeout={BUSY_SECONDS * 1000 if patient else 0}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-8000",
        "journal_size_limit=67108864",
        "wal_autocheckpoint=4000",  # 16 MiB: what is written again and again is moved once
        f"query_only={'ON' if readonly else 'OFF'}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection
