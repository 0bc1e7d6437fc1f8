"""The texts of Mailman 2's archiver, written here as `HyperArch.Article.as_text` writes them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.archives.source import Reading
from mailforum.mail import address, message, mime, pipermail
from tests.archives.reading import AT, mail, mbox, numbers, read

LIST = "pmo@lists.example.org"


def article(
    number: int,
    *,
    name: bytes = b"Ada Lovell",
    at: str = " at ",
    day: str = "Thu Jan  1 12:30:00 2015",
    answers: str = "",
    body: bytes = b"Hello\n",
) -> bytes:
    """One mail as Pipermail has left it."""
    email = f"ada{at}example.org"
    fields = [f"From {email}  {day}", f"From: {email} (".encode().decode()]
    head = fields[0].encode() + b"\n" + fields[1].encode() + name + b")\n"
    head += f"Date: Thu, 01 Jan 2015 12:30:00 +0000\nSubject: [Pmo] Mail {number}\n".encode()
    head += f"In-Reply-To: {answers}\nReferences: {answers}\n".encode() if answers else b""
    return head + f"Message-ID: <{number}@example.org>\n\n".encode() + body + b"\n\n"


def only(data: bytes, tmp_path: Path, how: Reading = Reading(to=LIST)) -> message.Message:  # noqa: B008
    (tmp_path / "x.txt").write_bytes(data)
    (mail,) = read(tmp_path / "x.txt", how=how)
    return message.parse(mail.raw)


def test_a_text_becomes_a_mail_again(tmp_path: Path) -> None:
    (tmp_path / "2015-January.txt").write_bytes(article(1) + article(2, answers="<1@example.org>"))
    first, second = read(tmp_path / "2015-January.txt", how=Reading(to=LIST))
    assert first.raw == (
        b"From: Ada Lovell <ada@example.org>\nTo: pmo@lists.example.org\nDate: Thu, 01 Jan 2015 12:30:00 +0000\n"
        b"Subject: [Pmo] Mail 1\nMessage-ID: <1@example.org>\n\nHello\n\n"
    )
    assert b"\nIn-Reply-To: <1@example.org>\nReferences: <1@example.org>\n" in second.raw
    assert (first.received, first.copy) == (AT, True)
    assert first.repaired == ("obfuscated addresses", "lost header fields")


@pytest.mark.parametrize("at", [" at ", " en ", " à ", " på ", " на ", " kukac "])
def test_at_is_a_word_of_the_lists_language(tmp_path: Path, at: str) -> None:
    msg = only(article(1, at=at), tmp_path)
    assert msg.author == address.Mailbox("Ada Lovell", "ada@example.org")


@pytest.mark.parametrize(
    ("name", "charset", "shown"),
    [
        (b"Lovell, Ada (PMO)", "windows-1252", "Lovell, Ada (PMO)"),
        ("Zoë, Müller".encode(), "windows-1252", "Zoë, Müller"),
        (b"Zo\xeb", "windows-1252", "Zoë"),
        ("Иван".encode("koi8-r"), "koi8-r", "Иван"),
        (b"=?iso-8859-1?q?Zo=EB?=", "windows-1252", "Zoë"),
        (b'"quoted" \\ name', "windows-1252", '"quoted" \\ name'),
        (b"folded\n\tname", "windows-1252", "folded name"),
        (b"ada at example.org", "windows-1252", ""),
        (b"ada@example.org", "windows-1252", ""),
        (b"", "windows-1252", ""),
    ],
)
def test_the_author_keeps_the_name(tmp_path: Path, name: bytes, charset: str, shown: str) -> None:
    msg = only(article(1, name=name), tmp_path, Reading(charset=charset))
    assert msg.author == address.Mailbox(shown, "ada@example.org")


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("Größe".encode(), "windows-1252", "Größe"),
        ("Größe".encode("latin-1"), "windows-1252", "Größe"),
        ("Привет".encode("koi8-r"), "koi8-r", "Привет"),
        ("議事録".encode("iso-2022-jp"), "windows-1252", "議事録"),
    ],
)
def test_the_charset_that_was_lost_is_guessed(tmp_path: Path, body: bytes, charset: str, text: str) -> None:
    (tmp_path / "x.txt").write_bytes(article(1, body=body + b"\n"))
    (mail,) = read(tmp_path / "x.txt", how=Reading(charset=charset))
    msg = message.parse(mail.raw)
    assert mime.decode_text(msg, mime.top(msg)).strip() == text
    assert "guessed charset" in mail.repaired and msg.get("MIME-Version") == "1.0"


def test_addresses_in_brackets_are_addresses_again_and_sentences_stay(tmp_path: Path) -> None:
    hidden = b"To <bob at example.org> or <mailto:bob at example.org>, <at five at home>.\nbob at example.org wrote:\n"
    shown = b"To <bob@example.org> or <mailto:bob@example.org>, <at five at home>.\r\nbob at example.org wrote:\r\n"
    assert only(article(1, body=hidden), tmp_path).body.startswith(shown)


@pytest.mark.parametrize(
    ("title", "answers", "body", "repaired"),
    [
        (b"Budget", "<1@example.org>", b"Yes.\n", b"Re: Budget"),
        (b"[Pmo] Budget", "", b"On Monday Bob wrote:\n\n> Well?\n\nYes.\n", b"Re: [Pmo] Budget"),
        (b"AW: Budget", "<1@example.org>", b"Ja.\n", b"AW: Budget"),
        (b"[Pmo] AW: Budget", "<1@example.org>", b"Ja.\n", b"[Pmo] AW: Budget"),
        (b"Budget", "", b"Bob has:\n\n1. this\n", b"Budget"),
        (b"Budget", "", b"\n> a quote of nobody\n", b"Budget"),
    ],
)
def test_an_answer_has_its_mark_again(title: bytes, answers: str, body: bytes, repaired: bytes) -> None:
    raw = article(2, answers=answers, body=body).replace(b"[Pmo] Mail 2", title).partition(b"\n")[2]
    found = pipermail.repair(raw)
    assert b"\nSubject: " + repaired + b"\n" in found.raw
    assert ("trimmed subjects" in found.what) == (title != repaired)


def test_only_what_pipermail_writes_begins_a_mail(tmp_path: Path) -> None:
    body = b"He forwarded:\n\nFrom bob at example.org  Thu Jan  1 12:30:00 2015\nSubject: x\n\nFrom here on\n"
    body += b"-------------- next part --------------\nA non-text attachment was scrubbed...\n"
    assert b"scrubbed..." in only(article(1, body=body), tmp_path).body


def test_the_months_come_in_their_order_whatever_they_are_called(tmp_path: Path) -> None:
    months = {"2015-Januar": "Thu Jan  1", "2014-Dezember": "Mon Dec  1", "2015-April": "Wed Apr  1"}
    for number, (name, day) in enumerate(months.items()):
        data = article(number, day=f"{day} 12:30:00 {name[:4]}")
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(data))
        if number:
            (tmp_path / f"{name}.txt").write_bytes(data)
        (tmp_path / name).mkdir()
        (tmp_path / name / "000001.html").write_text("<html>")
    (tmp_path / "index.html").write_text("<html>")
    (tmp_path / "attachments").mkdir()
    (tmp_path / "attachments" / "1.eml").write_bytes(b"From: x@example.org\nSubject: attached\n\n")
    assert [b"Mail %d\n" % number in one.raw for number, one in zip([1, 0, 2], read(tmp_path), strict=True)] == [
        True
    ] * 3


def test_other_archives_in_the_same_folder_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "2015-January.txt").write_bytes(article(1))
    (tmp_path / "2015-January").mkdir()
    (tmp_path / "2015-January" / "2.eml").write_bytes(mail(2))
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "3.eml").write_bytes(mail(3))
    (tmp_path / "2014.mbox").write_bytes(mbox([4]))
    (tmp_path / "pipermail.pck").write_bytes(b"(dp0")
    first, *others = read(tmp_path)
    assert b"Subject: [Pmo] Mail 1\n" in first.raw
    assert numbers(others) == [4, 3]


def test_the_mailbox_beside_it_is_better(tmp_path: Path) -> None:
    for name in ("pmo", "pmo.mbox"):
        (tmp_path / name).mkdir()
    (tmp_path / "pmo" / "2015-January.txt").write_bytes(article(1))
    (tmp_path / "pmo.mbox" / "pmo.mbox").write_bytes(
        b"From a@example.org Thu Jan  1 12:30:00 2015\nFrom: a@example.org\nTo: b\n\n"
    )
    (mail,) = read(tmp_path)
    assert mail.raw == b"From: a@example.org\nTo: b\n"


def test_a_header_that_pipermail_has_not_written_stays() -> None:
    assert pipermail.repair(b"Subject: x\n\nbody\n") == (b"Subject: x\n\nbody\n", ())
    plain = pipermail.repair(b"From: ada@example.org (Ada)\nSubject: x\n\n")
    assert plain == (b"From: Ada <ada@example.org>\nSubject: x\n\n", ())


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_repaired_without_an_error(name: bytes, body: bytes) -> None:
    pipermail.repair(b"From: ada at example.org (" + name + b")\n\n" + body, to=LIST)
    pipermail.repair(name)
