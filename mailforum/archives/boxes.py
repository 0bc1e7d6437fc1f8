"""One file with many mails: an mbox of any kind, an export, or one of Pipermail's months. Or with one mail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from mailforum.archives.source import BROKEN, Mail, Reading, broken_off, one_mail, too_large, why
from mailforum.mail import jsonl, mbox, pipermail, unwanted


def mails(stream: BinaryIO, where: str, kind: str, how: Reading) -> Iterator[Mail]:
    """Yield the mails of a file of the `kind` mbox, one of its dialects, jsonl, pipermail or eml; never raises."""
    if kind == "eml":
        yield _single(stream, where)
        return
    number = 0
    try:
        found = _of_lines(stream, where) if kind == "jsonl" else _of_mbox(stream, where, kind, how)
        for mail in found:
            yield mail
            number += 1
    except BROKEN as error:
        yield Mail(f"{where}: behind mail {number}", b"", fault=broken_off(error))


def _of_lines(stream: BinaryIO, where: str) -> Iterator[Mail]:
    for line in jsonl.read(stream):
        yield Mail(f"{where}: line {line.number}", line.raw, line.received, line.fault)


def _of_mbox(stream: BinaryIO, where: str, kind: str, how: Reading) -> Iterator[Mail]:
    for number, entry in enumerate(_entries(stream, kind, how), 1):
        place = f"{where}: mail {number}, at byte {entry.offset}"
        bare = ("unmarked From_ lines",) if entry.bare else ()
        if kind == "mboxrd":  # an archive: no field in it speaks of its own state, and its times are UTC
            yield Mail(place, entry.raw, entry.received, too_large(entry.cut), repaired=bare)
        elif kind == "pipermail" and not entry.cut:
            raw, repaired = pipermail.repair(entry.raw, how.charset, how.to)
            yield Mail(place, raw, entry.received, repaired=bare + repaired, copy=True, local=True)
        else:
            left_out = unwanted.reason(entry.raw)
            yield Mail(place, entry.raw, entry.received, too_large(entry.cut), left_out, repaired=bare, local=True)


def _entries(stream: BinaryIO, kind: str, how: Reading) -> Iterator[mbox.Entry]:
    dialect = kind if kind in mbox.DIALECTS else ""
    first = pipermail.FIRST if kind == "pipermail" else b""
    return mbox.read(stream, dialect=dialect, unquote=how.unquote, first=first)


def _single(stream: BinaryIO, where: str) -> Mail:
    try:
        return one_mail(stream, where)
    except BROKEN as error:
        return Mail(where, b"", fault=why(error))
