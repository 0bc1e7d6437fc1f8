"""Mails that nobody should send, each made by a function and known by a name.

`table()` has them all: what goes over the wire behind DATA, dots stuffed, and how the answer begins
(docs/decisions/0007-broken-mail.md). `2` means that the mail is taken and sent on.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.mails import BASE64, MIME, PICTURE, QP, UTF8, mail, multipart, part

TAKEN = "2"
UNREADABLE = "550 5.6.0"
TOO_LARGE = "552 5.3.4"
MB = 1_000_000
REPLY = b"Subject: Re: About %s"  # in a reply the intake looks for a word such as `unsubscribe`
SIZE = int(os.environ.get("HOSTILE_SIZE", 60_000))  # of bombs, in bytes; enough for quadratic time to be seen

Rows = Iterator[tuple[str, str, bytes]]


@dataclass(frozen=True)
class Nasty:
    """`data` is what is sent between 354 and the end of data, which is not part of it."""

    name: str
    answer: str
    data: bytes

    @property
    def taken(self) -> bool:
        """Whether the list takes it."""
        return self.answer == TAKEN


def table() -> list[Nasty]:
    """Return every nasty mail."""
    groups: tuple[Callable[[], Rows], ...] = (
        line_ends, little_of_a_mail, eight_bit, boundaries, nested, large_headers, long_addresses, encoded_words,
        parameters, charsets, dates, message_ids, authors, hidden_line_breaks, template_marks, names, html, quotes,
        encodings, long_bodies,
    )  # fmt: skip
    rows = [Nasty(name, answer, _stuffed(raw)) for group in groups for name, answer, raw in group()]
    return rows + [Nasty(name, answer, raw) for name, answer, raw in smuggled()]


def _stuffed(raw: bytes) -> bytes:
    return re.sub(rb"(\A|\r\n)\.", rb"\1..", raw)


def _mail(name: str, body: bytes = b"Hello.\r\n", *fields: bytes, **own: bytes) -> bytes:
    return mail(body, *fields, b"X-Nasty: " + name.encode(), name=name, **own)


def taken(name: str, *content: bytes, **own: bytes) -> tuple[str, str, bytes]:
    """Make a mail that the list takes."""
    return name, TAKEN, _mail(name, *content, **own)


def unreadable(name: str, *content: bytes, **own: bytes) -> tuple[str, str, bytes]:
    """Make a mail that is refused because nobody could say who wrote it, or what."""
    return name, UNREADABLE, _mail(name, *content, **own)


def too_large(name: str, *content: bytes, **own: bytes) -> tuple[str, str, bytes]:
    """Make a mail whose header is refused."""
    return name, TOO_LARGE, _mail(name, *content, **own)


def many(unit: bytes) -> bytes:
    """Repeat `unit` until there is enough of it."""
    return unit * (SIZE // len(unit))


# -- the wire

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
    yield "bare-lf-only", TAKEN, _mail("bare-lf-only").replace(b"\r\n", b"\n")
    yield "bare-cr-only", TAKEN, _mail("bare-cr-only").replace(b"\r\n", b"\r")
    yield taken("bare-lf-in-header", subject=b"Subject: a\nBcc: eve@example.com\nX: y")
    yield taken("mixed-line-ends", b"a\r\n\r\rb\n\r\nc\r\r\r\n\n\n")
    yield taken("million-bare-lf", many(b"\n"))


def little_of_a_mail() -> Rows:
    header = _mail("x").partition(b"\r\n\r\n")[0]
    yield "nothing", UNREADABLE, b""
    yield "empty-line", UNREADABLE, b"\r\n"
    yield "only-dots", UNREADABLE, b".\r\n..\r\n...\r\n" * 10
    yield "only-body", UNREADABLE, b"\r\nFrom: ada@example.org\r\n\r\nHello\r\n"
    yield "only-junk", UNREADABLE, bytes(range(1, 256)) * 50
    yield "only-headers", TAKEN, header.replace(b"X-Nasty: x", b"X-Nasty: only-headers")
    yield "no-empty-line", TAKEN, header.replace(b"X-Nasty: x", b"X-Nasty: no-empty-line") + b"\r\nthis is a body\r\n"
    yield "mbox-line", TAKEN, b"From ada Sat Nov 22 2025\r\n" + _mail("mbox-line")
    yield "folded-first", TAKEN, b" \tfolded\r\n" + _mail("folded-first")
    yield "junk-lines", TAKEN, b"junk\r\n" + _mail("junk-lines", b"Hi\r\n", b"more junk", b": no name", b"X y: z")
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


# -- structure


def boundaries() -> Rows:
    two = (part(b"text/plain", b"first"), part(b"text/html", b"<p>second</p>"))
    kind = b"Content-Type: multipart/mixed"

    def of(name: str, body: bytes, declared: bytes) -> tuple[str, str, bytes]:
        return name, TAKEN, _mail(name, body, MIME, kind + declared)

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
        yield f"nested-{depth}", answer, _mail(f"nested-{depth}", _nested(depth), MIME, _kind(0))
    rfc822 = b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"the core\r\n"
    yield taken("rfc822-1000", rfc822, MIME, b"Content-Type: message/rfc822")
    for count in (900, 100_000):
        answer = TAKEN if count < 1000 else UNREADABLE
        parts = multipart(b"b", *[b"\r\nx"] * count)
        kind = b"Content-Type: multipart/mixed; boundary=b"
        yield f"parts-{count}", answer, _mail(f"parts-{count}", parts, MIME, kind)
    digest = multipart(b"b", *[b"\r\nSubject: one\r\n\r\ntext"] * 300)
    yield taken("mime-digest", digest, MIME, b"Content-Type: multipart/digest; boundary=b")
    same = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5000
    yield unreadable("nested-same-boundary", same, MIME, b"Content-Type: multipart/mixed; boundary=b")


def _kind(level: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=b%d_" % level


def _nested(depth: int) -> bytes:
    opened = [b"--b%d_\r\n%s\r\n\r\n" % (level, _kind(level + 1)) for level in range(depth - 1)]
    return b"".join(opened) + b"--b%d_\r\n\r\nthe core\r\n" % (depth - 1)


def large_headers() -> Rows:
    yield too_large("header-10-mb", b"Hi\r\n", b"X-Big: " + b"x" * (10 * MB))
    yield too_large("header-10-mb-folded", b"Hi\r\n", b"X-Big: " + b"x\r\n " * (2 * MB))
    yield too_large("header-of-50000", b"Hi\r\n", *[b"X: y"] * 50_000)
    yield too_large("header-of-2001", b"Hi\r\n", *[b"X: y"] * 2001)
    yield taken("header-of-1900", b"Hi\r\n", *[b"X: y"] * 1900)
    yield taken("header-250-kb", b"Hi\r\n", b"X-Big: " + b"x" * 250_000)
    yield taken("field-name-5-kb", b"Hi\r\n", b"X" * 5000 + b": y")
    yield taken("references-10000", b"Hi\r\n", b"References:" + _ids(10_000))
    yield too_large("references-50000", b"Hi\r\n", b"References:" + _ids(50_000))
    own = b"<references-self@client.example.org>"
    yield taken("references-self", b"Hi\r\n", b"References: " + own, b"In-Reply-To: " + own)
    yield taken("references-rubbish", b"Hi\r\n", b"References: " + b"<" * 100_000)
    yield taken("in-reply-to-quotes", b"Hi\r\n", b'In-Reply-To: "' + b'"\\(<' * 20_000)
    yield taken("in-reply-to-comments", b"Hi\r\n", b"In-Reply-To: " + b"(" * 100_000)


def _ids(count: int) -> bytes:
    return b"".join(b"\r\n <%x@i.org>" % number for number in range(count))


def long_addresses() -> Rows:
    yield taken("to-of-dots", b"Hi\r\n", b"To: " + b"." * 97_000)
    yield taken("to-of-quotes", b"Hi\r\n", b"To: " + b'"' * 97_000)
    yield taken("to-of-commas", b"Hi\r\n", b"To: " + b"," * 97_000)
    yield taken("to-of-comments", b"Hi\r\n", b"To: " + b"(" * 97_000)
    yield taken("to-of-brackets", b"Hi\r\n", b"To: " + b"<" * 50_000 + b">" * 47_000)
    yield taken("cc-of-people", b"Hi\r\n", b"Cc: " + b",\r\n ".join([b"a@example.com"] * 12_000))
    yield taken("name-of-dots", sender=b"From: " + b"." * 15_000 + b" <ada@example.org>")
    for name, text in (("dots", b"." * 97_000), ("quotes", b'"' * 97_000), ("comments", b"(" * 97_000)):
        yield unreadable(f"from-of-{name}", sender=b"From: " + text + b" <ada@example.org>")
    yield taken("from-of-blanks", sender=b"From:" + b"\r\n " * 10_000 + b"<ada@example.org>")
    yield unreadable("from-of-words", sender=b"From: " + b"a " * 40_000 + b"<ada@example.org>")


def encoded_words() -> Rows:
    many = b" ".join([b"=?x?q?a?="] * 20_000)
    yield taken("encoded-words-subject", subject=b"Subject: " + many)
    yield taken("encoded-words-to", b"Hi\r\n", b"To: " + many)
    yield unreadable("encoded-words-from", sender=b"From: " + many + b" <ada@example.org>")
    yield taken("encoded-words-open", subject=b"Subject: " + b"=?utf-8?q?" * 20_000)
    yield taken("encoded-words-marks", subject=b"Subject: =?a?q?" + b"?" * 200_000)
    yield taken("encoded-word-long", subject=b"Subject: =?utf-8?b?" + b"QUFB" * 50_000 + b"?=")
    odd = (
        b"=?zlib?b?eJw=?= =?utf-7?q?+AGEAYg-?= =?nosuch?x?a?= =?utf-16?b?2AA=?= =?utf-8?b?===?= =?idna?q?xn--?= =??q??="
    )
    yield taken("encoded-words-odd", subject=b"Subject: " + odd)
    yield taken("subject-of-markers", subject=b"Subject: " + b"Re: " * 40_000 + b"x")
    yield taken("subject-of-blanks", subject=b"Subject:" + b" " * 200_000 + b"x")
    yield taken("subject-twice", b"Hi\r\n", b"Subject: second", b"SUBJECT: third")


def parameters() -> Rows:
    many = b"Content-Type: text/plain" + b"".join(b";\r\n p%d=v" % number for number in range(18_000))
    yield taken("parameters-18000", b"Hi\r\n", MIME, many)
    pieces = b"".join(b';\r\n name*%d="x"' % number for number in range(12_000))
    yield taken("parameter-in-12000-pieces", b"Hi\r\n", MIME, b"Content-Type: text/x" + pieces)
    for name, value in (
        ("quotes", b'charset="' + b'\\"' * 100_000),
        ("semicolons", b";" * 200_000),
        ("equals", b"=" * 200_000),
        ("percents", b"charset*=utf-8''" + b"%25" * 60_000),
        ("blanks", b"charset" + b" " * 200_000 + b"=utf-8"),
    ):
        yield taken(f"parameters-{name}", b"Hi\r\n", MIME, b"Content-Type: text/plain; " + value)
    filename = b'Content-Disposition: attachment; filename="' + b"a/" * 100_000 + b'"'
    yield taken("filename-200-kb", b"Hi\r\n", MIME, filename)
    tricky = b'Content-Disposition: attachment; filename="../../etc/passwd\\\r\n\0;`rm -rf`$(x)"'
    yield taken("filename-path", b"Hi\r\n", MIME, b"Content-Type: application/x", tricky)


def charsets() -> Rows:
    names = (
        *(b"nosuch", b"utf-8\0x", b"zlib", b"hex", b"utf-7", b"idna", b"punycode", b"unicode_escape", b"rot13"),
        *(b"undefined", b"utf-16", b"utf-32", b"mbcs", b"../../x", b"\xff", b"x" * 8000, b'"', b"=?utf-8?q?x?="),
    )
    for number, name in enumerate(names):
        kind = b"Content-Type: text/plain; charset=" + name
        body = b"+ADw-script+AD4- \\u0041 xn--a \xff\xfe\x00\xd8 eJw=\r\n"
        yield taken(f"charset-{number}", body, MIME, kind)
    huge = base64.encodebytes(("a\u0301" * 300_000).encode("utf-16")).replace(b"\n", b"\r\n")
    yield taken("charset-utf-16-huge", huge, MIME, b"Content-Type: text/plain; charset=utf-16", BASE64)


# -- values


def dates() -> Rows:
    for name, value in (
        ("99999", b"Sat, 22 Nov 99999 14:05:00 +0000"),
        ("9999", b"Fri, 31 Dec 9999 23:59:59 -1200"),
        ("9999-utc", b"Fri, 31 Dec 9999 23:59:59 +0000"),
        ("zone", b"Sat, 22 Nov 2025 14:05:00 +9999999"),
        ("1970", b"Thu, 01 Jan 1970 00:00:00 +0000"),
        ("1969", b"Thu, 01 Jan 1970 00:00:00 +1400"),
        ("0", b"Sat, 0 Nov 0 99:99:99 -0000"),
        ("future", b"Sat, 22 Nov 2099 14:05:00 +0000"),
        ("digits", b"Sat, " + b"9" * 100_000 + b" Nov 2025 14:05:00"),
        ("words", b"the day before yesterday"),
        ("empty", b""),
        ("nan", b"Sat, 22 Nov 2025 14:05:nan +inf"),
        ("arabic", "Sat, ٢٢ Nov ٢٠٢٥ 14:05:00 +0000".encode()),
    ):
        raw = _mail(f"date-{name}")
        yield f"date-{name}", TAKEN, re.sub(rb"(?m)^Date: [^\r]*", lambda _, value=value: b"Date: " + value, raw)
    yield "date-none", TAKEN, re.sub(rb"(?m)^Date: [^\r]*\r\n", b"", _mail("date-none"))
    yield taken("date-twice", b"Hi\r\n", b"Date: Sat, 22 Nov 2036 14:05:00 +0000")


def message_ids() -> Rows:
    for name, value in (
        ("empty", b""),
        ("brackets", b"<>"),
        ("rubbish", b"<<<@>>> [x"),
        ("100-kb", b"<" + b"x" * 100_000 + b"@example.org>"),
        ("controls", b"<a\x01\x7f\x1b@b\x00c>"),
        ("8-bit", "<é\u202e@ü>".encode() + b"\xff"),
        ("sql", b"<'; DROP TABLE post; --@example.org>"),
        ("shell", b"<$(reboot)`x`|;&@example.org>"),
        ("html", b'<"<script>alert(1)</script>"@example.org>'),
        ("two", b"<one@example.org><two@example.org>"),
        ("no-at", b"<justone>"),
        ("template", b"<{{7*7}}@example.org>"),
        ("quotes", b"<" + b'"' * 50_000 + b"@example.org>"),
    ):
        raw = _mail(f"id-{name}")
        yield (
            f"id-{name}",
            TAKEN,
            re.sub(rb"(?m)^Message-ID: [^\r]*", lambda _, value=value: b"Message-ID: " + value, raw),
        )
    yield "id-none", TAKEN, re.sub(rb"(?m)^Message-ID: [^\r]*\r\n", b"", _mail("id-none"))
    yield taken("id-twice", b"Hi\r\n", b"Message-ID: <second@example.org>")


def authors() -> Rows:
    for name, sender in (
        ("none", b""),
        ("empty", b"From:"),
        ("two-fields", b"From: ada@example.org\r\nFrom: eve@example.com"),
        ("two", b"From: ada@example.org, eve@example.com"),
        ("five", b"From: " + b", ".join([b"ada@example.org"] * 5)),
        ("group", b"From: friends: ada@example.org;"),
        ("empty-group", b"From: undisclosed recipients:;"),
        ("parentheses", b"From: ((((ada@example.org"),
        ("address-twice", b"From: eve@example.com <ada@example.org>"),
        ("glued", b"From: ada@example.org<eve@example.com>"),
        ("encoded", b"From: =?utf-8?q?ada=40example.org?="),
        ("encoded-in-address", b"From: <=?utf-8?q?ada?=@example.org>"),
        ("route", b"From: <@eve.example.com:ada@example.org>"),
        ("behind", b"From: <ada@example.org> eve@example.com"),
        ("no-domain", b"From: ada"),
    ):
        yield unreadable(f"from-{name}", sender=sender)
    yield taken("from-comment", sender=b"From: (eve@example.com) ada@example.org (nested (twice))")
    yield taken("from-folded", sender=b"From:\r\n Ada\r\n\t<ada@example.org>\r\n ")
    yield taken("sender-many", b"Hi\r\n", *[b"Sender: x@example.com", b"Reply-To: ,;:<>"] * 3)


INJECTED = b"X-Injected: yes"


def hidden_line_breaks() -> Rows:
    """Line breaks that appear when something is decoded."""
    q = b"=?utf-8?q?Hi=0D=0AX-Injected:_yes=0D=0A=0D=0A=3Cscript=3E?="
    b = b"=?utf-8?b?" + base64.b64encode(b"Hi\r\n" + INJECTED + b"\r\n\r\nbody") + b"?="
    yield taken("breaks-in-subject-q", subject=b"Subject: " + q)
    yield taken("breaks-in-subject-b", subject=b"Subject: " + b)
    yield taken("breaks-in-name", sender=b"From: " + q + b" <ada@example.org>")
    attached = b'Content-Disposition: attachment; filename="' + q + b'"'
    yield taken("breaks-in-filename", b"x\r\n", MIME, b"Content-Type: application/x", attached)
    extended = b"Content-Disposition: attachment; filename*=utf-8''a%0D%0AX-Injected:%20yes"
    yield taken("breaks-in-filename-2231", b"x\r\n", MIME, b"Content-Type: application/x", extended)
    yield taken("breaks-in-id", b"Hi\r\n", b"References: <a@b\r\n X-Injected:yes>")


def template_marks() -> Rows:
    for number, mark in enumerate(
        (
            b"{{ 7*7 }}",
            b"{% raw %}",
            b"{% endraw %}{{ self }}",
            b"{# #}",
            b"{{ ''.__class__.__mro__ }}",
            b"${7*7} #{7*7}",
        )
    ):
        name = f"template-{number}"
        attached = part(b"application/x", b"x", b'Content-Disposition: attachment; filename="' + mark + b'"')
        body = multipart(b"b", part(b"text/plain", b"Body " + mark), attached)
        raw = _mail(
            name, body, MIME, b"Content-Type: multipart/mixed; boundary=b", b"X-Mark: " + mark, b"Reply-To: " + mark,
            subject=b"Subject: " + mark, sender=b'From: "' + mark + b'" <ada@example.org>',
        )  # fmt: skip
        yield name, TAKEN, raw


def names() -> Rows:
    bidi = '"\u202egro.elpmaxe@ssob\u202c \u2066x\u2069\u200f" <ada@example.org>'.encode()
    yield taken("name-bidi", sender=b"From: " + bidi, subject="Subject: \u202eesrever\u2067".encode())
    yield taken("name-of-a-boss", sender=b'From: "boss@example.com" <ada@example.org>')
    yield taken(
        "name-html",
        sender=b'From: "<script>alert(1)</script>" <ada@example.org>',
        subject=b"Subject: <img src=x onerror=y>",
    )
    yield taken("name-zalgo", sender=b'From: "' + "a\u0301".encode() * 9_000 + b'" <ada@example.org>')
    yield taken("name-escapes", sender=b'From: "\x1b]0;title\x07\x1b[2J" <ada@example.org>')


# -- content


def html() -> Rows:
    bombs = {
        "script": b"<script>alert('nasty')</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a>",
        "style": b"<style>" + many(b"a{") + b"</style>text<p style='" + many(b"expression(") + b"'>x",
        "divs": many(b"<div>"),
        "tables": many(b"<table><tr><td>"),
        "quotes": many(b"<blockquote>") + b"deep",
        "lists": many(b"<ul><li>"),
        "unclosed-tag": b"<p " + many(b"a='b' "),
        "unclosed-quote": many(b'<p a="'),
        "unclosed-comment": many(b"<!--"),
        "unclosed-script": many(b"<script>"),
        "angles": many(b"<"),
        "entities": many(b"&#9999999999;&nosuch;&#x0;&#xD800;&amp;lt;script&amp;gt;"),
        "entity-open": many(b"&"),
        "links": many(b'<a href="https://example.com/">x</a>'),
        "cdata": many(b"<![CDATA[") + b"]]>",
        "nul-tags": b"<scr\0ipt>alert(1)</scr\0ipt><\0b>x",
        "svg": b"<svg/onload=alert(1)><math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
        "marks": b"{{ 7*7 }}<p>{% raw %}</p>&#123;&#123; 7*7 }}",
        "pre": many(b"<pre>") + many(b"\r\n"),
    }
    for name, content in bombs.items():
        wrapped = b"<html><body>" + content
        yield taken(f"html-{name}", wrapped, MIME, b"Content-Type: text/html; charset=utf-8", subject=REPLY)


def quotes() -> Rows:
    deep = b"".join(b">" * level + b" line\r\n" for level in range(1000, 0, -1))
    bombs = {
        "5-mb": (b"> > > \r\n") * (5 * MB // 8),
        "one-line": many(b"> "),
        "deep": deep,
        "alternating": many(b"> quote\r\ntext\r\n"),
        "attributions": many(b"On Mon, 1 Jan 2025 Al wrote:\r\n"),
        "attribution-open": b"On " + many(b"1 ") + b":\r\n",
        "originals": many(b"From: Al\r\nSubject: x\r\n"),
        "separators": many(b"-----Original Message-----\r\n"),
        "dashes": many(b"-"),
        "underscores": many(b"_" * 39 + b"\r\n"),
        "signatures": many(b"-- \r\n"),
        "empty-lines": many(b"\r\n"),
        "blanks": many(b" "),
        "blank-lines": many(b" \t\r\n"),
        "sent-from": many(b"Sent from my "),
        "empty-quotes": many(b">\r\n" + b" \r\n" * 50),
    }
    for name, content in bombs.items():
        yield taken(f"quotes-{name}", content, subject=REPLY)
    kind = b"Content-Type: text/plain; format=flowed; delsp=yes"
    yield taken("flowed", many(b"word \r\n"), MIME, kind, subject=REPLY)
    yield taken("flowed-quotes", many(b"> a \r\n>> b \r\n"), MIME, kind, subject=REPLY)


def encodings() -> Rows:
    zeros = base64.encodebytes(gzip.compress(b"\0" * (SIZE * 50))).replace(b"\n", b"\r\n")
    attached = b"Content-Disposition: attachment; filename=x.gz"
    yield taken("gzip-bomb", zeros, MIME, b"Content-Type: application/gzip", BASE64, attached)
    for name, encoding, content in (
        ("base64-rubbish", b"base64", many(b"?!") + b"="),
        ("base64-equals", b"base64", many(b"=")),
        ("base64-large", b"base64", many(b"QUFBQUFB")),
        ("base64-short", b"base64", b"Q"),
        ("qp-equals", b"quoted-printable", many(b"=")),
        ("qp-soft-breaks", b"quoted-printable", many(b"=\r\n")),
        ("qp-rubbish", b"quoted-printable", many(b"=ZZ=1=\0=0D=0A.\r\n")),
        ("uuencode", b"x-uuencode", b"begin 644 x\r\n" + b"M" * 60 + b"\r\n"),
        ("unknown", b"\xff nosuch; x", b"text\r\n"),
        ("long", many(b"x"), b"text\r\n"),
    ):
        field = b"Content-Transfer-Encoding: " + encoding
        yield taken(f"encoding-{name}", content, MIME, b"Content-Type: text/plain; charset=utf-8", field)
    yield taken("qp-attachment", b"=\r\n" * 1000 + PICTURE, MIME, b"Content-Type: image/png", QP)


def long_bodies() -> Rows:
    yield taken("line-of-10-mb", b"x" * (10 * MB))
    yield taken("word-of-links", many(b"https://"))
    yield taken("dots", many(b".\r\n"))
    yield taken("pgp-marks", many(b"-----BEGIN PGP MESSAGE-----\r\n"))
    yield taken("commas", many("、,;".encode()), *UTF8)
