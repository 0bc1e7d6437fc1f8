"""Who has changed what, and when: kept for good, and longer than the list it is about.

A row is written in the transaction that makes the change: what is in here has happened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mailforum.store.database import Tx
from mailforum.units import Period


@dataclass(frozen=True, slots=True)
class Change:
    """One change: by `who`, of what kind (`thread split`), on which list (its address), of which thing (`48.3`).

    `before` and `after` say how it was and how it is, in values that JSON has. `id` is 0 before it is stored.
    """

    at: float
    who: str
    what: str
    list: str
    target: str
    before: Mapping[str, object]
    after: Mapping[str, object]
    id: int = 0


def add(tx: Tx, change: Change) -> None:
    """Write a change down."""
    tx.run(
        "audit.add",
        at=change.at,
        who=change.who,
        what=change.what,
        list=change.list,
        target=change.target,
        before=json.dumps(change.before, ensure_ascii=False),
        after=json.dumps(change.after, ensure_ascii=False),
    )


def page(tx: Tx, list_name: str, during: Period, after: int, limit: int) -> list[Change]:
    """Return changes in the order they were made, from the one behind id `after`.

    `list_name` is an address, or what stands before the @ in it; "" for all. The list may be gone.
    """
    rows = tx.all("audit.page", list=list_name, since=during.start, until=during.end, after=after, limit=limit)
    return [
        Change(
            row["at"],
            row["who"],
            row["what"],
            row["list"],
            row["target"],
            json.loads(row["before"]),
            json.loads(row["after"]),
            row["id"],
        )
        for row in rows
    ]
