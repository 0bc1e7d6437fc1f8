"""A mail, from bytes and back.

A mail in transit is never written anew: a `Message` keeps every header field as the bytes that
came, so what we do not touch leaves as it arrived, and the author's DKIM signature stays valid.
`get` gives a field's own characters, which identity is taken from; `text` what is shown to people.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from functools import cached_property
from itertools import groupby, islice

from mailforum.errors import Refused
from mailforum.mail import address, msgid, words

MAX_HEADER = 256 * 1024
MAX_FIELDS = 2000
_MAX_SHOWN = 10_000  # how many characters of a field are looked at to show it
_MAX_DATE = 200
_END_OF_DATES = 253_402_300_800  # the year 10000
_FOLD_AT = 76
_MAX_WORD = 900  # with the field's name before it, still a line of RFC 5322 (998)
_ENCODED_BYTES = 45  # 60 base64 characters and 12 around them

# One field with its continuation lines; a junk line has no name. What is searched ends with a line end,
# so there is a match at the start of every line and the search is linear.
_FIELD = re.compile(rb"((?:([!-9;-~]++)[ \t]*+:)?[^\n]*+\n(?>(?:[ \t][^\n]*+\n)*))")
_MBOX = re.compile(rb">?From (?![ \t]*+:)[^\r]*+\r\n")
_UNWANTED = re.compile("[\0-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Header:
    """A header field. `raw` is all of it as received: name, colon, folding and the final CRLF.

    A line that is no field is kept in its place under the name "".
    """

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """The text behind the colon, unfolded (RFC 5322 section 2.2.3) and stripped, not decoded.

        Bytes are read as utf-8 (RFC 6532), or as latin-1 where they are not; never raises.
        """
        body = self.raw.partition(b":")[2] if self.name else self.raw
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            text = body.decode("latin-1")
        return text.replace("\r\n", "").strip(" \t")


@dataclass(frozen=True)
class Message:
    """A parsed mail: its header fields in order, and the bytes of its body.

    What is read from the fields is read once: many ask for the author and the Message-ID.
    """

    headers: tuple[Header, ...]
    body: bytes

    def get(self, name: str) -> str:
        """Return the value of the first field `name`, in any case; "" if there is none."""
        found = self._by_name.get(name.lower())
        return found[0].value if found else ""

    def get_all(self, name: str) -> list[str]:
        """Return the values of all fields `name`, in order."""
        return [header.value for header in self._by_name.get(name.lower(), ())]

    def count(self, name: str) -> int:
        """Return how many fields `name` there are."""
        return len(self._by_name.get(name.lower(), ()))

    def has_any(self, names: AbstractSet[str]) -> bool:
        """Say whether there is a field with one of `names`, which are in lower case."""
        return not names.isdisjoint(self._by_name)

    @cached_property
    def _by_name(self) -> dict[str, list[Header]]:
        """The fields by their names in lower case."""
        found: dict[str, list[Header]] = {}
        for header in self.headers:
            found.setdefault(header.name.lower(), []).append(header)
        return found

    def text(self, name: str) -> str:
        """Return the first field `name` as it is shown: encoded words decoded (RFC 2047), on one line,
        without control or bidirectional characters, at most 1,000 characters; never raises."""
        return words.shown(self.get(name)[:_MAX_SHOWN])

    def without(self, *names: str) -> Message:
        """Return the message without any of the fields named."""
        low = {name.lower() for name in names}
        return Message(tuple(header for header in self.headers if header.name.lower() not in low), self.body)

    def prepend(self, *headers: Header) -> Message:
        """Return the message with `headers` before the others, where trace fields belong."""
        return Message((*headers, *self.headers), self.body)

    def replace(self, name: str, header: Header) -> Message:
        """Return the message with `header` in place of the first field `name` and without the others.

        Where there was none it becomes the last field.
        """
        low = name.lower()
        out: list[Header] = []
        new: Header | None = header
        for old in self.headers:
            if old.name.lower() != low:
                out.append(old)
            elif new:
                out.append(new)
                new = None
        return Message((*out, new) if new else tuple(out), self.body)

    def to_bytes(self) -> bytes:
        """Return the mail as it goes out; fields and body that were not changed are as they came."""
        return b"".join([*(header.raw for header in self.headers), b"\r\n", self.body])

    @cached_property
    def message_id(self) -> str:
        """The cleaned id of Message-ID, `<left@right>`, or of X-Message-ID where that has none, or ""."""
        values = (value for name in ("Message-ID", "X-Message-ID") for value in self.get_all(name))
        return next(filter(None, map(msgid.message_id, values)), "")

    @cached_property
    def subject(self) -> str:
        """The subject as it is shown."""
        return self.text("Subject")

    @cached_property
    def date(self) -> float | None:
        """What Date says, in seconds since the epoch; None for what is no date or lies before 1970."""
        return _seconds(self.get("Date")[:_MAX_DATE])

    @cached_property
    def author(self) -> address.Mailbox | None:
        """The one mailbox of the one From field; else None (RFC 7489 section 6.6.1)."""
        values = self.get_all("From")
        return address.mailbox(values[0]) if len(values) == 1 else None

    @cached_property
    def fingerprint(self) -> bytes:
        """What makes a mail the same mail: its id and a hash of author, date, subject and body.

        The id alone is not enough: Outlook's "resend" and mails made from templates use one id again for
        another text, and those are posts of their own.
        """
        parts = [self.message_id, *(self.get(name) for name in ("From", "Date", "Subject"))]
        mark = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape") + b"\0\0")
        mark.update(self.body)
        return mark.digest()


def _seconds(value: str) -> float | None:
    try:
        parsed = parsedate_tz(value)
        if parsed is None or abs(parsed[9] or 0) > 24 * 3600:
            return None
        seconds = float(mktime_tz(parsed))
    except (ValueError, OverflowError, IndexError, TypeError):
        # The standard library raises all of these on dates that mail programs have really sent.
        return None
    return seconds if 0 <= seconds < _END_OF_DATES else None


def parse(raw: bytes) -> Message:
    """Read a mail as it came from the wire; `normalise` is applied first. Linear.

    `parse(raw).to_bytes() == raw` for every normalised `raw` whose header block, which may be empty,
    begins with neither an mbox line ("From ") nor a blank, and ends with an empty line right behind a
    field. Else that first line goes, and the missing empty line is put in: as in Postfix, what comes
    behind the last field is body. A junk line before another field stays where it is, under the name "".

    Raises Refused (552 5.3.4) for a header block of more than 256 KiB or 2,000 fields.
    """
    return read(normalise(raw))


def read(raw: bytes) -> Message:
    """Do what `parse` does with a mail that is normalised already."""
    mbox = _MBOX.match(raw)
    headers, body, whole = read_header(raw, mbox.end() if mbox else 0, len(raw))
    if not whole:
        raise Refused("The header of this message is too large", code=552, enhanced="5.3.4")
    return Message(headers, raw[body:])


def read_header(
    raw: bytes, start: int, end: int, limit: int = MAX_HEADER, most: int = MAX_FIELDS
) -> tuple[tuple[Header, ...], int, bool]:
    """Read the header block that begins at `start`, no further than `end`.

    Returns its fields, the offset at which the body begins, and whether the block was read whole:
    it is not when it has more than `limit` bytes or `most` fields. `raw` has normalised line ends.
    """
    block, whole = _block(raw, start, end, limit)
    found = [match.group(1, 2) for match in islice(_FIELD.finditer(block), most + 1)]
    if len(found) > most:
        found, whole = found[:most], False
    whole = whole or bool(found and not found[-1][1])
    while found and not found[-1][1]:
        found.pop()
    if found and found[0][0].startswith((b" ", b"\t")):
        # Would become a part of whatever field is put before it.
        start += len(found.pop(0)[0])
    body = start + sum([len(field) for field, _ in found])
    headers = tuple([Header((name or b"").decode("ascii"), field) for field, name in found])
    return headers, body + 2 if raw.startswith(b"\r\n", body, end) else body, whole


def _block(raw: bytes, start: int, end: int, limit: int) -> tuple[bytes, bool]:
    """Return the lines before the first empty line, and whether these are all: at most `limit` bytes."""
    if raw.startswith(b"\r\n", start, end):
        return b"", True
    empty = raw.find(b"\r\n\r\n", start, min(end, start + limit + 2))
    if empty >= 0:
        return raw[start : empty + 2], True
    cut = raw.rfind(b"\n", start, min(end, start + limit)) + 1
    return raw[start:cut], end - start <= limit


def normalise(raw: bytes) -> bytes:
    """Return `raw` with every line ended by CRLF, the last one too, and without NUL (RFC 5322 section 2.3).

    A bare CR and a bare LF are line ends of their own. The same object comes back when nothing
    had to change.
    """
    raw = line_ends(raw)
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def line_ends(raw: bytes) -> bytes:
    """Do what `normalise` does with a piece of a mail, whose last line may go on in the next."""
    if b"\0" in raw:
        raw = raw.replace(b"\0", b"")
    pairs = raw.count(b"\r\n")
    if raw.count(b"\n") != pairs or raw.count(b"\r") != pairs:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return raw


def field(name: str, value: str) -> Header:
    """Make a header field of text.

    Blanks, line breaks and control characters become single blanks. Words with other than ASCII
    characters become encoded words in UTF-8 (RFC 2047); the ASCII words between them stay, so
    `Zoë <z@example.org>` is still an address, and so do encoded words that are already there.
    Lines are folded at 76 characters where there is a blank, and always below 998: an ASCII word
    longer than a line may be is encoded too.
    """
    value = _UNWANTED.sub(" ", value).strip(" ")
    lines, line = [], f"{name}:"
    for word in _words(value):
        if len(line) + 1 + len(word) > _FOLD_AT and line != f"{name}:":
            lines.append(line)
            line = ""
        line += " " + word
    return Header(name, "\r\n".join([*lines, line]).encode("ascii") + b"\r\n")


def _words(value: str) -> Iterator[str]:
    """Yield the words of `value`, encoded where they must be; a run of such words is encoded as one,
    because the blank between two encoded words does not count."""
    for to_encode, group in groupby(value.split(" "), lambda word: not word.isascii() or len(word) > _MAX_WORD):
        run = list(group)
        yield from _encoded(" ".join(run)) if to_encode else run


def _encoded(text: str) -> Iterator[str]:
    """Yield base64 encoded words of at most 75 characters that never cut a character (RFC 2047 section 5)."""
    data = text.encode("utf-8")
    start = 0
    while start < len(data):
        end = min(start + _ENCODED_BYTES, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield f"=?utf-8?b?{base64.b64encode(data[start:end]).decode('ascii')}?="
        start = end
