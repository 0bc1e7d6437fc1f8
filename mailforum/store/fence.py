"""Is this the database that was served last, or a copy from a backup?

A copy that `mailforum backup` makes says so itself. Any other copy is found by a count of starts: it
stands in the database and in a file beside it, and a copy that was put back has a lower one, or none
beside it. With PostgreSQL each host has such a file, and none when it serves for the first time; and the
database says where it was served, so one that was dumped and restored elsewhere is known by every host.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mailforum.store.database import Tx

AHEAD = 1000  # so that no other host, whose file has a higher count, takes the same copy for one once more
MOVED = 1_000_000  # so that no host that has served another copy, a rehearsal say, takes a moved one for older
SKIPPED = 100_000  # ids that are not given again after a restore, for what was lost may have had them


@dataclass(frozen=True, slots=True)
class Marker:
    """The file with the count of starts: beside the database, or in a folder of this host."""

    path: Path

    @classmethod
    def of(cls, database: Path) -> Marker:
        """Return the marker of a database file."""
        return cls(database.with_name(database.name + ".served"))

    @classmethod
    def within(cls, folder: Path) -> Marker:
        """Return the marker that a host has in `folder` for a database that is no file here."""
        return cls(folder / "mailforum.served")

    def read(self) -> int | None:
        """Return the count, or None where there is none."""
        try:
            return int(self.path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def write(self, served: int) -> None:
        """Write down the count; the old one stays whole until the new one is on disk."""
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with new.open("w", encoding="ascii") as file:
            file.write(f"{served}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


@dataclass(frozen=True, slots=True)
class Start:
    """The `served`-th start on a database; `restored` says that it is a copy, made at `copied_at` if known."""

    served: int
    restored: bool
    copied_at: float | None


def closed(tx: Tx) -> str | None:
    """Return why nobody may work with this database: it was moved elsewhere, or is a copy that is not whole."""
    row = tx.one("fence.closed")
    return row["closed"] if row else None


def mark(tx: Tx, now: float) -> None:
    """Say that the database was put back to a state of the past."""
    tx.run("fence.mark", now=now)


def start(tx: Tx, beside: int | None, *, many_hosts: bool = False) -> Start:
    """Count a start; `beside` is what the marker says. To be written into the marker afterwards.

    `many_hosts`: another host may have served it before, so that here is no marker.
    """
    row, here = tx.one("fence.read"), tx.one("fence.here")
    assert row is not None and here is not None
    elsewhere = None not in (row["home"], here["home"]) and row["home"] != here["home"]
    # A marker that is behind has only missed a crash.
    strange = row["served"] > 0 and not many_hosts if beside is None else beside > row["served"]
    restored = row["copied_at"] is not None or strange or elsewhere
    served = max(row["served"], beside or 0) + (AHEAD if restored else 1)
    tx.run("fence.pass", served=served, home=here["home"])
    if restored:
        tx.run("fence.skip_ids", by=SKIPPED)
    return Start(served, restored, row["copied_at"])
