"""Folders with a file for each mail: Maildir, MH, .eml; and those with a file for each month."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mailforum.archives import order, packed, recognise
from mailforum.archives.source import Mail, Meter, Reading, mail_of
from mailforum.mail import mbox

# Subfolders of a Maildir in which mails are that nobody wants to keep, or has not sent.
_UNWANTED = re.compile(r"\.(?:trash|deleted|junk|spam|drafts)\b", re.IGNORECASE)
_FLAGS = {"T": "deleted", "D": "draft"}


def maildir(folder: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of a Maildir in the order they were delivered, which their names begin with."""
    unwanted = _UNWANTED.search(folder.name) if folder.name.startswith(".") else None
    for path in order.files([folder / name for name in ("new", "cur") if (folder / name).is_dir()], _delivered):
        flags = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
        left_out = next((_FLAGS[flag] for flag in flags if flag in _FLAGS), "deleted" if unwanted else "")
        if left_out:
            yield Mail(str(path), b"", left_out=left_out)
        else:
            yield mail_of(path, meter, _seconds(path.name) or None)


def _delivered(name: str) -> order.Key | None:
    return None if name.startswith(".") else (_seconds(name), name)


def _seconds(name: str) -> int:
    """Return when a mail was delivered, in seconds since the epoch, or 0."""
    seconds = name.partition(".")[0]
    return int(seconds) if seconds.isdecimal() and len(seconds) <= 10 else 0


def mh(folder: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of an MH folder by their numbers. Those deleted have another name."""
    for path in order.files([folder], lambda name: (int(name[:18]), name) if name.isdecimal() else None):
        yield mail_of(path, meter)


def plain(folder: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails in the files of a folder, of whatever kind each is, by their names."""
    for path in order.files([folder], lambda name: None if name.startswith(".") else order.natural(name)):
        yield from packed.mails(path, how, meter)


def months(folder: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of Pipermail's folder, month by month whatever their names are in the list's language.

    A month is there once as text and once packed; its pages are not looked at. What else lies there comes last.
    """
    found: dict[str, Path] = {}
    for path in order.files([folder], lambda name: order.natural(name) if recognise.is_month(name) else None):
        found.setdefault(path.name.removesuffix(".gz"), path)
    dated = [(_begins(path), number, path) for number, path in enumerate(found.values())]
    for _, _, path in sorted(dated):
        yield from packed.mails(path, how, meter)
    for path in order.files([folder], lambda name: None if recognise.is_pipermails(name) else order.natural(name)):
        yield from packed.mails(path, how, meter)


def _begins(path: Path) -> float:
    """Return when the first mail of a month came, in seconds since the epoch, or 0."""
    line = packed.beginning(path).lstrip(b"\r\n").partition(b"\n")[0]
    return mbox.date_of(line) or 0.0


READERS = {"maildir": maildir, "mh": mh, "folder": plain, "pipermail": months, "eml": plain}
