"""What a PostgreSQL server says of itself. A file has nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

from mailforum.store.database import Tx

OLDEST = 14  # the version of PostgreSQL; with an older one, who leads and stands still would lead on
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

    @property
    def outdated(self) -> str:
        """What is to be said of a version that is too old; empty for one that is not."""
        old = self.number < OLDEST * 10000
        return f"PostgreSQL {self.version} is too old; {OLDEST} or newer is needed" if old else ""


def settings(tx: Tx) -> Settings:
    """Return how the server is set up."""
    row = tx.one("server.settings")
    assert row is not None
    return Settings(**{name: row[name] for name in Settings.__slots__})
