"""One file with many mails: an mbox of any kind, one of Pipermail's months, JSON Lines. Or with one mail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from mailforum.archives.source import BROKEN, Mail, Reading, broken_off, one_mail, too_large, why
from mailforum.mail import jsonl, mbox, pipermail, unwanted


def mails(stream: BinaryIO, where: str, kind: str, how: Reading) -> Iterator[Mail]:
    """Yield the mails of a file of a `kind` of recognise.FILES; never raises."""
    if kind == "eml":
        yield _single(stream, where)
    elif kind == "jsonl":
        yield from _of_lines(stream, where)
    else:
        yield from _of_box(stream, where, kind, how)


def _of_box(stream: BinaryIO, where: str, kind: str, how: Reading) -> Iterator[Mail]:
    number = 0
    try:
        for number, entry in enumerate(_entries(stream, kind, how), 1):
            yield _boxed(entry, f"{where}: mail {number}, at byte {entry.offset}", kind, how)
    except BROKEN as error:
        yield Mail(f"{where}: behind mail {number}", b"", fault=broken_off(error))


def _boxed(entry: mbox.Entry, place: str, kind: str, how: Reading) -> Mail:
    bare = ("unmarked From_ lines",) if entry.bare else ()
    if kind == "mboxrd":  # an archive: no field in it speaks of its own state, and its times are UTC
        return Mail(place, entry.raw, entry.received, too_large(entry.cut), repaired=bare)
    if kind == "pipermail" and not entry.cut:
        raw, repaired = pipermail.repair(entry.raw, how.charset, how.to)
        return Mail(place, raw, entry.received, repaired=bare + repaired, copy=True, local=True)
    left_out = unwanted.reason(entry.raw)
    return Mail(place, entry.raw, entry.received, too_large(entry.cut), left_out, repaired=bare, local=True)


def _entries(stream: BinaryIO, kind: str, how: Reading) -> Iterator[mbox.Entry]:
    dialect = kind if kind in mbox.DIALECTS else ""
    first = pipermail.FIRST if kind == "pipermail" else b""
    return mbox.read(stream, dialect=dialect, unquote=how.unquote, first=first)


def _of_lines(stream: BinaryIO, where: str) -> Iterator[Mail]:
    line = 0
    try:
        for entry in jsonl.read(stream):
            line = entry.number
            yield Mail(f"{where}: line {line}", entry.raw, entry.received, entry.fault)
    except BROKEN as error:
        yield Mail(f"{where}: behind line {line}", b"", fault=broken_off(error))


def _single(stream: BinaryIO, where: str) -> Mail:
    try:
        return one_mail(stream, where)
    except BROKEN as error:
        return Mail(where, b"", fault=why(error))
