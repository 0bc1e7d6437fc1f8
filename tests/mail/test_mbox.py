"""Mailboxes in one file: read as people have them, written so that nothing is lost."""

from __future__ import annotations

import io
import mailbox
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import mbox
from mailforum.mail.message import normalise

FROM_ = b"From ada@example.org Thu Jan  1 12:30:00 2015\n"
AT = 1420115400.0


def read(data: bytes, *, unquote: bool = True, limit: int = mbox.LIMIT) -> list[mbox.Entry]:
    return list(mbox.read(io.BytesIO(data), unquote=unquote, limit=limit))


def raws(data: bytes, *, unquote: bool = True) -> list[bytes]:
    return [entry.raw for entry in read(data, unquote=unquote)]


def written(*mails: bytes) -> bytes:
    out = io.BytesIO()
    for mail in mails:
        mbox.write(out, mail, sender="ada@example.org", received=AT)
    return out.getvalue()


def test_a_mail_ends_where_the_next_begins_and_the_empty_line_between_belongs_to_none() -> None:
    data = FROM_ + b"Subject: 1\n\none\n\n" + FROM_ + b"Subject: 2\n\ntwo\n\n\n"
    entries = read(data)
    assert [entry.raw for entry in entries] == [b"Subject: 1\n\none\n", b"Subject: 2\n\ntwo\n\n"]
    assert [entry.offset for entry in entries] == [0, data.index(FROM_, 1)]
    assert [entry.received for entry in entries] == [AT, AT]


def test_crlf_files_are_read_alike() -> None:
    data = (FROM_ + b"Subject: 1\n\n>From me\n\n" + FROM_ + b"Subject: 2\n\ntwo\n\n").replace(b"\n", b"\r\n")
    assert raws(data) == [b"Subject: 1\r\n\r\nFrom me\r\n", b"Subject: 2\r\n\r\ntwo\r\n"]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n"])
def test_the_last_mail_may_end_as_it_likes(ending: bytes) -> None:
    assert raws(FROM_ + b"Subject: 1\n\none" + ending) == [b"Subject: 1\n\none" + ending[:1]]


def test_one_mark_of_quoting_is_taken_off() -> None:
    body = b">From the start\n>>From deeper\n> From a quote\n>from below\n"
    assert raws(FROM_ + b"\n" + body) == [b"\nFrom the start\n>From deeper\n> From a quote\n>from below\n"]
    assert raws(FROM_ + b"\n" + body, unquote=False) == [b"\n" + body]


def test_an_unquoted_sentence_that_begins_with_from_does_not_cut_a_mail_in_two() -> None:
    mail = b"Subject: 1\n\nHello,\n\nFrom what I know of Mon or Tue, 10:30 would do.\n"
    assert raws(FROM_ + mail + b"\n" + FROM_ + mail) == [mail, mail]


def test_a_from_line_without_an_empty_line_before_it_is_text() -> None:
    mail = b"Subject: 1\n\nHe forwarded:\n" + FROM_ + b"and so on\n"
    assert raws(FROM_ + mail) == [mail]


def test_from_lines_without_a_date_are_borders_where_the_first_has_none() -> None:
    data = b"From ada@example.org\nSubject: 1\n\none\n\nFrom nobody\nSubject: 2\n\ntwo\n"
    assert raws(data) == [b"Subject: 1\n\none\n", b"Subject: 2\n\ntwo\n"]
    assert [entry.received for entry in read(data)] == [None, None]


@pytest.mark.parametrize(
    ("line", "received"),
    [
        (b"From ada@example.org Thu Jan  1 12:30:00 2015", AT),
        (b"From ada at example.org  Thu Jan  1 12:30:00 2015", AT),  # Mailman's Pipermail
        (b"From - Thu Jan 01 12:30:00 2015", AT),  # Thunderbird
        (b"From ???@??? Thu Jan 01 12:30:00 2015", AT),  # Eudora
        (b"From 1489230129129@xxx Thu Jan 01 12:30:00 +0000 2015", AT),  # Google Takeout
        (b"From ada@example.org Thu, 1 Jan 2015 14:30:00 +0200", AT),
        (b"From 3f2a9c0e Thu Jan 1 12:30:00 2015 remote from uunet", AT),
        (b"From ada@example.org Thu Jan  1 12:30 2015", AT),
        (b"From ada@example.org", None),
        (b"From ada@example.org Thu Jan 99 99:99:99 20150", None),
    ],
)
def test_the_date_is_read_from_what_programs_put_there(line: bytes, received: float | None) -> None:
    assert [entry.received for entry in read(line + b"\nSubject: 1\n\none\n")] == [received]


def test_a_file_that_is_one_bare_mail_is_read_as_one() -> None:
    mail = b"Subject: 1\n\none\n\nFrom here on it gets better.\n"
    assert raws(b"\n\n" + mail) == [mail]


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n"])
def test_nothing_is_no_mail(data: bytes) -> None:
    assert read(data) == []


def test_a_mail_beyond_the_limit_is_cut_and_said_to_be_so() -> None:
    data = FROM_ + b"Subject: 1\n\n" + b"x" * 70 + b"\n\n" + FROM_ + b"Subject: 2\n\ntwo\n\n"
    first, second = read(data, limit=60)
    assert first.cut and len(first.raw) <= 60
    assert not second.cut and second.raw == b"Subject: 2\n\ntwo\n"


def test_a_line_of_megabytes_is_read_in_pieces_that_are_not_taken_for_lines() -> None:
    long = (b"x" * (64 * 1024 - 1) + b">From " + b"\nFrom y" + b"x" * 64 * 1024).replace(b"\n", b"") * 20
    mail = b"Subject: 1\n\n" + long + b"\n"
    assert raws(FROM_ + mail + b"\n" + FROM_ + b"Subject: 2\n\n\n") == [mail, b"Subject: 2\n\n"]


def test_it_is_read_as_a_stream() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            piece = (FROM_ + b"Subject: 1\n\none\n\n")[: len(buffer)]
            buffer[: len(piece)] = piece
            return len(piece)

    entries = mbox.read(io.BufferedReader(Endless()))
    assert [next(entries).raw for _ in range(1000)] == [b"Subject: 1\n\none\n"] * 1000


def test_what_is_written_begins_with_sender_and_date_in_utc_and_english() -> None:
    assert written(b"Subject: 1\r\n\r\none\r\n") == FROM_ + b"Subject: 1\n\none\n\n"


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("", "MAILER-DAEMON"),
        ('"a b"@example.org', "MAILER-DAEMON"),
        ("zoë@example.org", "zoë@example.org"),
        ("a@example.org\nFrom b", "MAILER-DAEMON"),
    ],
)
def test_a_sender_that_would_break_the_line_is_not_named(sender: str, name: str) -> None:
    out = io.BytesIO()
    mbox.write(out, b"\r\n", sender=sender, received=AT + 0.9)
    assert out.getvalue() == f"From {name} Thu Jan  1 12:30:00 2015\n\n\n".encode()


_LINES = st.sampled_from(
    [b"From me\n", b">From you\n", b">>From\n", b"\n", b"text\n", FROM_, b">" + FROM_, b"a", b"\0"]
)
_MAILS = st.one_of(st.binary(max_size=60), st.lists(_LINES, max_size=12).map(b"".join))


@given(st.lists(_MAILS, max_size=5))
def test_whatever_is_written_is_read_again_as_it_was(mails: list[bytes]) -> None:
    stored = [normalise(mail) for mail in mails]
    assert [normalise(raw) for raw in raws(written(*stored))] == stored


@given(st.one_of(st.binary(max_size=400), st.lists(_LINES, max_size=30).map(b"".join)), st.booleans())
def test_any_bytes_are_read_without_an_error(data: bytes, unquote: bool) -> None:
    for entry in read(data, unquote=unquote):
        assert 0 <= entry.offset <= len(data)


def test_python_reads_what_is_written(tmp_path: Path) -> None:
    mails = [f"Subject: {n}\r\n\r\nHello\r\n\r\nFrom here: {n}\r\n>From there\r\n\r\n".encode() for n in range(20)]
    path = tmp_path / "list.mbox"
    path.write_bytes(written(*mails))
    box = mailbox.mbox(path)
    bodies = [re.sub(rb"(?m)^>(>*From )", rb"\1", message.get_payload(decode=True)) for message in box]
    box.close()
    assert [message["Subject"] for message in mailbox.mbox(path)] == [str(n) for n in range(20)]
    assert bodies == [mail.replace(b"\r\n", b"\n").partition(b"\n\n")[2] for mail in mails]


@pytest.mark.skipif(not shutil.which("mutt"), reason="mutt is not installed")
def test_mutt_reads_what_is_written(tmp_path: Path) -> None:
    mails = [f"Subject: {n}\r\n\r\nHello\r\n\r\nFrom here: {n}\r\n".encode() for n in range(7)]
    path, out = tmp_path / "list.mbox", tmp_path / "seen"
    path.write_bytes(written(*mails))
    # Mutt wants a terminal; `script` is one.
    copy = f'push "<tag-pattern>~A<enter><tag-prefix><copy-message>{out}<enter><exit>"'
    config = "set confirmappend=no confirmcreate=no quit=yes mbox_type=mbox move=no wait_key=no"
    command = f"mutt -n -F /dev/null -R -f {path} -e '{config}' -e '{copy}'"
    subprocess.run(["script", "-qec", command, "/dev/null"], check=True, capture_output=True, timeout=20, input=b"")
    own = re.compile(rb"(?m)^(?:Content-Length|Lines): \d+\n")  # which mutt adds to what it writes
    assert [normalise(own.sub(b"", raw)) for raw in raws(out.read_bytes())] == mails
