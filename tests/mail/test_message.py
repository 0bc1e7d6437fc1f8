"""A mail from bytes and back: what is kept, what is mended, what is refused."""

import time
from contextlib import suppress
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import Refused
from mailforum.mail.message import MAX_FIELDS, MAX_HEADER, Header, Message, field, normalise, parse

MAIL = (
    b"Received: from a.example.org by b.example.org;\r\n\tTue, 5 Mar 2024 10:00:00 +0100\r\n"
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n"
    b"To: pmo@lists.example.org\r\n"
    b"SUBJECT:   =?utf-8?b?R3LDvMOfZQ==?=  \r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"Date: Tue, 5 Mar 2024 10:00:00 +0100 (CET)\r\n"
    b"\r\n"
    b"Hello\r\n\r\nthere\r\n"
)
BITS = [b"a", b"\r", b"\n", b"\r\n", b"\0", b":", b" ", b"\t", b"--", b"From ", b"\xff"]
LINES = st.lists(st.sampled_from(BITS)).map(b"".join)


def test_a_mail_is_read_into_fields_and_body():
    msg = parse(MAIL)
    assert [header.name for header in msg.headers] == ["Received", "From", "To", "SUBJECT", "Message-ID", "Date"]
    assert msg.body == b"Hello\r\n\r\nthere\r\n"


def test_a_field_is_found_in_any_case_and_unfolded():
    msg = parse(MAIL)
    assert msg.get("received") == "from a.example.org by b.example.org;\tTue, 5 Mar 2024 10:00:00 +0100"
    assert msg.get("Subject") == "=?utf-8?b?R3LDvMOfZQ==?="
    assert msg.get("X-None") == ""
    assert msg.get_all("to") == ["pmo@lists.example.org"]


def test_what_a_mail_says_of_itself():
    msg = parse(MAIL)
    assert msg.subject == "Grüße"
    assert msg.message_id == "<1@example.org>"
    assert msg.date == 1709629200.0
    assert msg.author is not None
    assert (msg.author.name, msg.author.address) == ("Jürgen", "j@example.org")


def test_the_bytes_come_back_as_they_were():
    assert parse(MAIL).to_bytes() == MAIL


@pytest.mark.parametrize(
    "raw",
    [
        b"A: b\r\n\r\n",
        b"\r\nbody without any header\r\n",
        b"\r\n",
        b"A:b\r\nA : c\r\na:\r\n \r\n\td\r\n\r\n.\r\n..\r\nFrom x\r\n  \r\n",
        b"A: \xff\xfe 8-bit\r\n\r\n\x80\x81\r\n",
        b"A: b\r\n this is no field\r\nB: c\r\n\r\nbody\r\n",
        b"A: b\r\nthis is no field\r\nB: c\r\n\r\nbody\r\n",
        b"A: " + b"x" * 5000 + b"\r\n\r\n" + b"y" * 5000 + b"\r\n",
    ],
)
def test_odd_mails_come_back_as_they_were(raw):
    assert parse(raw).to_bytes() == raw


# The domain of the promise in parse's docstring: normalised, no mbox line or blank on top, and an empty
# line right behind a field (or on top).
TEXT = st.binary(max_size=8).map(lambda data: data.translate(None, b"\r\n\0"))
NAMES = st.sampled_from([b"A:", b"Subject: ", b"x-y! :", b"From :\t", b"From:"])
FIELDS = st.lists(st.tuples(NAMES, st.lists(TEXT, max_size=3).map(b"\r\n ".join)).map(b"".join))


@given(FIELDS, st.lists(st.sampled_from([b"junk line", b"From x", b"=?", b"-", b":"])), LINES)
def test_a_normalised_mail_always_comes_back_as_it_was(fields, junk, body):
    header = fields[:1] + junk + fields[-1:] if fields else []
    raw = b"".join(line + b"\r\n" for line in header) + b"\r\n" + normalise(body)
    assert parse(raw).to_bytes() == raw


@given(st.one_of(st.binary(), LINES))
def test_any_bytes_can_be_read_and_are_then_stable(raw):
    once = parse(raw).to_bytes()
    assert parse(once).to_bytes() == once


@given(LINES)
def test_no_line_gets_lost_or_is_invented(raw):
    lines = [line for line in normalise(raw).split(b"\r\n") if line]
    out = [line for line in parse(raw).to_bytes().split(b"\r\n") if line]
    dropped = len(lines) - len(out)
    assert out == lines[dropped:]
    assert all(line.startswith((b"From ", b" ", b"\t")) for line in lines[:dropped])


@given(st.one_of(st.binary(), LINES))
def test_normalise_leaves_only_crlf_and_is_idempotent(raw):
    out = normalise(raw)
    assert out.endswith(b"\r\n")
    assert not set(out.replace(b"\r\n", b"")) & set(b"\r\n\0")
    assert normalise(out) is out


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", b"\r\n"),
        (b"a", b"a\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\rb\r", b"a\r\nb\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n"),
        (b"a\n\r\n", b"a\r\n\r\n"),
        (b"a\r\0\nb\0", b"a\r\nb\r\n"),
    ],
)
def test_every_kind_of_line_end_becomes_crlf(raw, expected):
    assert normalise(raw) == expected


def test_a_bare_line_end_never_hides_a_field_from_us_that_others_see():
    msg = parse(b"Subject: a\nBcc: b@example.org\rX: y\r\n\r\nbody")
    assert [header.name for header in msg.headers] == ["Subject", "Bcc", "X"]


def test_without_an_empty_line_the_body_begins_at_the_first_line_that_is_no_field():
    msg = parse(b"Subject: x\r\nHello there,\r\n\r\nhow are you?\r\n")
    assert (msg.get("Subject"), msg.body) == ("x", b"Hello there,\r\n\r\nhow are you?\r\n")
    assert msg.to_bytes() == b"Subject: x\r\n\r\nHello there,\r\n\r\nhow are you?\r\n"


def test_a_mail_of_fields_only_has_an_empty_body():
    msg = parse(b"Subject: x\r\n")
    assert (msg.get("Subject"), msg.body) == ("x", b"")


def test_a_mail_without_fields_is_all_body():
    assert parse(b"Hello\r\nthere\r\n") == Message((), b"Hello\r\nthere\r\n")


def test_a_junk_line_between_fields_is_kept_under_no_name():
    msg = parse(b"A: 1\r\n(no field)\r\n folded\r\nB: 2\r\n\r\nbody\r\n")
    assert [header.name for header in msg.headers] == ["A", "", "B"]
    assert msg.headers[1].value == "(no field) folded"


@pytest.mark.parametrize("line", [b"From a@example.org Tue Mar  5 10:00:00 2024\r\n", b">From x\r\n"])
def test_an_mbox_line_on_top_is_taken_off(line):
    assert parse(line + MAIL) == parse(MAIL)


def test_an_old_style_from_field_is_no_mbox_line():
    assert parse(b"From : a@example.org\r\n\r\n").get("From") == "a@example.org"


def test_a_first_line_that_begins_with_a_blank_does_not_become_part_of_our_own_fields():
    msg = parse(b" , evil@example.com\r\nSubject: x\r\n\r\nbody\r\n").prepend(field("To", "a@example.org"))
    assert message_from_bytes(msg.to_bytes())["To"] == "a@example.org"


def test_eight_bit_fields_are_read_as_utf8_or_else_as_latin1():
    assert parse("Subject: Grüße\r\n\r\n".encode()).subject == "Grüße"
    assert parse("Subject: Grüße\r\n\r\n".encode("latin-1")).subject == "Grüße"


@pytest.mark.parametrize(
    "subject",
    [
        b"=?utf-8?q?a=0D=0ABcc:_x@example.com?=",
        b"=?utf-8?b?YQ0KQmNjOiB4QGV4YW1wbGUuY29t?=",
        "a\u202eBcc: x@example.com".encode(),
        "a\u2028Bcc: x@example.com".encode(),
    ],
)
def test_a_shown_subject_is_one_line_without_tricks(subject):
    text = parse(b"Subject: " + subject + b"\r\n\r\n").subject
    assert text in ("a Bcc: x@example.com", "aBcc: x@example.com")


@pytest.mark.parametrize("charset", [b"no-such", b"utf-7", b"zlib", b"idna", b"a\x01b", b"x" * 60, b"hex", b"utf-16"])
def test_any_charset_can_be_shown(charset):
    assert isinstance(parse(b"Subject: =?" + charset + b"?b?R3LDvA==?=\r\n\r\n").subject, str)


def test_a_shown_field_is_capped():
    assert len(parse(b"Subject: " + b"x" * 100_000 + b"\r\n\r\n").subject) == 1000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Thu, 1 Jan 1970 00:00:00 +0000", 0.0),
        ("5 Mar 2024 10:00:00 GMT", 1709632800.0),
        ("Tue, 05 Mar 24 10:00 +0000", 1709632800.0),
        ("", None),
        ("yesterday", None),
        ("Tue, 5 Mar 2024 10:00:00 +9999999", None),
        ("Tue, 5 Mar 99999 10:00:00 +0000", None),
        ("Tue, 5 Mar 1921 10:00:00 +0000", None),
        ("Tue, 99 Foo 2024 99:99:99 +0000", None),
        ("(" * 5000, None),
        ("1 " * 5000, None),
        (", ,, , :::", None),
    ],
)
def test_a_date_is_seconds_or_nothing(value, seconds):
    assert Message((Header("Date", f"Date: {value}\r\n".encode()),), b"").date == seconds


@given(st.text(max_size=80))
def test_no_date_raises(value):
    Message((Header("Date", b"Date: " + value.encode("utf-8", "replace") + b"\r\n"),), b"").date  # noqa: B018


@pytest.mark.parametrize(
    "headers", [b"", b"From: a@example.org\r\nFrom: b@example.org\r\n", b"From: a@example.org, b@example.org\r\n"]
)
def test_there_is_an_author_only_where_one_is_named(headers):
    assert parse(headers + b"To: x@example.org\r\n\r\n").author is None


def test_fields_are_taken_out_put_before_and_replaced_in_place():
    msg = parse(b"A: 1\r\nB: 2\r\na: 3\r\nC: 4\r\n\r\nbody\r\n")
    assert msg.without("a", "c").to_bytes() == b"B: 2\r\n\r\nbody\r\n"
    assert msg.prepend(field("X", "0"), field("Y", "0")).to_bytes().startswith(b"X: 0\r\nY: 0\r\nA: 1\r\n")
    assert msg.replace("a", field("A", "9")).to_bytes() == b"A: 9\r\nB: 2\r\nC: 4\r\n\r\nbody\r\n"
    assert msg.replace("D", field("D", "9")).to_bytes() == b"A: 1\r\nB: 2\r\na: 3\r\nC: 4\r\nD: 9\r\n\r\nbody\r\n"


@pytest.mark.parametrize("text", ["a\r\nBcc: x@example.com", "a\nb", "a\rb", "a\0b", "a\u2028b", "a\x85b", "\r\n\r\nx"])
def test_a_field_that_we_make_is_one_field(text):
    raw = field("Subject", text).raw
    assert raw.count(b"\n") == raw.count(b"\r") == 1
    assert raw.endswith(b"\r\n")


def test_only_words_that_need_it_are_encoded():
    assert field("From", "Zoë Müller <z@example.org>").raw == (
        b"From: =?utf-8?b?Wm/DqyBNw7xsbGVy?= <z@example.org>\r\n"
    )
    assert field("Subject", "Re: plain").raw == b"Subject: Re: plain\r\n"


def test_a_long_field_is_folded_at_blanks():
    lines = field("Subject", "word " * 60).raw.split(b"\r\n")
    assert max(map(len, lines)) <= 76
    assert all(line.startswith(b" w") for line in lines[1:-1])


def test_a_word_longer_than_a_line_may_be_is_encoded():
    made = field("Subject", "x" * 5000)
    assert max(map(len, made.raw.split(b"\r\n"))) <= 998
    assert Message((made,), b"").text("Subject") == "x" * 1000


@given(st.text(st.characters(blacklist_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Zs", "Cn"]), max_size=200))
def test_what_we_write_into_a_field_is_what_is_shown(text):
    made = field("Subject", text)
    assert max(map(len, made.raw.split(b"\r\n"))) <= 998
    if "=?" not in text:
        assert Message((made,), b"").text("Subject") == text
        assert parse(made.raw + b"\r\n").headers == (made,)


@pytest.mark.parametrize(
    "raw",
    [
        b"a: b\r\n" * 50_000 + b"\r\nbody",
        b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\nbody",
        b"a: " + b"x" * 1_000_000 + b"\r\n\r\nbody",
        b"To: " + b"...\r\n " * 200_000 + b"\r\n\r\n",
        b"a: b\r\n" + b"x" * MAX_HEADER,
    ],
)
def test_a_header_that_is_too_large_is_refused(raw):
    with pytest.raises(Refused) as error:
        parse(raw)
    assert (error.value.code, error.value.enhanced) == (552, "5.3.4")


def test_a_header_just_within_the_limits_is_read():
    assert len(parse(b"a: b\r\n" * MAX_FIELDS + b"\r\nbody").headers) == MAX_FIELDS
    big = b"a: " + b"x" * (MAX_HEADER - 5) + b"\r\n"
    assert parse(big + b"\r\nbody\r\n").to_bytes() == big + b"\r\nbody\r\n"


def test_a_large_body_without_an_empty_line_before_it_is_still_a_body():
    body = b"QUJD" * 19 + b"\r\n"
    msg = parse(b"Subject: x\r\n" + body * 10_000)
    assert (len(msg.headers), msg.body) == (1, body * 10_000)


@pytest.mark.parametrize(
    "raw",
    [
        b"To: " + b".\r\n " * 24_000 + b"\r\n\r\n",
        b"To: " + b'"' * 48_000 + b"\r\n\r\n",
        b"From: " + b"(" * 200_000 + b"\r\n\r\n",
        b"Subject: " + b"=?utf-8?q?a?= " * 15_000 + b"\r\n\r\n",
        b"Subject: " + b"=?" * 100_000 + b"\r\n\r\n",
        b"Message-ID: " + b"<" * 200_000 + b"\r\n\r\n",
        b"x" * 2_000_000,
        b"x\r\n" * 1_000_000,
        b" \r\n" * 1_000_000,
        b"\r" * 2_000_000,
        b"\n" * 2_000_000,
        b"\0" * 5_000_000,
        b":\r\n" * 500_000,
        b"a\r\n\tb\n" * 300_000,
    ],
    ids=range(14),
)
def test_hostile_headers_are_read_in_no_time(raw):
    start = time.process_time()
    with suppress(Refused):
        msg = parse(raw)
        _ = msg.subject, msg.author, msg.message_id, msg.date, msg.to_bytes()
    assert time.process_time() - start < 1


def test_reading_an_ordinary_mail_takes_far_less_than_a_millisecond():
    raw = MAIL.replace(b"To:", b"X: y\r\n" * 20 + b"To:") + b"some words that fill a line\r\n" * 120
    best = min(_seconds_for(lambda: parse(raw), 100) for _ in range(10))
    assert best < 500e-6


def _seconds_for(call, times):
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times
