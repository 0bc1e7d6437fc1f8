"""Mailboxes in one file: read as people have them, written so that nothing is lost."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import mbox
from mailforum.mail.message import normalise
from tests.fuzz import boxes

FROM_ = b"From ada@example.org Thu Jan  1 12:30:00 2015\n"
OURS = b"From mboxrd@z Thu Jan  1 12:30:00 2015\n"
AT = 1420115400.0


def read(
    data: bytes, dialect: str = "", *, unquote: bool = True, limit: int = mbox.LIMIT, first: bytes = b""
) -> list[mbox.Entry]:
    return list(mbox.read(io.BytesIO(data), dialect=dialect, unquote=unquote, limit=limit, first=first))


def raws(data: bytes, dialect: str = "", *, unquote: bool = True) -> list[bytes]:
    return [entry.raw for entry in read(data, dialect, unquote=unquote)]


def written(*mails: bytes) -> bytes:
    out = io.BytesIO()
    for mail in mails:
        mbox.write(out, mail, received=AT)
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


@pytest.mark.parametrize(
    "text",
    [
        b"From what I know of Mon Feb 10:30 would do.\n",
        b"From ada@example.org Thu Jan  1 12:30:00 2015\nand so on\n\nyours\n",
        b"From tomorrow on:\n",
        b"From Mon, 1 Jan 10:30 we meet.\n  There: a room\n",
    ],
)
def test_what_looks_like_a_border_has_a_date_and_a_header_behind_it(text: bytes) -> None:
    mail = b"Subject: 1\n\nHello,\n\n" + text
    first, second = read(FROM_ + mail + b"\n" + FROM_ + b"Subject: 2\n\ntwo\n")
    assert (first.raw, first.bare, second.bare) == (mail, True, False)


def test_a_mail_without_a_header_is_a_mail_where_all_is_marked() -> None:
    data = FROM_ + b"Subject: 1\n\none\n\n" + FROM_ + b"two\n\n"
    assert raws(data, "mboxrd") == [b"Subject: 1\n\none\n", b"two\n"]
    assert raws(data) == [b"Subject: 1\n\none\n\n" + FROM_ + b"two\n"]


@pytest.mark.parametrize("name", [b"-", b"???@???", b"ada@example.org"])
def test_some_programs_forget_the_empty_line(name: bytes) -> None:
    line = FROM_.replace(b"ada@example.org", name)
    first, second = b"Subject: 1\n\none\n", b"Return-Path: <a@example.org>\nReceived: from x\n\tby y\n\ntwo\n"
    assert raws(line + first + line + second) == [first, second]
    assert raws(line + first + line + second, "mboxrd") == [first, second]
    pasted = b"Subject: 1\n\nThe log:\n" + line + b"Note: this is no mail\nOr: is it?\n"
    assert raws(line + pasted) == [pasted]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("between", [1, 2])
def test_content_length_is_believed_where_it_leads_to_a_border(line_end: bytes, between: int) -> None:
    body = (b"He forwarded:\n\n" + FROM_ + b"Subject: x\n\n>From there\n").replace(b"\n", line_end)
    mail = b"Subject: 1\nContent-Length: %d\n\n".replace(b"\n", line_end) % len(body) + body
    first = FROM_.replace(b"\n", line_end)
    data = (first + mail + between * line_end) * 2 + first + mail
    for dialect in ("", "mboxcl2"):
        assert raws(data, dialect) == [mail] * 3
    assert raws(data, "mboxcl") == [mail.replace(b">From there", b"From there")] * 3
    assert len(raws(data, "mboxrd")) == 6


def test_what_mboxcl_has_marked_is_unmarked() -> None:
    mail = b"Subject: 1\nContent-Length: 11\n\n>From there"[:-1] + b"\n"
    assert raws(FROM_ + mail + b"\n" + FROM_ + mail) == [mail.replace(b">", b"")] * 2


def test_a_wrong_content_length_does_no_harm() -> None:
    mails = [b"Subject: 1\nContent-Length: %d\n\none\n" % length for length in (1, 2000, 999999999, 0, 2, 70)]
    data = b"".join(FROM_ + mail + b"\n" for mail in mails)
    assert raws(data) == raws(data, "mboxcl") == raws(data, "mboxcl2") == mails
    # Right by chance: it has been wrong before, so the border that it leads across counts.
    swallows = b"Subject: 1\nContent-Length: %d\n\none\n" % (6 + len(FROM_ + mails[0]))
    data = FROM_ + mails[0] + b"\n" + FROM_ + swallows + b"\n" + FROM_ + mails[0] + b"\n" + FROM_ + mails[0]
    assert raws(data) == [mails[0], swallows, mails[0], mails[0]]


def test_mboxo_has_marked_one_kind_of_line_only() -> None:
    data = FROM_ + b"\n>From a\n>>From b\n"
    assert raws(data, "mboxo") == [b"\nFrom a\n>>From b\n"]
    assert raws(data, "mboxcl2") == [b"\n>From a\n>>From b\n"]


def test_a_file_of_an_old_mac_ends_its_lines_with_cr() -> None:
    data = FROM_ + b"Subject: 1\n\none\n\n" + FROM_ + b"Subject: 2\n\ntwo\n"
    assert raws(data.replace(b"\n", b"\r")) == raws(data)


def test_how_each_mail_begins_may_be_known() -> None:
    mail = b"From: ada at example.org (Ada)\n\nHe wrote:\n\n" + FROM_ + b"Subject: x\n\n"
    assert [one.raw for one in read((FROM_ + mail) * 2, first=b"From: ")] == [mail[:-1], mail[:-1]]


def test_a_mail_far_beyond_the_limit_is_let_go_of_while_it_is_read() -> None:
    class Large(io.RawIOBase):
        left = 300

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            self.left -= 1
            piece = FROM_ + b"Subject: 1\n\n" if self.left == 299 else b"x" * 65000 if self.left > 0 else b""
            piece = b"\n\n" + FROM_ + b"Subject: 2\n\n" if self.left == 0 else piece
            buffer[: len(piece)] = piece
            return len(piece)

    first, second = mbox.read(io.BufferedReader(Large(), 65536), limit=100_000)
    assert (first.cut, len(first.raw), second.raw) == (True, 100_000, b"Subject: 2\n")


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


def test_what_is_written_says_that_it_is_mboxrd_and_the_time_in_utc_and_english() -> None:
    assert written(b"Subject: 1\r\n\r\none\r\n") == OURS + b"Subject: 1\n\none\n\n"
    out = io.BytesIO()
    mbox.write(out, b"\r\n", received=AT + 0.9)
    assert out.getvalue() == OURS + b"\n\n"


_LINES = st.sampled_from(
    [b"From me\n", b">From you\n", b">>From\n", b"\n", b"text\n", FROM_, b">" + FROM_, b"a", b"\0"]
)
_MAILS = st.one_of(st.binary(max_size=60), st.lists(_LINES, max_size=12).map(b"".join))


@given(st.lists(_MAILS, max_size=5))
def test_whatever_is_written_is_read_again_as_it_was(mails: list[bytes]) -> None:
    stored = [normalise(mail) for mail in mails]
    assert [normalise(raw) for raw in raws(written(*stored), "mboxrd")] == stored
    with_header = [b"Subject: x\r\n" + mail for mail in stored]
    assert [normalise(raw) for raw in raws(written(*with_header))] == with_header


@given(boxes.FILES, boxes.DIALECTS)
def test_no_byte_between_two_mails_is_lost(data: bytes, dialect: str) -> None:
    boxes.check_whole(data, dialect)


@given(boxes.FILES, boxes.DIALECTS, st.integers(1, 60))
def test_how_the_bytes_arrive_makes_no_difference(data: bytes, dialect: str, piece: int) -> None:
    boxes.check_pieces(data, dialect, piece)
