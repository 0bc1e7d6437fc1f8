"""Which database a site has: one SQLite file, or a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mailforum.errors import ConfigError
from mailforum.store import migrate, schema
from mailforum.store.connection import BUSY_SECONDS as BUSY_SECONDS
from mailforum.store.database import Database
from mailforum.store.schema import Step
from mailforum.store.sqlite import open_sqlite

SCHEMES = ("postgresql://", "postgres://")


def is_server(url: str | Path) -> bool:
    """Say whether that is a database on a server, which many processes on many hosts may serve."""
    return str(url).startswith(SCHEMES) and not isinstance(url, Path)


def file_of(url: str | Path) -> Path:
    """Return the file of a database that is one."""
    return Path(url.removeprefix("sqlite:")) if isinstance(url, str) else url


@contextmanager
def psycopg_is_here() -> Iterator[None]:
    """Import within what needs psycopg. Raises ConfigError where that is not installed."""
    try:
        yield
    except ImportError as error:
        raise ConfigError("[store] url: for PostgreSQL, install mailforum[postgres]") from error


async def open_database(
    url: str | Path,
    *,
    patience: float = BUSY_SECONDS,
    reserve: int = 0,
    served: bool = False,
    known: Sequence[Step] = (),
) -> Database:
    """Open a database: a `postgresql://` URL, `sqlite:FILE`, or the path of a file.

    `patience`: seconds to wait for another process that writes. For a file, `reserve`: bytes kept for a full
    disk; `served`: we hold the lock of the server. `known`: the steps of the schema, where these are not the
    package's. Raises Deferred when it cannot be opened, and ConfigError when it never can: a newer mailforum has
    made it, or an older one serves it.
    """
    if not is_server(url):
        return await open_sqlite(file_of(url), patience=patience, reserve=reserve, served=served, known=known)
    with psycopg_is_here():
        from mailforum.store.postgres.database import open_postgres
    return await open_postgres(str(url), patience=patience, known=known)


def missing(url: str | Path, *, known: Sequence[Step] = ()) -> tuple[Step, ...]:
    """Return the steps of the schema that a database still has to take, all of them where there is none.

    `known` is as for `open_database`. Raises as that does.
    """
    if not is_server(url):
        return schema.missing(known or schema.steps("sqlite"), migrate.look(file_of(url)))
    with psycopg_is_here():
        from mailforum.store.postgres import migrate as postgres
    return schema.missing(known or schema.steps("postgres"), postgres.look(str(url)))


def bring_up_to_date(url: str | Path, *, finish: bool = False, known: Sequence[Step] = ()) -> tuple[Step, ...]:
    """Take the steps that can be taken, or, with `finish`, all of them, whoever runs; return those that are left.

    `known` is as for `open_database`. Raises as that does.
    """
    if not is_server(url):
        return migrate.bring_up_to_date(file_of(url), finish, known)
    with psycopg_is_here():
        from mailforum.store.postgres import migrate as postgres
    return postgres.bring_up_to_date(str(url), finish, known)
