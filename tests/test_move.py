"""A site moves between SQLite and PostgreSQL, and its life goes on there."""

from __future__ import annotations

import asyncio
import email
import json
from email.message import Message
from email.utils import parseaddr
from pathlib import Path

import pytest

from tests.support.postgres import database_url
from tests.support.sink import Sink
from tests.support.site import DOMAIN, Site, run_cli, running_site

LIST = f"pmo@{DOMAIN}"


def mail(author: str, number: int, answers: str = "") -> bytes:
    subject = "Re: Budget" if answers else "Budget"
    head = f"From: {author}\r\nTo: {LIST}\r\nSubject: {subject}\r\nMessage-ID: <{number}@example.org>\r\n"
    return (head + f"In-Reply-To: {answers}\r\n" * bool(answers) + f"\r\nText {number}.\r\n").encode()


async def post(site: Site, author: str, number: int, answers: str = "") -> None:
    answer = await site.send(author, [LIST], mail(author, number, answers))
    assert answer.startswith("250"), answer


def last(sink: Sink, rcpt: str) -> Message:
    return email.message_from_bytes(sink.to(rcpt)[-1].data)


async def labels(site: Site) -> dict[str, str]:
    rows = (await site.cli("post", "ls", "pmo", "--json")).out.splitlines()
    return {row["message_id"]: row["id"] for row in map(json.loads, rows)}


async def copy(source: str, target: str) -> dict[str, tuple[int, str]]:
    """Copy a database; return how many rows each table has, and its checksum."""
    answer = await asyncio.to_thread(run_cli, ["store", "copy", source, target, "--json"])
    assert answer.code == 0, answer
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert all(row["same"] for row in rows)
    return {row["table"]: (row["rows"], row["checksum"]) for row in rows}


async def refused(*words: str | Path) -> str:
    """Run a command; return why it does nothing."""
    answer = await asyncio.to_thread(run_cli, [str(word) for word in words])
    assert answer.code == 1
    return answer.err


async def test_a_site_goes_to_postgresql_and_back_and_mail_goes_on(tmp_path: Path) -> None:
    file, back = f"sqlite:{tmp_path / 'mailforum.db'}", f"sqlite:{tmp_path / 'back.db'}"
    (tmp_path / "secret.key").write_text("5e" * 32)  # as that of several hosts (tests/support/site.py)
    (tmp_path / "secret.key").chmod(0o600)
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("member", "add", "pmo", "--no-welcome", "ada@example.org", "bob@example.com")
        await post(site, "ada@example.org", 1)
        await site.send("carol@example.net", [f"pmo-join@{DOMAIN}"], b"From: carol@example.net\r\n\r\n\r\n")
        await site.quiet()
        question, ours = last(site.sink, "carol@example.net"), last(site.sink, "bob@example.com")["Message-ID"]
        assert await labels(site) == {"<1@example.org>": "1.1"}
        assert "already being served" in await refused("store", "copy", file, f"sqlite:{tmp_path / 'other.db'}")
    with database_url(empty=True) as url:
        sums = await copy(file, url)
        assert (sums["post"][0], sums["request"][0], sums["event"][0]) == (1, 1, 2)
        why = await refused("--config", tmp_path / "mailforum.toml", "list", "ls")
        assert "it was moved to postgresql://" in why and "mailforum store reopen" in why
        async with running_site(tmp_path, store_url=f'"{url}"') as site:
            await post(site, "bob@example.com", 2, ours)
            to = parseaddr(question.get("Reply-To", question["From"]))[1]
            await site.send("carol@example.net", [to], b"From: carol@example.net\r\n\r\nyes\r\n")
            await site.quiet()
            assert await labels(site) == {"<1@example.org>": "1.1", "<2@example.org>": "1.2"}
            assert [mail.rcpts for mail in site.sink.mails if b"<2@example.org>" in mail.data]
            assert "carol@example.net" in (await site.cli("member", "ls", "pmo")).out
            assert "is being served by" in await refused("store", "copy", url, back)
            await site.cli("backup", str(tmp_path / "backup.db"))
            await post(site, "carol@example.net", 3, "<2@example.org>")
            await site.quiet()
        there = await copy(url, back)
        assert there["post"][0] == 3
    async with running_site(tmp_path, store_url='"sqlite:back.db"') as site:
        await post(site, "ada@example.org", 4, "<3@example.org>")
        await site.quiet()
        assert (await labels(site))["<4@example.org>"] == "1.4"
        assert last(site.sink, "carol@example.net")["Message-ID"]
        assert "error" not in (await site.cli("check")).out
        found = await site.cli("search", "pmo", "budget")
        assert found.out.count("1.") >= 4


async def test_a_copy_of_a_postgresql_is_a_backup_that_is_put_back_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with database_url() as url, database_url(empty=True) as other:
        async with running_site(tmp_path, store_url=f'"{url}"') as site:
            await site.cli("list", "create", "pmo")
            await site.cli("member", "add", "pmo", "--no-welcome", "ada@example.org", "bob@example.com")
            await site.cli("member", "set", "pmo", "bob@example.com", "mode=digest")
            await post(site, "ada@example.org", 1)
            await site.quiet()
            written = await site.cli("backup", "backup.db")
            assert "wrote backup.db" in written.out
            await site.cli("digest", "send", "pmo")
            await site.quiet()
            assert len(site.sink.to("bob@example.com")) == 1
            assert "is being served by" in await refused("store", "copy", "sqlite:backup.db", url)
        await copy("sqlite:backup.db", other)
        async with running_site(tmp_path, store_url=f'"{other}"') as site:
            assert '"paused": 1' in (await site.cli("queue", "stats", "--json")).out
            await post(site, "ada@example.org", 2)
            await site.quiet()
            assert site.sink.to("bob@example.com") == []
            await site.cli("queue", "resume")
            await site.quiet()
            assert b"Text 1." in site.sink.to("bob@example.com")[-1].data
        await copy("sqlite:backup.db", "sqlite:mailforum.db")  # a backup can be put back more than once
    async with running_site(tmp_path) as site:
        assert '"paused": 1' in (await site.cli("queue", "stats", "--json")).out
