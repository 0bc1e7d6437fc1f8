"""Nasty in the text: made to take time, memory or a reader in."""

from __future__ import annotations

import base64
import gzip

from tests.hostile.kinds import MB, REPLY, SIZE, Rows, many, taken
from tests.support.mails import BASE64, MIME, PICTURE, QP, UTF8


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
    yield taken("line-of-1-mb", b"x" * MB)
    yield taken("word-of-links", many(b"https://"))
    yield taken("dots", many(b".\r\n"))
    yield taken("pgp-marks", many(b"-----BEGIN PGP MESSAGE-----\r\n"))
    yield taken("commas", many("、,;".encode()), *UTF8)


ALL = (html, quotes, encodings, long_bodies)
