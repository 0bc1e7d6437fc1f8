"""Our own mails as bytes: notices, digests, answers. The same input gives the same bytes.

A second attempt at a delivery must not differ from the first, or receivers that suppress
duplicates cannot; so the boundary comes from a hash and the date from the caller.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from mailforum.mail.message import field

LONGEST_LINE = 998  # RFC 5322 section 2.1.1, without the CRLF


def mail(headers: Sequence[tuple[str, str]], text: str, html: str | None, seed: str) -> bytes:
    """Make a mail with CRLF lines from header fields (name, text), a plain text and perhaps an HTML one.

    `seed` is what the mail is known by, such as its Message-ID. Fields are encoded by RFC 2047 where
    they are not ASCII; MIME-Version and the Content- fields are added here.
    """
    top = b"".join(field(name, value).raw for name, value in headers) + b"MIME-Version: 1.0\r\n"
    plain = _part("plain", text)
    if html is None:
        return top + plain
    rich = _part("html", html)
    # The parts go into the hash, so no part can contain the boundary.
    boundary = b"=_" + hashlib.sha256(seed.encode("utf-8", "replace") + plain + rich).hexdigest()[:32].encode()
    parts = b"".join(b"\r\n--%s\r\n%s" % (boundary, part) for part in (plain, rich))
    kind = b'Content-Type: multipart/alternative;\r\n boundary="%s"\r\n' % boundary
    return b"%s%s%s\r\n--%s--\r\n" % (top, kind, parts, boundary)


def date(seconds: float) -> str:
    """Write seconds since the epoch for a Date field (RFC 5322 section 3.3), in UTC."""
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC))


def _part(subtype: str, text: str) -> bytes:
    lines = [line.encode("utf-8", "replace") for line in _lines(text)]
    body = b"".join(line + b"\n" for line in lines)
    if body.isascii() and b"\0" not in body and max(map(len, lines), default=0) <= LONGEST_LINE:
        encoding = b"7bit"
    else:
        encoding, body = b"quoted-printable", binascii.b2a_qp(body, quotetabs=False, istext=True)
    return b'Content-Type: text/%s; charset="utf-8"\r\nContent-Transfer-Encoding: %s\r\n\r\n%s' % (
        subtype.encode(),
        encoding,
        body.replace(b"\n", b"\r\n"),
    )


def _lines(text: str) -> list[str]:
    """Split at CRLF, LF and CR only; str.splitlines knows of more than mail does."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
