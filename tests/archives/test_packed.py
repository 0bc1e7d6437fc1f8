"""One file with many mails, packed or not."""

from __future__ import annotations

import base64
import bz2
import codecs
import gzip
import io
import json
import lzma
import mailbox
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.archives import packed, recognise, tree
from mailforum.archives.source import Meter, Reading
from mailforum.errors import UsageError
from tests.archives.reading import AT, FROM_, mail, mbox, numbers, read
from tests.fuzz import boxes

BOX = mbox(range(200))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_read_whatever_its_name_is(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "old").write_bytes(pack(BOX))
    found = read(tmp_path / "old")
    assert numbers(found) == list(range(200))
    assert (found[1].where, found[1].received) == (f"{tmp_path}/old: mail 2, at byte {len(mbox([0]))}", AT)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_that_breaks_off_is_read_as_far_as_it_goes(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "old").write_bytes(pack(BOX) + pack(BOX)[:-50])
    *good, last = read(tmp_path / "old")
    assert len(good) >= 199 and not any(one.fault for one in good)
    assert last.fault.startswith("The file cannot be read any further: ")
    (tmp_path / "old").write_bytes(pack(BOX)[:30])
    with pytest.raises(UsageError, match="It cannot be read: "):
        read(tmp_path / "old")
    (bad,) = read(tmp_path)
    assert (bad.where, bad.fault[:19]) == (str(tmp_path / "old"), "It cannot be read: ")


def tar(path: Path, mode: str, **members: bytes) -> Path:
    with tarfile.open(path, f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["", "gz", "xz"])
def test_a_tar_file_is_read_as_a_stream(tmp_path: Path, mode: str) -> None:
    members = {"Maildir__cur__1": mail(1), "a.mbox.gz": gzip.compress(mbox([2, 3])), "x.html": b"<html>"}
    found = read(tar(tmp_path / "old.tar", mode, **members))
    assert numbers(found) == [1, 2, 3]
    assert found[0].where == f"{tmp_path}/old.tar/Maildir/cur/1"
    assert [one.left_out for one in found] == ["", "", "", "no mail"]


def test_an_archive_within_an_archive_is_not_opened(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.mbox", BOX)
    inner = tar(tmp_path / "inner.tar", "", a=mbox([1])).read_bytes()
    tar(tmp_path / "outer.tar", "", a=out.getvalue(), b=inner, c=gzip.compress(inner), d=mbox([5]))
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("x.zip", out.getvalue())
    (tmp_path / "inner.tar").unlink()
    found = read(tmp_path)
    assert numbers(found) == [5]
    assert [one.where.partition(" is ")[2] for one in found if one.left_out] == [
        "an archive within another; unpack it, and import it by itself"
    ] * 4


def test_a_fault_of_ours_with_one_file_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.eml").write_bytes(mail(number))
    whole = recognise.of_file

    def broken(head: bytes) -> str:
        if b"Mail 1" in head:
            raise ZeroDivisionError("a bug")
        return whole(head)

    monkeypatch.setattr(recognise, "of_file", broken)
    bad, good = read(tmp_path)
    assert (bad.fault, good.fault) == ("A fault of ours: ZeroDivisionError: a bug", "")


TAKEOUT = b"".join(
    b"From 148923012912%d@xxx Thu Jan 01 12:30:00 +0000 2015\r\nX-GM-THRID: 148923012912\r\n"
    b"X-Gmail-Labels: =?UTF-8?Q?Posteingang,Pr=C3=BCfen?=\r\n" % number + mail(number).replace(b"\n", b"\r\n") + b"\r\n"
    for number in range(3)
)


def test_google_takeout_is_read_as_it_comes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "takeout.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Takeout/Mail/pmo.mbox", TAKEOUT)
        archive.writestr("Takeout/archive_browser.html", "<html></html>")
        archive.writestr("Takeout/Groups/pmo@googlegroups.com/topics.mbox", mbox([7]))
        archive.writestr("Takeout/Groups/pmo@googlegroups.com/members.csv", "Group,Address\n")
    found = read(tmp_path / "takeout.zip")
    assert numbers(found) == [0, 1, 2, 7]
    assert [one.received for one in found if not one.left_out] == [AT] * 4
    assert found[0].raw.startswith(b"X-GM-THRID: ")
    assert sum(one.left_out == "no mail" for one in found) == 2
    assert numbers(read(tar(tmp_path / "takeout.tgz", "gz", Takeout__Mail__pmo=TAKEOUT))) == [0, 1, 2]


def test_what_gmail_calls_spam_bin_or_draft_is_left_out(tmp_path: Path) -> None:
    labels = [b"Inbox", b"Spam", b"=?UTF-8?Q?Papierkorb,Ungelesen?=", b"Sent,Drafts", b"Important,Inbox"]
    box = b"".join(
        b"From 1@xxx Thu Jan 01 12:30:00 +0000 2015\nX-GM-THRID: 1\nX-Gmail-Labels: %b\n" % label + mail(n) + b"\n"
        for n, label in enumerate(labels)
    )
    (tmp_path / "all.mbox").write_bytes(box)
    found = read(tmp_path / "all.mbox")
    assert numbers(found) == [0, 4]
    assert [one.left_out for one in found] == ["", "spam", "deleted", "draft", ""]


def test_what_mail_programs_have_marked_as_deleted_is_left_out(tmp_path: Path) -> None:
    marks = [b"X-Status: A", b"X-Status: AD", b"X-Mozilla-Status: 0001", b"X-Mozilla-Status: 0009", b"X-Status:"]
    box = b"".join(FROM_ + b"Status: RO\n%b\n" % mark + mail(number) + b"\n" for number, mark in enumerate(marks))
    (tmp_path / "mbox").write_bytes(box)
    assert [one.left_out for one in read(tmp_path / "mbox")] == ["", "deleted", "", "deleted", ""]


def test_a_zip_file_with_a_password_and_a_broken_one_are_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.mbox", BOX)
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[: len(data) // 2])
    assert [one.fault for one in read(tmp_path / "a.zip")] == ["It cannot be read: File is not a zip file."]
    locked = bytearray(data)
    locked[6] |= 1
    locked[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(locked)
    assert "encrypted" in read(tmp_path / "a.zip")[0].fault


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for data in (gzip.compress(BOX), mail(1)):
        (tmp_path / "x").write_bytes(data)
        with (tmp_path / "x").open("rb") as file:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
            assert numbers(tree.mails(["-"], Reading(), Meter())) == (list(range(200)) if data[0] == 31 else [1])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"%PDF-1.7\n", "begins with '%PDF-1.7"),
        (b"\x28\xb5\x2f\xfdxx", "is packed with zstd; unpack it"),
        (b"\x1f\x9dxx", "is packed with compress"),
        (b"Rar!\x1a\x07", "is packed with RAR"),
        (gzip.compress(b"SQLite format 3\0", mtime=0), "begins with 'SQLite format 3"),
        (b"Dear diary,\n\nFrom now on:\n", "this is no mail"),
    ],
)
def test_a_file_that_is_no_archive_is_said_to_be_none_in_one_sentence(
    tmp_path: Path, data: bytes, complaint: str
) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UsageError) as raised:
        read(tmp_path / "x")
    assert complaint in str(raised.value) and str(tmp_path / "x") in str(raised.value)
    found = list(packed.mails(tmp_path / "x", Reading(), Meter()))
    assert [one.left_out for one in found] == ["no mail"]


@pytest.mark.parametrize("data", [mail(1), mbox([1]), gzip.compress(codecs.BOM_UTF8 + mbox([1]))])
def test_what_programs_on_windows_put_before_a_text_is_no_part_of_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(codecs.BOM_UTF8 + data)
    assert [one.raw for one in read(tmp_path / "x")] == [mail(1)]


def test_the_format_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"X-Odd: field\n\nbody\n")
    with pytest.raises(UsageError):
        read(tmp_path / "x")
    assert [one.raw for one in read(tmp_path / "x", how=Reading("eml"))] == [b"X-Odd: field\n\nbody\n"]
    (tmp_path / "x").write_bytes(FROM_ + b"\n>From me\n>>From you\n")
    assert read(tmp_path / "x", how=Reading("mboxo"))[0].raw == b"\nFrom me\n>>From you\n"
    assert read(tmp_path / "x", how=Reading(unquote=False))[0].raw == b"\n>From me\n>>From you\n"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"\n\r\n", "empty"),
        (FROM_, "mbox"),
        (b"From ada@example.org\nSubject: x\nFrom: me\n\n", "mbox"),
        (b"\n" + FROM_ + b"Subject: x\n\n", "mbox"),
        (b"Return-Path: <a@example.org>\r\nReceived: from x\r\n\tby y\r\n\r\n", "eml"),
        (b"Subject: alone\n\ntext", "eml"),
        (b"Subject: alone", "eml"),
        (b">" + FROM_ + b"Subject: x\nFrom: me\n\n", "eml"),
        (b">From what I hear\nno.\n", ""),
        (b"Subject: x\nTo: " + b"a@example.org,\n " * 2000, "eml"),
        (b"Date,Subject\n1,2\n", ""),
        (b"From: and To: are words\nof a text\n", ""),
        (b"<!DOCTYPE html>\n", ""),
        (b'{"id":"1.1","thread":1,"parent":null,"message_id":"<1@b>"}\n', "jsonl"),
        (b'{\n  "message_id": 7\n}\n', ""),
    ],
)
def test_a_file_is_known_by_how_it_begins(head: bytes, kind: str) -> None:
    assert recognise.of_file(head) == kind


@given(boxes.FILES, st.integers(0, 300))
def test_any_file_is_read_or_refused_in_one_sentence(data: bytes, cut: int) -> None:
    boxes.check_any(data, cut)


def test_a_mailbox_of_pythons_is_read(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "mbox")
    for number in range(5):
        box.add(mail(number, "Hello\n\nFrom me\n> From you\n>From them\n"))
    box.close()
    found = read(tmp_path / "mbox")
    assert numbers(found) == [0, 1, 2, 3, 4]
    # Python marks `From ` and not what is marked already: what was `>From them` cannot be told any more.
    assert b"\nFrom me\n> From you\nFrom them\n" in found[0].raw


def test_json_lines_of_an_export_are_read(tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {"id": "1.1", "message_id": "<1@example.org>", "received": "2015-01-01T12:30:00Z", "raw": mail(1).decode()}
        ),
        json.dumps({"raw_base64": base64.b64encode(mail(2)).decode()}),
        "nonsense",
    ]
    (tmp_path / "x").write_bytes(gzip.compress("\n".join(lines).encode()))
    *good, bad = read(tmp_path / "x")
    assert numbers(good) == [1, 2]
    assert (good[0].received, good[1].where) == (AT, f"{tmp_path}/x: line 2")
    assert bad.where == f"{tmp_path}/x: line 3" and bad.fault
