"""Bounces as mail servers and providers write them, and mails that are none (tests/golden/bounces)."""

from pathlib import Path

import pytest

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
