"""`mailforum import` and `mailforum export`, as an admin runs them."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mailforum.archives import recognise
from mailforum.cli import archive
from mailforum.cli.common import progress_line
from mailforum.mail import mbox
from mailforum.store import stats
from mailforum.store.connection import connect
from mailforum.store.sqlite import SqliteTx, queries
from tests.chaos.doomed import Moment
from tests.support import archive as made_up
from tests.support.site import Site, run_cli, write_config


async def cli(site: Site, *words: str) -> dict[str, object]:
    answer = await site.cli(*words, "--json")
    result: dict[str, object] = json.loads(answer.out)
    return result


@pytest.fixture
def archive_file(tmp_path: Path) -> Path:
    path = tmp_path / "old.mbox"
    path.write_bytes(made_up.mbox(made_up.letters(120, seed=8)))
    return path


async def test_the_commands_import_and_export_beside_the_running_service(
    site: Site, tmp_path: Path, archive_file: Path
) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "create", "copy")
    said = await cli(site, "import", "pmo", str(archive_file))
    assert said["imported"] == 120 - int(str(said["duplicates"])) and said["bad"] == 0 and said["problems"] == []
    assert str(said["first"]).startswith("2003-0")
    again = await cli(site, "import", "pmo", str(archive_file))
    assert (again["imported"], again["duplicates"]) == (0, 120)

    first, second = tmp_path / "first.mbox", tmp_path / "second.mbox.gz"
    written = await cli(site, "export", "pmo", str(first))
    assert (written["posts"], written["bytes"]) == (said["imported"], first.stat().st_size)
    await cli(site, "import", "copy", str(first))
    await cli(site, "export", "copy", str(second))
    assert gzip.decompress(second.read_bytes()) == first.read_bytes()
    assert not site.sink.mails


def test_a_maildir_and_a_packed_file_hold_the_same_mails(tmp_path: Path, archive_file: Path) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    packed = tmp_path / "old.mbox.gz"
    packed.write_bytes(gzip.compress(archive_file.read_bytes()))
    letters = list(made_up.letters(120, seed=8))
    for number, letter in enumerate(letters):
        folder = tmp_path / "Maildir" / ("new" if number % 2 else "cur")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(letter.at.timestamp())}.M{number}.host{':2,S' if number % 2 == 0 else ''}"
        (folder / name).write_bytes(letter.raw.replace(b"\r\n", b"\n"))
    exports = []
    for name, source in (("a", archive_file), ("b", packed), ("c", tmp_path / "Maildir")):
        for words in (["list", "create", name], ["import", name, str(source)], ["export", name, f"{source}.out"]):
            answer = run_cli(["--config", config, *words])
            assert answer.code == 0, answer
        exports.append(Path(f"{source}.out").read_bytes())
    assert exports[0] == exports[1]
    # mboxo cannot tell `>From ` from `From `, a Maildir can.
    mixed = [sorted(entry.raw for entry in mbox.read(io.BytesIO(data))) for data in exports]
    assert [raw.replace(b"\n>From ", b"\nFrom ") for raw in mixed[2]] == mixed[0]


def test_a_file_that_breaks_off_is_imported_as_far_as_it_goes(tmp_path: Path, archive_file: Path) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    packed = tmp_path / "broken.gz"
    packed.write_bytes(gzip.compress(archive_file.read_bytes())[:-20_000])
    run_cli(["--config", config, "list", "create", "pmo"])
    answer = run_cli(["--config", config, "import", "pmo", str(packed), "--json"])
    said = json.loads(answer.out)
    assert answer.code == 0 and said["imported"] > 20 and said["bad"] == 1
    assert "cannot be read any further" in said["problems"][0]["reason"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["import", "nobody", "{mbox}"], "there is no list nobody"),
        (["import", "pmo", "{folder}/none.mbox"], "No such file"),
        (["import", "pmo", "{folder}/mailforum.toml"], "this is no mail"),
        (["import", "pmo", "{mbox}", "{folder}/none.mbox"], "No such file"),
        (["import", "pmo", "{mbox}", "--format", "maildir"], "is a file; maildir is a folder"),
        (["import", "pmo", "{mbox}", "--charset", "rot13"], "no charset"),
        (["import", "pmo", "{folder}/empty"], "1 file looked at"),
        (["export", "pmo", "{mbox}"], "is there already"),
        (["export", "nobody", "{folder}/new.mbox"], "there is no list nobody"),
        (["export", "pmo", "{folder}/none/new.mbox"], "there is no folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, archive_file: Path, words: list[str], complaint: str
) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    run_cli(["--config", config, "list", "create", "pmo"])
    before = archive_file.read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = run_cli(["--config", config, *(word.format(mbox=archive_file, folder=tmp_path) for word in words)])
    assert answer.code == 1 and complaint in answer.err and answer.err.count("\n") == 1
    assert archive_file.read_bytes() == before
    assert not list(tmp_path.glob("*-part")) and not (tmp_path / "new.mbox").exists()


def test_the_report_is_a_table_that_people_can_read(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    run_cli(["--config", config, "list", "create", "pmo"])
    mails = ["Subject: 1\n\nx", "From: a@example.org\nIn-Reply-To: <0@example.org>\n\nFrom me", "no header"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x.mbox").write_text("".join(f"From a Thu Jan  1 12:30:00 2015\n{mail}\n\n" for mail in mails))
    (tmp_path / "old" / "page.html").write_text("<html>")
    words = ["--config", config, "import", "pmo", str(tmp_path / "old")]
    out = run_cli([*words, "--format", "mboxrd"]).out
    assert "imported:    2\n" in out and "new threads: 2\n" in out and "ghosts:      1\n" in out
    assert "charsets:\n  us-ascii: 3\n" in out or "charsets:\n  us-ascii: 2\n" in out
    assert "bad, and not imported:\n  " in out and "x.mbox: mail 3, at byte 1" in out
    again = json.loads(run_cli([*words, "--format", "mboxrd", "--json"]).out)
    assert (again["imported"], again["duplicates"], again["bad"]) == (0, 2, 2)
    assert again["memory_mib"] > 10 and again["left_out"] == {}


def test_a_file_among_others_that_is_no_mail_is_named(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    run_cli(["--config", config, "list", "create", "pmo"])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "1.eml").write_text("From: a@example.org\nSubject: 1\n\nx\n")
    (tmp_path / "old" / "page.html").write_text("<html>")
    answer = run_cli(["--config", config, "import", "pmo", str(tmp_path / "old")])
    assert "left out:\n  no mail: 1\n" in answer.out
    assert f"no mail, such as:\n  {tmp_path}/old/page.html begins with '<html>'" in answer.out


def test_what_pipermail_has_left_of_mails_that_are_here_is_left_out(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    run_cli(["--config", config, "list", "create", "pmo"])
    whole = (
        "From a@example.org Thu Jan  1 12:30:00 2015\nFrom: Ada <a@example.org>\nTo: pmo\nMessage-ID: <%d@b>\n\nx\n\n"
    )
    (tmp_path / "pmo.mbox").write_text("".join(whole % number for number in (1, 2)))
    left = "From a at example.org  Thu Jan  1 12:30:00 2015\nFrom: a at example.org (Ada)\nMessage-ID: <%d@b>\n\nx\n\n"
    (tmp_path / "2015-January.txt").write_text("".join(left % number for number in (1, 2, 3)))
    sources = [str(tmp_path / "pmo.mbox"), str(tmp_path / "2015-January.txt")]
    said = json.loads(run_cli(["--config", config, "import", "pmo", *sources, "--json"]).out)
    assert (said["imported"], said["duplicates"]) == (3, 2)
    assert said["repaired"] == {"no readable Date": 3, "obfuscated addresses": 1, "lost header fields": 1}
    raw = run_cli(["--config", config, "post", "show", "3.1", "--raw"]).out
    assert raw.startswith("From: Ada <a@example.org>\r\nTo: pmo@lists.example.test\r\n")


def test_a_bad_mail_of_an_archive_is_no_fault_of_ours(tmp_path: Path) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    run_cli(["--config", config, "list", "create", "pmo"])
    (tmp_path / "x.mbox").write_text("From mboxrd@z Thu Jan  1 12:30:00 2015\nno header\n\nx\n")
    assert (
        json.loads(run_cli(["--config", config, "import", "pmo", str(tmp_path / "x.mbox"), "--json"]).out)["bad"] == 1
    )
    assert len(run_cli(["--config", config, "shunt", "ls", "--json"]).out.splitlines()) == 1
    checked = run_cli(["--config", config, "check"])
    assert "warning: shunt: 1 of the mails in archives could not be imported (`mailforum shunt ls`)\n" in checked.out
    assert "error" not in checked.out
    with closing(connect(tmp_path / "mailforum.db")) as database:
        assert stats.look(SqliteTx(database, queries()))[0].shunts == 0


def test_what_an_import_kept_aside_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(write_config(tmp_path, "maildir:out"))
    run_cli(["--config", config, "list", "create", "pmo"])
    (tmp_path / "x.mbox").write_text("From a Thu Jan  1 12:30:00 2015\nSubject: 1\n\nx\n")
    with monkeypatch.context() as patch:
        patch.setattr("mailforum.forum.threads.place", None)
        assert (
            json.loads(run_cli(["--config", config, "import", "pmo", str(tmp_path / "x.mbox"), "--json"]).out)["bad"]
            == 1
        )
        answer = run_cli(["--config", config, "shunt", "retry"])
        assert answer.code == 1 and "1 A fault of ours: TypeError" in answer.out
    answer = run_cli(["--config", config, "shunt", "retry"])
    assert (answer.code, answer.out) == (0, "1 is on its list now\n")
    assert run_cli(["--config", config, "shunt", "retry"]).out == "nothing is kept aside\n"
    assert (
        json.loads(run_cli(["--config", config, "import", "pmo", str(tmp_path / "x.mbox"), "--json"]).out)["duplicates"]
        == 1
    )


@pytest.mark.parametrize(
    ("done", "share", "seconds", "line"),
    [
        (1200, 0.25, 2.0, "mails: 1,200  [#####...............]  25 %  600/s  0:06 left"),
        (5, 0.001, 10.0, "mails: 5  [....................]  0 %  0/s  2:46:30 left"),
        (7, 0.0, 7.0, "mails: 7  1/s"),
        (7, 1.2, 7.0, "mails: 7  [####################]  100 %  1/s  0:00 left"),
    ],
)
def test_progress_shows_the_rate_and_the_time_left(done: int, share: float, seconds: float, line: str) -> None:
    assert progress_line("mails", done, share, seconds) == line


def test_the_formats_on_the_command_line_are_those_there_are() -> None:
    assert sorted(archive._FORMATS) == sorted(recognise.FORMATS)


def _kept(folder: Path) -> list[tuple[object, ...]]:
    """All posts of a site with their places and their bytes."""
    connection = sqlite3.connect(folder / "mailforum.db")
    try:
        return connection.execute(
            "SELECT post.label, post.thread_id, parent.label, post.message_id, post.received_at, raw"
            " FROM post JOIN body ON body.post_id = post.id LEFT JOIN post AS parent ON parent.id = post.parent_id"
            " ORDER BY post.id"
        ).fetchall()
    finally:
        connection.close()


def _command(folder: Path) -> list[str]:
    return ["--config", str(folder / "mailforum.toml"), "import", "pmo", str(folder / "old.mbox")]


def test_an_import_that_is_killed_again_and_again_leaves_what_one_leaves_that_is_not(tmp_path: Path) -> None:
    data = made_up.mbox(made_up.letters(600, seed=9))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
        config = write_config(folder, "maildir:out")
        (folder / "old.mbox").write_bytes(data)
        run_cli(["--config", str(config), "list", "create", "pmo"])
    had = 0
    for moment in (
        Moment("after", "INSERT INTO post", count=250),
        Moment("before", "COMMIT", "INSERT INTO post", count=2),
    ):
        doomed = [sys.executable, "-m", "tests.chaos.doomed", *_command(killed)]
        assert subprocess.run(doomed, env=os.environ | moment.environ(), timeout=60, check=False).returncode == -9
        assert had < len(_kept(killed)) < 590
        had = len(_kept(killed))
    for folder in (killed, whole):
        assert run_cli(_command(folder)).code == 0
    assert _kept(killed) == _kept(whole)
