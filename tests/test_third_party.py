"""The way in and out with programs that are not ours: swaks writes, Postfix carries.

swaks -> Postfix -> LMTP -> mailforum -> SMTP -> the same Postfix -> a sink, which stands for the world.
The lines of deploy/postfix are what Postfix runs with.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dkim
import pytest

from mailforum.mail import address, message
from tests.support import postfix
from tests.support.postfix import Postfix, deployed
from tests.support.sink import Mail, Sink
from tests.support.site import Site, run_cli, running_site

STORES = ["sqlite"]

LIST = "pmo@lists.example.test"
REFUSED_RCPT, REFUSED_MAIL = 24, 26  # swaks' exit codes

needs_swaks = pytest.mark.skipif(
    not shutil.which("swaks"), reason="NOT TESTED with a client that is not ours: swaks is not installed"
)
needs_postfix = pytest.mark.skipif(
    bool(postfix.missing()), reason=f"NOT TESTED with a mail server that is not ours: {postfix.missing()}"
)


@dataclass
class World:
    """A mailforum behind a Postfix, and the sink behind both."""

    site: Site
    postfix: Postfix

    @property
    def sink(self) -> Sink:
        """Where everything ends that goes out into the world."""
        return self.site.sink

    async def swaks(self, sender: str, rcpt: str, *options: str, expect: int = 0) -> str:
        """Write a mail to Postfix; return the dialogue."""
        return await swaks(self.postfix.port, sender, rcpt, *options, expect=expect)


async def swaks(port: int, sender: str, rcpt: str, *options: str, expect: int = 0) -> str:
    """Write a mail with swaks; return the dialogue. AssertionError if it does not end as expected."""
    arguments = ["swaks", "--server", f"127.0.0.1:{port}", "--from", sender, "--to", rcpt, "--timeout", "20", *options]
    done = await asyncio.to_thread(
        subprocess.run, arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    file: str = "main.cf",
    instead: Mapping[str, str] | None = None,
    *,
    mailboxes: str = "",
    sink: Sink | None = None,
    **options: str,
) -> AsyncIterator[World]:
    """Start mailforum and Postfix, each the other's next hop.

    Postfix runs with the lines of `file` in deploy/postfix, in which `instead` replaces what has to be
    another here, and has the domain `mailboxes` for its own. `options` are mailforum's.
    """
    server = Postfix()
    options |= {"delivery_relay": f'"smtp://127.0.0.1:{server.port}"'}
    async with running_site(folder, sink, **options) as site:
        here = {"lists.example.org": "lists.example.test", ":8024": f":{site.lmtp[1]}", **(instead or {})}
        server.configure(deployed(file, here), site.sink.port, mailboxes)
        async with server:
            yield World(site, server)
            assert not server.complaints(), server.log


def dkim_options(folder: Path) -> tuple[dict[str, str], bytes]:
    """Make a key as an admin does; return the options that use it, and its DNS record's text."""
    file = folder / "dkim.pem"
    made = run_cli(["dkim", "new", "lists.example.test", "--out", str(file)])
    assert made.code == 0, made
    record = "".join(part for part in made.out.split("IN TXT (")[1].split(")")[0].split('"')[1::2])
    return {"dkim_selector": '"mailforum"', "dkim_key_file": f'"{file}"'}, record.encode()


@needs_swaks
@needs_postfix
async def test_a_mail_from_swaks_comes_back_to_every_member_through_postfix(tmp_path: Path) -> None:
    options, record = dkim_options(tmp_path)
    async with world(tmp_path, **options) as all_of:
        await all_of.site.cli("list", "create", "pmo", "--title", "PMO circle")
        await all_of.site.cli("member", "add", "pmo", "ada@example.org", "bob@example.com", "--no-welcome")
        said = await all_of.swaks("ada@example.org", LIST, "--header", "Subject: Grüße", "--body", "Hello.\n.\n..dots")
        assert "250 2.0.0 Ok: queued as" in said
        await all_of.sink.wait(2)

    assert {mail.rcpts for mail in all_of.sink.mails} == {("ada@example.org",), ("bob@example.com",)}
    (mail,) = all_of.sink.to("bob@example.com")
    msg = message.parse(mail.data)
    assert re.fullmatch(r"pmo-bounces\+bob=example\.com=[0-9a-f]{8}@lists\.example\.test", mail.mail_from)
    assert msg.author == address.Mailbox("", "ada@example.org")
    assert msg.get("List-Id") == '"PMO circle" <pmo.lists.example.test>'
    assert msg.subject == "Grüße"
    assert msg.body.startswith(b"Hello.\r\n.\r\n..dots\r\n")
    assert any("by mx.example.test (Postfix)" in value for value in msg.get_all("Received"))
    assert dkim.verify(mail.data, dnsfunc=lambda name, timeout=5: record)  # Postfix has broken nothing


@needs_swaks
@needs_postfix
async def test_joining_by_mail_through_postfix(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of:
        await all_of.site.cli("list", "create", "pmo")
        await all_of.swaks("kim@example.com", "pmo-join@lists.example.test", "--body", "Yes, please.")
        (question,) = await all_of.sink.wait(1)
        assert question.mail_from == ""
        await all_of.swaks("kim@example.com", message.parse(question.data).get("Reply-To"), "--body", "Yes, please.")
        await all_of.sink.wait(2)
        assert "Welcome" in message.parse(all_of.sink.mails[1].data).subject
        assert "kim@example.com" in (await all_of.site.cli("member", "ls", "pmo")).out


@needs_swaks
@needs_postfix
async def test_postfix_refuses_at_once_what_mailforum_does_not_know_and_learns_of_new_lists(tmp_path: Path) -> None:
    async with world(tmp_path, instead={"negative_refresh_time = 1m": "negative_refresh_time = 1s"}) as all_of:
        said = await all_of.swaks("ada@example.org", LIST, expect=REFUSED_RCPT)
        assert f"550 5.1.1 <{LIST}>: Recipient address rejected" in said
        await all_of.site.cli("list", "create", "pmo")
        await all_of.site.cli("member", "add", "pmo", "ada@example.org", "--no-welcome")
        async with asyncio.timeout(30):
            while not all_of.sink.mails:
                with contextlib.suppress(AssertionError):
                    await all_of.swaks("ada@example.org", LIST)
                    await all_of.sink.wait(1)


@needs_swaks
@needs_postfix
async def test_the_report_of_postfix_about_a_dead_address_is_written_down(tmp_path: Path) -> None:
    def dead(rcpt: str) -> str | None:
        return "550 5.1.1 nobody here" if rcpt.startswith("bob") else None

    async with world(tmp_path, sink=Sink(rcpt=dead)) as all_of:
        await all_of.site.cli("list", "create", "pmo")
        await all_of.site.cli("member", "add", "pmo", "ada@example.org", "bob@example.com", "--no-welcome")
        await all_of.swaks("ada@example.org", LIST)
        await all_of.sink.wait(1)
        rows = await _bounces(tmp_path / "mailforum.db")
    assert rows == [("bob@example.com", "hard", "5.1.1")]


async def _bounces(database: Path) -> list[tuple[str, str, str]]:
    async with asyncio.timeout(20):
        while True:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                rows = connection.execute("SELECT address, kind, enhanced FROM bounce").fetchall()
            if rows:
                return rows
            await asyncio.sleep(0.05)


@needs_swaks
@needs_postfix
async def test_a_list_can_share_its_domain_with_mailboxes(tmp_path: Path) -> None:
    table = tmp_path / "map"
    instead = {"/etc/postfix/mailforum": str(table)}
    async with world(tmp_path, "main.cf.shared", instead, mailboxes="lists.example.test") as all_of:
        await all_of.site.cli("list", "create", "pmo")
        await all_of.site.cli("member", "add", "pmo", "ada@example.org", "--no-welcome")
        table.write_text(await _map(all_of.site))
        await all_of.swaks("ada@example.org", LIST)
        await all_of.sink.wait(1)
        assert "for <pmo@lists.example.test>" in all_of.sink.mails[0].data.decode()
        # `root` has a mailbox, and what only looks like one of our addresses is nobody's.
        await all_of.swaks("ada@example.org", "root@lists.example.test")
        await all_of.sink.wait(2)
        await all_of.swaks("ada@example.org", "pmo-fans@lists.example.test", expect=REFUSED_RCPT)


async def _map(site: Site) -> str:
    command = [str(postfix.DEPLOY / "make-map"), "--config", str(site.config_file)]
    environ = {
        "PATH": "/usr/bin:/bin",
        "MAILFORUM": str(Path(sys.executable).with_name("mailforum")),
        "LMTP": f"lmtp:inet:127.0.0.1:{site.lmtp[1]}",
    }
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_swaks
async def test_swaks_speaks_with_mailforum_directly(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("member", "add", "pmo", "ada@example.org", "bob@example.com", "--no-welcome")
    port = site.smtp[1]
    await swaks(port, "ada@example.org", LIST, "--pipeline", "--body", "By hand.")
    await site.sink.wait(2)
    mails: list[Mail] = site.sink.to("bob@example.com")
    assert b"By hand." in mails[0].data
    assert "550 5.1.1" in await swaks(port, "ada@example.org", "none@lists.example.test", expect=REFUSED_RCPT)
    said = await swaks(port, "eve@example.net", LIST, expect=REFUSED_MAIL)
    assert "550 5.7.1 Only members post to this list" in said


@needs_swaks
async def test_swaks_speaks_lmtp_with_mailforum(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "create", "staff", "--preset", "announce")
    await site.cli("member", "add", "pmo", "ada@example.org", "--no-welcome")
    both = f"{LIST},staff@lists.example.test"
    said = await swaks(site.lmtp[1], "ada@example.org", both, "--protocol", "LMTP")
    assert "250 2.0.0 Taken as #1.1." in said
    assert "550 5.7.1 Only the moderators post to this list" in said
    await site.sink.wait(1)
