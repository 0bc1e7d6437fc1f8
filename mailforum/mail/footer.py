"""A list's footer, put under a post without touching one byte of what the author wrote.

The original body stays in the mail as it was, whole and in its own encoding, so the text of the
footer is always added behind it: at the end of a plain text, as a last part of a multipart/mixed,
or in a new multipart/mixed around the two. What is signed or encrypted goes without a footer.
"""

import binascii
import hashlib

from mailforum.mail import mime, words
from mailforum.mail.message import Header, Message, field

_SEALED = frozenset(["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"])
_PGP = (b"-----BEGIN PGP MESSAGE", b"-----BEGIN PGP SIGNED MESSAGE")
_MAX_LINE = 998  # RFC 5322 section 2.1.1


def add(msg: Message, footer: str) -> Message:
    """Return `msg` with the text `footer` under it; the same message when it is signed or encrypted.

    The old body is one piece of the new one, byte for byte; in a multipart/mixed it is two, before and
    behind the new part. The same mail and footer always make the same bytes. A Message's body has
    normalised line ends. Raises nothing.
    """
    lines = _lines(footer)
    part = mime.top(msg)
    if not lines or part.content_type in _SEALED or any(mark in msg.body for mark in _PGP):
        return msg
    body = None
    if part.content_type == "text/plain" and not part.is_attachment:
        body = _appended(msg, part, lines)
    elif part.content_type == "multipart/mixed":
        body = _inserted(msg, part, lines)
    return _wrapped(msg, part, lines) if body is None else Message(msg.headers, body)


def _lines(footer: str) -> list[str]:
    """Return the lines of the footer; blanks at a line's end would be format=flowed, but for "-- "."""
    lines = mime.printable(footer).strip("\n").split("\n")
    return [line if line == "-- " else line.rstrip() for line in lines] if footer.strip() else []


def _appended(msg: Message, part: mime.Part, lines: list[str]) -> bytes | None:
    """Return the body with the footer behind it; None if that cannot be said in its charset or encoding."""
    if mime.parameter(part, "format").lower() == "flowed":
        lines = [" " + line if line.startswith((" ", ">", "From ")) else line for line in lines]  # RFC 3676 4.4
    data = _encoded(lines, part.charset)
    if data is None:
        return None
    if part.encoding == "quoted-printable":
        return b"".join((msg.body, _gap(msg.body), binascii.b2a_qp(data)))
    fits = max(map(len, data.split(b"\r\n"))) <= _MAX_LINE and (data.isascii() or part.encoding != "7bit")
    if not fits or part.encoding not in ("7bit", "8bit", "binary"):
        return None
    return b"".join((msg.body, _gap(msg.body), data))


def _encoded(lines: list[str], charset: str) -> bytes | None:
    """Return the lines in a charset that is a superset of ASCII; None if it is not, or cannot say them."""
    name = words.charset(charset or "us-ascii")
    try:
        if not name or "A\n".encode(name) != b"A\n":
            return None
        return "".join(f"{line}\r\n" for line in lines).encode(name)
    except UnicodeError:
        return None


def _gap(body: bytes) -> bytes:
    """Return what ends the last line of `body` and sets the footer apart from it by one empty line."""
    if not body or body.endswith(b"\r\n\r\n"):
        return b""
    return b"\r\n" if body.endswith(b"\r\n") else b"\r\n\r\n"


def _inserted(msg: Message, part: mime.Part, lines: list[str]) -> bytes | None:
    """Return the body of a multipart/mixed with one more part; None if it is broken.

    The new part goes before the closing delimiter, where every reader that found the other parts
    finds it too.
    """
    if not part.boundary or part.boundary != mime.parameter(part, "boundary"):
        return None
    end = _end_of_parts(msg.body, part.boundary)
    if end is None:
        return None
    new = f"\r\n--{part.boundary}\r\n".encode() + _footer_part(lines)
    body = memoryview(msg.body)  # it may be large: it is copied once
    return b"".join((body[:end], new, body[end:]))


def _end_of_parts(body: bytes, boundary: str) -> int | None:
    """Return where the closing delimiter is, with the CRLF before it; None if there is none behind another."""
    for count, found in enumerate(mime.delimiters(b"\r\n" + body, boundary, 0, len(body) + 2)):
        if found.closing:
            return found.start - 2 if count else None
    return None


def _wrapped(msg: Message, part: mime.Part, lines: list[str]) -> Message:
    """Return a multipart/mixed of the mail's body, with the Content-* fields it had, and the footer."""
    boundary = "=_" + hashlib.sha256(msg.body).hexdigest()[:32]
    moved = [header for header in msg.headers if _describes_body(header)]
    first = msg.headers.index(moved[0]) if moved else len(msg.headers)
    new = [field("Content-Type", f'multipart/mixed; boundary="{boundary}"')]
    if part.encoding in ("8bit", "binary"):  # RFC 2045 section 6.4: not less than what is within
        new.append(field("Content-Transfer-Encoding", part.encoding))
    if not msg.get("MIME-Version"):
        new.insert(0, field("MIME-Version", "1.0"))
    rest = [header for header in msg.headers[first:] if not _describes_body(header)]
    delimiter = f"--{boundary}".encode()
    inner = [*(header.raw for header in moved), b"\r\n", msg.body]
    pieces = [delimiter, b"\r\n", *inner, b"\r\n", delimiter, b"\r\n", _footer_part(lines), b"\r\n", delimiter]
    return Message((*msg.headers[:first], *new, *rest), b"".join([*pieces, b"--\r\n"]))


def _describes_body(header: Header) -> bool:
    return header.name.lower().startswith("content-")


def _footer_part(lines: list[str]) -> bytes:
    """Return a part of its own, header and text, without the last line end: that is the delimiter's."""
    data = _encoded(lines, "us-ascii")
    charset, encoding = "us-ascii", "7bit"
    if data is None or max(map(len, lines)) > _MAX_LINE:
        charset, encoding = "utf-8", "quoted-printable"
        data = binascii.b2a_qp("".join(f"{line}\r\n" for line in lines).encode())
    head = [
        field("Content-Type", f"text/plain; charset={charset}"),
        field("Content-Transfer-Encoding", encoding),
        field("Content-Disposition", "inline"),
    ]
    return b"".join([*(header.raw for header in head), b"\r\n", data.removesuffix(b"\r\n")])
