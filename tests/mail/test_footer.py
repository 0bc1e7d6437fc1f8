"""The footer: under every kind of post, and never a byte of the post changed."""

from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import body, footer, mime
from mailforum.mail.message import Message, normalise, parse

FOOTER = "-- \npmo, the list of us\nhttps://lists.example.org/\n"
BYTES = b"-- \r\npmo, the list of us\r\nhttps://lists.example.org/\r\n"


def mail(text: str | bytes) -> Message:
    return parse(normalise(text.encode() if isinstance(text, str) else text))


def theirs(msg: Message) -> list[tuple[str, bytes]]:
    """Read a mail as the standard library does: type and decoded content of each part."""
    leaves = [part for part in message_from_bytes(msg.to_bytes()).walk() if not part.is_multipart()]
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in leaves]


@pytest.mark.parametrize(
    "header",
    [
        "Subject: x\n",
        "Content-Type: text/plain\n",
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
        "Content-Type: text/plain; charset=iso-2022-jp\n",
        "Content-Type: TEXT/PLAIN; charset=US-ASCII\nContent-Transfer-Encoding: 7BIT\n",
        "Content-Type: text/plain; format=flowed\n",
    ],
)
def test_plain_text_gets_it_at_its_end(header):
    msg = mail(f"{header}\nHello\n")
    assert footer.add(msg, FOOTER) == Message(msg.headers, b"Hello\r\n\r\n" + BYTES)


@pytest.mark.parametrize(
    ("text", "between"),
    [(b"a\r\n", b"\r\n"), (b"a\r\n\r\n", b""), (b"a", b"\r\n\r\n"), (b"", b""), (b"a \r\n", b"\r\n")],
)
def test_there_is_one_empty_line_between_text_and_footer(text, between):
    assert footer.add(Message((), text), FOOTER).body == text + between + BYTES


def test_an_empty_footer_changes_nothing():
    msg = mail("Subject: x\n\nHello\n")
    assert footer.add(msg, "") is footer.add(msg, " \n \n") is msg


def test_letters_beyond_ascii_are_written_in_the_charset_of_the_text():
    header = "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n"
    assert footer.add(mail(header + "x\n"), "Grüße").body == "x\r\n\r\nGrüße\r\n".encode("latin-1")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("", "Grüße"),
        ("Content-Type: text/plain; charset=us-ascii\n", "Grüße"),
        ("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit\n", "Grüße"),
        ("Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n", "Αθήνα"),
        ("Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: 8bit\n", "plain"),
        ("Content-Type: text/plain; charset=cp500\nContent-Transfer-Encoding: 8bit\n", "plain"),
        ("Content-Type: text/plain; charset=no-such\n", "plain"),
        ("Content-Type: text/plain; charset=utf-7\n", "plain"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n", "plain"),
        ("Content-Type: text/plain\n", "x" * 1200),
    ],
)
def test_what_cannot_be_said_in_the_text_becomes_a_part_of_its_own(header, text):
    msg = mail(f"{header}\nx\n")
    out = footer.add(msg, text)
    assert mime.top(out).content_type == "multipart/mixed"
    assert [part.content_type for part in mime.parts(out)[1:]] == ["text/plain", "text/plain"]
    assert mime.decode_text(out, mime.parts(out)[2]).strip() == text
    assert max(map(len, out.to_bytes().split(b"\r\n"))) <= 998


def test_quoted_printable_text_gets_it_in_quoted_printable():
    msg = mail("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=\n")
    out = footer.add(msg, "Grüße = " + "x" * 100)
    assert out.body.startswith(msg.body)
    assert mime.decode_text(out, mime.top(out)) == "Grü\nGrüße = " + "x" * 100 + "\n"
    assert max(map(len, out.body.split(b"\r\n"))) <= 76


def test_flowed_text_keeps_the_lines_of_the_footer_apart():
    msg = mail("Content-Type: text/plain; format=flowed\n\nflows \n")
    assert (
        body.read(footer.add(msg, "one  \n> two\nFrom three\n four\n")).text == "flows \none\n> two\nFrom three\n four"
    )


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ("Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n", "<p>ü</p>\n"),
        ("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n", "SGVsbG8=\n"),
        ("Content-Type: application/pdf; name=x\nContent-Disposition: attachment;\n filename=a.pdf\n", "x\n"),
        ("Content-Type: text/plain; name=x.txt\nContent-Disposition: attachment\n", "x\n"),
        (
            "Content-Type: multipart/alternative; boundary=i\n",
            "--i\n\na\n--i\nContent-Type: text/html\n\nb\n--i--\nend\n",
        ),
        ("Content-Type: multipart/related; boundary=i\n", "--i\nContent-Type: text/html\n\na\n--i--\n"),
        ("Content-Type: multipart/mixed; boundary=i\n", "--i\n\nnever closed\n"),
        ("Content-Type: multipart/mixed; boundary=i\n", "only text\n"),
        ("Content-Type: multipart/mixed\n", "--i\nContent-Type: text/plain\n\nno boundary\n--i--\n"),
        ("Content-Type: message/rfc822\n", "Subject: x\n\ny\n"),
    ],
)
def test_everything_else_is_wrapped_as_it_is_with_the_fields_that_describe_it(header, content):
    msg = mail(f"From: a@example.org\nMIME-Version: 1.0\n{header}Subject: x\n\n{content}")
    out = footer.add(msg, FOOTER)
    assert [h.name for h in out.headers if not h.name.startswith("Content-")] == ["From", "MIME-Version", "Subject"]
    assert normalise(header.encode()) + b"\r\n" + msg.body in out.body
    assert out.get_all("Content-Type") == [f'multipart/mixed; boundary="{mime.top(out).boundary}"']
    assert out.get("Content-Disposition") == ""
    inner = Message(mime.parts(out)[1].headers, msg.body)
    *wrapped, added = theirs(out)
    assert [(kind, data.rstrip()) for kind, data in wrapped] == [(kind, data.rstrip()) for kind, data in theirs(inner)]
    assert added == ("text/plain", BYTES.removesuffix(b"\r\n"))


def test_an_eight_bit_part_makes_an_eight_bit_mail():
    out = footer.add(mail("Content-Type: text/html\nContent-Transfer-Encoding: 8bit\n\nü\n"), FOOTER)
    assert out.get("Content-Transfer-Encoding") == "8bit"
    assert footer.add(mail("Content-Type: text/html\n\nx\n"), FOOTER).get("Content-Transfer-Encoding") == ""


def test_a_mail_without_mime_becomes_one_with_it():
    out = footer.add(mail("Subject: x\n\nx\n"), "Grüße")
    assert (out.get("MIME-Version"), out.get("Subject")) == ("1.0", "x")
    assert theirs(out) == [("text/plain", b"x\r\n"), ("text/plain", "Grüße".encode())]


def test_a_multipart_mixed_gets_a_last_part():
    text = "--b\n\none\n--b\nContent-Type: application/pdf\n\ntwo\n--b-- \nepilogue\n--b--\n"
    msg = mail("Content-Type: multipart/mixed; boundary=b\n\npreamble\n" + text)
    out = footer.add(msg, FOOTER)
    assert out.headers == msg.headers
    assert theirs(out) == [
        ("text/plain", b"one"),
        ("application/pdf", b"two"),
        ("text/plain", BYTES.removesuffix(b"\r\n")),
    ]
    before, _, behind = msg.body.partition(b"\r\n--b-- ")
    assert out.body.startswith(before + b"\r\n--b\r\n")
    assert out.body.endswith(b"\r\n--b-- " + behind)


def test_the_mixed_within_a_part_is_not_taken_for_the_outer_one():
    inner = "Content-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--"
    out = footer.add(mail(f"Content-Type: multipart/mixed; boundary=b\n\n--b\n{inner}\n--b--\n"), FOOTER)
    assert [(part.depth, part.content_type) for part in mime.parts(out)] == [
        (0, "multipart/mixed"),
        (1, "multipart/mixed"),
        (2, "text/plain"),
        (1, "text/plain"),
    ]


SEALED = ["multipart/signed; boundary=b", "multipart/encrypted; boundary=b", "application/pkcs7-mime"]


@pytest.mark.parametrize("kind", [*SEALED, "APPLICATION/X-PKCS7-MIME; name=smime.p7m"])
def test_what_is_signed_or_encrypted_stays_as_it_is(kind):
    msg = mail(f"Content-Type: {kind}\n\n--b\n\nx\n--b\nContent-Type: application/pgp-signature\n\ny\n--b--\n")
    assert footer.add(msg, FOOTER) is msg


@pytest.mark.parametrize("what", ["SIGNED MESSAGE", "MESSAGE"])
@pytest.mark.parametrize("kind", ["text/plain", "text/html", "multipart/mixed; boundary=b"])
def test_pgp_within_the_text_stays_as_it_is(what, kind):
    msg = mail(f"Content-Type: {kind}\n\n--b\n\n-----BEGIN PGP {what}-----\nx\n--b--\n")
    assert footer.add(msg, FOOTER) is msg


def test_the_footer_brings_no_controls_and_no_lines_of_its_own_making():
    assert footer.add(mail("\nx\n"), "a\0b\x1b[0m\rc\r\nd").body == b"x\r\n\r\nab[0m\r\nc\r\nd\r\n"


TYPES = ["", "text/plain", "text/plain; format=flowed", "text/html", "multipart/alternative; boundary=b", "image/png"]
ENCODINGS = ["", "7bit", "8bit", "base64", "quoted-printable", "x"]
CONTENT = st.one_of(
    st.binary(), st.lists(st.sampled_from([b"--", b"b", b"\r\n", b"=", b" ", b"--b--", b"\xc3"])).map(b"".join)
)


@given(st.sampled_from(TYPES), st.sampled_from(ENCODINGS), CONTENT, st.text())
def test_the_old_body_is_always_a_piece_of_the_new_one(kind, encoding, content, text):
    header = f"Subject: x\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    msg = Message(parse(header).headers, normalise(content))
    out = footer.add(msg, text)
    assert msg.body in out.body
    assert out == footer.add(msg, text)
    assert parse(out.to_bytes()) == out
    assert normalise(out.to_bytes()) == out.to_bytes()
    sealed = out == msg
    if (
        not sealed
        and mime.top(msg).content_type not in ("text/plain", "multipart/mixed")
        and mime.printable(text).strip()
    ):
        assert mime.decode(out, mime.parts(out)[1]) == mime.decode(msg, mime.top(msg)), "what others read is the same"


@given(CONTENT, st.text())
def test_in_a_multipart_mixed_only_one_piece_is_put_in(content, text):
    msg = Message(parse(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n").headers, normalise(content))
    out = footer.add(msg, text)
    if msg.body not in out.body:
        added = len(out.body) - len(msg.body)
        assert any(out.body[:i] + out.body[i + added :] == msg.body for i in range(len(msg.body) + 1))
        assert len(mime.parts(out)) == len(mime.parts(msg)) + 1
