"""Kills at one moment each, where what has to be true afterwards is not about copies of a mail (A8).

Posts, digests, joining and leaving are in the game of kills (`tests/chaos`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.doomed import Moment
from tests.support.process import Server
from tests.support.sink import Sink
from tests.support.site import DOMAIN, free_port, run_cli, write_config
from tests.test_signals import Client

REPORT = """From: MAILER-DAEMON@relay.example.org
To: pmo-bounces@lists.example.test
Subject: Undelivered Mail Returned to Sender
Message-ID: <bounce1@relay.example.org>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="x"

--x
Content-Type: text/plain

It did not arrive.
--x
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.org

Final-Recipient: rfc822; bob@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--x--
.""".replace("\n", "\r\n")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_report_that_was_being_written_down_at_a_kill_counts_once(tmp_path: Path, when: str) -> None:
    async with Sink() as sink:
        port = free_port()
        file = write_config(tmp_path, sink.url, web_listen="[]", smtp_listen=f'["127.0.0.1:{port}"]', smtp_lmtp="[]")
        for words in (["list", "create", "pmo"], ["member", "add", "pmo", "bob@example.com", "--no-welcome"]):
            assert (await asyncio.to_thread(run_cli, ["--config", str(file), *words])).code == 0
        server = Server(file, "tests.chaos.doomed")
        await server.start(Moment(when, "^COMMIT", r"INSERT INTO bounce\b").environ())
        await server.ready()
        assert await report(port) == ""  # no answer: the sender keeps it
        assert await server.ended() < 0
        await server.start()
        await server.ready()
        assert (await report(port)).startswith("250")
        assert (await report(port)).startswith("250")  # and once more: its answer may have been lost too
        await server.kill()
    with contextlib.closing(sqlite3.connect(tmp_path / "mailforum.db")) as connection:
        assert connection.execute("SELECT count(*) FROM bounce").fetchone() == (1,)


async def report(port: int) -> str:
    client = await Client.greeted(port)
    await client.say("MAIL FROM:<>", f"RCPT TO:<pmo-bounces+bob=example.com@{DOMAIN}>", "DATA")
    answer = await client.say(REPORT)
    client.writer.close()
    return answer


@pytest.mark.parametrize(("when", "commits"), [("before", 2), ("after", 1)])
async def test_an_import_that_was_killed_is_completed_by_running_it_again_and_nobody_is_welcomed_twice(
    tmp_path: Path, when: str, commits: int
) -> None:
    readers = [f"reader{number}@example.org" for number in range(600)]
    (tmp_path / "members.txt").write_text("\n".join(readers))
    async with Sink() as sink:
        file = write_config(tmp_path, sink.url, web_listen="[]", site_log_level='"warning"')
        words = ["--config", str(file), "member", "import", "pmo", str(tmp_path / "members.txt"), "--welcome"]
        assert (await asyncio.to_thread(run_cli, ["--config", str(file), "list", "create", "pmo"])).code == 0
        moment = Moment(when, "^COMMIT", r"INSERT INTO member\b", commits)
        command = [sys.executable, "-m", "tests.chaos.doomed", *words]
        done = await asyncio.to_thread(subprocess.run, command, env={**os.environ, **moment.environ()}, timeout=60)
        assert done.returncode < 0
        assert (await asyncio.to_thread(run_cli, words)).code == 0
        server = Server(file)
        await server.start()
        await sink.wait(len(readers), 60)
        await server.kill()
        assert Counter(mail.rcpts[0] for mail in sink.mails) == Counter(readers)
