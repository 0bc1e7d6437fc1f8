"""Message ids: how they are found in what mail programs write, and which one is the parent."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import msgid


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        ("<a@b>", ["<a@b>"]),
        ("<a@b> <c@d>", ["<a@b>", "<c@d>"]),
        ("<a@b><c@d>", ["<a@b>", "<c@d>"]),
        ("<a@b>, <c@d>", ["<a@b>", "<c@d>"]),
        ("<very.long\r\n .id@example.org>", ["<very.long.id@example.org>"]),
        ("<very.long .id@example.org>", ["<very.long.id@example.org>"]),
        ("a@b", ["<a@b>"]),
        ("<a@b", ["<a@b>"]),
        ('"<a@b>"', ["<a@b>"]),
        ("<a(b)c@d>", ["<a(b)c@d>"]),
        ("<a@b@c>", ["<a@b@c>"]),
        ('<"a b"@c>', ['<"ab"@c>']),
        ("<a@b> (comment <x@y> (nested <z@y>))", ["<a@b>"]),
        ("(never closed <a@b>", ["<a@b>"]),
        ('Message from "Al <al@example.org>" of Mon <real@id>', ["<real@id>"]),
        ("Message from Al <al@example.org> of Mon <real@id>", ["<real@id>"]),
        ('Your message of "Mon, 1 Jan" <real@id>', ["<real@id>"]),
        ('Your message of "Mon <real@id>', ["<real@id>"]),
        ('<real@id> (Al\'s message of "Mon, 1 Jan")', ["<real@id>"]),
        ("cut@off> <d@e> <f@g>", ["<d@e>", "<f@g>"]),
        ("<<<@>>> [x", []),
        ("<@>", []),
        ("<1234>", []),
        ("no id at all", []),
        ("two@words here@now", []),
        ("a1@b c2@d", ["<a1@b>", "<c2@d>"]),
        ("a1@b, c2@d;<e@f>", ["<a1@b>", "<c2@d>", "<e@f>"]),
        ("<e@f> c2@d al@example.org", ["<e@f>", "<c2@d>"]),
        ("<a@b>;<c@d>;", ["<a@b>", "<c@d>"]),
        ("Re: <a@b> <c@d>", ["<a@b>", "<c@d>"]),
        ("<<a@b>>", ["<a@b>"]),
        ("<a@b>@c", ["<a@b>"]),
        ("a@b>", ["<a@b>"]),
        ("<a@b <c@d> e@f>", ["<a@b>", "<c@d>", "<e@f>"]),
        ("<a@[192.0.2.1]>", ["<a@[192.0.2.1]>"]),
        ("<20040101.ABC>", ["<20040101.ABC>"]),
        ("<@abc123>", ["<@abc123>"]),
        ("<y>", []),
        ("y", []),
        ("20040101.ABC", []),
        ("=?utf-8?Q?<a@b>?=", ["<a@b>"]),
        ("=?us-ascii?Q?=3Ca@b=3E=3Cc=40?=\r\n =?us-ascii?Q?d=3E?=", ["<a@b>", "<c@d>"]),
        ("=?utf-8?B?PGFAYj4=?= <c@d>", ["<a@b>", "<c@d>"]),
        ('"<a@b> <c@d>"', ["<a@b>", "<c@d>"]),
        ("'a1@b'", ["<a1@b>"]),
        ("<a@b> <half.of.an.id@exam", ["<a@b>", "<half.of.an.id@exam>"]),
        ("<a@b> " + "<x@y> " * 40 + "<half.of.an.id@exam", ["<a@b>", *["<x@y>"] * 40]),
        ("ple.org> " + "<x@y> " * 40, ["<x@y>"] * 40),
        ("Message from Ada <ada@example.org>", []),
        ("Message from ada@example.org of Monday", []),
        ("Mail from 'Ada <ada@example.org>' dated: Mon, 1 Jan", []),
        ('"Ada" <ada@example.org>  "Re: Budget" (Jan  1, 10:00am)', []),
        ('<real@id> from "Ada" at Jan 1, 94 10:00:00 am', ["<real@id>"]),
        ("<real@id> from Ada <ada@example.org> at Jan 1, 94", ["<real@id>"]),
        ("Nachricht von Ada <ada@example.org> vom Montag <real@id>", ["<real@id>"]),
        ("Ada's message of Mon, 1 Jan <real@id>", ["<real@id>"]),
        ("Your message of Mon, 1 Jan. <real@id> al99@example.org", ["<real@id>"]),
    ],
)
def test_ids_are_found_in_what_mail_programs_write(value: str, found: list[str]) -> None:
    assert msgid.ids(value) == found


def test_an_id_that_is_too_long_is_cut_once_and_for_all() -> None:
    (one,) = msgid.ids(f"<{'x' * 5000}@example.org>")
    assert len(one) == msgid.MAX_ID
    assert one.endswith("x@example.org>")
    assert msgid.ids(one) == [one]


def test_a_message_id_is_one_id_or_nothing() -> None:
    assert msgid.message_id(" <a@b>") == "<a@b>"
    assert msgid.message_id("<a@b> <c@d>") == "<a@b>"
    assert msgid.message_id("<<<@>>> [x") == ""
    assert msgid.message_id("") == ""


def test_in_references_every_id_of_a_sentence_counts() -> None:
    value = "<a@b> and then <c@d> from Ada <ada@example.org> and <e@f>"
    assert msgid.ids(value, every=True) == ["<a@b>", "<c@d>", "<e@f>"]
    assert msgid.ids(value) == ["<e@f>"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("<a@b> (added by postmaster@example.org)", "<a@b>"),
        ("<a@b> added by <postmaster@example.org>", "<a@b>"),
        ("from here: <a@b>", "<a@b>"),
        ("a@b", "<a@b>"),
        ("20040101.ABC", "<20040101.ABC>"),
        ("=?utf-8?q?=3Ca@b=3E?=", "<a@b>"),
        ("two words@b", ""),
        ("none", ""),
        ("<local>", ""),
    ],
)
def test_of_a_message_id_the_first_counts_whatever_stands_around_it(value: str, found: str) -> None:
    assert msgid.message_id(value) == found


def test_ids_that_differ_only_in_their_case_are_compared_as_one() -> None:
    assert msgid.key("<AbC@Example.ORG>") == msgid.key("<abc@example.org>") == "<abc@example.org>"
    assert msgid.key(msgid.key("<ÄB@x>")) == msgid.key("<ÄB@x>")


def test_control_characters_do_not_stay_in_an_id() -> None:
    assert msgid.message_id("<a\x00\x1b\u202e@b>") == "<a@b>"


def test_the_nearest_candidate_for_the_parent_comes_first() -> None:
    found = msgid.references("<c@x>", "<a@x> <b@x> <c@x>")
    assert found == ("<c@x>", "<b@x>", "<a@x>")


def test_in_reply_to_goes_before_references() -> None:
    assert msgid.references("<p@x>", "<a@x> <b@x>") == ("<p@x>", "<b@x>", "<a@x>")


def test_a_mail_is_never_its_own_parent() -> None:
    assert msgid.references("<own@x>", "<a@x> <own@x>", own="<own@x>") == ("<a@x>",)


def test_an_address_in_in_reply_to_is_no_parent() -> None:
    assert msgid.references('Message from "Al" <al@example.org> of Mon <real@id>', "") == ("<real@id>",)


def test_of_twenty_thousand_references_the_nearest_and_the_first_count() -> None:
    value = " ".join(f"<{number}@example.org>" for number in range(20_000))
    start = time.process_time()
    found = msgid.references("", value)
    assert time.process_time() - start < 0.1
    assert found == tuple(f"<{number}@example.org>" for number in (*range(19_999, 19_950, -1), 0))


@pytest.mark.parametrize(
    "value",
    [
        "<" * 97_000,
        '"' * 97_001,
        "(" * 97_000,
        "(" * 10_000 + ")" * 10_000,
        "(<a@b>)" * 20_000,
        '"(' * 50_000,
        "a " * 90_000,
        "@" * 97_000,
        "<a@b" * 40_000,
        ">" * 97_000,
    ],
    ids=lambda value: f"{value[:4]!a}x{len(value)}",
)
def test_hostile_values_take_linear_time(value: str) -> None:
    start = time.process_time()
    msgid.references(value, value)
    msgid.message_id(value)
    assert time.process_time() - start < 0.25


_pieces = st.sampled_from([*'ab1.@<>()",; \r\n\t\0é', "from ", "of ", "=?utf-8?q?", "=3C", "?=", "<a1@b>"])


@given(st.lists(_pieces).map("".join) | st.text())
def test_what_is_found_is_clean_and_found_again(value: str) -> None:
    for one in msgid.ids(value):
        assert one.startswith("<")
        assert one.endswith(">")
        assert "@" in one or any(map(str.isdecimal, one))
        assert one.isprintable()
        assert msgid.ids(one) == [one]


def test_the_same_mail_gets_the_same_invented_id() -> None:
    digest = hashlib.sha256(b"a mail").digest()
    one = msgid.invent(digest, "lists.example.org")
    assert one == msgid.invent(digest, "lists.example.org")
    assert one != msgid.invent(hashlib.sha256(b"another").digest(), "lists.example.org")
    assert msgid.message_id(one) == one
    assert one.endswith("@lists.example.org>")
