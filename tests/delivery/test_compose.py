import email
import email.policy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.delivery.compose import date, mail

HEADERS = [("From", "pmo@lists.example.org"), ("To", "bob@example.com"), ("Subject", "Grüße")]


def _read(raw: bytes):
    return email.message_from_bytes(raw, policy=email.policy.default)


def _decoded(part) -> str:
    return part.get_payload(decode=True).decode()


def test_an_ascii_text_goes_as_it_is():
    raw = mail([("Subject", "Hello")], "Dear all,\n\n.\nbye\n", None, "1")
    assert raw == (
        b"Subject: Hello\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 7bit\r\n'
        b"\r\nDear all,\r\n\r\n.\r\nbye\r\n"
    )


def test_other_letters_go_as_quoted_printable_and_headers_as_encoded_words():
    raw = mail(HEADERS, "Grüße\n", None, "1")
    assert raw.isascii()
    read = _read(raw)
    assert read["Subject"] == "Grüße"
    assert read["Content-Transfer-Encoding"] == "quoted-printable"
    assert _decoded(read) == "Grüße\r\n"


def test_text_and_html_are_alternatives_and_the_text_comes_first():
    read = _read(mail(HEADERS, "Hello\n", "<p>Hellö</p>\n", "1"))
    assert read.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert [_decoded(part) for part in read.iter_parts()] == ["Hello\r\n", "<p>Hellö</p>\r\n"]
    assert read.defects == []


def test_the_same_input_gives_the_same_bytes_and_another_seed_another_boundary():
    one, same, other = (mail(HEADERS, "a", "b", seed) for seed in ("1", "1", "2"))
    assert one == same
    assert _read(one).get_boundary() != _read(other).get_boundary()


def test_a_text_that_knows_an_earlier_boundary_cannot_end_its_part():
    boundary = _read(mail(HEADERS, "a", "b", "1")).get_boundary()
    read = _read(mail(HEADERS, f"a\n--{boundary}--\nc\n", "b", "1"))
    assert [_decoded(part) for part in read.iter_parts()] == [f"a\r\n--{boundary}--\r\nc\r\n", "b\r\n"]


def test_a_line_break_in_a_header_makes_no_header():
    read = _read(mail([("Subject", "x\r\nBcc: eve@example.com\r\n\r\nbody")], "Hello\n", None, "1"))
    assert read["Bcc"] is None
    assert _decoded(read) == "Hello\r\n"


@pytest.mark.parametrize(("length", "encoding"), [(998, "7bit"), (999, "quoted-printable")])
def test_lines_that_mail_cannot_carry_are_encoded(length, encoding):
    read = _read(mail([], "x" * length, None, "1"))
    assert read["Content-Transfer-Encoding"] == encoding
    assert _decoded(read) == "x" * length + "\r\n"


def test_an_empty_text_and_half_a_character_do_no_harm():
    assert mail([], "", None, "1").endswith(b"7bit\r\n\r\n")
    assert _decoded(_read(mail([], "a\ud800b", None, "\ud800"))) == "a?b\r\n"


_TEXTS = st.text(st.sampled_from("ab \t=.\n\r\0ä€\u2028-"), max_size=200)


@given(_TEXTS, _TEXTS)
def test_whatever_is_written_arrives_and_lines_stay_short(text, html):
    raw = mail(HEADERS, text, html, "1")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\r" not in raw.replace(b"\r\n", b"") and b"\n" not in raw.replace(b"\r\n", b"")
    parts = list(_read(raw).iter_parts())
    for part, wanted in zip(parts, (text, html), strict=True):
        plain = wanted.replace("\r\n", "\n").replace("\r", "\n")
        ended = plain if plain.endswith("\n") or not plain else plain + "\n"
        assert _decoded(part).replace("\r\n", "\n") == ended


@pytest.mark.parametrize("seconds", [0.0, 1_763_820_300.9])
def test_a_date_is_written_in_utc_and_reads_back(seconds):
    read = email.utils.parsedate_to_datetime(date(seconds))
    assert read == datetime.fromtimestamp(int(seconds), UTC)
    assert date(seconds).endswith("+0000")
