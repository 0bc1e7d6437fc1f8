"""Where rows come from and where they go: what is the same in both databases, and what each has to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from mailforum.store.move.rows import Row
from mailforum.store.move.tables import Table
from mailforum.store.schema import Schema


@dataclass(frozen=True, slots=True)
class Fence:
    """See store/fence.py. `closed`: why nobody may work with the database."""

    served: int
    copied_at: float | None
    closed: str | None


class End(Protocol):
    """A database, opened for moving and nothing else. `name` is what people are shown for it."""

    name: str
    holds_nul: bool  # in a text

    def schema(self) -> Schema:
        """Return how far its schema is; number 0: it has none of our tables."""
        ...

    def make(self, number: int) -> None:
        """Take the steps of the schema up to this one."""
        ...

    def has(self, table: str) -> bool:
        """Say whether there is such a table."""
        ...

    def served_by(self) -> list[str]:
        """Name who works with it now."""
        ...

    def bar(self, tables: Sequence[Table], reason: str) -> None:
        """See to it that nobody writes to these tables any more; who does just now is waited for. Hosts that were
        not heard of for long are none any more, should they come back."""
        ...

    def unbar(self, tables: Sequence[Table]) -> None:
        """Undo that."""
        ...

    def run(self, sql: str, *params: object) -> list[Sequence[Any]]:
        """Run a statement with `?` for its parameters; return its rows, if it has some."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Do what is done within in one transaction."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """See within only what is there now, whatever others write."""
        ...

    def rows(self, table: Table, after: Sequence[object] | None = None) -> Iterator[Row]:
        """Yield the rows of a table, in the order of its key, from the one behind `after`; None: in any order."""
        ...

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Put rows into a table."""
        ...

    def strip(self) -> list[str]:
        """Take off what rows would have to be looked up in one by one; return the statements that put it on again."""
        ...

    def given(self, tables: Sequence[Table]) -> Mapping[str, int]:
        """Return for each numbered table the highest id that was ever given."""
        ...

    def give(self, given: Mapping[str, int]) -> None:
        """Have the next ids come after these."""
        ...

    def settle(self, fence: Fence) -> None:
        """Do what is to be done when all rows are there, before the database is opened; `fence` is as it will be."""
        ...

    def dangling(self) -> list[str]:
        """Say which rows refer to none."""
        ...

    def damage(self) -> list[str]:
        """Say what is wrong with it as a whole; looked at when all is there."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def fence_of(end: End) -> Fence:
    """Return the mark of a database."""
    ((served, copied_at, closed),) = end.run("SELECT served, copied_at, closed FROM fence")
    return Fence(served, copied_at, closed)
