"""Many mails in one file: mbox, read and written as a stream.

A mail begins with a line `From SENDER DATE` behind an empty line (RFC 4155, appendix A), and ends with
an empty line. Written is mboxrd: a line of the mail that is `From ` behind any number of `>` gets one
`>` more, so that everything comes back as it was. Read are all dialects, with LF, CRLF or CR line ends:

mboxrd   every border is one, and one `>` is taken off each line `>From `, `>>From ` …
mboxo    only `>From ` itself was marked
mboxcl   as mboxrd, and Content-Length says where a mail ends
mboxcl2  Content-Length says so, and nothing is marked
""       not known: as mboxrd, but a line `From ` that nobody has marked is a border only if what is
         behind it, and before it, looks like one; Content-Length is believed as long as it leads to borders
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from mailforum.mail.message import Header, Message

DIALECTS = ("mboxrd", "mboxo", "mboxcl", "mboxcl2")
LIMIT = 100 * 1024**2  # bytes of one mail
MBOXRD = b"From mboxrd@z "  # how files begin that say what they are
_CHUNK = 64 * 1024  # bytes read at a time
_FROM_LINE = 300  # bytes of a From_ line that are looked at
_AHEAD = 2000  # bytes behind the beginning of a From_ line that say whether it is one
_HEAD = 256 * 1024  # bytes in which Content-Length must stand
_SMALL = 1024**2  # bytes; a longer mail is not looked through for a length that is not believed
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_QUOTED = re.compile(rb"^(?=>*+From )", re.MULTILINE)
_MARK = re.compile(rb"^>(?=>*+From )", re.MULTILINE)
_MARK_OF_MBOXO = re.compile(rb"^>(?=From )", re.MULTILINE)
# `Thu Jan  1 00:00:00 2015`, and `Thu, 1 Jan 2015 00:00:00 +0000` as some have it.
_MONTH = f"(?:{'|'.join(_MONTHS)})"
_DATE = re.compile(rf"\b(?:{'|'.join(_DAYS)}),? +(?:\d+ +{_MONTH}|{_MONTH} +\d+) .*\d:\d\d.*".encode())
# That of RFC 4155, in UTC, and nothing behind it; others take longer to be read.
_TIME = r"([ \d]\d) (\d\d):(\d\d):(\d\d) ((?:19[789]|20\d)\d)\r?\n?\Z"
_USUAL_DATE = re.compile(rf" (?:{'|'.join(_DAYS)}) ({'|'.join(_MONTHS)}) {_TIME}".encode())
# What may stand behind a From_ line: a field within five lines (some programs leave junk before it), or a mail
# without a header.
_HEADER = re.compile(rb"(?:\r?\n|\Z|(?:[^\r\n][^\n]*+\n){0,4}?[!-9;-~]++[ \t]*+:)")
_FIELD = re.compile(rb"[!-9;-~]++[ \t]*+:")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*+(\d{1,9})[ \t]*+\r?\n")
_FIELDS = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\n]*+(?:\n|\Z)(?>(?:[ \t][^\n]*+(?:\n|\Z))*)")
_USUAL = frozenset(
    b"from to cc date subject message-id received return-path mime-version content-type delivered-to reply-to sender"
    b" in-reply-to references x-original-to x-mailer envelope-to dkim-signature list-id x-mozilla-status".split()
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail of an mbox file.

    `raw` is the mail as it stands there, quoting taken off; `received` the date of its From_ line in
    seconds since the epoch, if that has one; `offset` the byte at which it begins. Where `cut` is set
    the mail was longer than the limit, and `raw` is only the beginning of it. `bare` is set where it has
    lines `From ` that should have been marked.
    """

    raw: bytes
    received: float | None
    offset: int
    cut: bool = False
    bare: bool = False


class _Window:
    """The part of a file that is looked at: what has been read and is not done with."""

    def __init__(self, stream: BinaryIO) -> None:
        self.data = bytearray()
        self.offset = 0  # of the beginning of `data` in the file
        self.ended = False
        self.failure: Exception | None = None  # with which it has ended
        self._read = getattr(stream, "read1", stream.read)
        self._mac = False  # CR ends the lines

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        try:
            piece = self._read(_CHUNK)
        except Exception as error:
            piece, self.failure = b"", error
        if not self.offset and not self.data:
            self._mac = b"\r" in piece and b"\n" not in piece
        self.data += piece.replace(b"\r", b"\n") if self._mac else piece
        self.ended = not piece
        return not self.ended

    def has(self, size: int) -> bool:
        """Read until there are `size` bytes; False if the file has no more."""
        while len(self.data) < size and not self.ended:
            self.more()
        return len(self.data) >= size

    def find(self, what: bytes, start: int, end: int) -> int:
        """Return where `what` begins, reading on until `end`; -1 if it is not there."""
        while True:
            known = len(self.data)
            found = self.data.find(what, start, end)
            if found >= 0 or known >= end or not self.more():
                return found
            start = max(start, known - len(what) + 1)

    def take(self, size: int) -> bytes:
        """Return the first `size` bytes, and let go of them."""
        piece = bytes(self.data[:size])
        del self.data[:size]
        self.offset += len(piece)
        return piece


@dataclass(slots=True)
class _Rules:
    """How a file is read, and what has been learnt of it so far.

    Where its first From_ line has a date the others must have one. `faith` counts how often
    Content-Length has led to a border, less how often it has not.
    """

    dialect: str
    unquote: bool
    limit: int
    first: bytes
    dated: bool = True
    faith: int = 0


@dataclass(frozen=True, slots=True)
class _Content:
    """A mail as it stands in the file, and whether it is only the beginning, or ends where its length says."""

    raw: bytes
    cut: bool = False
    counted: bool = False


def read(
    stream: BinaryIO, *, dialect: str = "", unquote: bool = True, limit: int = LIMIT, first: bytes = b""
) -> Iterator[Entry]:
    """Yield the mails of an mbox file, one at a time; linear, and little more than `limit` bytes in hand.

    `dialect` is one of DIALECTS or ""; without `unquote`, lines `>From ` stay as they are; `first` is
    how every mail begins, if that is known. What stands before the first From_ line is a mail too, so a
    file that is one bare mail is read as such. What reading the stream raises is raised behind the last
    mail that is whole.
    """
    window, rules = _Window(stream), _Rules(dialect, unquote and dialect != "mboxcl2", limit, first)
    while window.has(1) and window.data[0] in b"\r\n":  # empty lines at the beginning are no mail
        window.take(len(window.data) - len(window.data.lstrip(b"\r\n")))
    start = True
    while window.has(1):
        entry = _entry(window, rules, start)
        if window.failure and not window.data:  # nobody knows what was to follow
            break
        yield entry
        start = False
    if window.failure:
        raise window.failure


def is_dated(line: bytes) -> bool:
    """Say whether a line `From SENDER DATE` has its date."""
    return _DATE.search(line, 5, _FROM_LINE) is not None


def _entry(window: _Window, rules: _Rules, start: bool) -> Entry:
    """Take the next mail off the window, which begins with its From_ line."""
    offset, received = window.offset, None
    if window.has(5) and window.data.startswith(b"From "):
        end = window.find(b"\n", 0, _CHUNK)
        line = window.take(end + 1 if end >= 0 else _CHUNK)
        received = date_of(line)
        if start:
            rules.dated = is_dated(line)
    content = _counted(window, rules) or _up_to_border(window, rules)
    if content.cut:
        return Entry(content.raw, received, offset, cut=True)
    bare = b"\nFrom " in content.raw or content.raw.startswith(b"From ")
    if rules.unquote and b">From " in content.raw and not (bare and content.counted and not rules.dialect):
        mark = _MARK_OF_MBOXO if rules.dialect == "mboxo" else _MARK
        return Entry(mark.sub(b"", content.raw), received, offset, bare=bare)
    return Entry(content.raw, received, offset, bare=bare)


def _counted(window: _Window, rules: _Rules) -> _Content | None:
    """Take the mail that Content-Length says, if that is to be believed: behind it is a border, or nothing."""
    size = _length(window) if rules.dialect in ("", "mboxcl", "mboxcl2") else None
    believed = rules.faith >= 0 or bool(rules.dialect)
    if size is None or size > (rules.limit if believed else _SMALL):
        return None
    behind = _behind(window, size)
    right = behind >= 0 and (not window.has(behind + 1) or _is_border(window, rules, behind, counted=True))
    rules.faith = max(-3, min(3, rules.faith + (1 if right else -1)))
    if not right or not believed:
        return None
    raw = window.take(size)
    window.take(behind - size)
    return _Content(raw, counted=True)


def _length(window: _Window) -> int | None:
    """Return how long the mail is that the window begins with, by the Content-Length in its header."""
    lf = window.find(b"\n\n", 0, _HEAD)
    crlf = window.data.find(b"\n\r\n", 0, lf if lf >= 0 else _HEAD)
    end = crlf + 3 if crlf >= 0 else lf + 2
    found = _LENGTH.search(b"\n" + window.data[:end].lower()) if end > 1 else None
    return end + int(found[1]) if found else None


def _behind(window: _Window, size: int) -> int:
    """Return where the next From_ line has to be, behind one line end, or two; -1 if there is none at `size`."""
    window.has(size + 4)
    if len(window.data) < size:
        return -1
    ends = bytes(window.data[size : size + 4])
    return size + next((len(end) for end in (b"\r\n\r\n", b"\n\n", b"\r\n", b"\n") if ends.startswith(end)), 0)


def _up_to_border(window: _Window, rules: _Rules) -> _Content:
    """Take the mail that ends before the next border, without the empty line between."""
    head, at = b"", 0
    while True:
        at = window.find(b"\nFrom ", at, rules.limit + _CHUNK)
        if at >= 0 and _is_border(window, rules, at + 1):
            break
        if at >= 0:
            at += 1
        elif window.ended:
            at = len(window.data)
            break
        else:  # too long: of what follows only the end is kept, in which the border may begin
            head = head or window.take(rules.limit)
            window.take(len(window.data) - 8)
            at = 0
    raw = window.take(min(at + 1, len(window.data)))
    if head or len(raw) > rules.limit:
        return _Content((head or raw)[: rules.limit], cut=True)
    return _Content(_without_empty_line(raw))


def _without_empty_line(raw: bytes) -> bytes:
    for line_end in (b"\r\n", b"\n"):
        if raw == line_end or raw.endswith(b"\n" + line_end):
            return raw[: -len(line_end)]
    return raw


def _is_border(window: _Window, rules: _Rules, at: int, *, counted: bool = False) -> bool:
    """Say whether the line `From ` at `at` is where a mail begins; `counted` if Content-Length says so."""
    window.has(at + _AHEAD)
    line, _, rest = bytes(window.data[at : at + _AHEAD]).partition(b"\n")
    if not line.startswith(b"From ") or (rules.dated and not is_dated(line)):
        return False
    if counted or rules.dialect == "mboxrd":
        return True
    if rules.first:
        return rest.startswith(rules.first)
    before = bytes(window.data[max(0, at - 3) : at])
    if not before.endswith((b"\n\n", b"\n\r\n")) and before not in (b"\n", b"\r\n"):
        return rules.dated and begins_mail(rest)  # some programs forget the empty line
    return bool((_HEADER if rules.dated else _FIELD).match(rest))


def begins_mail(text: bytes) -> bool:
    """Say whether text begins with header fields, two of which are usual ones, or one if there are no others.

    The last one may be cut off.
    """
    text = text.replace(b"\r\n", b"\n")
    names: list[bytes] = []
    at = 0
    while len(names) < 50 and (match := _FIELDS.match(text, at)):
        names.append(match[1].lower())
        at = match.end()
    usual = len(_USUAL.intersection(names))
    return usual >= 2 or (usual == len(names) == 1 and text[at : at + 1] in (b"\n", b""))


def date_of(line: bytes) -> float | None:
    """Return the date of a From_ line in seconds since the epoch, if it has one."""
    if usual := _USUAL_DATE.search(line, 5, _FROM_LINE):
        month, day, hour, minute, second, year = usual.groups()
        with contextlib.suppress(ValueError):
            number = _MONTHS.index(month.decode()) + 1
            return datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=UTC).timestamp()
    found = _DATE.search(line, 5, _FROM_LINE)
    return Message((Header("Date", b"Date: " + found[0]),), b"").date if found else None


def write(stream: BinaryIO, raw: bytes, *, received: float) -> int:
    """Append a mail to an mboxrd file; return how many bytes that took.

    `raw` has CRLF line ends, which become LF; `received` is in seconds since the epoch. Where a sender is
    in other files stands that this is mboxrd, as in those of public-inbox: nothing has to be guessed when
    it is read, and no Content-Length in a mail is believed.
    """
    text = raw.replace(b"\r\n", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    if b"\nFrom " in text or b">From " in text or text.startswith(b"From "):
        text = _QUOTED.sub(b">", text)
    return stream.write(MBOXRD + _date(received) + text + b"\n")


def _date(received: float) -> bytes:
    """Return the rest of a From_ line, `Thu Jan  1 00:00:00 2015`: in UTC and in English, whatever the locale."""
    at = datetime.fromtimestamp(int(received), UTC)
    return f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S} {at.year:04}\n".encode("ascii")
