"""What we have written ourselves comes back as it was, whatever is in the mails."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given

from mailforum.archives import packed
from mailforum.archives.source import Mail, Reading
from mailforum.mail import jsonl, mbox
from mailforum.mail.message import normalise
from mailforum.model import Post
from tests.fuzz.lists import MAILS, TIMES

NOW = 1_700_000_000.0
POST = Post(7, 1, 48, "48.3", None, None, "<1@example.org>", "ada@example.org", "Ada", "Plans", NOW, NOW, 1)


def read(data: bytes) -> list[Mail]:
    """Read a file as an import does that is told nothing."""
    return list(packed.stream(io.BufferedReader(io.BytesIO(data)), "export", Reading()))


@given(MAILS, TIMES)
def test_an_mbox_comes_back_to_the_byte(mails: Sequence[bytes], times: list[float]) -> None:
    out = io.BytesIO()
    for raw, received in zip(mails, times, strict=False):
        mbox.write(out, raw, received=received)
    found = read(out.getvalue())
    assert [normalise(mail.raw) for mail in found] == mails
    assert [mail.received for mail in found] == [int(received) for received in times[: len(mails)]]
    assert not any(mail.fault or mail.left_out for mail in found)


@given(MAILS, TIMES)
def test_lines_of_json_come_back_to_the_byte_and_the_microsecond(mails: Sequence[bytes], times: list[float]) -> None:
    out = io.BytesIO()
    for raw, received in zip(mails, times, strict=False):
        jsonl.write(out, _at(received), raw)
    found = read(out.getvalue())
    assert [mail.raw for mail in found] == mails
    assert [mail.received for mail in found] == pytest.approx(times[: len(mails)], abs=5e-7)
    assert not any(mail.fault or mail.left_out for mail in found)
    again = io.BytesIO()
    for mail in found:
        jsonl.write(again, _at(mail.received or 0.0), mail.raw)
    assert again.getvalue() == out.getvalue()


def _at(received: float) -> Post:
    return replace(POST, received_at=received)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "It is no line of an export"),
        ('{"raw": 7}', "It is no line of an export"),
        ('{"raw_base64": "%%"}', "It is no line of an export"),
        ('{"raw": "x", "received": "yesterday"}', "It is no line of an export"),
        ("[]", "It is no line of an export"),
        ('{"received": "2020-01-01T00:00:00Z"}', "It has neither `raw` nor `raw_base64`"),
        ("\xff", "It is no line of an export"),
    ],
)
def test_lines_that_hold_no_mail_are_named_and_stop_nothing(line: str, reason: str) -> None:
    good = json.dumps({"raw": "Subject: x\r\n\r\n"})
    mails = read("\n".join([good, line, "", good]).encode("latin-1"))
    assert [bool(mail.fault) for mail in mails] == [False, True, False]
    assert mails[1].fault.startswith(reason) and "\n" not in mails[1].fault
    assert [mail.where for mail in mails] == ["export: line 1", "export: line 2", "export: line 4"]


def test_lines_that_others_have_written_need_a_mail_and_no_more() -> None:
    lines = [{"raw": "Subject: é\n\n", "list": "pmo"}, {"raw_base64": "U3ViamVjdDogeA0KDQo=", "id": None}]
    mails = read("".join(json.dumps(line) + "\n" for line in lines).encode())
    assert [mail.raw for mail in mails] == ["Subject: é\n\n".encode(), b"Subject: x\r\n\r\n"]
    assert [mail.received for mail in mails] == [None, None]


@pytest.mark.parametrize(
    ("written", "received"),
    [
        ("2015-01-01T12:30:00Z", 1420115400.0),
        ("2015-01-01T12:30:00", 1420115400.0),
        ("2015-01-01T14:30:00.25+02:00", 1420115400.25),
        ("0001-01-01T00:00:00", -62135596800.0),
    ],
)
def test_a_time_that_names_no_zone_is_in_utc(written: str, received: float) -> None:
    (mail,) = read(json.dumps({"raw": "Subject: x\r\n\r\n", "received": written}).encode())
    assert (mail.received, mail.fault) == (received, "")


def test_a_line_that_is_too_long_is_passed_over() -> None:
    long = json.dumps({"raw": "Subject: x\r\n\r\n" + "x" * 500}).encode()
    good = json.dumps({"raw": "Subject: x\r\n\r\n"}).encode()
    entries = list(jsonl.read(io.BytesIO(b"\n".join([long, good, long])), limit=100))
    assert [(entry.number, bool(entry.fault)) for entry in entries] == [(1, True), (2, False), (3, True)]
    assert entries[1].raw == b"Subject: x\r\n\r\n"
    assert [entry.fault for entry in jsonl.read(io.BytesIO(good + b"\n"), limit=len(good) + 1)] == [""]
