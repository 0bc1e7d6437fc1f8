"""Rows on their way, and how it is known that they have arrived.

A row is a tuple of int, float, str, bytes and None, the same from both databases: a flag is 0 or 1. In its
canonical form it is MessagePack of that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mailforum.store.database import kept

Row = tuple[Any, ...]

ROWS = 2000  # of a batch
BYTES = 8 * 1024**2

_BITS = (1 << 128) - 1
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Sum:
    """How many rows, how many bytes in their canonical form, and the sum of the hashes of each (128 bits).

    It does not depend on the order, so it can go on where it was after a kill, and two halves can be added.
    """

    rows: int = 0
    size: int = 0
    hash: int = 0

    def plus(self, forms: Sequence[bytes]) -> Sum:
        """Return it with more rows, in their canonical form."""
        hashes = sum(int.from_bytes(hashlib.blake2b(form, digest_size=16).digest(), "big") for form in forms)
        return Sum(self.rows + len(forms), self.size + sum(map(len, forms)), (self.hash + hashes) & _BITS)

    @property
    def text(self) -> str:
        """The hash as people compare it."""
        return f"{self.hash:032x}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows, and each in its canonical form."""

    rows: list[Row]
    forms: list[bytes]


def batches(rows: Iterable[Row]) -> Iterator[Batch]:
    """Take rows in portions that fit into memory: ROWS, or as many as are BYTES together."""
    batch, size = Batch([], []), 0
    for row in rows:
        form = _encode(row)
        batch.rows.append(row)
        batch.forms.append(form)
        size += len(form)
        if len(batch.rows) == ROWS or size >= BYTES:
            yield batch
            batch, size = Batch([], []), 0
    if batch.rows:
        yield batch


def summed(rows: Iterable[Row]) -> Sum:
    """Return the sum of all rows."""
    total = Sum()
    for batch in batches(rows):
        total = total.plus(batch.forms)
    return total


def without_nul(row: Row) -> Row:
    """Return a row as a database can keep it that cannot have NUL in a text: U+FFFD stands in its place."""
    if any(isinstance(value, str) and "\0" in value for value in row):
        return tuple(kept(value) if isinstance(value, str) else value for value in row)
    return row


def packed(key: Sequence[object]) -> str:
    """Write a key down as a text."""
    return _encode(tuple(key)).hex()


def unpacked(text: str) -> tuple[object, ...]:
    """Read what `packed` has written."""
    return tuple(msgspec.msgpack.decode(bytes.fromhex(text))) if text else ()
