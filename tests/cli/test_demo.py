from __future__ import annotations

import fcntl
import io
import mailbox
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mailforum.cli.demo import check, folder, story
from mailforum.cli.demo.check import Due
from mailforum.cli.demo.hints import mail_command
from mailforum.cli.demo.post_office import Letter
from mailforum.cli.demo.screen import Screen
from mailforum.cli.demo.story import ANNA, MARCUS, TOM, Sends
from mailforum.errors import UsageError
from mailforum.forum.posts import parse
from mailforum.mail import body, footer, message, subject
from mailforum.mail.message import Message
from mailforum.model import Post
from mailforum.units import Address
from tests.cli.conftest import as_process
from tests.support.site import run_cli

MAILS = [scene for scene in story.STORY if isinstance(scene, Sends)]
POSTED = [scene for scene in MAILS if scene.fate == "posted"]
FILES = Path(story.__file__).parent / "mails"


# -- the whole show


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Show:
    """A show that has ended: where, with which code, and what it printed."""

    place: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Show:
    place = tmp_path_factory.mktemp("show") / "demo"
    ended = as_process("demo", "--once", "--dir", str(place))
    return Show(place, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def test_the_show_ends_with_every_mail_where_it_should_be(show: Show) -> None:
    assert (show.code, show.err) == (0, ""), show.out
    assert "All is as it should be: 70 mails went out" in show.out
    assert "WRONG" not in show.out
    assert "\x1b" not in show.out


def test_what_is_in_the_mailboxes_is_what_the_story_says(show: Show) -> None:
    got: Counter[tuple[str, str]] = Counter()
    for mail in mailbox.Maildir(show.place / folder.OUTBOX):
        kind = "post" if mail["X-Mailforum-Id"] else "digest" if mail["List-Id"] else "notice"
        got[mail["Delivered-To"], kind] += 1
    each = {(person.address, "post"): 16 for person in (ANNA, MARCUS, story.PRIYA)}
    notices = {(person.address, "notice"): 2 for person in story.PEOPLE} | {(story.YUKI.address, "notice"): 4}
    digests = {(story.YUKI.address, "digest"): 1, (TOM.address, "digest"): 1}
    assert got == {**each, (story.YUKI.address, "post"): 8, **notices, **digests}


def test_a_show_in_which_posts_are_changed_on_the_way_fails(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footer, "add", lambda msg, text: replace(msg, body=msg.body.upper()))
    answer = run_cli(["demo", "--once"])
    assert answer.code == 1
    assert "WRONG changed on the way: " in answer.out
    assert "Something went WRONG" in answer.out


@contextmanager
def running_demo(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that stays up."""
    words = [sys.executable, "-m", "mailforum", "demo", "--dir", str(place), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    assert process.stdout is not None
    text = ""
    while mark not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    return text


def test_it_stays_up_and_what_it_tells_to_try_works_as_printed(tmp_path: Path) -> None:
    with running_demo(tmp_path / "my demo") as process:
        out = read_until(process, "logs from here on")
        send = re.search(r"^\S+ - <<'END'\n.*?^END$", out, re.MULTILINE | re.DOTALL)
        commands = re.findall(r"^\S+ -m mailforum --config .*$", out, re.MULTILINE)
        assert send and len(commands) >= 3
        subprocess.run(["sh", "-c", send[0]], check=True, timeout=20)
        assert "post 3.1" in read_until(process, "event=handled")
        asked = [subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE) for line in commands]
        shown = [each.communicate(timeout=20)[0] for each in asked]
        assert [each.returncode for each in asked] == [0] * len(asked)
        assert b"A mail of my own" in shown[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    ended = run_cli(["--config", str(tmp_path / "my demo" / folder.CONFIG), "post", "ls", "pmo"])
    assert "A mail of my own" in ended.out


@pytest.mark.parametrize(("once", "code"), [(True, 130), (False, 0)])
def test_ctrl_c_in_the_middle_of_the_show_ends_it_cleanly(tmp_path: Path, once: bool, code: int) -> None:
    words = [sys.executable, "-m", "mailforum", "demo", "--dir", str(tmp_path), *(["--once"] if once else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        read_until(process, "#1.2")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err == ""
    assert out.endswith("Stopped before the end.\n")


def test_a_relay_in_the_environment_gets_none_of_the_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILFORUM_DELIVERY_RELAY", "smtp://relay.example.org:25")
    assert folder.write_config(tmp_path, "lists.example.test", 0).delivery.relay == f"maildir:{folder.OUTBOX}"


# -- the folder and the ports


def test_an_earlier_demo_is_replaced_and_what_else_lies_there_is_kept(here: Path) -> None:
    with folder.claimed("d") as place:
        (place / folder.OUTBOX / "new").mkdir(parents=True)
        for end in ("", "-wal", ".served", ".reserve"):
            (place / f"mailforum.db{end}").write_text("old")
        (place / "my notes").write_text("kept")
    with folder.claimed("d") as place:
        assert sorted(path.name for path in place.iterdir()) == [".mailforum-demo", "my notes"]


def test_an_outbox_that_is_a_link_is_taken_away_and_what_it_leads_to_is_kept(here: Path) -> None:
    (here / "precious").mkdir()
    with folder.claimed("d") as place:
        (place / folder.OUTBOX).symlink_to(here / "precious")
    with folder.claimed("d") as place:
        assert not (place / folder.OUTBOX).is_symlink()
    assert (here / "precious").is_dir()


def test_a_folder_with_anything_else_in_it_is_never_touched(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "mailforum.db").write_text("mine")
    with pytest.raises(UsageError, match="mine holds something other than a demo"), folder.claimed("mine"):
        pass
    assert [path.name for path in (here / "mine").iterdir()] == ["mailforum.db"]


def test_without_a_name_the_first_free_folder_is_taken(here: Path) -> None:
    (here / "demo").mkdir()
    (here / "demo" / "mine").touch()
    (here / "demo-2").write_text("a file")
    with folder.claimed(None) as place:
        assert place == Path("demo-3")


def test_two_demos_at_once_do_not_share_a_folder(here: Path) -> None:
    with folder.claimed(None) as one, folder.claimed(None) as two:
        assert (one, two) == (Path("demo"), Path("demo-2"))
        with pytest.raises(UsageError, match="a demo is running in demo;"), folder.claimed("demo"):
            pass


def test_a_demo_that_is_being_served_is_not_replaced(here: Path) -> None:
    with folder.claimed("d") as place:
        (place / "mailforum.db.lock").touch()
    with (here / "d" / "mailforum.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="running in d"), folder.claimed("d"):
            pass


def test_the_next_port_is_taken_when_somebody_listens_on_the_wanted_one() -> None:
    with socket.create_server((folder.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert folder.free_port(port) > port


@pytest.mark.parametrize("port", ["65536", "-1", "x", "²"])
def test_a_port_that_is_none_is_wrong_usage(port: str) -> None:
    answer = run_cli(["demo", "--once", f"--port={port}"])
    assert answer.code == 2
    assert "a port is a number" in answer.err


# -- the mails


def test_every_mail_of_the_folder_is_in_the_story_once() -> None:
    assert sorted(f"{scene.mail}.eml" for scene in MAILS) == sorted(path.name for path in FILES.iterdir())


@pytest.mark.parametrize("scene", MAILS, ids=lambda scene: scene.mail)
def test_a_mail_reads_as_its_author_meant_it(scene: Sends) -> None:
    assert b"\r" not in (FILES / f"{scene.mail}.eml").read_bytes()
    msg, raw = parse(scene.raw())
    assert raw == scene.raw()
    text = body.read(msg).text
    assert "�" not in text + msg.subject and len(text) > 60
    assert msg.author is not None
    member = next((person for person in story.PEOPLE if person.address == msg.author.address), None)
    assert (member is None) == (scene.fate == "refused")
    assert member is None or member.name == msg.author.name
    assert msg.date is not None and msg.date < time.time()


def test_replies_name_the_mail_they_answer_and_one_only_in_in_reply_to() -> None:
    by_name = {scene.mail: message.parse(scene.raw()) for scene in POSTED}
    for scene in POSTED:
        answered = by_name[scene.answers].message_id if scene.answers else ""
        assert by_name[scene.mail].get("In-Reply-To") == answered
        assert subject.is_reply(by_name[scene.mail].subject) == bool(answered)
    bare = [mail for mail, msg in by_name.items() if msg.get("In-Reply-To") and not msg.get("References")]
    assert bare == ["11-priya-k9"]


def test_one_reply_comes_before_the_mail_it_answers() -> None:
    order = [scene.mail for scene in POSTED]
    early = [scene.mail for scene in POSTED if scene.answers and order.index(scene.answers) > order.index(scene.mail)]
    assert early == ["07-priya-iphone"]


def test_two_mails_bring_a_file() -> None:
    files = [file.filename for scene in POSTED for file in body.read(message.parse(scene.raw())).attachments]
    assert files == ["benefits-claims.csv", "Self-built software on one page.pdf"]


# -- the check: it sees what is wrong


def sent(scene: Sends, text: str = f"____\nTo leave: {story.LEAVE}\n") -> Message:
    """A mail of the story as the list sends it."""
    msg = message.parse(scene.raw())
    header = next(header for header in msg.headers if header.name == "Subject")
    return footer.add(msg.replace("Subject", subject.prefix_subject(header, story.PREFIX)), text)


@pytest.mark.parametrize("scene", POSTED, ids=lambda scene: scene.mail)
def test_what_a_list_may_change_is_no_change(scene: Sends) -> None:
    assert check.changed(message.parse(scene.raw()), sent(scene)) == ""


@pytest.mark.parametrize("scene", POSTED, ids=lambda scene: scene.mail)
def test_what_a_list_may_not_change_is_seen(scene: Sends) -> None:
    original, good = message.parse(scene.raw()), sent(scene)
    middle = good.body.index(original.body[:200]) + 100
    assert check.changed(original, replace(good, body=good.body[:middle] + b"?" + good.body[middle + 1 :]))
    assert check.changed(original, good.without("Date")) == "has another Date"
    assert check.changed(original, good.replace("Subject", message.field("Subject", "[pmo] Else")))
    bare = message.field("Subject", original.subject.replace(story.PREFIX, ""))
    assert check.changed(original, good.replace("Subject", bare)) == "does not have [pmo] in its subject once"
    assert check.changed(original, sent(scene, "Goodbye")) == "has no footer"


def post(scene: Sends, label: str, parent: str | None = None, thread: int = 1) -> Post:
    msg = message.parse(scene.raw())
    return Post(1, 1, thread, label, None, parent, msg.message_id, "", "", "", 0.0, 0.0, 0)


def a_small_show() -> tuple[Due, list[Letter], list[Post]]:
    """Two posts to Anna and Marcus, a digest to Tom, and a notice to each of them."""
    first, second = POSTED[0], POSTED[1]
    posts = [post(first, "1.1"), post(second, "1.2", message.parse(first.raw()).message_id)]
    due = Due()
    due.add("notice", [ANNA, MARCUS, TOM])
    due.add("digest", [TOM])
    letters = [letter(person.address, message.parse(b"Subject: Welcome\r\n\r\n")) for person in (ANNA, MARCUS, TOM)]
    for scene, one in zip((first, second), posts, strict=True):
        original = message.parse(scene.raw())
        due.add(original.message_id, [ANNA, MARCUS])
        due.posts[one.message_id], due.parents[one.message_id] = original, one.parent
        copy = sent(scene).prepend(message.field("X-Mailforum-Id", one.label))
        letters += [letter(person.address, copy) for person in (ANNA, MARCUS)]
    letters.append(digest("#1.1  Anna\r\nHello #1.2\r\n\r\n#1.2  Marcus\r\nHi.\r\n"))
    return due, letters, posts


def letter(to: str, msg: Message) -> Letter:
    return Letter(Path("somewhere"), to, msg)


def digest(text: str) -> Letter:
    raw = f"Message-ID: <digest.1@lists.example.test>\r\nContent-Type: text/plain\r\n\r\n{text}"
    return letter(TOM.address, message.parse(raw.encode()))


def wrong(due: Due, letters: list[Letter], posts: list[Post]) -> str:
    return "\n".join(finding.text for finding in check.findings(due, letters, posts) if not finding.good)


def test_a_show_without_a_fault_has_no_bad_finding() -> None:
    assert wrong(*a_small_show()) == ""


def test_a_mail_that_is_missing_is_named_with_its_reader() -> None:
    due, letters, posts = a_small_show()
    gone = letters.pop(3)
    assert wrong(due, letters, posts) == f"Anna Lindström: missing: {gone.msg.message_id}"


def test_a_mail_that_came_twice_is_named() -> None:
    due, letters, posts = a_small_show()
    assert wrong(due, [*letters, letters[3]], posts) == f"Anna Lindström: too much: {letters[3].msg.message_id}"


def test_a_post_to_a_digest_reader_is_too_much() -> None:
    due, letters, posts = a_small_show()
    assert wrong(due, [*letters, replace(letters[3], to=TOM.address)], posts).startswith("Tom O'Brien: too much")


def test_mail_to_somebody_who_is_no_member_is_seen() -> None:
    due, letters, posts = a_small_show()
    assert wrong(due, [*letters, replace(letters[0], to="eve@example.org")], posts) == "mail went to eve@example.org"


def test_a_post_in_the_wrong_place_of_the_tree_is_seen() -> None:
    due, letters, posts = a_small_show()
    assert "not where they belong" in wrong(due, letters, [posts[0], replace(posts[1], parent=None)])
    assert "threads" in wrong(due, letters, [posts[0], replace(posts[1], thread=2)])
    assert "not where they belong" in wrong(due, letters, posts[:1])


def test_a_digest_that_lacks_a_post_or_has_one_twice_is_seen() -> None:
    due, letters, posts = a_small_show()
    assert "does not hold every post once" in wrong(due, [*letters[:-1], digest("#1.1  Anna\r\n")], posts)
    twice = "#1.1  Anna\r\n#1.2  Marcus\r\n#1.2  Marcus\r\n"
    assert "does not hold every post once" in wrong(due, [*letters[:-1], digest(twice)], posts)


def test_an_answer_in_smtp_that_should_have_been_another_is_seen() -> None:
    due, letters, posts = a_small_show()
    due.odd.append("eve@example.org to pmo@lists.example.test: 250 Taken")
    assert "eve@example.org" in wrong(due, letters, posts)


# -- how it looks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_there_are_colours_on_a_terminal_only_and_not_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe, plain = Terminal(), io.StringIO(), Terminal()
    Screen(terminal).finding(False, "lost")
    Screen(pipe).finding(False, "lost")
    monkeypatch.setenv("NO_COLOR", "1")
    Screen(plain).finding(False, "lost")
    assert "\x1b[31m" in terminal.getvalue()
    assert pipe.getvalue() == plain.getvalue() == "   WRONG lost\n"


def test_a_long_mail_is_cut_and_where_the_rest_is_stands_below() -> None:
    out = io.StringIO()
    Screen(out).quote(["one", "two\x1b[2J", "three"], 2, "the whole: there")
    assert out.getvalue() == "   | one\n   | two [2J\n   … 1 more lines; the whole: there\n"


def test_the_command_that_is_printed_needs_no_shell_but_a_plain_one() -> None:
    command = mail_command(Address("127.0.0.1:8025"))
    assert subprocess.run(["sh", "-n", "-c", command], check=False, env={**os.environ}).returncode == 0
    assert 'SMTP("127.0.0.1", 8025, "localhost")' in command
