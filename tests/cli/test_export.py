"""`mailforum export`, as an admin runs it: formats, what is chosen, and files that are whole or not there."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import mailbox
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disk import small_disk
from tests.support.lone import House

DATES = ("31 Dec 2019 22:30", "31 Dec 2019 23:30", "29 Mar 2020 21:30", "29 Mar 2020 22:30", "1 Jan 2021 12:00")


def subjects(house: House, *words: str) -> list[str]:
    """Export what is asked for and return the subjects."""
    path = house.folder / "out.jsonl"
    house.run("export", "pmo", path, "--force", *words)
    return [json.loads(line)["subject"] for line in path.read_text().splitlines()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def mail(number: int, *, date: str = "", answers: int = 0) -> bytes:
    fields = [f"From: Ada <ada@example.org>\r\nMessage-ID: <{number}@example.org>\r\nSubject: {number}\r\n"]
    fields += [f"Date: {date} +0000\r\n"] if date else []
    fields += [f"In-Reply-To: <{answers}@example.org>\r\n"] if answers else []
    return "".join([*fields, f"\r\nText {number}\r\n"]).encode()


# -- formats


def test_the_name_of_the_file_says_what_it_becomes(house: House) -> None:
    house.fill()
    out = house.folder / "out"
    out.mkdir()
    for name in ("a.mbox", "b.mbox.gz", "c.jsonl", "d.jsonl.gz", "e/", "f"):
        house.run("export", "pmo", f"{out}/{name}")
    a, b, c, d = ((out / name).read_bytes() for name in ("a.mbox", "b.mbox.gz", "c.jsonl", "d.jsonl.gz"))
    assert a.startswith(b"From ") and (out / "f").read_bytes() == a
    assert gzip.decompress(b) == a
    assert gzip.decompress(d) == c
    posts = [json.loads(line) for line in c.splitlines()]
    assert len(posts) == len(mailbox.mbox(out / "a.mbox")) == len(mailbox.Maildir(out / "e", factory=None))


def test_a_format_that_is_named_wins_over_the_name(house: House) -> None:
    house.take_in(mail(1))
    for form, name in (("jsonl", "a.mbox"), ("mbox", "b.jsonl"), ("maildir", "c.mbox")):
        house.run("export", "pmo", house.folder / name, "--format", form)
    assert (house.folder / "a.mbox").read_bytes().startswith(b'{"id":"1.1"')
    assert (house.folder / "b.jsonl").read_bytes().startswith(b"From mboxrd@z ")
    assert (house.folder / "c.mbox" / "cur").is_dir()


def test_a_line_says_all_there_is_to_know_of_a_post(house: House) -> None:
    house.take_in(
        mail(1),
        b"From: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>\r\nSubject: Re: 1\r\nMessage-ID: <2@example.org>\r\n"
        b"In-Reply-To: <1@example.org>\r\nReferences: <0@example.org>\r\n\t<1@example.org>\r\nno field\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n'
        b'--b\r\nContent-Type: image/png; name="a.png"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n',
    )
    house.run("export", "pmo", house.folder / "out.jsonl")
    line = json.loads((house.folder / "out.jsonl").read_text().splitlines()[1])
    raw = line.pop("raw").encode()
    headers = line.pop("headers")
    assert line == {
        "id": "1.2",
        "thread": 1,
        "parent": "<1@example.org>",
        "how": "in-reply-to",
        "message_id": "<2@example.org>",
        "from": "zoe@example.org",
        "name": "Zoë",
        "date": "2023-11-14T22:13:21Z",
        "received": "2023-11-14T22:13:21Z",
        "subject": "Re: 1",
        "size": len(raw),
        "references": ["<1@example.org>", "<0@example.org>"],
        "text": "Hello",
        "attachments": [{"filename": "a.png", "type": "image/png", "size": 3}],
    }
    assert headers[2:6] == [
        ["Message-ID", "<2@example.org>"],
        ["In-Reply-To", "<1@example.org>"],
        ["References", "<0@example.org>\t<1@example.org>"],
        ["", "no field"],
    ]
    assert raw.startswith(b"From: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>\r\n") and raw.endswith(b"--b--\r\n")


def test_bytes_that_are_no_text_are_in_a_line_as_base64(house: House) -> None:
    raw = mail(1).replace(b"Text", b"\xff\xfe")
    house.take_in(raw)
    house.run("export", "pmo", house.folder / "out.jsonl")
    line = json.loads((house.folder / "out.jsonl").read_text())
    assert "raw" not in line and base64.b64decode(line["raw_base64"]) == raw


def test_a_maildir_tells_by_names_and_times_when_its_mails_came(house: House) -> None:
    house.take_in(mail(1), mail(2))
    house.run("export", "pmo", f"{house.folder}/out/")
    files = sorted((house.folder / "out" / "cur").iterdir())
    assert [re.fullmatch(r"(17\d{8})\.[0-9a-f]{24}\.mailforum:2,S", file.name)[1] for file in files] == [  # type: ignore[index]
        "1700000000",
        "1700000001",
    ]
    assert [file.stat().st_mtime for file in files] == [1_700_000_000, 1_700_000_001]
    assert files[1].read_bytes() == mail(2).replace(b"\r\n", b"\n")
    assert stat.S_IMODE((house.folder / "out").stat().st_mode) == 0o700


def test_standard_output_gets_the_posts_and_nothing_else(house: House) -> None:
    house.fill(20)
    house.run("export", "pmo", house.folder / "out.mbox")
    command = [
        sys.executable,
        "-m",
        "mailforum",
        "--config",
        str(house.folder / "mailforum.toml"),
        "export",
        "pmo",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == (house.folder / "out.mbox").read_bytes() and not done.stderr


# -- what is chosen


def test_threads_are_chosen_by_number_and_merged_numbers_lead_on(house: House) -> None:
    house.take_in(mail(1), mail(2), mail(4, answers=3), mail(5), mail(3, answers=2), mail(6, answers=1))
    assert subjects(house, "--thread", "1") == ["1", "6"]
    assert subjects(house, "--thread", "#3", "--thread", "4") == ["2", "4", "5", "3"]
    answer = house.run("export", "pmo", house.folder / "new.mbox", "--thread", "9", code=1)
    assert "thread 9" in answer.err and not (house.folder / "new.mbox").exists()


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--since", "2020"], [1, 2, 3, 4]),
        (["--until", "2019"], [0]),
        (["--since", "2020", "--until", "2020"], [1, 2, 3]),
        (["--since", "2020-03", "--until", "2020-03-29"], [2]),  # the day on which it has 23 hours
        (["--since", "2020-03-30"], [3, 4]),
        (["--since", "2020-03-29T23:30", "--until", "2020-03-30T00:30:01"], [2, 3]),
        (["--until", "2020-03-29T21:30Z"], [0, 1]),
        (["--since", "2022"], []),
    ],
)
def test_dates_are_those_of_the_lists_time_zone(house: House, words: list[str], chosen: list[int]) -> None:
    house.take_in(*(mail(number, date=date) for number, date in enumerate(DATES)))
    house.run("list", "set", "pmo", "timezone=Europe/Vienna")
    assert subjects(house, *words) == [str(number) for number in chosen]


def test_what_is_no_date_is_said_so(house: House) -> None:
    answer = house.run("export", "pmo", house.folder / "new.mbox", "--since", "yesterday", code=1)
    assert "`yesterday` is no date" in answer.err and answer.err.count("\n") == 1


# -- whole, or not there


@pytest.mark.parametrize("name", ["out.mbox", "out.mbox.gz", "out.jsonl", "out/"])
def test_what_is_there_is_replaced_only_by_force(house: House, name: str) -> None:
    house.take_in(mail(1))
    target = f"{house.folder}/{name}"
    beside = [house.folder / f"{name.strip('/')}.{ending}" for ending in ("old", "part", "bak")]
    for folder in beside:
        (folder / "cur").mkdir(parents=True)
        (folder / "cur" / "letter").write_text("Dear all")
    house.run("export", "pmo", target)
    before = _content(Path(target))
    house.take_in(mail(2))
    assert "is there already; --force replaces it" in house.run("export", "pmo", target, code=1).err
    assert _content(Path(target)) == before
    house.run("export", "pmo", target, "--force")
    assert len(b"".join(_content(Path(target)))) > len(b"".join(before))
    assert set(house.folder.glob("out*")) == {Path(target), *beside}
    assert all((folder / "cur" / "letter").read_text() == "Dear all" for folder in beside)


def _content(path: Path) -> list[bytes]:
    files = sorted(path.glob("cur/*")) if path.is_dir() else [path]
    return [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]


def test_a_folder_that_is_no_maildir_is_never_replaced(house: House) -> None:
    (house.folder / "home" / "cur").mkdir(parents=True)
    (house.folder / "home" / "letter.txt").write_text("Dear all")
    answer = house.run("export", "pmo", f"{house.folder}/home/", "--force", code=1)
    assert "is not a Maildir and nothing else" in answer.err
    assert "is a folder" in house.run("export", "pmo", house.folder / "home", "--force", code=1).err
    assert (house.folder / "home" / "letter.txt").read_text() == "Dear all"
    (house.folder / "empty").mkdir()
    house.run("export", "pmo", f"{house.folder}/empty/")


@pytest.mark.parametrize("name", ["out.mbox", "out.jsonl.gz", "out/"])
def test_a_disk_that_is_full_leaves_nothing_half(house: House, name: str) -> None:
    house.fill(100)
    with small_disk(house.folder / "small", "64k") as disk:
        answer = house.run("export", "pmo", f"{disk.folder}/{name}", code=1)
        assert os.strerror(errno.ENOSPC) in answer.err and str(disk.folder) in answer.err
        assert answer.err.count("\n") == 1
        assert not any(disk.folder.iterdir())


HALF = """
import sys
from pathlib import Path
from mailforum.cli.whole import new_file, new_maildir
new = new_maildir if sys.argv[1].endswith("/") else new_file
with new(Path(sys.argv[1]), force=True) as part:
    file = (part / "cur" / "1.half.mailforum:2,S").open("wb") if isinstance(part, Path) else part
    file.write(b"half of a mail, and more than is written later" * 1000)
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["out.mbox", "out/"])
def test_an_export_that_is_killed_leaves_what_was_there_and_the_next_one_does_not_mind(house: House, name: str) -> None:
    house.take_in(mail(1))
    target = house.folder / name
    house.run("export", "pmo", f"{house.folder}/{name}")
    before = _content(target)
    command = [sys.executable, "-c", HALF, f"{house.folder}/{name}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as doomed:
        assert doomed.stdout and doomed.stdout.readline() == b"half\n"
        busy = house.run("export", "pmo", f"{house.folder}/{name}", "--force", code=1)
        assert "is being written by somebody else" in busy.err
        doomed.kill()
    assert _content(target) == before
    house.take_in(mail(2))
    house.run("export", "pmo", f"{house.folder}/{name}", "--force")
    assert len(_content(target)) == (2 if name == "out/" else 1)
    assert b"half" not in b"".join(_content(target)) and b"Text 2" in b"".join(_content(target))
    assert list(house.folder.glob("out*")) == [target]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nobody", "{folder}/new.mbox"], "there is no list nobody"),
        (["pmo", "{folder}/none/new.mbox"], "there is no folder"),
        (["pmo", "-", "--format", "maildir"], "cannot go to standard output"),
        (["pmo", "{folder}/new.zip"], ".zip is nothing that can be written"),
        (["pmo", "{folder}/new.tar.gz"], ".tar is nothing that can be written"),
        (["pmo", "{folder}"], "with a slash behind its name, a Maildir is written there"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(house: House, words: list[str], complaint: str) -> None:
    answer = house.run("export", *(word.format(folder=house.folder) for word in words), code=1)
    assert complaint in answer.err and answer.err.count("\n") == 1
    assert not list(house.folder.glob("new*"))


def test_a_pipe_is_written_to_as_it_is(house: House) -> None:
    house.take_in(mail(1))
    house.run("export", "pmo", "/dev/null")
    assert not Path("/dev/null").is_file()
