"""Robots, loops, and the fields of a list's mail."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import headers, words
from mailforum.mail.message import Header, Message, parse
from mailforum.model import MailingList
from mailforum.settings import ListSettings

BOB = "bob@example.org"
OWN = ("pmo.lists.example.org", "other.lists.example.org")


def mail(*fields: str) -> Message:
    return parse("\r\n".join(["From: Bob <bob@example.org>", *fields, "", "Hello", ""]).encode())


def mlist(title: str = "Project", **settings: object) -> MailingList:
    return MailingList(1, "pmo@lists.example.org", title, ListSettings(**settings), 0.0)  # type: ignore[arg-type]


def values(fields: list[Header]) -> dict[str, str]:
    return {header.name: header.value for header in fields}


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Auto-Submitted: no",),
        ("Auto-Submitted: NO (a person)",),
        ("Auto-Submitted: (a person) no",),
        ("Precedence: list",),
        ("Precedence: first-class",),
        ("X-Auto-Response-Suppress: DR, RN, NRN",),
        ("X-Auto-Response-Suppress: None",),
        ("X-Autoreply: no",),
        ("Content-Type: multipart/mixed; boundary=report",),
        ("List-Id: <another.example.net>",),
    ],
)
def test_a_persons_mail_is_no_robots(fields: tuple[str, ...]) -> None:
    assert headers.robot(mail(*fields), BOB) == ""


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("Auto-Submitted: auto-replied", "Auto-Submitted"),
        ("Auto-Submitted: auto-generated (rejected); owner-email=x@example.org", "Auto-Submitted"),
        ("auto-submitted: Auto-Notified", "Auto-Submitted"),
        ("Auto-Submitted: no\r\nAuto-Submitted: auto-replied", "Auto-Submitted"),
        ("Precedence: bulk", "Precedence"),
        ("Precedence: Junk", "Precedence"),
        ("X-Auto-Response-Suppress: All", "X-Auto-Response-Suppress"),
        ("X-Auto-Response-Suppress: DR, OOF, AutoReply", "X-Auto-Response-Suppress"),
        ("X-Auto-Response-Suppress: RN, oof", "X-Auto-Response-Suppress"),
        ("X-Autoreply: yes", "X-Autoreply"),
        ("X-Autorespond:", "X-Autorespond"),
        ("X-Auto-Reply-From: bob@example.org", "X-Auto-Reply-From"),
        ("X-Failed-Recipients: eve@example.org", "X-Failed-Recipients"),
        ('Content-Type: Multipart/Report; report-type=delivery-status; boundary="x"', "multipart/report"),
    ],
)
def test_a_robot_is_known_by_its_fields(field: str, reason: str) -> None:
    assert headers.robot(mail(field), BOB) == reason


def test_the_null_sender_is_a_robot() -> None:
    assert headers.robot(mail(), "") == "null sender"


@pytest.mark.parametrize("author", ["MAILER-DAEMON@mx.example.org", "Postmaster@example.org"])
def test_a_mail_server_is_a_robot(author: str) -> None:
    msg = parse(f"From: Mail Delivery System <{author}>\r\n\r\nHello\r\n".encode())
    assert headers.robot(msg, BOB).startswith("from ")
    assert headers.robot(mail(), author).startswith("from ")


@pytest.mark.parametrize(
    "field", ["List-Id: <x.example.net>", "List-Post: NO", "X-Loop: x", "Precedence: list", "X-Mailforum-Loop: x@y"]
)
def test_a_mail_that_came_by_another_list_is_known(field: str) -> None:
    assert headers.via_list(mail(field))
    assert not headers.via_list(mail())


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("List-Id: Project <pmo.lists.example.org>", "List-Id"),
        ("List-ID: <PMO.Lists.Example.ORG>", "List-Id"),
        ("List-Id: pmo.lists.example.org", "List-Id"),
        ("List-Id: <x.example.net>\r\nList-Id: <other.lists.example.org>", "List-Id"),
        ("List-Post: <mailto:pmo@lists.example.org>", "List-Post"),
        ("List-Post: <mailto:pmo@lists.example.org?subject=x> (anyone)", "List-Post"),
        ("X-Loop: pmo@lists.example.org", "X-Loop"),
        ("X-Mailforum-Loop: pmo@lists.example.org", "X-Mailforum-Loop"),
    ],
)
def test_our_own_mail_that_comes_back_is_a_loop(field: str, reason: str) -> None:
    assert headers.looping(mail(field), OWN) == reason


@pytest.mark.parametrize(
    "field",
    [
        "List-Id: <pmo.lists.example.net>",
        "List-Id: pmo.lists.example.org <xpmo.lists.example.org>",
        "List-Post: NO",
        "X-Loop: someone@example.net",
        "To: pmo@lists.example.org",
        "X-Loop:",
    ],
)
def test_another_lists_mail_is_no_loop(field: str) -> None:
    assert headers.looping(mail(field), OWN) == ""


def test_a_mail_with_more_than_thirty_hops_is_a_loop() -> None:
    hop = "Received: from a.example by b.example; Mon, 1 Jan 2024 00:00:00 +0000"
    assert headers.looping(mail(*[hop] * 30), OWN) == ""
    assert headers.looping(mail(*[hop] * 31), OWN) == "too many hops"


def test_the_mail_of_a_list_is_a_loop_where_it_comes_back_even_through_another_list() -> None:
    posted = mail().prepend(*headers.list_fields(mlist()))
    assert headers.looping(posted, OWN)
    by_the_other_list = headers.strip_for_list(posted)
    assert by_the_other_list.get("List-Id") == ""
    assert headers.looping(by_the_other_list, OWN)
    assert headers.robot(posted, BOB) == ""


def test_a_list_says_who_it_is_and_what_can_be_done() -> None:
    found = values(headers.list_fields(mlist(), archived_at="https://lists.example.org/pmo/48.3"))
    assert found == {
        "List-Id": '"Project" <pmo.lists.example.org>',
        "List-Post": "<mailto:pmo@lists.example.org>",
        "List-Help": "<mailto:pmo-help@lists.example.org>",
        "List-Owner": "<mailto:pmo-owner@lists.example.org>",
        "List-Subscribe": "<mailto:pmo-join@lists.example.org>",
        "Archived-At": "<https://lists.example.org/pmo/48.3>",
        "Precedence": "list",
        "X-Mailforum-Loop": "pmo@lists.example.org",
    }


def test_a_list_that_only_moderators_post_to_says_no_to_posts() -> None:
    assert values(headers.list_fields(mlist(posting="moderators")))["List-Post"] == "NO"


def test_a_closed_list_offers_no_subscription_and_one_without_archive_no_link() -> None:
    found = values(headers.list_fields(mlist(joining="closed")))
    assert "List-Subscribe" not in found
    assert "Archived-At" not in found


@pytest.mark.parametrize(
    ("title", "phrase"),
    [
        ("", ""),
        ('The "best" list, (ever)', r'"The \"best\" list, (ever)" '),
        ("a\\b", r'"a\\b" '),
        ("fake <id.example.net>", '"fake id.example.net" '),
        ("x\r\nBcc: all@example.org", '"x Bcc: all@example.org" '),
        ("=?utf-8?q?x?=", '"=?utf-8?q?x?=" '),
    ],
)
def test_a_title_is_quoted_as_a_phrase(title: str, phrase: str) -> None:
    list_id = headers.list_fields(mlist(title))[0]
    assert list_id.raw == f"List-Id: {phrase}<pmo.lists.example.org>\r\n".encode()


def test_a_title_that_is_not_ascii_is_encoded_word_by_word() -> None:
    list_id = headers.list_fields(mlist("Grüße, (aus) <Wien>"))[0]
    assert list_id.raw.isascii()
    assert list_id.value.endswith(' "(aus)" Wien <pmo.lists.example.org>')
    assert words.shown(list_id.value).startswith("Grüße, ")


@given(st.text())
def test_a_title_of_any_kind_leaves_one_field_with_one_id(title: str) -> None:
    list_id = headers.list_fields(mlist(title))[0]
    assert list_id.raw.isascii()
    assert list_id.value.count("<") == 1
    assert headers.looping(Message((list_id,), b""), OWN) == "List-Id"
    assert len(parse(list_id.raw + b"\r\n").headers) == 1


def test_what_could_end_a_link_is_escaped() -> None:
    found = values(headers.list_fields(mlist(), archived_at="https://x.example/<a@b>\r\nBcc: ü%20"))
    assert found["Archived-At"] == "<https://x.example/%3Ca@b%3E%0D%0ABcc:%20%C3%BC%20>"


def test_unsubscribing_is_offered_by_mail() -> None:
    found = values(headers.unsubscribe_fields("pmo-leave+token@lists.example.org"))
    assert found == {"List-Unsubscribe": "<mailto:pmo-leave+token@lists.example.org>"}
    assert headers.unsubscribe_fields("mailto:a@b.example") == headers.unsubscribe_fields("a@b.example")


def test_unsubscribing_with_one_click_is_offered_first_where_there_is_a_link() -> None:
    found = values(headers.unsubscribe_fields("l@example.org", "https://lists.example.org/u/token"))
    assert found == {
        "List-Unsubscribe": "<https://lists.example.org/u/token>, <mailto:l@example.org>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_fields_of_the_way_here_are_taken_out_and_no_others_are_touched() -> None:
    taken = [
        "Return-Path: <bob@example.org>",
        "Delivered-To: pmo@lists.example.org",
        "X-Original-To: pmo@lists.example.org",
        "BCC: secret@example.org",
        "Sender: bob@example.org",
        "List-Id: <x.example.net>",
        "list-unsubscribe: <mailto:x@example.net>",
        "Precedence: list",
        "Archived-At: <https://x.example>",
        "Errors-To: bob@example.org",
        "Return-Receipt-To: bob@example.org",
        "Disposition-Notification-To: bob@example.org",
        "X-Confirm-Reading-To: bob@example.org",
        "X-Mailforum-Post: 7",
    ]
    kept = [
        "Received: from a by b",
        "Authentication-Results: lists.example.org; dkim=pass",
        "DKIM-Signature:  v=1;\r\n\tb=abc",
        "Subject:   spaced  ",
        "X-Loop: x@example.net",
        "X-Mailforum-Loop: x@example.net",
        "Listing: y",
    ]
    assert headers.strip_for_list(mail(*taken, *kept)).to_bytes() == mail(*kept).to_bytes()


def test_a_mail_with_nothing_to_take_out_keeps_its_bytes() -> None:
    assert headers.strip_for_list(mail()).to_bytes() == mail().to_bytes()


@pytest.mark.parametrize("name", ["Auto-Submitted", "Precedence", "List-Id", "X-Loop", "From", "Content-Type"])
@pytest.mark.parametrize(
    "value", ["(" * 200_000, "<" * 200_000, "<>" * 100_000, " " * 200_000, ",a" * 100_000, "\\" * 200_000]
)
def test_hostile_marks_take_linear_time(name: str, value: str) -> None:
    msg = Message((Header(name, f"{name}: {value}\r\n".encode()),), b"")
    start = time.process_time()
    headers.robot(msg, BOB)
    headers.via_list(msg)
    headers.looping(msg, OWN)
    headers.strip_for_list(msg)
    assert time.process_time() - start < 0.25


@given(st.sampled_from(["Auto-Submitted", "Precedence", "List-Id", "List-Post", "X-Loop"]), st.binary())
def test_marks_of_any_kind_are_read(name: str, value: bytes) -> None:
    msg = Message((Header(name, name.encode() + b": " + value + b"\r\n"),), b"")
    assert isinstance(headers.robot(msg, BOB), str)
    assert isinstance(headers.looping(msg, OWN), str)
