"""The parts of a mail (RFC 2045 to 2049, 2231), found by their offsets; nothing is written anew.

The reader splits from the outside in, with a list of what is still to be split instead of recursion.
Broken MIME is read as far as it can be: phones and scanners send it, and their owners want to be read.
What is refused is only what no mail program makes and no reader could bear.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from mailforum.errors import Refused
from mailforum.mail import words
from mailforum.mail.message import Header, Message, read_header

MAX_DEPTH = 50
MAX_PARTS = 1000
MAX_DECODED = 10 * 1024 * 1024
_MAX_SCAN = 256 * 1024 * 1024  # bytes searched for delimiters in one mail, all its levels together
_MAX_PART_HEADER = 4 * 1024
_MAX_PART_FIELDS = 100
_MAX_VALUE = 4 * 1024  # of a Content-Type or Content-Disposition
_MAX_PARAMETERS = 100
_MAX_BOUNDARY = 200  # RFC 2046 allows 70
_MAX_FILENAME = 200
_HEAD = 64 * 1024  # where the first delimiter mostly is: a large body is not copied to look for it

_TYPE = re.compile(r"\s*+([\w!#$&^.+-]++)\s*+/\s*+([\w!#$&^.+-]++)", re.ASCII)
_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?>(?:[^"\\]|\\.)*))"?|([^;]*+))', re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SNIFF = re.compile(rb"\r\n--([^\s-][^\r\n]{0,199})\r\n(?=Content-)", re.IGNORECASE)
_BEHIND_BOUNDARY = re.compile(rb"(?>(--)?)[ \t]*+(?=\r\n|\Z)")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]+")
_READ = ("text/plain", "text/html", "multipart/")
# What senders declare and what they mean by it, as in WHATWG's Encoding Standard.
_MEANT = {
    "us-ascii": "",
    "iso-8859-1": "windows-1252",
    "latin1": "windows-1252",
    "iso-8859-9": "windows-1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "iso-8859-8-i": "iso-8859-8",
    "windows-874": "cp874",
    "x-sjis": "shift_jis",
    "shift_jis": "cp932",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `start` and `end` are offsets of its content within the message's body.

    All names are in lower case; `boundary` is set for a multipart only, `encoding` is "7bit" when
    nothing is said. The message itself is the part of depth 0.
    """

    headers: tuple[Header, ...]
    start: int
    end: int
    depth: int
    content_type: str
    charset: str
    filename: str
    disposition: str
    boundary: str
    encoding: str

    @property
    def is_multipart(self) -> bool:
        """Whether it consists of parts; a multipart without any boundary does not."""
        return bool(self.boundary)

    @property
    def is_attachment(self) -> bool:
        """Whether it is a file, rather than text that is read with the mail.

        A multipart in which no parts can be found is text: whoever wrote it wants it read.
        """
        is_text = self.content_type.startswith(_READ) and not self.filename
        return not self.is_multipart and (self.disposition not in ("", "inline") or not is_text)

    def get(self, name: str) -> str:
        """Return the value of the part's first field `name`; "" if there is none."""
        return _get(self.headers, name)


def top(msg: Message) -> Part:
    """Return the message itself as a part, without looking for those within it."""
    part = _part(b"\r\n" + msg.body[:_HEAD], msg.headers, 0, len(msg.body), 0)
    declared = parameter(part, "boundary")
    if not part.content_type.startswith("multipart/") or (declared and part.boundary == declared):
        return part
    return _part(b"\r\n" + msg.body, msg.headers, 0, len(msg.body), 0)


def parts(msg: Message) -> tuple[Part, ...]:
    """Return the message and all parts within it, each before those it contains.

    An attached mail (message/rfc822) is one part and is not opened. Raises Refused (550 5.6.0) for
    more than 1,000 parts, or parts nested more than 50 deep.
    """
    text = b"\r\n" + msg.body  # so that every delimiter has a CRLF before it, the very first line too
    waiting = [_part(text, msg.headers, 0, len(msg.body), 0)]
    out: list[Part] = []
    scanned = 0
    while waiting:
        part = waiting.pop()
        out.append(part)
        if part.is_multipart:
            scanned += part.end - part.start
            room = MAX_PARTS - len(out) - len(waiting)
            inner = list(islice(_split(text, part), room + 1)) if scanned <= _MAX_SCAN else []
            if scanned > _MAX_SCAN or len(inner) > room or (inner and part.depth >= MAX_DEPTH):
                raise Refused("This message has too many parts", code=550, enhanced="5.6.0")
            waiting += reversed(inner)
    return tuple(out)


class Delimiter(NamedTuple):
    """Where a delimiter line of a multipart stands, with the CRLF before it, and whether it is the closing one."""

    start: int
    end: int
    closing: bool


def delimiters(text: bytes, boundary: str, start: int, end: int) -> Iterator[Delimiter]:
    """Yield a multipart's delimiter lines between two offsets (RFC 2046 section 5.1.1)."""
    mark = f"\r\n--{boundary}".encode()
    at = text.find(mark, start, end)
    while at >= 0:
        rest = _BEHIND_BOUNDARY.match(text, at + len(mark), end)
        if rest:
            yield Delimiter(at, rest.end(), bool(rest[1]))
        at = text.find(mark, rest.end() if rest else at + 2, end)


def _split(text: bytes, part: Part) -> Iterator[Part]:
    """Yield the parts directly within `part`. `text` is the message's body behind a CRLF.

    So an offset into `text` is an offset into the body plus two, and the CRLF that ends what is
    before a part is found at the part's own `start`.
    """
    default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
    before: int | None = None
    for found in delimiters(text, part.boundary, part.start, part.end + 2):
        if before is not None:
            yield _inner(text, before, found.start - 2, part.depth + 1, default)
        if found.closing:
            return
        before = found.end
    if before is not None:  # the closing delimiter is missing, or the mail was cut off
        yield _inner(text, before, part.end, part.depth + 1, default)


def _inner(text: bytes, start: int, end: int, depth: int, default: str) -> Part:
    """Read the part whose header begins at `start`. The CRLF behind `end` is the delimiter's, and yet
    it ends the header where a part has nothing else."""
    headers, body, _ = read_header(
        text, start + 2, max(start, min(end + 2, len(text) - 2)) + 2, _MAX_PART_HEADER, _MAX_PART_FIELDS
    )
    return _part(text, headers, min(body - 2, max(start, end)), max(start, end), depth, default)


def _part(
    text: bytes, headers: tuple[Header, ...], start: int, end: int, depth: int, default: str = "text/plain"
) -> Part:
    about = [header for header in headers if header.name[:8].lower() == "content-"]
    content, disposed = _get(about, "Content-Type")[:_MAX_VALUE], _get(about, "Content-Disposition")[:_MAX_VALUE]
    kind = _TYPE.match(content)
    content_type = f"{kind[1]}/{kind[2]}".lower() if kind else default
    of_content, of_disposition = _parameters(content), _parameters(disposed)
    multipart = content_type.startswith("multipart/")
    return Part(
        headers,
        start,
        end,
        depth,
        content_type,
        charset=_first_word(_parameter(of_content, "charset")),
        filename=_filename(_parameter(of_disposition, "filename") or _parameter(of_content, "name")),
        disposition=_first_word(disposed.partition(";")[0]),
        boundary=_boundary(_parameter(of_content, "boundary"), text, start, end) if multipart else "",
        encoding=_first_word(_get(about, "Content-Transfer-Encoding")) or "7bit",
    )


def _boundary(declared: str, text: bytes, start: int, end: int) -> str:
    """Return the boundary that is really used: the declared one if it is there at all, else what the
    first part seems to begin with, else ""."""
    if 0 < len(declared) <= _MAX_BOUNDARY and text.find(b"\r\n--" + declared.encode(), start, end + 2) >= 0:
        return declared
    found = _SNIFF.search(text, start, end + 2)
    return found[1].decode("latin-1").rstrip() if found and found[1].isascii() else ""


def _get(headers: Sequence[Header], name: str) -> str:
    low = name.lower()
    return next((header.value for header in headers if header.name.lower() == low), "")


def _first_word(value: str) -> str:
    """Return the first word in lower case: what is behind it is a comment, or rubbish."""
    found = value[:100].replace("(", " ").split()
    return found[0].lower() if found else ""


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in islice(_PARAMETER.finditer(value), _MAX_PARAMETERS):
        text = match[3].strip() if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        found.setdefault(match[1].lower(), text)
    return found


def _parameter(found: dict[str, str], name: str) -> str:
    """Return a parameter, put together and decoded as RFC 2231 says; "" if it is not there."""
    if not found:
        return ""
    pieces = [(found[name + "*"], True)] if name + "*" in found else list(_pieces(found, name))
    if not pieces:
        return found.get(name, "")
    declared, _, rest = pieces[0][0].partition("'")
    if pieces[0][1] and "'" in rest:
        pieces[0] = (rest.partition("'")[2], True)
    data = b"".join(unquote_to_bytes(text) if coded else text.encode() for text, coded in pieces)
    return words.to_text(data, declared if pieces[0][1] else "")


def _pieces(found: dict[str, str], name: str) -> Iterator[tuple[str, bool]]:
    for number in range(_MAX_PARAMETERS):
        if f"{name}*{number}*" in found:
            yield found[f"{name}*{number}*"], True
        elif f"{name}*{number}" in found:
            yield found[f"{name}*{number}"], False
        else:
            return


def parameter(part: Part, name: str) -> str:
    """Return a parameter of the part's Content-Type, such as `format`; "" if it is not there."""
    return _parameter(_parameters(part.get("Content-Type")[:_MAX_VALUE]), name)


def _filename(value: str) -> str:
    """Return a file's name to be shown: decoded (RFC 2047, as many clients do), without folders."""
    return words.clean(re.split(r"[/\\]", words.decode(value))[-1], _MAX_FILENAME) if value else ""


def decode(msg: Message, part: Part, limit: int = MAX_DECODED) -> bytes:
    """Return the content of a part without its transfer encoding, at most `limit` bytes; never raises."""
    raw = msg.body[part.start : min(part.end, part.start + 4 * limit)]
    if part.is_multipart:
        return raw[:limit]  # RFC 2045 section 6.4 forbids an encoding here; some declare one all the same
    if part.encoding == "base64":
        return _base64(raw)[:limit]
    if part.encoding == "quoted-printable":
        return binascii.a2b_qp(raw)[:limit]
    return raw[:limit]


def _base64(raw: bytes) -> bytes:
    """Decode up to the first padding: behind it stand only footers that other lists put there."""
    letters = raw.partition(b"=")[0].translate(None, _NOT_BASE64)
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def decode_text(msg: Message, part: Part, limit: int = MAX_DECODED) -> str:
    """Return the text of a part with LF line ends and without other control characters.

    Read in the declared charset, else as utf-8, else as windows-1252; never raises.
    """
    return printable(words.to_text(decode(msg, part, limit), _MEANT.get(part.charset, part.charset)))


def charset(msg: Message, part: Part) -> str:
    """Return the charset a part of text is read in: as it was declared, "us-ascii", or `guessed NAME`."""
    data = decode(msg, part, _HEAD)
    declared = _MEANT.get(part.charset, part.charset)
    name = words.read(data, declared)[1].replace("_", "-").replace("utf8", "utf-8")
    if words.charset(declared).replace("_", "-").replace("utf8", "utf-8") == name:
        return name if part.charset in ("", declared) else part.charset
    return "us-ascii" if data.isascii() else f"guessed {name}"


def printable(text: str) -> str:
    """Return text of many lines with LF line ends, and without other control characters but tabs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # Most texts have nothing to take out, and that is found ten times as fast as it could be done.
    return text if text.replace("\n", "").replace("\t", "").isprintable() else _CONTROLS.sub("", text)


def size(msg: Message, part: Part) -> int:
    """Return how many bytes the content of a part has, without decoding it; base64 to the nearest three."""
    encoded = part.end - part.start
    if part.encoding != "base64":
        return encoded
    return (encoded - 2 * msg.body.count(b"\r\n", part.start, part.end)) * 3 // 4
