"""Is what is kept still whole?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from mailforum.store.database import Row, Tx
from mailforum.store.trouble import of_driver


class Found(NamedTuple):
    """Something that must not be: what it is, and the id of the row that it is about."""

    id: int
    what: str


def problems(tx: Tx) -> list[str]:
    """Return a line for each thing that is broken in the database's own structure; of a file, at most a hundred."""
    try:
        return _lines(tx.all("health.integrity"))
    except Exception as error:  # so damaged that it cannot even be looked through
        if not of_driver(error):
            raise
        return [line for row in tx.all("health.tables") for line in _damage(tx, row["name"])]


def _lines(rows: Iterable[Row]) -> list[str]:
    return [line for row in rows if (line := str(row["what"])) != "ok"]


def _damage(tx: Tx, table: str) -> list[str]:
    try:
        return _lines(tx.all("health.integrity_of", table=table))
    except Exception as error:
        if not of_driver(error):
            raise
        return [f"the table {table} or an index of it cannot be read: {error}"]


def reindex(tx: Tx) -> None:
    """Make all indexes anew from their tables. Raises Deferred (from the write) if these are damaged."""
    tx.run("health.reindex")


def found(tx: Tx, query: str) -> list[Found]:
    """Return what a query of health.sql finds."""
    return [Found(row["id"], row["what"]) for row in tx.all(f"health.{query}")]


def index_faults(tx: Tx) -> list[Found]:
    """Return what is wrong with the index of full-text search: it may be so damaged that it cannot be read."""
    try:
        return found(tx, "unindexed") or found(tx, "lost_words")  # every post has the word that this one counts
    except Exception as error:
        if not of_driver(error):
            raise
        return [Found(0, f"the index of full-text search cannot be read: {error}")]


def mend(tx: Tx, query: str, ids: Iterable[int], now: float) -> None:
    """Run a statement of health.sql for some rows."""
    tx.run(f"health.{query}", ids=json.dumps(list(ids)), now=now)


def dangling(tx: Tx) -> list[Row]:
    """Return (table, field, parent, n) for each field with which `n` rows refer to a parent that is gone."""
    return tx.all("health.dangling")
