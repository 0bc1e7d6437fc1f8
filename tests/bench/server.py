"""The PostgreSQL that the benches run on, and what it costs.

It is the machine's own, as it comes, but for what a few cores and this disk need; it syncs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg

from tests.bench.place import cpu
from tests.support.postgres import Cluster, programs

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "256MB",
    "max_connections": "100",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "checkpoint_timeout": "15min",
}


class Server:
    """A PostgreSQL that syncs."""

    def __init__(self) -> None:
        found = programs()
        assert found, "there is no PostgreSQL on this machine"
        self.cluster = Cluster(found, **SETTINGS)

    def new(self) -> str:
        """Return the URL of a new, empty database."""
        return self.cluster.url(self.cluster.create())

    @property
    def cpu(self) -> float:
        """Seconds of CPU that all its processes have used, those too that have ended."""
        return cpu(int((self.cluster.folder / "data" / "postmaster.pid").read_text().split()[0]))

    @property
    def written(self) -> int:
        """Bytes of WAL since it was made."""
        with psycopg.connect(self.cluster.url("postgres")) as connection:
            found = connection.execute("SELECT CAST(pg_current_wal_lsn() - '0/0' AS BIGINT)").fetchone()
        assert found
        return int(found[0])


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Have a server until the block ends."""
    server = Server()
    try:
        yield server
    finally:
        server.cluster.stop()
