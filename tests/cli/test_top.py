"""`mailforum queue top`: one picture where nobody watches, live on a terminal that is left as it was."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from mailforum.cli import top
from mailforum.store.stats import Failing, Numbers, OfList
from tests.cli.conftest import Forum
from tests.support.sink import Sink
from tests.support.site import free_port, running_site

CALM = Numbers(0, 0, 0, 0, None, None, None, 0, 0, 0)


def picture(at: float, numbers: Numbers = CALM, **counted: float) -> top.Picture:
    return top.Picture(at, numbers, [], [], counted or None)


def drawn(now: top.Picture, before: top.Picture | None = None) -> str:
    return "\n".join(top.draw("lists.example.org", now, before))


def test_rates_are_what_has_changed_since_the_last_picture() -> None:
    before = picture(100.0, sent=50, received=3, uptime_seconds=10)
    assert "50 sent  0 deferred  0 failed  3 taken in  0 refused  since its start" in drawn(before)
    now = picture(102.0, sent=2050, deferred=4, received=3, uptime_seconds=12)
    assert "1,000/s sent  2/s deferred  0/s failed  0/s taken in" in drawn(now, before)


def test_a_server_that_was_started_again_has_no_rates_below_nothing() -> None:
    assert "7 sent" in drawn(picture(102.0, sent=7, uptime_seconds=1), picture(100.0, sent=900, uptime_seconds=99))


def test_a_server_that_does_not_answer_is_said_to_be_so() -> None:
    text = drawn(picture(100.0))
    assert "queue   empty" in text
    assert "rates   not known" in text
    assert "server  cannot be asked" in text


def test_what_waits_is_told_with_its_age_the_lists_and_who_does_not_take_it() -> None:
    numbers = Numbers(9000, 345, 1000, 2, 1000.0, 4000.0, 10_030.0, 5, 1, 0)
    now = top.Picture(
        10_000.0,
        numbers,
        [OfList("pmo@lists.example.org", 9345, 1000.0, 10_030.0), OfList("", 1, 9999.0, 9999.0)],
        [Failing("example.net", 23, 9998.0, "4.2.2", "450 4.2.2 full"), Failing("example.com", 1, 9400.0, "", "hm")],
        {"relay_down_seconds": 600, "uptime_seconds": 200_000},
    )
    text = drawn(now)
    assert "10,345 to be sent, 345 of them deferred, 1,000 still to be queued" in text
    assert "the oldest for 2 h 30 min, the next in 30 s" in text
    assert "up for 2 d 7 h, the relay is down for 10 min" in text
    assert "9345     2 h 30 min  pmo@lists.example.org" in text
    assert "(the site)" in text
    assert "23     2 s     example.net  450 4.2.2 full" in text
    assert "1 held posts, 0 shunted mails, 2 failed deliveries, 5 suspended members" in text


def test_without_a_terminal_there_is_one_picture(pmo: Forum) -> None:
    pmo.post()
    out = pmo.run("queue", "top").out
    assert out.startswith("mailforum lists.example.test")
    assert "2 to be sent" in out
    assert "\x1b" not in out


async def test_a_server_that_runs_is_asked_for_what_it_counts(tmp_path: Path) -> None:
    port = free_port()
    async with running_site(tmp_path, Sink(rcpt="450 4.2.2 mailbox full"), web_listen=f'["127.0.0.1:{port}"]') as site:
        await site.cli("list", "create", "pmo")
        await site.cli("member", "add", "pmo", "ada@example.org", "--no-welcome")
        await site.send("ada@example.org", ["pmo@lists.example.test"], b"From: ada@example.org\r\n\r\nHi\r\n")
        await site.quiet()
        out = (await site.cli("queue", "top", "--once")).out
    assert "server  up for " in out
    assert "the relay takes mail" in out
    assert "example.org  450 4.2.2 mailbox full" in out


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_on_a_terminal_it_lives_until_q_or_ctrl_c_and_leaves_it_as_it_was(pmo: Forum, key: bytes) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has it ignored by what runs in the background
        os.execv(sys.executable, [sys.executable, "-m", "mailforum", "--config", pmo.config, "queue", "top"])
    try:
        seen = read_until(terminal, b"q: leave\x1b[K\x1b[H")  # the end of one picture, and the next one's beginning
        os.write(terminal, key)
        seen += read_until(terminal, b"\x1b[?1049l")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
    assert code == (0 if key == b"q" else 130)
    assert seen.startswith(b"\x1b[?1049h\x1b[?25l")
    assert b"queue   empty" in seen
    assert b"\x1b[?25h\x1b[?1049l" in seen


def read_until(terminal: int, end: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 30
    while end not in seen:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], seen
        seen += os.read(terminal, 65536)
    return seen
