"""What a PostgreSQL server says of itself, and which processes of ours it knows of. A file has nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

from mailforum.store.database import Tx

EACH = 10  # connections that a process of ours may have open


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


@dataclass(frozen=True, slots=True)
class Living:
    """A process that serves. `keys` are hashes of what has to be the same everywhere; `now`: when we looked."""

    id: int
    name: str
    roles: tuple[str, ...]
    version: str
    keys: str
    started_at: float
    seen_at: float
    now: float


def settings(tx: Tx) -> Settings:
    """Return how the server is set up."""
    row = tx.one("server.settings")
    assert row is not None
    return Settings(**{name: row[name] for name in Settings.__slots__})


def hosts(tx: Tx) -> list[Living]:
    """Return all processes that serve, in the order in which they came."""
    return [
        Living(**{name: row[name] for name in Living.__slots__} | {"roles": tuple(row["roles"].split(","))})
        for row in tx.all("server.hosts")
    ]
