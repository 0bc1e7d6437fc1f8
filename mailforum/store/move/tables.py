"""What is moved: the tables, as the schema of SQLite has them. PostgreSQL has the same columns, and more of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from mailforum.store.schema import Step

# What is of one database alone: who serves it, what was under way there, its index of words. The index is made anew.
LEFT = frozenset({"fence", "migration", "in_flight", "full_text", "indexed_by"})
LEFT_COLUMNS = frozenset({("indexed", "entry")})


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its columns in order, and those that it is sorted by; `key` is empty where there is one row."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def numbered(self) -> bool:
        """Say whether the database gives its rows ids."""
        return self.key == ("id",)

    def select(self, columns: Iterable[str], after: Sequence[object] | None) -> str:
        """Return the statement for its rows: in order, from the one behind the key `after`, which it takes; None:
        in any order."""
        keys = ", ".join(self.key)
        where = f" WHERE ({keys}) > ({', '.join('?' * len(after))})" if after else ""
        order = f" ORDER BY {keys}" if keys and after is not None else ""
        return f"SELECT {', '.join(columns)} FROM {self.name}{where}{order}"  # noqa: S608 (names of ours)


def tables(steps: Iterable[Step]) -> tuple[Table, ...]:
    """Return the tables that SQLite has after `steps`, in the order in which they were made."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for step in steps:
            connection.executescript(step.sql)
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
        return tuple(_table(connection, name) for (name,) in found if _moves(name))


def _moves(name: str) -> bool:
    # SQLite keeps an index of words in tables that are named after it.
    return name not in LEFT and not name.startswith(("sqlite_", "full_text_"))


def _table(connection: sqlite3.Connection, name: str) -> Table:
    rows = connection.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE NOT hidden", (name,)).fetchall()
    key = [column for column, pk in sorted(rows, key=lambda row: row[1]) if pk]
    return Table(name, tuple(column for column, _ in rows if (name, column) not in LEFT_COLUMNS), tuple(key))
