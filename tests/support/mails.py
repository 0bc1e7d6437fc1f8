"""Mails as clients write them, and as nobody should: each is made by a function that says what it is.

`ordinary()`: what an author's client may send, all of it right. `nasty()`: what it may not.
"""

from __future__ import annotations

AUTHOR = "ada@example.org"


def mail(
    body: bytes = b"Hello.\r\n",
    *fields: bytes,
    name: str = "plain",
    sender: bytes = b"From: Ada Lovelace <ada@example.org>",
    subject: bytes = b"Subject: About %s",
) -> bytes:
    """Make a whole mail. `fields` are further header fields without their last CRLF."""
    head = [
        sender,
        b"To: pmo@lists.example.test",
        subject.replace(b"%s", name.encode()),
        b"Date: Sat, 22 Nov 2025 14:05:00 +0100",
        b"Message-ID: <%s@client.example.org>" % name.encode(),
        *fields,
    ]
    return b"".join(field + b"\r\n" for field in head if field) + b"\r\n" + body


def part(kind: bytes, content: bytes, *fields: bytes) -> bytes:
    """Make a part of a multipart."""
    return b"\r\n".join([b"Content-Type: " + kind, *fields, b"", content])


def multipart(boundary: bytes, *parts: bytes, preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    """Make the body of a multipart."""
    delimited = b"".join(b"--%s\r\n%s\r\n" % (boundary, one) for one in parts)
    return preamble + delimited + b"--%s--\r\n" % boundary + epilogue


MIME = b"MIME-Version: 1.0"
UTF8 = (MIME, b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: 8bit")
BASE64 = b"Content-Transfer-Encoding: base64"
QP = b"Content-Transfer-Encoding: quoted-printable"
PICTURE = b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def ordinary() -> dict[str, bytes]:
    """Return mails by name, all within what the RFCs allow, or what every client sends all the same."""
    return {name: mail(body, *fields, name=name) for name, (fields, body) in _ORDINARY.items()}


_ATTACHED = multipart(
    b"=_mixed",
    part(b"text/plain; charset=utf-8", "Grüße,\r\n  ada".encode(), b"Content-Transfer-Encoding: 8bit"),
    part(b'image/png; name="a b.png"', PICTURE, BASE64, b'Content-Disposition: attachment; filename="a b.png"'),
    preamble=b"This is a multi-part message in MIME format.\r\n\r\n",
    epilogue=b"\r\nBehind the end.  \r\n",
)
_ALTERNATIVE = multipart(
    b"=_alt",
    part(b"text/plain", b"Hello, =E2=82=AC\r\n  ", QP),
    part(b"text/html", b"<p>Hello, =E2=82=AC</p>=\r\n", QP),
)
_SMIME = multipart(
    b"----ABC",
    part(b"text/plain", b"Signed text. \r\n\r\n"),
    part(b'application/pkcs7-signature; name="smime.p7s"', b"MIIB\r\nAAAA", BASE64),
    preamble=b"This is an S/MIME signed message\r\n\r\n",
)
_PGP = multipart(
    b"pgp",
    part(b"text/plain; charset=utf-8", b"- -- \r\nSigned text\r\n"),
    part(b"application/pgp-signature", b"-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n-----END PGP SIGNATURE-----"),
)
_ENCRYPTED = multipart(
    b"enc",
    part(b"application/pgp-encrypted", b"Version: 1"),
    part(b"application/octet-stream", b"-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA\r\n-----END PGP MESSAGE-----"),
)

_ORDINARY: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "plain": ((), b"Hello,\r\n\r\nthis is Ada.\r\n"),
    "empty": ((), b""),
    "only-empty-lines": ((), b"\r\n\r\n\r\n"),
    "trailing-empty-lines": ((), b"Hello.\r\n\r\n\r\n\r\n"),
    "trailing-blanks": ((), b"Hello.  \r\n \r\n\t\r\nTab behind.\t\r\n"),
    "tabs": ((), b"\tone\t\ttwo\r\n \t three\r\n"),
    "lone-dots": ((), b".\r\n..\r\n.hidden\r\n...\r\ntext\r\n.\r\n.\r\n"),
    "from-lines": ((), b"From here on\r\n>From there\r\nFrom ada@example.org Sat Nov 22 14:05:00 2025\r\n"),
    "line-of-997": ((), b"x" * 997 + b"\r\n"),
    "line-of-998": ((), b"x" * 998 + b"\r\nshort\r\n"),
    "line-of-5000": ((), b"x" * 5000 + b"\r\nshort\r\n"),
    "no-final-newline": ((), b"Hello"),
    "signature": ((), b"Hello\r\n\r\n-- \r\nAda\r\n"),
    "utf-8": (UTF8, "Grüße aus Łódź, 你好 €\r\n".encode()),
    "latin-1": (
        (MIME, b"Content-Type: text/plain; charset=iso-8859-1", b"Content-Transfer-Encoding: 8bit"),
        "Grüße \xa0 é\r\n".encode("latin-1"),
    ),
    "8-bit-undeclared": ((), b"Gr\xfc\xdfe\r\n"),
    "control-characters": ((), b"bell\x07 escape\x1b[31m form\x0cfeed\r\n"),
    "flowed": (
        (MIME, b"Content-Type: text/plain; charset=us-ascii; format=flowed; delsp=yes"),
        b"A paragraph that was broken \r\nto fit. \r\n\r\n> quoted \r\n> text\r\n From stuffed\r\n-- \r\nAda\r\n",
    ),
    "quoted-printable": (
        (MIME, b"Content-Type: text/plain; charset=utf-8", QP),
        b"Gr=C3=BC=C3=9Fe, a long line that was br=\r\noken =\r\n\r\n=3D=20\r\n",
    ),
    "base64": (
        (MIME, b"Content-Type: text/plain; charset=utf-8", BASE64),
        b"R3LDvMOfZSwKClRoaXMgaXMgYSBsaW5lIG9mIHRleHQgdGhh\r\ndCBnb2VzIG9uLgo=\r\n",
    ),
    "html": ((MIME, b"Content-Type: text/html; charset=utf-8"), b"<html><body><p>Hello </p></body></html>\r\n"),
    "attachment": ((MIME, b'Content-Type: multipart/mixed;\r\n\tboundary="=_mixed"'), _ATTACHED),
    "alternative": ((MIME, b"Content-Type: multipart/alternative; boundary==_alt"), _ALTERNATIVE),
    "s-mime-signed": (
        (
            MIME,
            b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
            b' micalg="sha-256"; boundary="----ABC"',
        ),
        _SMIME,
    ),
    "s-mime-opaque": (
        (MIME, b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"', BASE64),
        b"MIIBAAAA\r\n",
    ),
    "pgp-signed": (
        (MIME, b'Content-Type: multipart/signed; micalg=pgp-sha512; boundary=pgp'),
        _PGP,
    ),
    "pgp-encrypted": (
        (MIME, b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=enc'),
        _ENCRYPTED,
    ),
    "pgp-inline": ((), b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\nHi\r\n- -- \r\n-----END PGP\r\n"),
    "headers-folded": (
        (
            b"References: " + b"\r\n\t".join(b"<%040d@client.example.org>" % n for n in range(60)),
            b"Cc: Bob  <bob@example.com> ,\r\n  \t Carol\r\n (a comment)\r\n <carol@example.com>",
            b"In-Reply-To:\r\n <1@client.example.org>",
            b"X-Empty:",
            b"X-Blank: ",
            b"X-MiXeD:no blank  and   many ",
            b"X-Twice: one",
            b"X-Twice: two",
        ),
        b"Hello\r\n",
    ),
    "headers-8-bit": (("X-Name: Zoë Łódź".encode(), b"X-Latin: Zo\xeb", "Comments: \u202e".encode()), b"Hello\r\n"),
    "headers-long": ((b"X-Line: " + b"y" * 990, b"X-Longer: " + b"z" * 3000), b"Hello\r\n"),
    "traced": (
        (
            b"Received: from a.example.org by b.example.org; Sat, 22 Nov 2025 14:05:01 +0100",
            b"Authentication-Results: mx.example.org; dkim=pass header.d=example.org",
            b"X-Mailer: Pine  4.0",
            b"User-Agent: Mutt/2 (2024)",
        ),
        b"Hello\r\n",
    ),
}  # fmt: skip
