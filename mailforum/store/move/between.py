"""Moving between two databases that are named by URLs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from errno import ENOSPC
from pathlib import Path

from mailforum.errors import UsageError
from mailforum.store.move import file, moving
from mailforum.store.move.ends import End
from mailforum.store.move.moving import Moved
from mailforum.store.opening import file_of, is_server, psycopg_is_here
from mailforum.store.trouble import Unavailable, unavailable

Url = str | Path


def copy(source: Url, target: Url, step: Callable[[int, int], None], *, rehearsed_at: float | None = None) -> Moved:
    """Move a site from one database to another, or go on with that; `step` is as for `move`.

    `rehearsed_at`: the source may be served, and what it does from now on will be missing. Raises UsageError,
    ConfigError, and Deferred when a database cannot be used now.
    """
    with _explained():
        if _same(source, target):
            raise UsageError("that is one and the same database")
        with (
            closing(_source(source, served=rehearsed_at is not None)) as from_,
            closing(_target(target)) as to,
        ):
            return moving.move(from_, to, step, rehearsed_at)


def back_up(source: Url, path: Path, step: Callable[[int, int], None], now: float) -> Moved:
    """Write a copy of a database that is being served into the empty file `path`. Raises as `copy`."""
    with (
        _explained(),
        closing(_source(source, served=True)) as from_,
        closing(file.target(path, single=True)) as to,
    ):
        return moving.move(from_, to, step, now)


def reopen(url: Url) -> bool:
    """Do as `moving.reopen`. Raises as `copy`."""
    with _explained(), closing(_source(url)) as end:
        return moving.reopen(end)


def _source(url: Url, *, served: bool = False) -> End:
    return _server(str(url)) if is_server(url) else file.source(file_of(url), served=served)


def _target(url: Url) -> End:
    return _server(str(url)) if is_server(url) else file.target(file_of(url))


def _server(url: str) -> End:
    with psycopg_is_here():
        from mailforum.store.postgres.end import ServerEnd
    return ServerEnd(url)


def _same(one: Url, other: Url) -> bool:
    if is_server(one) or is_server(other):
        return str(one) == str(other)
    return file_of(one).resolve() == file_of(other).resolve()


@contextmanager
def _explained() -> Iterator[None]:
    """Make of a driver's error what can be told."""
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(error) from error
    except OSError as error:  # of the file beside the database, say
        if error.errno == ENOSPC:
            raise Unavailable("FULL", error) from error
        raise
    except Exception as error:
        if type(error).__module__.startswith("psycopg"):
            raise unavailable(error) from error
        raise
