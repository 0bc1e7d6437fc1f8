"""Move everything from one database to another: table by table, in portions, so that a kill costs one portion.

What has been done stands in the target: in `copying` whose copy it is, in `copied` how far each table has come.
The source is closed before the first row is read, and stays so; the target is open when all of it is there,
and was found to be the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from mailforum.errors import UsageError
from mailforum.store.fence import MOVED
from mailforum.store.move.ends import End, Fence, fence_of
from mailforum.store.move.rows import Batch, Row, Sum, batches, packed, summed, unpacked, without_nul
from mailforum.store.move.tables import Table, tables
from mailforum.store.schema import steps

Step = Callable[[int, int], None]

LEAST = 13  # the step from which on no text is too long for an index of PostgreSQL

_BEGUN = (
    "CREATE TABLE copying (origin TEXT NOT NULL, stripped TEXT NOT NULL)",
    "CREATE TABLE copied (name TEXT PRIMARY KEY, last TEXT NOT NULL, count BIGINT NOT NULL, size BIGINT NOT NULL,"
    " hash TEXT NOT NULL, whole BIGINT NOT NULL)",
    "CREATE TABLE changed (place TEXT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A table that was moved: what was read, and what is there."""

    table: str
    read: Sum
    there: Sum


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of a move. `changed`: places of texts with a NUL, which the target cannot hold. `uncertain`: the
    deliveries that the source may have sent before it ended. `wrong`: what is wrong with the target."""

    arrived: tuple[Arrived, ...]
    changed: tuple[str, ...]
    uncertain: tuple[int, ...]
    wrong: tuple[str, ...]

    def faults(self) -> list[str]:
        """Say what has not arrived as it was; nothing, if all is well."""
        missing = [f"{each.table} is not what was read" for each in self.arrived if each.read != each.there]
        return [*missing, *self.wrong]


def move(source: End, target: End, step: Step, copied_at: float | None = None) -> Moved:
    """Move all that is in `source` to `target`, or go on with that.

    `step` is called with how many rows of how many are done, whenever more is durable. `copied_at`: it is to be a
    copy made at that time (store/fence.py), and the source goes on; so it is of a source that is a copy itself.
    Raises UsageError when one of the two cannot be used for that.
    """
    return _Move(source, target, step, copied_at).run()


def reopen(end: End) -> bool:
    """Have a database served again that was moved; False if it is open. Raises UsageError for a part of a copy."""
    closed = fence_of(end).closed
    if end.has("copying"):
        raise UsageError(f"{end.name}: {closed}")
    with end.transaction():
        end.unbar(_tables(_number(end)))
        end.run(
            "UPDATE fence SET closed = NULL, served = served + 1 WHERE closed IS NOT NULL"
        )  # it is another now: _origin
    return closed is not None


@dataclass(slots=True)
class _Read:
    """How far a table was read: the last row as the source has it, and the places of those that are not as they were
    and are not noted yet."""

    row: Row = ()
    changed: list[str] = field(default_factory=list)


class _Move:
    def __init__(self, source: End, target: End, step: Step, copied_at: float | None) -> None:
        self._source, self._target, self._step = source, target, step
        self._number = _number(source)
        self._tables = _tables(self._number)
        self._fence = fence_of(source)
        self._copied_at = copied_at or self._fence.copied_at
        self._closing = f"it was moved to {target.name}; `mailforum store reopen` opens it again"
        self._done = self._total = 0

    def run(self) -> Moved:
        if self._fence.closed not in (None, self._closing):
            raise UsageError(f"{self._source.name}: {self._fence.closed}")
        if dangling := self._source.dangling():
            raise UsageError(f"{self._source.name}: {dangling[0]}; `mailforum check --repair` puts that right")
        origin, begun = self._origin(), self._begun()
        if begun not in ("", origin):
            raise UsageError(f"{self._target.name} has the beginning of a copy of something else; remove that first")
        if self._copied_at is None:
            self._shut()
        with self._source.snapshot():
            if not begun:
                self._prepare(origin)
            counts = [_count(self._source, table) for table in self._tables]
            self._total = sum(counts)
            sums = [self._copy(table) for table in self._tables]
            given, uncertain = self._source.given(self._tables), self._uncertain()
        self._put_on()
        arrived = tuple(Arrived(t.name, s, self._look(t)) for t, s in zip(self._tables, sums, strict=True))
        skipped = [t.name for t, n, s in zip(self._tables, counts, sums, strict=True) if n != s.rows]
        wrong = (*map("not all of {} was read".format, skipped), *self._target.dangling(), *self._target.damage())
        moved = Moved(arrived, self._changed(), uncertain, wrong)
        if not moved.faults():
            self._open(given)
        return moved

    def _origin(self) -> str:
        """Say which state of which database this is: if the source was served meanwhile, that is another."""
        # Not which ids were given: a PostgreSQL that has crashed says that it were more.
        newest = [_count(self._source, table, "max(id)") for table in self._tables if table.numbered]
        what = (self._number, self._copied_at, self._fence.served, newest)
        return hashlib.sha256(repr(what).encode()).hexdigest()

    def _begun(self) -> str:
        """Return of what a copy was begun in the target; "" for none. Raises UsageError if it has something else."""
        number = self._target.schema().number
        if number > self._number:
            raise UsageError(f"{self._target.name} is ahead of {self._source.name} (schema {number}); take a new one")
        if number:
            _unserved(self._target)
        if self._target.has("copying"):
            return str(self._target.run("SELECT origin FROM copying")[0][0])
        for table in self._tables:
            if table.key and self._target.has(table.name) and _count(self._target, table):
                raise UsageError(f"{self._target.name} {self._full()}")
        return ""

    def _full(self) -> str:
        """Say what is there that is no part of a copy."""
        if self._fence.closed == self._closing:  # stopped when all was done, the command was given once more
            return f"is whole: {self._source.name} was moved there, and it can be served"
        return "is not empty; a site is moved into an empty database"

    def _shut(self) -> None:
        """See to it that nobody works with the source any more."""
        with self._source.transaction():
            # First, since a host that comes either has to wait for the end of this, or is seen by it.
            self._source.run("UPDATE fence SET closed = ?", self._closing)
            if self._fence.closed is None:
                self._source.bar(self._tables, self._closing)
            _unserved(self._source)

    def _prepare(self, origin: str) -> None:
        self._target.make(self._number)
        closed = f"it is a copy of {self._source.name} that is not whole; give `mailforum store copy` once more"
        with self._target.transaction():
            for statement in _BEGUN:
                self._target.run(statement)
            self._target.run("UPDATE fence SET closed = ?", closed)
            _unserved(self._target)
            for table in self._tables:
                self._target.run(f"DELETE FROM {table.name}")  # noqa: S608 (names of ours)
                self._target.run(
                    "INSERT INTO copied (name, last, count, size, hash, whole) VALUES (?, '', 0, 0, '0', 0)", table.name
                )
            self._target.run("INSERT INTO copying VALUES (?, ?)", origin, json.dumps(self._target.strip()))
        self._step(0, 1)

    def _copy(self, table: Table) -> Sum:
        """Bring what is missing of a table; return the sum of all of it."""
        query = "SELECT last, count, size, hash, whole FROM copied WHERE name = ?"
        ((last, count, size, hashed, whole),) = self._target.run(query, table.name)
        total = Sum(count, size, int(hashed, 16))
        self._done += count
        if not whole:
            read = _Read()
            for batch in batches(self._fitted(table, self._source.rows(table, unpacked(last)), read)):
                total = total.plus(batch.forms)
                self._put(table, batch, total, read)
            self._target.run("UPDATE copied SET whole = 1 WHERE name = ?", table.name)
        return total

    def _fitted(self, table: Table, rows: Iterator[Row], read: _Read) -> Iterator[Row]:
        """Yield rows as the target can hold them, and note in `read` which those are."""
        for row in rows:
            fitted = row if self._target.holds_nul else without_nul(row)
            read.row = row
            if fitted is not row:
                read.changed.append(" ".join([table.name, *(str(value) for value in _key(table, fitted))]))
            yield fitted

    def _put(self, table: Table, batch: Batch, total: Sum, read: _Read) -> None:
        """Put a portion into the target, and how far that is."""
        last = packed(_key(table, read.row))
        with self._target.transaction():
            self._target.insert(table, batch.rows)
            statement = "UPDATE copied SET last = ?, count = ?, size = ?, hash = ?, whole = ? WHERE name = ?"
            self._target.run(statement, last, total.rows, total.size, total.text, int(not table.key), table.name)
            for place in read.changed:
                self._target.run("INSERT INTO changed (place) VALUES (?)", place)
        read.changed.clear()
        self._done += len(batch.rows)
        self._step(self._done, self._total)

    def _changed(self) -> tuple[str, ...]:
        return tuple(place for (place,) in self._target.run("SELECT place FROM changed"))

    def _put_on(self) -> None:
        """Put on again what was taken off, one after the other."""
        ((stripped,),) = self._target.run("SELECT stripped FROM copying")
        left: list[str] = json.loads(stripped)
        while left:
            with self._target.transaction():
                self._target.run(left.pop(0))
                self._target.run("UPDATE copying SET stripped = ?", json.dumps(left))
            self._step(self._total, self._total)

    def _look(self, table: Table) -> Sum:
        with self._target.snapshot():
            return summed(self._target.rows(table))

    def _open(self, given: Mapping[str, int]) -> None:
        served = self._fence.served + (MOVED if self._copied_at is None else 0)
        fence = Fence(served, self._copied_at, None)
        self._target.settle(fence)
        with self._target.transaction():
            self._target.give(given)
            self._target.run("UPDATE fence SET served = ?, copied_at = ?, closed = NULL", fence.served, fence.copied_at)
            for name in ("copying", "copied", "changed"):
                self._target.run(f"DROP TABLE {name}")

    def _uncertain(self) -> tuple[int, ...]:
        found = self._source.run("SELECT deliveries FROM in_flight ORDER BY lane")
        return tuple(delivery for (deliveries,) in found for delivery in json.loads(deliveries))


@cache
def _tables(number: int) -> tuple[Table, ...]:
    return tables(each for each in steps("sqlite") if each.number <= number)


def _number(source: End) -> int:
    """Return how far the schema of the source is. Raises UsageError if it cannot be moved like that."""
    number, newest = source.schema().number, steps("sqlite")[-1].number
    if number > newest:
        raise UsageError(f"{source.name} is of a newer mailforum (schema {number}); use that one")
    if number < LEAST:
        raise UsageError(f"{source.name} is of an older mailforum (schema {number}), or of none; serve it once before")
    return number


def _unserved(end: End) -> None:
    """Raise UsageError if somebody works with a database."""
    if hosts := end.served_by():
        raise UsageError(f"{end.name} is being served by {', '.join(hosts)}; stop that first")


def _count(end: End, table: Table, what: str = "count(*)") -> int:
    return int(end.run(f"SELECT {what} FROM {table.name}")[0][0] or 0)  # noqa: S608 (names of ours)


def _key(table: Table, row: Row) -> list[object]:
    return [row[table.columns.index(column)] for column in table.key]
