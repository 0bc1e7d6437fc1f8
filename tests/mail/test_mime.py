"""The parts of a mail: found where they are, however broken, and never at any price."""

import base64
import quopri
import time
from email import message_from_bytes, policy
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import Refused
from mailforum.mail import mime
from mailforum.mail.message import Message, normalise, parse


def mail(text: str) -> Message:
    return parse(normalise(text.encode()))


def types(msg: Message) -> list[str]:
    return [part.content_type for part in mime.parts(msg)]


def contents(msg: Message) -> list[bytes]:
    return [msg.body[part.start : part.end] for part in mime.parts(msg) if not part.is_multipart]


def nested(depth: int) -> bytes:
    opening = b"".join(
        b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (i, i + 1) for i in range(depth)
    )
    return b'Content-Type: multipart/mixed; boundary="b0"\r\n\r\n' + opening


MIXED = """\
Content-Type: multipart/mixed; boundary="out"

preamble
--out
Content-Type: multipart/alternative; boundary=in

--in
Content-Type: text/plain; charset=UTF-8; format=flowed

plain
--in
Content-Type: text/html

<p>html</p>
--in--
--out
Content-Type: APPLICATION/PDF; name="a.pdf"
Content-Transfer-Encoding: BASE64
Content-Disposition: Attachment; filename="b.pdf"

AAEC
--out--
epilogue
"""


def test_a_mail_without_mime_is_one_text():
    msg = mail("Subject: x\n\nbody\n")
    (part,) = mime.parts(msg)
    assert (part.content_type, part.encoding, part.charset, part.depth) == ("text/plain", "7bit", "", 0)
    assert mime.decode(msg, part) == b"body\r\n"


def test_parts_come_in_order_each_before_those_within_it():
    msg = mail(MIXED)
    found = mime.parts(msg)
    assert [(part.depth, part.content_type) for part in found] == [
        (0, "multipart/mixed"),
        (1, "multipart/alternative"),
        (2, "text/plain"),
        (2, "text/html"),
        (1, "application/pdf"),
    ]
    assert contents(msg) == [b"plain", b"<p>html</p>", b"AAEC"]


def test_what_a_part_says_of_itself():
    msg = mail(MIXED)
    *_, plain, _, pdf = mime.parts(msg)
    assert (plain.charset, plain.is_attachment, plain.is_multipart) == ("utf-8", False, False)
    assert mime.parameter(plain, "format") == "flowed"
    assert (pdf.filename, pdf.disposition, pdf.encoding, pdf.is_attachment) == ("b.pdf", "attachment", "base64", True)
    assert mime.decode(msg, pdf) == b"\0\1\2"
    assert mime.size(msg, pdf) == 3


@pytest.mark.parametrize("first", ["--b\n\nx\n", "\n--b\n\nx\n", "pre\n--b\n\nx\n"])
@pytest.mark.parametrize("last", ["--b--\n", "--b--", "--b--  \nepilogue\n", "", "--b\n"])
def test_the_first_part_is_found_with_and_without_preamble_and_closing_delimiter(first, last):
    msg = mail("Content-Type: multipart/mixed; boundary=b\n\n" + first + last)
    assert contents(msg)[0].rstrip() == b"x"


def test_a_part_may_have_no_header_no_body_or_no_empty_line():
    msg = mail(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nno header\n--b\nContent-Type: text/html\n--b\n"
        "just text\n--b\n\n--b\n--b--\n"
    )
    assert contents(msg) == [b"no header", b"", b"just text", b"", b""]
    assert types(msg)[2] == "text/html"


def test_a_line_that_only_begins_like_the_delimiter_is_text():
    msg = mail("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--bb\n--b-\n --b\n--b--c\n--b--\n")
    assert contents(msg) == [b"x\r\n--bb\r\n--b-\r\n --b\r\n--b--c"]


def test_the_end_of_an_outer_part_ends_the_inner_one():
    msg = mail(
        "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nin\n"
        "--o\n\nout\n--o--\n"
    )
    assert [(part.depth, msg.body[part.start : part.end]) for part in mime.parts(msg)[2:]] == [(2, b"in"), (1, b"out")]


def test_a_boundary_that_is_missing_or_wrong_is_seen_from_the_parts():
    body = "\n\n--real=1\nContent-Type: text/plain\n\nx\n--real=1--\n"
    assert contents(mail("Content-Type: multipart/mixed" + body)) == [b"x"]
    assert contents(mail('Content-Type: multipart/mixed; boundary=""' + body)) == [b"x"]
    assert contents(mail("Content-Type: multipart/mixed; boundary=other" + body)) == [b"x"]


def test_a_multipart_without_parts_is_a_text_to_read():
    (part,) = mime.parts(mail("Content-Type: multipart/mixed; boundary=b\n\nHello\n"))
    assert not part.is_multipart
    assert not part.is_attachment


def test_a_multipart_that_declares_base64_is_read_all_the_same():
    text = "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nx\n--b--\n"
    assert contents(mail(text)) == [b"x"]


def test_junk_in_the_header_of_a_part_does_not_hide_its_type():
    msg = mail("Content-Type: multipart/mixed; boundary=b\n\n--b\njunk\nContent-Type: text/html\n\nx\n--b--\n")
    assert (types(msg), contents(msg)) == (["multipart/mixed", "text/html"], [b"x"])


def test_parts_of_a_digest_are_mails_and_are_not_opened():
    msg = mail("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nbody\n--b--\n")
    assert types(msg) == ["multipart/digest", "message/rfc822"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=a b.txt", "a b.txt"),
        ('attachment; filename="a;b\\".txt"', 'a;b".txt'),
        ('attachment; filename="unclosed.txt', "unclosed.txt"),
        ("attachment; filename*=utf-8'de'Gr%C3%BC%C3%9Fe.txt", "Grüße.txt"),
        ("attachment; filename*=iso-8859-1''Gr%FC%DFe.txt", "Grüße.txt"),
        ("attachment; filename*=nosuch''%C3%BC.txt", "ü.txt"),
        ("attachment; filename=plain.txt; filename*=utf-8''%C3%BC.txt", "ü.txt"),
        ("attachment; filename*0=long; filename*1=er.txt", "longer.txt"),
        ("attachment; filename*0*=utf-8''%C3; filename*1*=%BC; filename*2=%20.txt", "ü%20.txt"),
        ('attachment; filename="=?utf-8?q?Gr=C3=BC=C3=9Fe.txt?="', "Grüße.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\Users\\\\x.txt"', "x.txt"),
        ('attachment; filename="=?utf-8?q?a=0D=0ABcc:_x?="', "a Bcc: x"),
        ('attachment; filename="gpj\u202e.exe"', "gpj.exe"),
        ("attachment; filename=", ""),
        ("attachment", ""),
        (";;;=;filename", ""),
    ],
)
def test_a_filename_is_read_as_it_is_shown(line, name):
    (part,) = mime.parts(mail(f"Content-Type: text/plain\nContent-Disposition: {line}\n\nx\n"))
    assert part.filename == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/plain", ("text/plain", "")),
        ("TEXT/HTML; CHARSET=UTF-8", ("text/html", "utf-8")),
        ("text / plain ; charset = us-ascii (Plain text)", ("text/plain", "us-ascii")),
        ('text/plain; charset="x" y', ("text/plain", "x")),
        ("text", ("text/plain", "")),
        ("", ("text/plain", "")),
        ("/; =", ("text/plain", "")),
    ],
)
def test_a_content_type_is_read_leniently(value, expected):
    (part,) = mime.parts(mail(f"Content-Type: {value}\n\nx\n"))
    assert (part.content_type, part.charset) == expected


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"QUJD\r\nREVG\r\n", b"ABCDEF"),
        (b"QUJDRA==\r\n", b"ABCD"),
        (b"QUJDRA\r\n", b"ABCD"),
        (b"QUJDR\r\n", b"ABC"),
        (b"Q U*J\x80D\r\n", b"ABC"),
        (b"QUJDRA==\r\n_____\r\nfooter of another list\r\n", b"ABCD"),
        (b"", b""),
        (b"====", b""),
    ],
)
def test_base64_is_decoded_as_far_as_it_goes(raw, decoded):
    msg = Message(parse(b"Content-Transfer-Encoding: base64\r\n\r\n").headers, raw)
    assert mime.decode(msg, mime.top(msg)) == decoded


def test_quoted_printable_is_decoded_even_where_it_is_wrong():
    msg = mail("Content-Transfer-Encoding: quoted-printable\n\na=C3=BC=\nb =ZZ =\n")
    assert mime.decode(msg, mime.top(msg)).startswith("aüb".encode())


def test_no_more_is_decoded_than_was_asked_for():
    msg = mail("Content-Transfer-Encoding: base64\n\n" + "QUJD" * 10_000)
    assert mime.decode(msg, mime.top(msg), limit=10) == b"ABCABCABCA"
    assert len(mime.decode(mail("\n" + "x" * 1000), mime.top(mail("\n" + "x" * 1000)), limit=10)) == 10


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("utf-8", "Grüße".encode(), "Grüße"),
        ("", "Grüße".encode(), "Grüße"),
        ("us-ascii", "Grüße".encode(), "Grüße"),
        ("utf-8", "Grüße".encode("latin-1"), "Grüße"),
        ("iso-8859-1", b"\x93quoted\x94", "“quoted”"),
        ("gb2312", "镕".encode("gbk"), "镕"),
        ("ks_c_5601-1987", "똠".encode("cp949"), "똠"),
        ("no-such", b"abc", "abc"),
        ("utf-7", b"+ADw-b", "+ADw-b"),
        ("zlib", b"abc", "abc"),
        ("utf\x01-8", b"abc", "abc"),
        ("x" * 5000, b"abc", "abc"),
        ("utf-8", b"a\x01\x1b[31m\x7fb\tc", "a[31mb\tc"),
        ("utf-8", b"a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("utf-8", "a\u2028b\ufeff".encode(), "ab"),
    ],
)
def test_text_is_read_in_the_charset_that_was_meant(charset, raw, text):
    header = f'Content-Type: text/plain; charset="{charset}"\r\n\r\n'.encode()
    msg = Message(parse(header).headers, raw)
    assert mime.decode_text(msg, mime.top(msg)) == text


def test_a_nul_in_a_charset_does_no_harm():
    msg = parse(b'Content-Type: text/plain; charset="utf\0-8"\r\n\r\nabc\r\n')
    assert mime.decode_text(msg, mime.top(msg)) == "abc\n"


@given(st.binary(max_size=300), st.sampled_from(["base64", "quoted-printable"]))
def test_what_others_encode_is_decoded(data, encoding):
    coded = base64.encodebytes(data) if encoding == "base64" else quopri.encodestring(data.replace(b"\r", b""))
    msg = parse(normalise(f"Content-Transfer-Encoding: {encoding}\n\n".encode() + coded))
    decoded = mime.decode(msg, mime.top(msg))
    if encoding == "base64":
        assert decoded == data
    else:
        assert decoded.replace(b"\r\n", b"\n").rstrip(b"\n") == data.replace(b"\r", b"").rstrip(b"\n")


TREES = st.recursive(
    st.sampled_from(["a", "b\n", "--x\n", ""]),
    lambda children: st.lists(children, min_size=1, max_size=4),
    max_leaves=12,
)


def build(tree):
    if isinstance(tree, str):
        return MIMEText(tree) if tree != "b\n" else MIMEApplication(tree.encode())
    outer = MIMEMultipart()
    for inner in tree:
        outer.attach(build(inner))
    return outer


@given(TREES)
def test_well_formed_mail_is_read_as_the_standard_library_reads_it(tree):
    raw = normalise(build(tree).as_bytes(policy=policy.compat32.clone(linesep="\r\n")))
    msg = parse(raw)
    theirs = list(message_from_bytes(raw).walk())
    assert types(msg) == [part.get_content_type() for part in theirs]
    for ours, part in zip(mime.parts(msg), theirs, strict=True):
        if not ours.is_multipart:
            assert (
                mime.decode(msg, ours).replace(b"\r\n", b"\n").rstrip()
                == part.get_payload(decode=True).replace(b"\r\n", b"\n").rstrip()
            )


PIECES = [
    b"--",
    b"b",
    b"c",
    b"\r\n",
    b"Content-Type: multipart/mixed; boundary=",
    b"Content-Type: text/html\r\n\r\n",
    b" ",
]


@given(st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_no_body_breaks_the_reader_and_parts_lie_within_each_other(body):
    msg = Message(parse(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n").headers, normalise(body))
    found = mime.parts(msg)
    above = []
    for part in found:
        assert 0 <= part.start <= part.end <= len(msg.body)
        del above[part.depth :]
        if above:
            assert above[-1].start <= part.start <= part.end <= above[-1].end
        above.append(part)
        assert isinstance(mime.decode_text(msg, part), str)


@pytest.mark.parametrize(
    "raw",
    [
        nested(51),
        nested(100),
        nested(1000),
        nested(10_000),
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 100_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 1000,
    ],
    ids=["51", "100", "1000", "10000", "100000-parts", "1001-parts"],
)
def test_too_many_parts_are_refused_at_once(raw):
    msg = parse(raw)
    start = time.process_time()
    with pytest.raises(Refused) as error:
        mime.parts(msg)
    assert (error.value.code, error.value.enhanced) == (550, "5.6.0")
    assert time.process_time() - start < 1


def test_as_many_parts_as_are_allowed_are_read():
    assert len(mime.parts(parse(nested(50)))) == 51
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 999 + b"--b--\r\n"
    assert len(mime.parts(parse(raw))) == 1000


HEADER = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        HEADER + b"--bx\r\n" * 500_000,
        HEADER + b"--\r\n" * 500_000,
        HEADER + b"\r\n--b" + b" " * 2_000_000 + b"x",
        HEADER + (b"\r\n--b" + b" " * 2000 + b"x") * 1000,
        HEADER + b"--b\r\na: b\r\n" * 999,
        (HEADER + b"--b\r\n" + b"a:\r\n" * 2000) * 400,
        HEADER + (b"--b\r\n" + b"a:\r\n" * 2000) * 400,
        HEADER + (b"--b\r\n" + b"\r\n".join([b"x" * 5000] * 5)) * 400,
        nested(50) + b"--bx\r\n" * 300_000,
        HEADER + (b"--b\r\nContent-Type: multipart/mixed; boundary=zz\r\n\r\n" + b"--z\r\n" * 500) * 999,
        b"Content-Type: text/plain" + b"; a=b" * 20_000 + b"\r\n\r\n",
        b"Content-Type: text/plain" + b"; name*%d*=%%41" * 10_000 % tuple(range(10_000)) + b"\r\n\r\n",
        b"Content-Type: text/plain; name=" + b'"\\' * 50_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; " + b" " * 100_000 + b"\r\n\r\n",
        b"Content-Type: text/plain" + b";" * 100_000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=" + b"b" * 100_000 + b"\r\n\r\n--" + b"b" * 100_000 + b"\r\n",
        b"Content-Type: message/rfc822\r\n\r\n" * 1000,
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=\r\n" * 1_000_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 3_000_000,
    ],
    ids=range(19),
)
def test_hostile_mime_is_read_in_no_time(raw):
    msg = parse(raw)
    start = time.process_time()
    for part in mime.parts(msg)[:100]:
        mime.decode(msg, part)
        mime.size(msg, part)
    assert time.process_time() - start < 1


def test_control_characters_are_taken_out_of_a_text_and_nothing_else():
    characters = [chr(code) for code in range(0x11000)]
    gone = {char for char in characters if char != "\r" and not mime.printable(char)}
    assert gone == {
        char
        for char in characters
        if char not in "\t\n\r" and (category(char) in ("Cc", "Cs", "Zl", "Zp") or char == "\ufeff")
    }


@pytest.mark.parametrize(
    ("declared", "body", "name"),
    [
        (b"; charset=UTF8", "Größe".encode(), "utf-8"),
        (b"; charset=iso-8859-1", b"Gr\xf6\xdfe", "iso-8859-1"),
        (b"; charset=koi8-r", b"abc", "koi8-r"),
        (b"", b"abc", "us-ascii"),
        (b"", "Größe".encode(), "guessed utf-8"),
        (b"; charset=us-ascii", b"Gr\xf6\xdfe", "guessed windows-1252"),
        (b"; charset=utf-8", b"Gr\xf6\xdfe", "guessed windows-1252"),
        (b"; charset=x-unknown", "Größe".encode(), "guessed utf-8"),
    ],
)
def test_the_charset_of_a_part_is_what_it_says_or_what_it_was_read_in(declared: bytes, body: bytes, name: str) -> None:
    msg = parse(b"Content-Type: text/plain" + declared + b"\r\n\r\n" + body)
    assert mime.charset(msg, mime.top(msg)) == name
