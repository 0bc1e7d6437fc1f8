"""Opens the database that the configuration names. STUB."""

from __future__ import annotations

from pathlib import Path

from mailforum.errors import ConfigError
from mailforum.store.database import Database
from mailforum.store.sqlite import BUSY_SECONDS as BUSY_SECONDS
from mailforum.store.sqlite import open_sqlite


async def open_database(
    where: Path | str, *, patience: float = BUSY_SECONDS, reserve: int = 0, served: bool = False
) -> Database:
    """Open it."""
    if isinstance(where, str):
        raise ConfigError("not yet")
    return await open_sqlite(where, patience=patience, reserve=reserve, served=served)
