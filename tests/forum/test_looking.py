"""The process that reads mails while others are being stored."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mailforum.forum import looking, posts
from mailforum.forum.looking import Look, Looker, Unreadable
from mailforum.mail.message import Message
from mailforum.model import MailingList
from mailforum.settings import ListSettings

LIST = MailingList(1, "pmo@lists.example.org", "PMO", ListSettings(prefix="[pmo]"), 0.0)


def mails(count: int) -> list[tuple[Message, bytes]]:
    bad = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(60))
    good = b"From: a@example.org\r\nSubject: [pmo] Re: x\r\nMessage-ID: <%d@b>\r\nIn-Reply-To: <0@b>\r\n\r\nHello\r\n"
    return [posts.parse(bad if number == 3 else good % number) for number in range(1, count + 1)]


def test_a_process_of_its_own_finds_what_we_would_find() -> None:
    some, more = mails(10), mails(2)
    with closing(Looker(LIST, cores=2, alone=0)) as helped, closing(Looker(LIST, cores=1)) as alone:
        for looker in (helped, alone):
            looker.ask(some)
        found = helped.answer()
        assert found == alone.answer() and len(found) == 10
        assert isinstance(found[0], Look) and isinstance(found[2], Unreadable)
        assert found[0].evidence.base == "x"
        helped.ask(more)
        assert len(helped.answer()) == 2
        helped.ask([])
        assert helped.answer() == []
    assert helped.peak > 10 * 1024**2 or not Path("/proc/self/status").exists()
    assert alone.peak == 0


@pytest.mark.parametrize("moment", ["before", "between"])
def test_if_it_is_killed_we_go_on_alone(moment: str) -> None:
    with closing(Looker(LIST, cores=2, alone=0)) as looker:
        looker.ask(mails(1))
        assert looker._process
        if moment == "between":
            looker.answer()
        looker._process.kill()
        looker._process.wait()
        if moment == "between":
            looker.ask(mails(5))
        assert len(looker.answer()) == (5 if moment == "between" else 1)
        looker.ask(mails(7))
        assert len(looker.answer()) == 7


def test_it_does_not_outlive_an_import_that_is_killed() -> None:
    begin = "import os, signal; from tests.forum.test_looking import *; looker = Looker(LIST, 2, 0);"
    kill = "looker.ask(mails(1)); print(len(looker.answer()), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    # It has our standard error in hand as well, so this returns only when both have ended.
    done = subprocess.run([sys.executable, "-c", begin + kill], capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL and int(done.stdout) == 1


def test_a_fault_of_ours_with_one_mail_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(looking.flaws, "charset", broken)
    found = looking.look(LIST, *mails(1)[0])
    assert found == Unreadable("A fault of ours: ZeroDivisionError: a bug")
