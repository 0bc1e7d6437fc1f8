"""Which database a site has: one SQLite file, or a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

from mailforum.errors import ConfigError
from mailforum.store.connection import BUSY_SECONDS as BUSY_SECONDS
from mailforum.store.database import Database
from mailforum.store.sqlite import open_sqlite

SCHEMES = ("postgresql://", "postgres://")


def is_server(url: str | Path) -> bool:
    """Say whether that is a database on a server, which many processes on many hosts may serve."""
    return str(url).startswith(SCHEMES) and not isinstance(url, Path)


def _file(url: str | Path) -> Path:
    return Path(url.removeprefix("sqlite:")) if isinstance(url, str) else url


async def open_database(
    url: str | Path, *, patience: float = BUSY_SECONDS, reserve: int = 0, served: bool = False
) -> Database:
    """Open a database: a `postgresql://` URL, `sqlite:FILE`, or the path of a file.

    `patience`: seconds to wait for another process that writes. For a file, `reserve`: bytes kept for a full
    disk; `served`: we hold the lock of the server. Raises Deferred when it cannot be opened, and ConfigError
    when it never can: a newer mailforum has made it, or an older one serves it.
    """
    if not is_server(url):
        return await open_sqlite(_file(url), patience=patience, reserve=reserve, served=served)
    try:
        from mailforum.store.postgres.database import open_postgres
    except ImportError as error:
        raise ConfigError("[store] url: for PostgreSQL, install mailforum[postgres]") from error
    return await open_postgres(str(url), patience=patience)
