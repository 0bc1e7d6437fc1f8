"""Is what is kept still whole?"""

from __future__ import annotations

from mailforum.store.database import Tx


def problems(tx: Tx) -> list[str]:
    """Return a line for each thing that is broken in the database's own structure; at most some hundred."""
    found = [str(row["integrity_check"]) for row in tx.all("health.integrity")]
    dangling = [
        f"a row of {row['table']} belongs to a {row['parent']} that is gone" for row in tx.all("health.dangling")
    ]
    return [line for line in found if line != "ok"] + dangling[:100]
