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


def test_of_twenty_thousand_references_the_nearest_fifty_count() -> None:
    value = " ".join(f"<{number}@example.org>" for number in range(20_000))
    start = time.process_time()
    found = msgid.references("", value)
    assert time.process_time() - start < 0.1
    assert found == tuple(f"<{number}@example.org>" for number in range(19_999, 19_949, -1))


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


@given(st.text(alphabet=st.sampled_from('ab.@<>()",; \r\n\t\0é')) | st.text())
def test_what_is_found_is_clean_and_found_again(value: str) -> None:
    for one in msgid.ids(value):
        assert one.startswith("<")
        assert one.endswith(">")
        assert "@" in one
        assert one.isprintable()
        assert msgid.ids(one) == [one]


def test_the_same_mail_gets_the_same_invented_id() -> None:
    digest = hashlib.sha256(b"a mail").digest()
    one = msgid.invent(digest, "lists.example.org")
    assert one == msgid.invent(digest, "lists.example.org")
    assert one != msgid.invent(hashlib.sha256(b"another").digest(), "lists.example.org")
    assert msgid.message_id(one) == one
    assert one.endswith("@lists.example.org>")
