"""Nasty from the wire to the parts: line ends, boundaries, nesting."""

from __future__ import annotations

import base64

from tests.hostile.kinds import TAKEN, UNREADABLE, Rows, make, many, taken, unreadable
from tests.support.mails import BASE64, MIME, UTF8, multipart, part

FALSE_ENDS = {
    "lf-lf": b"\n.\n",
    "lf-crlf": b"\n.\r\n",
    "crlf-lf": b"\r\n.\n",
    "cr-cr": b"\r.\r",
    "cr-crlf": b"\r.\r\n",
    "crlf-cr": b"\r\n.\r",
    "lf-cr": b"\n.\r",
    "cr-lf": b"\r.\n",
    "nul-before": b"\r\n\0.\r\n",
    "nul-behind": b"\r\n.\0\r\n",
    "crlf-crcrlf": b"\r\n.\r\r\n",
}


def smuggled() -> Rows:
    """A second mail behind something that another server may take for the end of the first."""
    for name, end in FALSE_ENDS.items():
        second = (
            b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<LIST>\r\nDATA\r\n"
            b"From: Eve <eve@example.com>\r\nSubject: smuggled\r\nMessage-ID: <smuggled@example.com>\r\n\r\nSmuggled."
        )
        yield taken(f"smuggled-{name}", b"Hello." + end + second)
        yield taken(f"pipelined-{name}", b"Hello." + end + second.replace(b"\r\n", b"\n"))


def line_ends() -> Rows:
    yield taken("nul", b"a\0b\0\0\r\n\0\r\n", b"X-Nul: a\0b", subject=b"Subject: a\0b")
    yield taken("bare-cr", b"one\rtwo\r\r\nthree\r")
    yield taken("bare-lf", b"one\ntwo\n\nthree\n.\n")
    yield "bare-lf-only", TAKEN, make("bare-lf-only").replace(b"\r\n", b"\n")
    yield "bare-cr-only", TAKEN, make("bare-cr-only").replace(b"\r\n", b"\r")
    yield taken("bare-lf-in-header", subject=b"Subject: a\nBcc: eve@example.com\nX: y")
    yield taken("mixed-line-ends", b"a\r\n\r\rb\n\r\nc\r\r\r\n\n\n")
    yield taken("million-bare-lf", many(b"\n"))


def little_of_a_mail() -> Rows:
    header = make("x").partition(b"\r\n\r\n")[0]
    yield "nothing", UNREADABLE, b""
    yield "empty-line", UNREADABLE, b"\r\n"
    yield "only-dots", UNREADABLE, b".\r\n..\r\n...\r\n" * 10
    yield "only-body", UNREADABLE, b"\r\nFrom: ada@example.org\r\n\r\nHello\r\n"
    yield "only-junk", UNREADABLE, bytes(range(1, 256)) * 50
    yield "only-headers", TAKEN, header.replace(b"X-Nasty: x", b"X-Nasty: only-headers")
    yield "no-empty-line", TAKEN, header.replace(b"X-Nasty: x", b"X-Nasty: no-empty-line") + b"\r\nthis is a body\r\n"
    yield "mbox-line", TAKEN, b"From ada Sat Nov 22 2025\r\n" + make("mbox-line")
    yield "folded-first", TAKEN, b" \tfolded\r\n" + make("folded-first")
    yield "junk-lines", TAKEN, b"junk\r\n" + make("junk-lines", b"Hi\r\n", b"more junk", b": no name", b"X y: z")
    yield taken("blank-before-colon", sender=b"From \t: ada@example.org")
    yield taken("controls", bytes(range(1, 32)) + b"\x7f\r\n", b"X-Controls: " + bytes(range(1, 9)))


def eight_bit() -> Rows:
    yield taken("8-bit-subject", subject="Subject: Grüße €".encode())
    yield taken("latin-1-headers", b"\xe9\r\n", b"X-\xe9: x", subject=b"Subject: \xe9\xff\xfe")
    yield taken("8-bit-name", sender=b"From: Ad\xe9 \xf0\x9f <ada@example.org>")
    yield taken("overlong-utf-8", b"\xc0\xaf\xed\xa0\x80\xf5\r\n", *UTF8, subject=b"Subject: \xc0\xae")
    yield taken("surrogates", b"\xed\xa0\x80\xed\xb0\x80\r\n", *UTF8, subject=b"Subject: \xed\xa0\x80")
    yield taken("separators", "a\u2028b\u2029c\x85d\ufeff".encode(), *UTF8, subject="Subject: a\u2028b".encode())
    yield taken("8-bit-in-7-bit", b"\xff" * 5000, MIME, b"Content-Transfer-Encoding: 7bit")


def boundaries() -> Rows:
    two = (part(b"text/plain", b"first"), part(b"text/html", b"<p>second</p>"))
    kind = b"Content-Type: multipart/mixed"

    def of(name: str, body: bytes, declared: bytes) -> tuple[str, str, bytes]:
        return name, TAKEN, make(name, body, MIME, kind + declared)

    yield of("boundary-missing", multipart(b"b", *two), b"")
    yield of("boundary-empty", multipart(b"", *two), b'; boundary=""')
    yield of("boundary-nowhere", b"text without any\r\n", b"; boundary=b")
    yield of("boundary-unclosed", multipart(b"b", *two).replace(b"--b--", b""), b"; boundary=b")
    yield of("boundary-open-quote", multipart(b"b", *two), b'; boundary="b')
    yield of("boundary-twice", multipart(b"b", *two), b"; boundary=a; boundary=b")
    yield of("boundary-cut-off", multipart(b"b", *two)[:30], b"; boundary=b")
    yield of("boundary-at-once-closed", b"--b--\r\n", b"; boundary=b")
    yield of("boundary-only", b"--b\r\n" * 3, b"; boundary=b")
    yield of("boundary-long", multipart(b"b" * 300, *two), b'; boundary="' + b"b" * 300 + b'"')
    yield of("boundary-regex", multipart(b"(.*)+$[", *two), b'; boundary="(.*)+$["')
    yield of("boundary-dashes", multipart(b"--", *two), b'; boundary="--"')
    yield of("boundary-8-bit", multipart(b"\xff\xfe", *two), b'; boundary="\xff\xfe"')
    yield of("boundary-prefixes", multipart(b"b", multipart(b"bb", *two)), b"; boundary=b")
    inner = part(b"multipart/mixed; boundary=b", multipart(b"b", *two))
    yield of("boundary-of-parent", multipart(b"b", inner, *two), b"; boundary=b")
    yield of("multipart-base64", base64.b64encode(multipart(b"b", *two)), b"; boundary=b\r\n" + BASE64)
    headers = b"".join(b"X-%d: y\r\n" % number for number in range(5000))
    yield of("part-of-headers", multipart(b"b", headers, b"", b"\r\n"), b"; boundary=b")
    many = multipart(b"b", *(part(b"text/html", b"<p>x") for _ in range(900)))
    yield taken("alternative-900", many, MIME, b"Content-Type: multipart/alternative; boundary=b")


def nested() -> Rows:
    for depth in (49, 1000, 10_000):
        answer = TAKEN if depth < 50 else UNREADABLE
        yield f"nested-{depth}", answer, make(f"nested-{depth}", _nested(depth), MIME, _kind(0))
    rfc822 = b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"the core\r\n"
    yield taken("rfc822-1000", rfc822, MIME, b"Content-Type: message/rfc822")
    for count in (900, 100_000):
        answer = TAKEN if count < 1000 else UNREADABLE
        parts = multipart(b"b", *[b"\r\nx"] * count)
        kind = b"Content-Type: multipart/mixed; boundary=b"
        yield f"parts-{count}", answer, make(f"parts-{count}", parts, MIME, kind)
    digest = multipart(b"b", *[b"\r\nSubject: one\r\n\r\ntext"] * 300)
    yield taken("mime-digest", digest, MIME, b"Content-Type: multipart/digest; boundary=b")
    same = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5000
    yield unreadable("nested-same-boundary", same, MIME, b"Content-Type: multipart/mixed; boundary=b")


def _kind(level: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=b%d_" % level


def _nested(depth: int) -> bytes:
    opened = [b"--b%d_\r\n%s\r\n\r\n" % (level, _kind(level + 1)) for level in range(depth - 1)]
    return b"".join(opened) + b"--b%d_\r\n\r\nthe core\r\n" % (depth - 1)


ALL = (line_ends, little_of_a_mail, eight_bit, boundaries, nested)
