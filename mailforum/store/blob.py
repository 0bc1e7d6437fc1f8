"""Large values on their way into the database.

    row = tx.one("intake.hold", raw=blob.inline(raw), size=len(raw), …)
    blob.fill(tx, "held", row["id"], raw)

In SQL that is `coalesce(:raw, zeroblob(:size))`.
"""

from __future__ import annotations

from mailforum.store.database import Tx

_LARGE = 256 * 1024


def inline(raw: bytes) -> bytes | None:
    """Return what goes in as a parameter: all of it, or nothing when it is large."""
    return raw if len(raw) <= _LARGE else None


def fill(tx: Tx, table: str, row_id: int, raw: bytes) -> None:
    """Write what `inline` has left out into the column `raw` of a row."""
    if len(raw) > _LARGE:
        tx.fill(table, "raw", row_id, raw)
