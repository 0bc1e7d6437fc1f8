"""The files of a folder in order, however many there are: sorted in pieces, which wait in a file."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import IO, TypeAlias

PIECE = 50_000  # names that are sorted in memory
Key: TypeAlias = "tuple[object, ...]"
_Named: TypeAlias = "tuple[Key, str]"

_DIGITS = re.compile(r"(\d{1,18})")


def natural(name: str) -> Key:
    """Return the key by which 9.eml is before 10.eml."""
    pieces = _DIGITS.split(name.lower())
    return tuple((int(piece), "") if at % 2 else (-1, piece) for at, piece in enumerate(pieces)), name


def files(folders: Iterable[Path], key: Callable[[str], Key | None], piece: int = PIECE) -> Iterator[Path]:
    """Yield the files of `folders` (not of those within) in the order of `key`; None leaves one out.

    What is no regular file is not looked at: a FIFO would make us wait. Raises OSError for a folder
    that cannot be read.
    """
    with tempfile.TemporaryFile() as spare:
        for _, path in merge(*_sorted_pieces(_named(folders, key), piece, spare)):
            yield Path(path)


def _named(folders: Iterable[Path], key: Callable[[str], Key | None]) -> Iterator[_Named]:
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                place = key(entry.name)
                if place is not None and (entry.is_symlink() or entry.is_file()) and not _special(entry):
                    yield place, entry.path


def _special(entry: os.DirEntry[str]) -> bool:
    """Whether it is neither a file nor a link that leads nowhere, which is a file that cannot be read."""
    return not entry.is_file() and os.path.exists(entry.path)  # noqa: PTH110  a million of them


def _sorted_pieces(names: Iterator[_Named], piece: int, spare: IO[bytes]) -> list[Iterable[_Named]]:
    """Return sorted pieces of `names`: the only one as it is, of several each from its place in `spare`."""
    pieces: list[Iterable[_Named]] = []
    while some := sorted(islice(names, piece)):
        if not pieces and len(some) < piece:
            return [some]
        pieces.append(_kept(spare, some))
    return pieces


def _kept(spare: IO[bytes], some: list[_Named]) -> Iterator[_Named]:
    """Write names down, a few together; return an iterator that reads them again."""
    start = spare.seek(0, os.SEEK_END)
    for at in range(0, len(some), 500):
        pickle.dump(some[at : at + 500], spare)
    return _read_again(spare, start, spare.tell())


def _read_again(spare: IO[bytes], at: int, end: int) -> Iterator[_Named]:
    while at < end:
        spare.seek(at)
        some: list[_Named] = pickle.load(spare)  # noqa: S301  we have written it
        at = spare.tell()
        yield from some
