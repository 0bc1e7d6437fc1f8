"""Encoded words and text that is safe to show."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain text", "plain text"),
        ("=?utf-8?q?J=C3=BCrgen_M?= x", "Jürgen M x"),
        ("=?UTF-8?B?SsO8cmdlbg==?=", "Jürgen"),
        ("a =?utf-8?b?w7w=?= b", "a ü b"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?J=C3?= =?utf-8?q?=BCrgen?=", "Jürgen"),
        ("=?iso-8859-1*de?q?=FC?= =?utf-8?q?=C3=BC?=", "üü"),
        ("=?gb2312?B?u9i4tKO6?=x", "回复：x"),
        ("=?utf-8?q?really??=", "really?"),
        ("=?utf-8?b?SsO8cmdlbg?=", "Jürgen"),
        ("=?utf-8?q?open", "=?utf-8?q?open"),
    ],
)
def test_encoded_words_are_decoded_as_mail_programs_do(value: str, shown: str) -> None:
    assert words.decode(value) == shown


@pytest.mark.parametrize(
    "name", ["nosuch", "zlib", "rot13", "utf-7", "idna", "punycode", "unicode_escape", "ut\0f8", ""]
)
def test_an_unknown_or_dangerous_charset_is_read_as_utf_8_or_windows_1252(name: str) -> None:
    assert words.charset(name) == ""
    assert words.to_text("ü".encode(), name) == "ü"
    assert words.to_text(b"\xfc", name) == "ü"


def test_bytes_that_do_not_fit_their_charset_are_still_text() -> None:
    assert words.to_text(b"\xfc", "utf-8") == "ü"
    assert words.to_text(b"\xfc", "us-ascii") == "ü"
    assert "\ufffd" in words.to_text(b"\x81\xfc", "utf-8")


def test_an_encoded_line_break_cannot_start_a_new_field() -> None:
    assert words.shown("=?utf-8?q?Hi=0D=0ABcc:_all@example.org?=") == "Hi Bcc: all@example.org"


def test_characters_that_turn_the_direction_of_writing_are_taken_out() -> None:
    assert words.shown("=?utf-8?q?gpj.=E2=80=AEexe?= \u2066x\u2069") == "gpj.exe x"


def test_joiners_that_persian_and_emoji_need_stay() -> None:
    assert words.clean("می\u200cخواهم 👩\u200d💻") == "می\u200cخواهم 👩\u200d💻"


def test_what_is_shown_is_capped() -> None:
    assert words.clean("x" * 5000, 100) == "x" * 100


@pytest.mark.parametrize(
    "value",
    [
        "=?utf-8?q?x?= " * 20_000,
        "=?utf-8?q?x?=" * 20_000,
        "=?a?q?" * 40_000,
        "=?" * 120_000,
        "=?a?q?" + "?" * 250_000,
        "".join(f"=?cs{number}?q?x?= " for number in range(15_000)),
    ],
)
def test_decoding_takes_linear_time(value: str) -> None:
    start = time.process_time()
    words.shown(value)
    assert time.process_time() - start < 0.5


@given(st.text())
def test_text_of_any_kind_is_shown_on_one_line(value: str) -> None:
    shown = words.shown(value)
    assert shown == words.clean(shown)
    assert not set(shown) & set("\r\n\0\x85\u2028\u202e")
    shown.encode()


@given(st.binary(), st.sampled_from(["utf-8", "iso-2022-jp", "utf-16", "gb18030", "big5", "hz", "koi8-r", "zlib"]))
def test_bytes_of_any_kind_become_text(data: bytes, name: str) -> None:
    assert isinstance(words.to_text(data, name), str)


@given(st.text(), st.sampled_from("bBqQ"), st.sampled_from(["utf-8", "iso-2022-kr", "utf-16", "x"]))
def test_an_encoded_word_of_any_kind_is_decoded(text: str, encoding: str, name: str) -> None:
    words.shown(f"a =?{name}?{encoding}?{text}?= b")
