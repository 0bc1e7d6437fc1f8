"""Subjects: reply markers of many languages, and the prefix that is put in once."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import subject, words
from mailforum.mail.message import Header, field


def raw(value: str) -> Header:
    return Header("Subject", f"Subject: {value}\r\n".encode())


def prefixed(value: str, prefix: str = "[pmo]") -> str:
    return words.shown(subject.prefix_subject(raw(value), prefix).value, 10_000)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hello", "[pmo] Hello"),
        ("Re: Hello", "Re: [pmo] Hello"),
        ("RE: Re: Hello", "RE: Re: [pmo] Hello"),
        ("Re:Hello", "Re: [pmo] Hello"),
        ("Re : Hello", "Re : [pmo] Hello"),
        ("Re[2]: Hello", "Re[2]: [pmo] Hello"),
        ("Re(3): Hello", "Re(3): [pmo] Hello"),
        ("Re^4: Hello", "Re^4: [pmo] Hello"),
        ("AW: SV: Antw: Hello", "AW: SV: Antw: [pmo] Hello"),
        ("回复：你好", "回复： [pmo] 你好"),
        ("答复: 你好", "答复: [pmo] 你好"),
        ("رد: مرحبا", "رد: [pmo] مرحبا"),
        ("Fwd: Hello", "[pmo] Fwd: Hello"),
        ("WG: Hello", "[pmo] WG: Hello"),
        ("Re: Fwd: Re: Hello", "Re: [pmo] Fwd: Re: Hello"),
        ("Report: Hello", "[pmo] Report: Hello"),
        ("Re", "[pmo] Re"),
        ("Re:", "Re: [pmo]"),
        ("", "[pmo]"),
    ],
)
def test_a_reply_prefix_stays_in_front_of_the_list_prefix(before: str, after: str) -> None:
    assert prefixed(before) == after


@pytest.mark.parametrize(
    "value",
    [
        "[pmo] Hello",
        "Re: [pmo] Hello",
        "[PMO] Re: Hello",
        "Re: about [pmo] things",
        "=?utf-8?q?Re:_[pmo]_Gr=C3=BC=C3=9Fe?=",
        "=?utf-8?q?Re:_[p?= =?utf-8?q?mo]_Gr=C3=BC=C3=9Fe?=",
        "=?iso-2022-jp?b?W3Btb10gGyRCRnxLXBsoQg==?=",
        "=?utf-16?b?//5bAHAAbQBvAF0AIABIAA==?=",
        "[pmo] Grüße",
    ],
)
def test_where_the_prefix_stands_already_not_a_byte_changes(value: str) -> None:
    assert subject.prefix_subject(raw(value), "[pmo]") == raw(value)


def test_a_second_run_changes_nothing() -> None:
    once = subject.prefix_subject(raw("Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?="), "[pmo]")
    assert subject.prefix_subject(once, "[pmo]") is once


def test_an_ascii_subject_keeps_its_bytes_around_the_prefix() -> None:
    before = Header("SUBJECT", b"SUBJECT:\tRe:  a  double\r\n\tfolded subject  \r\n")
    after = subject.prefix_subject(before, "[pmo]")
    assert after == Header("SUBJECT", b"SUBJECT:\tRe:  [pmo] a  double\r\n\tfolded subject  \r\n")


def test_encoded_words_behind_an_ascii_marker_keep_their_bytes() -> None:
    after = subject.prefix_subject(raw("Re: =?iso-8859-1?q?Gr=FC=DFe?="), "[pmo]")
    assert after.raw == b"Subject: Re: [pmo] =?iso-8859-1?q?Gr=FC=DFe?=\r\n"


def test_a_line_with_encoded_words_stays_short_enough_for_them() -> None:
    word = "=?utf-8?q?" + "x" * 55 + "?="
    after = subject.prefix_subject(raw(word), "[pmo]")
    assert after.raw == f"Subject: [pmo]\r\n {word}\r\n".encode()


def test_markers_within_encoded_words_are_written_anew() -> None:
    after = subject.prefix_subject(raw("=?iso-8859-1?q?AW:_Gr=FC=DFe?="), "[pmo]")
    assert after.raw.isascii()
    assert words.shown(after.value) == "AW: [pmo] Grüße"


def test_an_8_bit_subject_is_written_anew_as_ascii() -> None:
    after = subject.prefix_subject(raw("Re: Grüße aus Wien"), "[pmo]")
    assert after.raw.isascii()
    assert words.shown(after.value) == "Re: [pmo] Grüße aus Wien"


def test_a_prefix_that_is_not_ascii_is_encoded() -> None:
    after = subject.prefix_subject(raw("Re: Hello"), "[größe]")
    assert after.raw.isascii()
    assert words.shown(after.value) == "Re: [größe] Hello"


def test_a_mail_without_a_subject_gets_the_prefix_alone() -> None:
    assert subject.prefix_subject(None, "[pmo]").raw == b"Subject: [pmo]\r\n"
    assert subject.prefix_subject(Header("Subject", b"Subject:\r\n"), "[pmo]").raw == b"Subject: [pmo]\r\n"
    assert subject.prefix_subject(Header("Subject", b"Subject: \r\n \r\n"), "[pmo]").raw == b"Subject: [pmo]\r\n"


def test_a_subject_that_is_folded_before_it_begins_stays_folded() -> None:
    before = Header("Subject", b"Subject:\r\n Re:\r\n Hello\r\n")
    assert subject.prefix_subject(before, "[pmo]").raw == b"Subject:\r\n Re:\r\n [pmo] Hello\r\n"


@pytest.mark.parametrize(
    "value", ["=?utf-8?q?Hi=0D=0ABcc:_all@example.org?=", "=?utf-8?q?R=C3=A9:_x=0ABcc:_all@example.org?="]
)
def test_an_encoded_line_break_never_becomes_a_field(value: str) -> None:
    after = subject.prefix_subject(raw(value), "[pmo]")
    assert b"\nBcc" not in after.raw
    assert after.raw.count(b"\r\n") == 1
    assert "[pmo]" in words.shown(after.value)


@pytest.mark.parametrize(
    "value",
    [
        "Re:" * 80_000,
        "=?utf-8?q?Re:?= " * 15_000,
        "Re: " + "x" * 250_000,
        "=?utf-8?q?x?= " * 20_000,
        "Re" + " " * 250_000,
        "Ré: " * 50_000,
        "(" * 250_000,
        "[pmo " * 50_000,
    ],
    ids=lambda value: f"{value[:14]!a}x{len(value)}",
)
def test_hostile_subjects_take_linear_time(value: str) -> None:
    start = time.process_time()
    after = subject.prefix_subject(raw(value), "[pmo]")
    subject.base(value, "[pmo]")
    assert time.process_time() - start < 0.5
    assert "[pmo]" in words.shown(after.value, len(after.value))


@given(st.text(), st.sampled_from(["[pmo]", "[größe]", "pmo:"]))
def test_any_subject_gets_the_prefix_once_and_stays_one_field(text: str, prefix: str) -> None:
    before = field("Subject", text)
    after = subject.prefix_subject(before, prefix)
    assert after.raw.isascii()
    assert after.raw.endswith(b"\r\n")
    assert all(line[:1] in (b" ", b"\t") for line in after.raw.split(b"\r\n")[1:-1])
    shown = words.shown(after.value)
    assert prefix.lower() in shown.lower()
    assert subject.prefix_subject(after, prefix) == after


@given(st.binary())
def test_any_raw_subject_gets_the_prefix(data: bytes) -> None:
    value = data.replace(b"\r", b"").replace(b"\n", b"\r\n ")
    after = subject.prefix_subject(Header("Subject", b"Subject: " + value + b"\r\n"), "[pmo]")
    assert "[pmo]" in words.shown(after.value).lower()
    assert all(line[:1] in (b" ", b"\t") for line in after.raw.split(b"\r\n")[1:-1])


def test_every_marker_of_the_table_is_known_in_any_case() -> None:
    for markers in subject.REPLY_MARKERS.values():
        for marker in markers:
            for spelt in (marker, marker.upper(), marker.lower()):
                assert subject.is_reply(f"{spelt}: x"), spelt
                assert subject.split(f"{spelt}: x") == (f"{spelt}: ", "x")


@pytest.mark.parametrize(
    "value", ["Ref: 12", "Fwd: x", "FW: x", "WG: x", "TR: x", "RV: x", "Enc: x", "转发: x", "Re", "Regarding: x"]
)
def test_a_forwarded_mail_is_no_reply(value: str) -> None:
    assert not subject.is_reply(value)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        ("Hello", "Hello"),
        ("Re: [pmo] Re: AW: Hello", "Hello"),
        ("[PMO] Re[2]:   Hello\t world", "Hello world"),
        ("[pmo] [pmo]", ""),
        ("Re: Fwd: Hello", "Fwd: Hello"),
        ("Re:", ""),
    ],
)
def test_the_base_of_a_subject_is_without_markers_and_prefix(value: str, base: str) -> None:
    assert subject.base(value, "[pmo]") == base


@pytest.mark.parametrize(
    ("value", "topic"),
    [
        ("Hello", ("hello", "", False)),
        ("[pmo] Re: [pmo] Hello", ("hello", "", True)),
        ("Re: [pmo] Re: Hello", ("hello", "", True)),
        ("[PMO] Hello", ("hello", "", False)),
        ("[other] Re: Hello", ("[other] hello", "", True)),
        ("Re: [other] AW: [pmo] [other] Hello", ("[other] hello", "", True)),
        ("Re: [PATCH v2 3/7] Fix", ("[patch v2 3/7] fix", "", True)),
        ("Hello [pmo]", ("hello [pmo]", "", False)),
        ("Re[2]: Re^3: Re*4: Hello", ("hello", "", True)),
        ("Antw.: Hello", ("hello", "", True)),
        ("ΑΠ: ΓΕΙΑ ΣΟΥ", ("γεια σου", "", True)),
        ("回复：你好", ("你好", "", True)),
        ("Re: Ｈｅｌｌｏ\u3000Ｗｏｒｌｄ", ("hello world", "", True)),
        ("Re: Straße", ("strasse", "", True)),
        ("Re: Cafe\u0301", ("café", "", True)),
        ("New (was: Old)", ("new", "old", False)),
        ("Re: New (was: Re: [pmo] Old)", ("new", "old", True)),
        ("Re: New [was Old (really)]", ("new", "old (really)", True)),
        ("New (was: [pmo] Old)", ("new", "old", False)),
        ("New (was: [other] Re: Old)", ("new", "[other] old", False)),
        ("Neu (war: Alt", ("neu", "alt", False)),
        ("Re: New (was: Old) again", ("new (was: old) again", "", True)),
        ("It was: fine", ("it was: fine", "", False)),
        ("Re: Hello (fwd)", ("hello", "", True)),
        ("Hello (Fwd)", ("hello", "", False)),
        ("Re: Fwd: Hello", ("fwd: hello", "", True)),
        ("Fwd: Re: Hello", ("fwd: re: hello", "", False)),
        ("R: Ciao", ("ciao", "", True)),
        ("r: how to plot", ("r: how to plot", "", False)),
        ("TL: Chào", ("chào", "", True)),
        ("TL;DR: Hello", ("tl;dr: hello", "", False)),
        ("Ref: 123", ("ref: 123", "", False)),
        ("HA: a cluster", ("ha: a cluster", "", False)),
        ("Re:", ("", "", True)),
        ("Re: [pmo]", ("", "", True)),
        ("Re: [other]", ("[other]", "", True)),
        ("(was: Old)", ("", "old", False)),
        ("", ("", "", False)),
    ],
)
def test_a_subject_is_taken_apart_for_comparing(value: str, topic: tuple[str, str, bool]) -> None:
    assert subject.topic(value, "[pmo]") == topic


@given(st.text())
def test_a_reply_is_about_what_it_answers(text: str) -> None:
    before = subject.topic(text, "[pmo]")
    assert subject.topic(f"Re: {text}", "[pmo]") == (before.base, before.was, True)
    assert subject.topic(f"[pmo] {text}", "[pmo]") == before
    assert subject.topic(f"AW: [pmo] Re: {text}", "[pmo]").base == before.base


@pytest.mark.parametrize("piece", ["(was: ", "[was:", "(fwd)", "[a]", "Re:", "(was a", " ", "(", "[pmo]", "was:"])
def test_hostile_subjects_are_taken_apart_in_linear_time(piece: str) -> None:
    start = time.process_time()
    for _ in range(20):
        subject.topic(piece * 20_000, "[pmo]")
    assert time.process_time() - start < 0.2


def test_what_a_subject_was_before_may_begin_with_a_tag() -> None:
    found = subject.topic("Re: Slow start (was: [PATCH v5 7/9] Index: (re)build it)")
    assert found == ("slow start", "[patch v5 7/9] index: (re)build it", True)
