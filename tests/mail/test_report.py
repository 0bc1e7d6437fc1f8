"""Delivery reports and complaints, as mail servers write them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import Refused
from mailforum.mail import report
from mailforum.mail.message import Message, parse
from mailforum.mail.report import ReportedRecipient

RETURNED = "Message-ID: <post@example.org>\nSubject: Hello\n\nThe post\n"


def multipart(*parts: tuple[str, str], kind: str = "delivery-status", main: str = "multipart/report") -> Message:
    """Write a report with the parts (content type, content)."""
    lines = [f'Content-Type: {main}; report-type={kind}; boundary="b"', "From: MAILER-DAEMON@mx.example", ""]
    for content_type, content in (("text/plain", "I could not deliver your mail.\n"), *parts):
        lines += ["--b", f"Content-Type: {content_type}", "", content]
    return parse("\n".join([*lines, "--b--", ""]).encode())


def status(text: str, *more: tuple[str, str]) -> report.Report:
    found = report.read(multipart(("message/delivery-status", text), *more))
    assert found is not None
    return found


def test_a_postfix_bounce_names_recipient_status_and_reason() -> None:
    text = """Reporting-MTA: dns; mx.example.org
X-Postfix-Queue-ID: 4ABC
Arrival-Date: Mon,  1 Jan 2024 00:00:00 +0000 (UTC)

Final-Recipient: rfc822; bob@host.example.com
Original-Recipient: rfc822;Bob@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; host.example.com
Diagnostic-Code: smtp; 550 5.1.1 <bob@host.example.com>: Recipient address
    rejected: User unknown
"""
    found = status(text, ("message/rfc822", RETURNED))
    reason = "550 5.1.1 <bob@host.example.com>: Recipient address rejected: User unknown"
    assert found.kind == "delivery"
    assert found.recipients == (ReportedRecipient("Bob@example.com", "failed", "5.1.1", reason),)
    assert found.returned is not None
    assert found.returned.message_id == "<post@example.org>"


@pytest.mark.parametrize(
    ("actions", "kind"),
    [
        (["failed"], "delivery"),
        (["delayed"], "delayed"),
        (["delivered"], "delivered"),
        (["relayed"], "delivered"),
        (["delayed", "failed"], "delivery"),
        (["delivered", "delayed"], "delayed"),
    ],
)
def test_a_report_is_as_bad_as_its_worst_recipient(actions: list[str], kind: str) -> None:
    groups = [f"Final-Recipient: rfc822; r{n}@example.com\nAction: {a}\n" for n, a in enumerate(actions)]
    found = status("Reporting-MTA: dns; mx\n\n" + "\n".join(groups))
    assert found.kind == kind
    assert [one.action for one in found.recipients] == actions


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Action: Failed (bad)\nStatus: 5.0.0 (unknown)", ("failed", "5.0.0")),
        ("Status: 4.4.7", ("delayed", "4.4.7")),
        ("Action: failed\nStatus: 4.4.7", ("failed", "4.4.7")),
        ("Status: 2.0.0", ("delivered", "2.0.0")),
        ("Action: nonsense\nStatus: nonsense", ("failed", "")),
        ("", ("failed", "")),
        ("Action: delayed\nAction: failed", ("delayed", "")),
    ],
)
def test_odd_actions_and_statuses_are_made_the_best_of(fields: str, expected: tuple[str, str]) -> None:
    (one,) = status(f"Final-Recipient: rfc822;bob@example.com\n{fields}\n").recipients
    assert (one.action, one.status) == expected


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("rfc822; bob@example.com", "bob@example.com"),
        ("RFC822;<bob@example.com>", "bob@example.com"),
        ("bob@example.com", "bob@example.com"),
        ("utf-8; jürgen@example.com", "jürgen@example.com"),
        (r"utf-8; j\x{FC}rgen@example.com", "jürgen@example.com"),
        ("rfc822; bob@example.com\r\n\tmore", ""),
        ("rfc822; not an address", ""),
        (r"utf-8; bob\x{0D}\x{0A}Bcc: x@example.com", ""),
        (r"utf-8; \x{110000}\x{D800}@example.com", ""),
        ("x400; /c=de/s=bob", ""),
    ],
)
def test_addresses_are_read_and_checked(field: str, address: str) -> None:
    assert [one.address for one in status(f"Final-Recipient: {field}\nAction: failed\n").recipients] == [address]


def test_the_final_recipient_stands_in_for_a_broken_original_one() -> None:
    text = "Original-Recipient: rfc822; unknown\nFinal-Recipient: rfc822; bob@example.com\n"
    assert status(text).recipients[0].address == "bob@example.com"


def test_a_report_without_empty_lines_between_its_groups_is_read() -> None:
    (one,) = status("Reporting-MTA: dns; mx\nFinal-Recipient: rfc822; bob@example.com\nStatus: 5.2.2\n").recipients
    assert (one.address, one.status) == ("bob@example.com", "5.2.2")


def test_a_report_that_names_nobody_is_still_a_report() -> None:
    found = status("Reporting-MTA: dns; mx\n")
    assert (found.kind, found.recipients, found.returned) == ("delivery", (), None)


def test_an_internationalised_report_is_read() -> None:
    content = "Final-Recipient: utf-8; jürgen@example.com\nAction: failed\nStatus: 5.1.1\n"
    found = report.read(multipart(("message/global-delivery-status", content), ("message/global-headers", RETURNED)))
    assert found is not None
    assert found.recipients[0].address == "jürgen@example.com"
    assert found.returned is not None


def test_an_encoded_report_is_read() -> None:
    content = "RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGJvYkBleGFtcGxlLmNvbQo="
    found = report.read(multipart(("message/delivery-status\nContent-Transfer-Encoding: base64", content)))
    assert found is not None
    assert found.recipients[0].address == "bob@example.com"


def test_a_report_in_a_multipart_mixed_is_read() -> None:
    content = "Final-Recipient: rfc822; bob@example.com\n"
    found = report.read(multipart(("message/delivery-status", content), main="multipart/mixed"))
    assert found is not None


def test_control_characters_of_the_other_server_do_not_reach_the_log() -> None:
    text = (
        "Final-Recipient: rfc822; bob@example.com\nDiagnostic-Code: smtp; 550\x1b[31m no\u202e\x07" + "x" * 5000 + "\n"
    )
    (one,) = status(text).recipients
    assert one.diagnostic.startswith("550[31m nox")
    assert len(one.diagnostic) == report.MAX_DIAGNOSTIC


def test_a_complaint_names_whom_the_mail_was_sent_to() -> None:
    content = """Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <pmo-bounces@lists.example.org>
Original-Rcpt-To: <bob@example.com>
Original-Rcpt-To: bob@example.com
Removal-Recipient: eve@example.com
"""
    msg = multipart(("message/feedback-report", content), ("text/rfc822-headers", RETURNED), kind="feedback-report")
    found = report.read(msg)
    assert found is not None
    assert found.kind == "abuse"
    assert report.may_complain(msg)
    assert [(one.address, one.action) for one in found.recipients] == [
        ("bob@example.com", "abuse"),
        ("eve@example.com", "abuse"),
    ]
    assert found.returned is not None
    assert found.returned.subject == "Hello"


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "other", ""])
def test_feedback_that_is_no_complaint_is_told_apart(kind: str) -> None:
    found = report.read(
        multipart(("message/feedback-report", f"Feedback-Type: {kind}\nOriginal-Rcpt-To: bob@example.com\n"))
    )
    assert found is not None
    assert found.kind == "other"


@pytest.mark.parametrize(
    "msg",
    [
        parse(b"Subject: Hello\r\n\r\nFinal-Recipient: rfc822; bob@example.com\r\n"),
        multipart(("text/plain", "Final-Recipient: rfc822; bob@example.com\n")),
        multipart(("message/disposition-notification", "Final-Recipient: rfc822; bob@example.com\n")),
        parse(b""),
    ],
)
def test_a_mail_that_is_no_report_is_none(msg: Message) -> None:
    assert report.read(msg) is None
    assert not report.may_complain(msg)


@pytest.mark.parametrize("subject", ["complaint about message from 192.0.2.1", "COMPLAINT about message from x"])
def test_a_complaint_of_the_old_form_is_seen_at_a_glance(subject: str) -> None:
    mail = f'Subject: {subject}\nContent-Type: multipart/mixed; boundary="o"\n\n--o\nContent-Type: message/rfc822\n\n'
    msg = parse(mail.encode() + RETURNED.encode() + b"\n--o--\n")
    assert report.complaint(msg) is not None
    assert report.may_complain(msg)


def test_a_report_that_a_person_forwards_is_no_report() -> None:
    inner = multipart(("message/delivery-status", "Final-Recipient: rfc822; bob@example.com\n")).to_bytes()
    outer = 'Content-Type: multipart/mixed; boundary="o"\n\n--o\n\nLook\n--o\n'
    attached = parse(outer.encode() + b"Content-Type: message/rfc822\n\n" + inner + b"\n--o--\n")
    assert report.read(attached) is None
    nested = parse(outer.encode() + inner + b"\n--o--\n")
    assert report.read(nested) is None


def test_returned_mail_that_cannot_be_parsed_is_left_out() -> None:
    text = "Final-Recipient: rfc822; bob@example.com\n"
    found = status(text, ("message/rfc822", "X: y\n" * 3000 + "\nbody\n"))
    assert found.returned is None
    assert found.recipients


@pytest.mark.parametrize(
    "text",
    [
        "Final-Recipient: rfc822; bob@example.com\n\n" * 20_000,
        "Final-Recipient: rfc822; bob@example.com\n" + " fold\n" * 100_000,
        "\n" * 200_000,
        "\n " * 100_000,
        ":\n" * 100_000,
        "Final-Recipient: utf-8; " + r"\x{0" * 60_000,
        "Final-Recipient: utf-8; \\x{" + "0" * 200_000,
        "Status: " + "5." * 100_000 + "\nFinal-Recipient: x",
        "Diagnostic-Code: " + ";" * 200_000 + "\nFinal-Recipient: x",
    ],
    ids=lambda text: f"{text[:20]!a}x{len(text)}",
)
def test_hostile_reports_take_linear_time(text: str) -> None:
    msg = multipart(("message/delivery-status", text), ("message/feedback-report", text))
    status_only = multipart(("message/delivery-status", text))
    start = time.process_time()
    report.read(msg)
    found = report.read(status_only)
    assert time.process_time() - start < 0.5
    assert found is not None
    assert len(found.recipients) <= report.MAX_RECIPIENTS


@given(st.binary(), st.sampled_from(["message/delivery-status", "message/feedback-report"]))
def test_a_report_with_any_content_is_read(content: bytes, kind: str) -> None:
    raw = b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\nContent-Type: ' + kind.encode()
    try:
        found = report.read(parse(raw + b"\r\n\r\n" + content + b"\r\n--b--\r\n"))
    except Refused:
        return
    assert found is not None
