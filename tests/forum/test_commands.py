"""A mail to the list itself that is nothing but `subscribe` or `unsubscribe` is a command, in any dress."""

from base64 import encodebytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.forum import commands
from mailforum.mail import message


def mail(body: bytes, head: bytes = b"") -> message.Message:
    return message.parse(b"From: ada@example.org\r\nSubject: hello\r\n" + head + b"\r\n" + body)


MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n'
ENCODED = b"Content-Transfer-Encoding: %s\r\n"


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b"unsubscribe", b""),
        (b"\r\n\r\n  Unsubscribe me, please.\r\n", b""),
        (b"..!unsubscribe!\r\n", b""),
        (b"\xc2\xa0 UNSUBSCRIBE", b""),
        (b"unsubscribe\r\n\r\nOn Monday, 5 January 2026, Bob wrote:\r\n> Hello\r\n> all\r\n", b""),
        (b"On Monday, 5 January 2026, Bob wrote:\r\n> Hello\r\n> all\r\n\r\nunsubscribe\r\n", b""),
        (b"unsubscribe\r\n-- \r\nAda\r\n", b""),
        (b"<html><body><p>unsubscribe</p></body></html>", b"Content-Type: text/html\r\n"),
        (b"<div>&nbsp;unsubscribe</div>", b"Content-Type: text/html\r\n"),
        (encodebytes(b"unsubscribe"), ENCODED % b"base64"),
        (encodebytes(b"unsubscribe"), ENCODED % b"\r\n BASE64"),
        (b"=\r\nunsubscribe=20\r\n", ENCODED % b"quoted-printable"),
        (b"--b\r\n\r\nunsubscribe\r\n--b--\r\n", MIXED),
        (b"--b\r\n" + ENCODED % b" Base64" + b"\r\n" + encodebytes(b"unsubscribe") + b"--b--\r\n", MIXED),
        (b"--b\r\n" + ENCODED % b"\r\n base64" + b"\r\n" + encodebytes(b"unsubscribe") + b"--b--\r\n", MIXED),
    ],
)
def test_one_line_that_says_unsubscribe_is_a_command(body: bytes, head: bytes) -> None:
    assert commands.bare(mail(body, head))[:1] == ("unsubscribe",)


@pytest.mark.parametrize("body", [b"I leave.", b"unsubscribe\r\nwhat?", b"> unsubscribe", b"subscribed", b"I\nleave"])
def test_anything_more_is_a_post(body: bytes) -> None:
    assert commands.bare(mail(body)) == ()


LINES = ["unsubscribe", "Sub", "join me", " leave", "> leave", "-- ", "sig.", ";sub", "a leave", "On 1 wrote:", ""]


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=8), max_size=4).map("\r\n".join), st.booleans())
def test_what_is_passed_over_at_a_glance_would_have_been_no_command(text: str, html: bool) -> None:
    msg = mail(text.encode("utf-8", "replace"), b"Content-Type: text/html\r\n" if html else b"")
    assert commands._may_say_it(msg) or not commands._only_line(msg)
