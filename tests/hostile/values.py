"""Nasty in the header: too long, too many, or made to be misread."""

from __future__ import annotations

import base64
import re

from tests.hostile.kinds import MB, TAKEN, Rows, make, many, taken, too_large, unreadable
from tests.support.mails import BASE64, MIME, multipart, part


def large_headers() -> Rows:
    yield too_large("header-10-mb", b"Hi\r\n", b"X-Big: " + b"x" * (10 * MB))
    yield too_large("header-1-mb-folded", b"Hi\r\n", b"X-Big: " + b"x\r\n " * (MB // 4))
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
    huge = base64.encodebytes(many("a\u0301".encode("utf-16"))).replace(b"\n", b"\r\n")
    yield taken("charset-utf-16-huge", huge, MIME, b"Content-Type: text/plain; charset=utf-16", BASE64)


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
        raw = make(f"date-{name}")
        yield f"date-{name}", TAKEN, re.sub(rb"(?m)^Date: [^\r]*", lambda _, value=value: b"Date: " + value, raw)
    yield "date-none", TAKEN, re.sub(rb"(?m)^Date: [^\r]*\r\n", b"", make("date-none"))
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
        raw = make(f"id-{name}")
        yield (
            f"id-{name}",
            TAKEN,
            re.sub(rb"(?m)^Message-ID: [^\r]*", lambda _, value=value: b"Message-ID: " + value, raw),
        )
    yield "id-none", TAKEN, re.sub(rb"(?m)^Message-ID: [^\r]*\r\n", b"", make("id-none"))
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
        raw = make(
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


ALL = (
    large_headers,
    long_addresses,
    encoded_words,
    parameters,
    charsets,
    dates,
    message_ids,
    authors,
    hidden_line_breaks,
    template_marks,
    names,
)
