"""Many mails in one file: mbox, read and written as a stream.

A mail begins with a line `From SENDER DATE` behind an empty line (RFC 4155, appendix A), and ends with
an empty line. Written is mboxrd: a line of the mail that is `From ` behind any number of `>` gets one
`>` more, so that everything comes back as it was. Read are mboxrd, mboxo (which so marks only `From `
itself) and files in which nobody has marked anything, with LF or CRLF line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO

from mailforum.mail.message import Header, Message

LIMIT = 100 * 1024**2  # bytes of one mail
_CHUNK = 64 * 1024  # of a line without an end, so much is read at a time
_FROM_LINE = 300  # bytes of a From_ line that are looked at
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_QUOTED = re.compile(rb"^(?=>*+From )", re.MULTILINE)
# `Thu Jan  1 00:00:00 2015`, and `Thu, 1 Jan 2015 00:00:00 +0000` as some have it.
_DATE = re.compile(rf"\b(?:{'|'.join(_DAYS)}),? +(?:\d+ +)?(?:{'|'.join(_MONTHS)}) .*\d:\d\d.*".encode())
_NO_SENDER = b"MAILER-DAEMON"
_SENDER = re.compile(rb"[^\s\x00-\x20\x7f]{1,254}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail of an mbox file.

    `raw` is the mail as it stands there, quoting taken off; `received` the date of its From_ line in
    seconds since the epoch, if that has one; `offset` the byte at which it begins. Where `cut` is set
    the mail was longer than the limit, and `raw` is only the beginning of it.
    """

    raw: bytes
    received: float | None
    offset: int
    cut: bool = False


@dataclass(slots=True)
class _Gathered:
    """The lines of a mail as they come."""

    received: float | None
    offset: int
    limit: int
    lines: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, line: bytes) -> None:
        self.size += len(line)
        if self.size <= self.limit:
            self.lines.append(line)

    def entry(self) -> Entry:
        cut = self.size > self.limit
        if not cut and self.lines and not self.lines[-1].strip(b"\r\n"):
            self.lines.pop()  # the empty line that ends a mail is not a part of it
        return Entry(b"".join(self.lines), self.received, self.offset, cut)


def read(stream: BinaryIO, *, unquote: bool = True, limit: int = LIMIT) -> Iterator[Entry]:
    """Yield the mails of an mbox file, one at a time; linear, and never more than `limit` bytes in hand.

    Without `unquote`, lines `>From ` stay as they are. What stands before the first From_ line is a
    mail too, so a file that is one bare mail is read as such. Where the first From_ line has a date the
    others must have one: a sentence that begins with `From ` and that nobody has quoted is no border.
    """
    mail: _Gathered | None = None
    dated, offset, border = True, 0, True
    for line, whole in _lines(stream):
        if border and line.startswith(b"From ") and (not mail or not dated or _DATE.search(line, 5, _FROM_LINE)):
            received = _received(line)
            if mail:
                yield mail.entry()
            else:
                dated = received is not None
            mail = _Gathered(received, offset, limit)
        elif mail or line.strip():
            mail = mail or _Gathered(None, offset, limit)
            quoted = unquote and whole and line.startswith(b">") and _QUOTED.match(line)
            mail.add(line[1:] if quoted else line)
        border = whole and line in (b"\n", b"\r\n")
        offset += len(line)
    if mail:
        yield mail.entry()


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield each line and whether it is the beginning of one: very long lines come in pieces."""
    whole = True
    while line := stream.readline(_CHUNK):
        yield line, whole
        whole = line.endswith(b"\n")


def _received(line: bytes) -> float | None:
    found = _DATE.search(line, 5, _FROM_LINE)
    return Message((Header("Date", b"Date: " + found[0]),), b"").date if found else None


def write(stream: BinaryIO, raw: bytes, *, sender: str, received: float) -> int:
    """Append a mail to an mboxrd file; return how many bytes that took.

    `raw` has CRLF line ends, which become LF; `sender` is an address or "", `received` in seconds since
    the epoch.
    """
    text = raw.replace(b"\r\n", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    if b"\nFrom " in text or b">From " in text or text.startswith(b"From "):
        text = _QUOTED.sub(b">", text)
    return stream.write(_from_line(sender, received) + text + b"\n")


def _from_line(sender: str, received: float) -> bytes:
    """Return `From ada@example.org Thu Jan  1 00:00:00 2015`: in UTC and in English, whatever the locale."""
    at = datetime.fromtimestamp(int(received), UTC)
    name = sender.encode("utf-8", "replace")
    date = f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S} {at.year:04}"
    return b"From %b %b\n" % (name if _SENDER.fullmatch(name) else _NO_SENDER, date.encode("ascii"))
