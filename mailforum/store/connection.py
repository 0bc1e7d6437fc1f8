"""How the SQLite file is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

# How long a writer waits for another process. A mail may come while another one waits already, and
# its sender should hear from us within about 10 seconds.
BUSY_SECONDS = 5.0


def connect(path: Path, *, readonly: bool = False, patience: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the file for one thread, with everything set that durability and speed ask for.

    `patience`: seconds that it waits for another process before it raises OperationalError.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    connection.row_factory = sqlite3.Row
    for pragma in (
        f"busy_timeout={round(patience * 1000)}",
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
