"""From what somebody has named, a file, a folder or a whole tree of them, to the mails in it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from mailforum.archives import folders, order, packed, public_inbox, recognise
from mailforum.archives.source import BROKEN, NO_MAIL, Mail, Meter, Reading, fault_of_ours, metered, size_of, why
from mailforum.errors import UsageError

STANDARD_INPUT = "-"
_OF_MAILDIR = frozenset({"new", "cur", "tmp"})
_READERS = {**folders.READERS, "public-inbox": public_inbox.mails}


def check(sources: Sequence[str], how: Reading) -> int:
    """Look at what is named; return how many bytes it has on the disk, 0 if that cannot be known.

    Raises UsageError and OSError for what is no source.
    """
    measured = [_check(source, how) for source in sources]
    return sum(size_of(Path(source)) for source in sources) if all(measured) else 0


def _check(source: str, how: Reading) -> bool:
    """Look at a source; False if its size cannot be known, as that of a pipe."""
    path = Path(source)
    if source != STANDARD_INPUT and path.is_dir():
        if public_inbox.repositories(path):
            public_inbox.check(path)
        return True
    if how.format in recognise.FOLDERS and how.format not in recognise.FILES:
        raise UsageError(f"{source} is a file; {how.format} is a folder")
    if source == STANDARD_INPUT or path.is_fifo():
        return False
    packed.check(path, how)
    return True


def mails(sources: Iterable[str], how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of `sources`, paths or "-", in the order given.

    Raises UsageError and OSError for a source that is none, before any mail of it.
    """
    for source in sources:
        path = Path(source)
        if source == STANDARD_INPUT:
            file = metered(cast(io.RawIOBase, sys.stdin.buffer), meter)
            yield from packed.stream(file, "standard input", how)
        elif path.is_dir():
            yield from _of_tree(path, how, meter)
        else:
            yield from packed.named(path, how, meter)


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
        except UsageError as error:  # such as a repository of something else
            if folder == top:
                raise
            yield Mail(str(error), b"", left_out=NO_MAIL)
        except BROKEN as error:
            yield Mail(str(folder), b"", fault=why(error))
        except Exception as error:  # one folder takes no other with it
            yield Mail(str(folder), b"", fault=fault_of_ours(error))


def _within(folder: Path, kind: str) -> list[Path]:
    """Return the folders in which there may be more archives, in order.

    What Pipermail has made texts of is better read from the mailbox beside it.
    """
    if kind == "public-inbox":
        return []
    skipped = _OF_MAILDIR if kind == "maildir" else _of_pipermail(folder) if kind == "pipermail" else set[str]()
    found = [path for path in folder.iterdir() if path.is_dir() and path.name not in skipped]
    if kind != "maildir":  # Maildir++ has its subfolders there
        found = [path for path in found if not path.name.startswith(".")]
    boxes = {path.name for path in found}
    return sorted(
        (path for path in found if f"{path.name}.mbox" not in boxes), key=lambda path: order.natural(path.name)
    )


def _of_pipermail(folder: Path) -> set[str]:
    """Return the folders in which Pipermail keeps its pages, one for each month, and attachments."""
    months = {path.name.partition(".txt")[0] for path in folder.iterdir() if recognise.is_month(path.name)}
    return months | {"attachments", "database"}
