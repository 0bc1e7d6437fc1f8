"""From what somebody has named, a file, a folder or a whole tree of them, to the mails in it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from mailforum.archives import folders, order, packed, public_inbox, recognise
from mailforum.archives.source import BROKEN, Mail, Meter, Reading, size_of, why
from mailforum.errors import UsageError

STANDARD_INPUT = "-"
_READERS = {**folders.READERS, "public-inbox": public_inbox.mails}


def mails(sources: Iterable[str], how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of `sources`, paths or "-", in the order given.

    Raises UsageError and OSError for a source that is none, before any mail of that source; and for
    the first one before this returns.
    """
    opened = (_opened(source, how, meter) for source in sources)
    first = next(opened, iter(()))
    return _all(first, opened)


def _all(first: Iterator[Mail], rest: Iterator[Iterator[Mail]]) -> Iterator[Mail]:
    yield from first
    for one in rest:
        yield from one


def check(sources: Iterable[str], how: Reading) -> int:
    """Look at what is named; return how many bytes it has on the disk, 0 if that cannot be known.

    Raises UsageError and OSError for what is no source.
    """
    total = 0
    for source in sources:
        if source == STANDARD_INPUT:
            return 0
        path = Path(source)
        path.stat()
        if path.is_dir() and public_inbox.repositories(path):
            public_inbox.check(path)
        total += size_of(path)
    return total


def _opened(source: str, how: Reading, meter: Meter) -> Iterator[Mail]:
    if source == STANDARD_INPUT:
        return packed.standard_input(cast(io.RawIOBase, sys.stdin.buffer), how, meter)
    path = Path(source)
    if path.is_dir():
        return _of_tree(path, how, meter)
    if how.format in recognise.FOLDERS:
        raise UsageError(f"{path} is a file; {how.format} is a folder")
    return packed.named(path, how, meter)


def _of_tree(top: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of a folder and of all folders within it, each once wherever links lead."""
    waiting, seen = [top], set()
    while waiting:
        folder = waiting.pop()
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            kind = how.format if folder == top and how.format in recognise.FOLDERS else recognise.of_folder(folder)
            yield from _READERS[kind](folder, how, meter)
            waiting += reversed(_within(folder, kind))
        except BROKEN as error:
            yield Mail(str(folder), b"", fault=why(error))


def _within(folder: Path, kind: str) -> list[Path]:
    """Return the folders in which there may be more archives, in order. Those of Pipermail hold pages and files,
    and what it has made texts of is better read from the mailbox beside it."""
    if kind in ("public-inbox", "pipermail"):
        return []
    skipped = ("new", "cur", "tmp") if kind == "maildir" else ()
    found = [path for path in folder.iterdir() if path.is_dir() and path.name not in skipped]
    if kind != "maildir":  # Maildir++ has its subfolders there
        found = [path for path in found if not path.name.startswith(".")]
    boxes = {path.name for path in found}
    return sorted(
        (path for path in found if f"{path.name}.mbox" not in boxes), key=lambda path: order.natural(path.name)
    )
