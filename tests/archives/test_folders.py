"""Folders with a file for each mail, and trees of archives."""

from __future__ import annotations

import mailbox
import os
import subprocess
from pathlib import Path

import pytest

from mailforum.archives import folders, order
from mailforum.archives.source import Meter, Reading
from mailforum.errors import UsageError
from tests.archives.reading import mail, mbox, numbers, read

NMH = Path("/usr/lib/mh/rcvstore")


def test_a_maildir_of_pythons_is_read_without_what_was_deleted_or_never_sent(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "Maildir")
    for number, flags in enumerate(["", "S", "T", "RS", "D", "F"]):
        message = mailbox.MaildirMessage(mail(number))
        message.set_flags(flags)
        message.set_subdir("cur" if flags else "new")
        box.add(message)
    found = read(tmp_path / "Maildir")
    assert sorted(numbers(found)) == [0, 1, 3, 5]
    assert sorted(one.left_out for one in found) == ["", "", "", "", "deleted", "draft"]


def test_mails_of_a_maildir_come_in_the_order_of_their_delivery(tmp_path: Path) -> None:
    for number, name in enumerate(
        ["1420115402.M1.host:2,S", "1420115401.M2.host", "999.M3.host", "none", "1420115401.M1.h"]
    ):
        folder = tmp_path / ("cur" if ":" in name else "new")
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(mail(number))
    found = read(tmp_path)
    assert numbers(found) == [3, 2, 4, 1, 0]
    assert [one.received for one in found] == [None, 999.0, 1420115401.0, 1420115401.0, 1420115402.0]


def test_the_subfolders_of_a_maildir_are_read_but_its_dustbins_are_not(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "Maildir")
    for number, name in enumerate(["2014", "Trash", "2014.old"]):
        box.add_folder(name).add(mail(number))
    box.add(mail(9))
    assert numbers(read(tmp_path / "Maildir")) == [9, 0, 2]


def test_an_mh_folder_of_pythons_is_read_by_its_numbers(tmp_path: Path) -> None:
    box = mailbox.MH(tmp_path / "inbox")
    for number in range(1, 13):
        box.add(mailbox.MHMessage(mail(number)))
    box.add_folder("old").add(mail(20))
    (tmp_path / "inbox" / ",3").write_bytes(mail(99))
    box.remove("5")
    assert numbers(read(tmp_path / "inbox")) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 20]


@pytest.mark.skipif(not NMH.is_file(), reason="NOT TESTED with nmh: it is not installed")
def test_an_mh_folder_that_nmh_has_made_is_read_without_what_it_removed(tmp_path: Path) -> None:
    (tmp_path / "Mail").mkdir()
    (tmp_path / ".mh_profile").write_text("Path: Mail\n")
    (tmp_path / "spool").write_bytes(mbox([4, 5]))
    environ = os.environ | {"HOME": str(tmp_path), "PATH": f"{os.environ['PATH']}:/usr/bin/mh"}
    for command, stdin in (
        *(((NMH, "+list", "-create"), mail(number)) for number in (1, 2, 3)),
        (("inc", "+list", "-silent", "-file", tmp_path / "spool"), b""),
        (("rmm", "+list", "2"), b""),
    ):
        subprocess.run(command, input=stdin, env=environ, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "Mail" / "list" / ",2").is_file()
    assert numbers(read(tmp_path / "Mail" / "list")) == [1, 3, 4, 5]
    found = read(tmp_path / "Mail")
    assert [one.left_out for one in found] == ["no mail", "", "", "", ""], "nmh keeps its context beside the folders"


def test_a_folder_of_eml_is_read_as_people_count_and_folders_in_it_too(tmp_path: Path) -> None:
    (tmp_path / "more" / "deep").mkdir(parents=True)
    for number, name in enumerate(["10.eml", "9.eml", "More/../more/deep/1.eml".replace("More/../", ""), "more/1.eml"]):
        (tmp_path / name).write_bytes(mail(number))
    assert numbers(read(tmp_path)) == [1, 0, 3, 2]


def test_a_tree_may_hold_archives_of_many_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(mbox([1, 2]))
    mailbox.Maildir(tmp_path / "b").add(mail(3))
    mailbox.MH(tmp_path / "c").add(mail(4))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "5.eml").write_bytes(mail(5))
    (tmp_path / "d" / "notes.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / ".hidden").write_bytes(mail(9))
    found = read(tmp_path)
    assert numbers(found) == [1, 2, 3, 4, 5]
    assert [one.where for one in found if one.left_out] == [
        f"{tmp_path}/d/notes.pdf begins with '%PDF-1.7\\n': this is no mail; if it is, --format says what"
    ]


def test_several_sources_are_read_in_the_order_given(tmp_path: Path) -> None:
    for name, number in (("b", 1), ("a", 2)):
        (tmp_path / name).write_bytes(mbox([number]))
    assert numbers(read(tmp_path / "b", tmp_path / "a")) == [1, 2]


def test_links_lead_to_each_folder_once_and_round_in_no_circle(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.eml").write_bytes(mail(1))
    (tmp_path / "a" / "b" / "round").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "z").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "a" / "file.eml").symlink_to(tmp_path / "a" / "b" / "1.eml")
    assert numbers(read(tmp_path / "a")) == [1, 1]


def test_what_cannot_be_read_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "2.eml").write_bytes(mail(2))
    (tmp_path / "1.eml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "3.eml")
    (tmp_path / "4.eml").write_bytes(b"")
    broken, good = read(tmp_path)
    assert (broken.where, broken.fault) == (str(tmp_path / "1.eml"), "It cannot be read: No such file or directory.")
    assert numbers([good]) == [2]


def test_a_fifo_that_is_named_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if os.fork() == 0:
        with pipe.open("wb", buffering=0) as file:
            for piece in range(0, len(mbox([1, 2])), 7):
                file.write(mbox([1, 2])[piece : piece + 7])
        os._exit(0)
    assert numbers(read(pipe)) == [1, 2]
    os.wait()


def test_a_folder_is_not_a_file_of_that_format(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(mbox([1]))
    with pytest.raises(UsageError, match="is a file; maildir is a folder"):
        read(tmp_path / "a", how=Reading("maildir"))
    (tmp_path / "new").mkdir()
    (tmp_path / "1").write_bytes(mail(1))
    assert numbers(read(tmp_path, how=Reading("mh"))) == [1]


def test_a_folder_of_any_size_is_sorted_in_pieces(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}").write_bytes(b"")
    ordered = [int(path.name) for path in order.files([tmp_path], order.natural, piece=7)]
    assert ordered == list(range(100))
    assert [path.name for path in order.files([tmp_path], lambda name: (name,), piece=40)] == sorted(
        map(str, range(100))
    )


def test_names_of_any_shape_have_an_order() -> None:
    names = ["10", "9", "a", "a1", "a1b", "a01", "", "1a", "B", "b2", "٣"]
    assert sorted(names, key=order.natural) == ["", "1a", "٣", "9", "10", "a", "a01", "a1", "a1b", "B", "b2"]


def test_a_repository_of_something_else_in_a_tree_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a" / "objects").mkdir(parents=True)
    (tmp_path / "a" / "HEAD").write_text("nonsense")
    (tmp_path / "b.eml").write_bytes(mail(1))
    found = read(tmp_path)
    assert numbers(found) == [1]
    assert [one.left_out for one in found] == ["", "no mail"]


def test_the_meter_counts_what_is_read(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "Maildir")
    for number in range(5):
        box.add(mail(number))
    meter = Meter()
    assert len(list(folders.maildir(tmp_path / "Maildir", Reading(), meter))) == 5
    assert meter.done == sum(len(mail(number)) for number in range(5))
