"""Bounces as mail servers and providers write them, and mails that are none (tests/golden/bounces)."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import address, failure, message, report
from mailforum.mail.message import Message

FOLDER = Path(__file__).parent.parent / "golden" / "bounces"
ROWS = [line.split() for line in (FOLDER / "expected.txt").read_text().splitlines() if not line.startswith("#")]


def mail(name: str) -> tuple[Message, str]:
    """Return the mail in a file, and its envelope sender, which stands in its first line."""
    msg = message.parse(message.normalise((FOLDER / f"{name}.eml").read_bytes()))
    return msg, msg.get("Return-Path").strip("<>")


def verdict(name: str) -> tuple[str, str]:
    """Return what we make of the mail in a file, and whom it is about."""
    found = report.find(*mail(name))
    if found is None or found.kind == "other":
        return "no", "-"
    first = next(iter(found.recipients), None)
    about = first.address if first and first.address else "-"
    if found.kind == "abuse":
        return "complaint", about
    return failure.judge(first.action, first.status, first.diagnostic) if first else found.kind, about


@pytest.mark.parametrize(("name", "expected", "about"), ROWS, ids=[row[0] for row in ROWS])
def test_each_is_read_for_what_it_is(name: str, expected: str, about: str) -> None:
    found, whom = verdict(name)
    assert (found, address.key(whom)) == (expected, address.key(about))


def test_every_mail_of_the_folder_has_its_row() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.eml")) == sorted(row[0] for row in ROWS)


def test_there_are_sixty_reports_and_twenty_mails_that_are_none() -> None:
    none = [row for row in ROWS if row[1] == "no"]
    assert len(ROWS) - len(none) >= 60
    assert len(none) >= 20


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        ("5.1.1", "550 5.1.1 User unknown", "hard"),
        ("5.0.0", "550 5.1.1 User unknown", "hard"),
        ("", "550 no such user here", "hard"),
        ("5.1.1", "552 mailbox full", "soft"),
        ("5.2.1", "550 5.2.1 mailbox disabled", "hard"),
        ("", "550 5.2.1 This account has been blocked", "hard"),
        ("4.2.1", "450 4.2.1 The user is receiving mail too quickly", "soft"),
        ("4.4.7", "given up; the last answer was: 451 try again later", "soft"),
        ("5.4.1", "550 5.4.1 Recipient address rejected: Access denied", "hard"),
        ("5.7.1", "550 5.7.1 Recipient address rejected: Access denied", "policy"),
        ("5.1.1", "550 5.1.1 blocked using zen.spamhaus.example", "policy"),
        ("5.1.8", "550 5.1.8 Sender address rejected: Domain not found", "policy"),
        ("5.6.0", "554 5.6.0 Header too long", "policy"),
        ("", "550 blocked, see https://block.example", "policy"),
        ("", "it did not work", "soft"),
        ("", "", "soft"),
        ("", "host [5.1.1.9] said 550", "soft"),
    ],
)
def test_what_servers_say_is_judged(status: str, text: str, expected: str) -> None:
    assert failure.judge("failed", status, text) == expected


def test_what_is_the_same_in_the_words_to_many_is_the_same_cause() -> None:
    one = "550-5.7.26 <bob@example.com> Unauthenticated email from example.org, see https://x.example/?p=1 ab12-gsmtp"
    other = "550-5.7.26 <eve@example.net> Unauthenticated email from example.org, see https://x.example/?p=7 cd34-gsmtp"
    assert failure.cause(one) == failure.cause(other) != failure.cause("550 5.1.1 User unknown")


@pytest.mark.parametrize(
    "text",
    [
        "a@" * 100_000,
        "<" * 200_000,
        "user " * 60_000,
        "\n" + " " * 200_000 + "x",
        "to: " * 50_000,
        "mailbox " + "x" * 200_000 + " disabled",
        "5." * 100_000,
        "--" * 100_000,
        "\n<a@b" * 50_000,
        "your message to " * 20_000,
        "konnte " * 40_000,
        "recipient\n" * 30_000,
    ],
    ids=lambda text: f"{text[:12]!a}",
)
def test_hostile_bounces_take_linear_time(text: str) -> None:
    msg = message.parse(b"From: mailer-daemon@x.example\r\nSubject: failure notice\r\n\r\n" + text.encode() + b"\r\n")
    start = time.process_time()
    report.find(msg, "")
    failure.judge("failed", "", text)
    failure.cause(text)
    assert time.process_time() - start < 0.7


@given(st.text(max_size=300), st.text(max_size=60), st.sampled_from(["", "a@example.org", "mailer-daemon@example.org"]))
def test_any_mail_is_read_as_a_bounce_or_not(text: str, subject: str, mail_from: str) -> None:
    raw = f"From: x@example.org\r\nSubject: {subject!a}\r\n\r\n{text}\r\n".encode("utf-8", "surrogatepass")
    found = report.find(message.parse(message.normalise(raw)), mail_from)
    assert found is None or found.recipients
