"""What a PostgreSQL server says of itself. A file has nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

from mailforum.store.database import Tx

EACH = 10  # connections that a process of ours may have open (postgres/database.py)


@dataclass(frozen=True, slots=True)
class Settings:
    """`number` is the version as 150004; `places` connections are there for all.

    `now` is the server's clock, in seconds since the epoch.
    """

    number: int
    version: str
    encoding: str
    standby: bool
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    places: int
    now: float


def settings(tx: Tx) -> Settings:
    """Return how the server is set up."""
    row = tx.one("server.settings")
    assert row is not None
    return Settings(**{name: row[name] for name in Settings.__slots__})
