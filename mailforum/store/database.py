"""The database as the rest of mailforum sees it: units of work, and named queries inside them.

A unit is a plain function of a transaction. It runs on the database's own thread, so that no
other task, no lost connection and no cancelled session can come between its statements; what it
returns comes back only when it is committed and on disk. A unit may be run a second time when a
commit has to be repeated, so it changes nothing but the database.

The SQL lives in `sql/NAME.sql`, each statement under a line `-- name: what_it_does`; it is called
by `tx.one("post.by_id", id=7)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Row(Protocol):
    """A row: a read-only mapping from column names."""

    def keys(self) -> Iterable[str]: ...

    def __getitem__(self, column: str) -> Any: ...


class Tx(Protocol):
    """A transaction under way. Queries are named `table.query`; their parameters are keywords.

    `mail` is the id of the mail that the unit is about, which it sets: what is stored or queued carries it.
    """

    mail: str

    def run(self, query: str, /, **params: object) -> int:
        """Run a statement; return how many rows it touched."""
        ...

    def put(self, query: str, /, **params: object) -> None:
        """Run a statement of which nobody needs to hear; what is wrong with it may be raised later, by the next
        statement or the commit."""
        ...

    def ahead(self, query: str, /, **params: object) -> None:
        """Say that `one` or `all` will soon want this, so that it is asked along with what is asked before; nothing
        that is done until then changes the answer."""
        ...

    def anew(self) -> None:
        """Say that what was asked `ahead` need not be true any more."""
        ...

    def insert(self, query: str, /, **params: object) -> int:
        """Run a statement that inserts one row; return its id."""
        ...

    def many(self, query: str, rows: Iterable[Mapping[str, object]], /) -> None:
        """Run a statement once for each row."""
        ...

    def one(self, query: str, /, **params: object) -> Row | None:
        """Return the first row, or None."""
        ...

    def all(self, query: str, /, **params: object) -> list[Row]:
        """Return all rows."""
        ...

    def inline(self, data: bytes, /) -> bytes | None:
        """Return what of `data` goes in as the parameter `:raw` of `blob(:raw, :size)`: all of it, or None, and then
        it is for `fill`."""
        ...

    def fill(self, table: str, column: str, row_id: int, data: bytes, /) -> None:
        """Write what `inline` has left out into a column of a row that has room for it.

        Where that costs less memory: it goes in a piece at a time, and as a parameter it would be copied twice.
        """
        ...

    def head(self, table: str, column: str, row_id: int, size: int, /) -> bytes:
        """Return the first `size` bytes of a blob: a query would read all of it."""
        ...


Unit = Callable[[Tx], T]


def caused_by(mail: str, unit: Unit[T]) -> Unit[T]:
    """Return `unit` so that what it stores and queues carries the id `mail`."""

    def run(tx: Tx) -> T:
        tx.mail = mail
        return unit(tx)

    return run


_UNKEPT = re.compile("[\0\ud800-\udfff]")


def kept(text: str) -> str:
    """Return a text as it can be kept: with U+FFFD for NUL and halves of surrogate pairs, which some mail says.

    SQLite keeps NUL as it is.
    """
    return _UNKEPT.sub("\ufffd", text)


class Database(Protocol):
    """Where everything is kept."""

    async def read(self, unit: Unit[T]) -> T:
        """Run `unit` on one consistent snapshot, which it must not try to change."""
        ...

    async def peek(self, unit: Unit[T]) -> T:
        """Run `unit`, a few lookups by key, without a snapshot: each sees what is committed by then.

        What waits for its answer is not worth a change of threads, which takes longer than the lookup.
        """
        ...

    async def write(self, unit: Unit[T], lists: Collection[int] | None = None) -> T:
        """Run `unit` and return its result once it is durable.

        `lists`: the ids of those that it decides about. Nobody else, on whatever host, decides about them
        meanwhile, so what it reads of them stays true until it is committed. None: about anything, so it
        is alone with its decisions. Empty: it decides nothing that others could decide otherwise.

        Raises what the unit raises, with nothing of it kept, and Deferred (452 or 451) when the
        database cannot be written now. Cancelling the caller does not stop the unit.
        """
        ...

    async def tend(self, unit: Unit[T]) -> T:
        """Run `unit`, upkeep that decides nothing, like `write`; but what others write does not wait for it.

        Where there is one writer they do, so that it is to be short.
        """
        ...

    async def rehearse(self, unit: Unit[T], list_id: int) -> T:
        """Run `unit` on a copy of a list's posts and threads, and of what they name, as it is now; nobody waits for
        it. What it changes there is gone afterwards, and it must not change anything else."""
        ...

    async def claim(self, unit: Unit[T]) -> T:
        """Run `unit`, which takes work that no other process may take as well.

        Where only one process can take it, that is a read, and what it takes is not written down.
        """
        ...

    async def lead(self, job: str) -> bool:
        """Say whether this is the one process that does `job` now; if nobody does it, it is from now on."""
        ...

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, in the event loop, after each commit made by this process, and when it is
        heard of another's that may have made work for us."""
        ...

    def has_room(self, floor: int) -> bool:
        """Say whether the disk has room for more mail: at least `floor` bytes, and the reserve is there."""
        ...

    async def tidy(self) -> int:
        """Empty the write-ahead log if little happens, or if it is large; to be called now and then.

        Returns its size in bytes if it is large and a reader keeps it from being emptied, else 0.
        """
        ...

    async def backup(self, path: Path, now: float, advance: Callable[[int, int], None]) -> list[str]:
        """Write a consistent copy of everything to the empty file `path`, as it was at `now`.

        `advance` is called with how much of how much is done, in another thread. Returns what is wrong
        with the copy: nothing, if the database itself is whole. Being cancelled ends it.
        """
        ...

    async def close(self) -> None:
        """Finish what waits and let go of everything."""
        ...


def load_queries(dialect: str) -> dict[str, str]:
    """Return all SQL statements by name: `post.by_id` is the statement `by_id` of sql/post.sql.

    What the dialects cannot say in the same words stands in sql/DIALECT/, and goes before.
    """
    folder = resources.files("mailforum.store") / "sql"
    return _statements(folder) | _statements(folder / dialect)


def _statements(folder: Traversable) -> dict[str, str]:
    queries: dict[str, str] = {}
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            table = file.name.removesuffix(".sql")
            parts = re.split(r"^-- name: (\w+)\s*$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            for name, statement in zip(parts[1::2], parts[2::2], strict=True):
                if f"{table}.{name}" in queries:
                    raise ValueError(f"two statements are called {table}.{name}")
                queries[f"{table}.{name}"] = statement.strip().rstrip(";")
    return queries
