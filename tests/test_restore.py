"""Backups while mail flows, and what happens when one is put back: nothing is sent again by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from mailforum.store import queue
from mailforum.store.postgres.session import connect
from tests.support.postgres import database_url, programs
from tests.support.sink import Sink
from tests.support.site import Site, run_cli, running_site

POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <%d@example.org>\r\n\r\nHello, all.\r\n"
MEMBERS = ("m1@example.com", "m2@example.com")


async def make_list(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "set", "pmo", "posting=anyone")
    await site.cli("member", "add", "pmo", "--no-welcome", *MEMBERS)


async def post(site: Site, number: int) -> None:
    answer = await site.send("ada@example.org", ["pmo@lists.example.test"], POST % number)
    assert answer.startswith("250"), answer


def sent(sink: Sink) -> Counter[tuple[str, int]]:
    """How often each member was sent each post."""
    counts: Counter[tuple[str, int]] = Counter()
    for mail in sink.mails:
        (number,) = [line[13:-13] for line in mail.data.split(b"\r\n") if line.startswith(b"Message-ID: <")]
        counts.update((rcpt, int(number)) for rcpt in mail.rcpts)
    return counts


def each_once(*numbers: int) -> Counter[tuple[str, int]]:
    return Counter((rcpt, number) for number in numbers for rcpt in MEMBERS)


def put_back(copy: Path, folder: Path) -> None:
    """Do what docs/admin.md says."""
    for end in ("-wal", "-shm"):
        (folder / f"mailforum.db{end}").unlink(missing_ok=True)
    shutil.copy(copy, folder / "mailforum.db")


async def paused(site: Site) -> int:
    return await site.service.core.db.read(queue.paused)


async def test_a_copy_made_under_load_is_whole_and_can_be_gone_on_with(tmp_path: Path) -> None:
    copied = asyncio.Event()
    taken: list[int] = []

    async def keep_posting(site: Site) -> None:
        number = 0
        while not copied.is_set() or number < 10:
            number += 1
            await post(site, number)
            taken.append(number)

    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    copy = tmp_path / "copy.db"
    async with running_site(tmp_path / "first") as site:
        await make_list(site)
        posting = asyncio.create_task(keep_posting(site))
        while len(taken) < 3:
            await asyncio.sleep(0.01)
        before = len(taken)
        await site.cli("backup", str(copy))
        copied.set()
        await posting
        await site.quiet()
        assert sent(site.sink) == each_once(*taken)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["copy.db"]
    put_back(copy, tmp_path / "second")
    async with running_site(tmp_path / "second") as site:
        rows = [json.loads(line) for line in (await site.cli("post", "ls", "pmo", "--json")).out.splitlines()]
        kept = len(rows)
        assert before <= kept <= len(taken), "it has what had been taken in when it was made"
        assert [row["message_id"] for row in rows] == [f"<{n}@example.org>" for n in taken[:kept]]
        await post(site, 1000)
        await site.quiet()
        assert sent(site.sink) == each_once(1000), "nothing of the copy is sent once more"
        assert "error" not in (await site.cli("check")).out


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "mailforum")
    return caplog


async def waiting_copy(folder: Path) -> Path:
    """Make a copy of a site in which one post to two members waits, then let it be sent."""
    hold = asyncio.Event()

    async def wait(_: object) -> None:
        await hold.wait()

    async with running_site(folder, Sink(dot=wait)) as site:
        await make_list(site)
        await post(site, 1)
        await site.cli("backup", str(folder / "copy.db"))
        hold.set()
        await site.quiet()
        assert sent(site.sink) == each_once(1)
    return folder / "copy.db"


async def test_what_waited_in_a_copy_is_paused_until_somebody_decides(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    put_back(await waiting_copy(tmp_path), tmp_path)
    async with running_site(tmp_path) as site:
        (line,) = [line for line in log.messages if line.startswith("event=restored ")]
        assert "paused=2" in line
        assert "mailforum queue resume" in line
        assert await paused(site) == 2
        await post(site, 2)
        await site.quiet()
        assert sent(site.sink) == each_once(2)
        assert "2 paused since the database was restored" in (await site.cli("check")).out
        assert (await site.cli("queue", "ls")).out.count(" paused") == 2
        stats = (await site.cli("queue", "stats")).out
        assert re.search(r"paused: +2\n", stats)
        assert re.search(r"next due:\n", stats)
        await site.cli("queue", "retry", "--all")
        assert await paused(site) == 2
    async with running_site(tmp_path) as site:  # another start changes nothing
        assert await paused(site) == 2
        one = json.loads((await site.cli("queue", "ls", "--json")).out.splitlines()[0])
        await site.cli("queue", "retry", str(one["id"]))
        await site.quiet()
        assert sum(sent(site.sink).values()) == 1
        assert (await site.cli("queue", "resume")).out == "1 go on\n"
        await site.quiet()
        assert sent(site.sink) == each_once(1)


async def test_what_is_paused_can_be_given_up(tmp_path: Path) -> None:
    put_back(await waiting_copy(tmp_path), tmp_path)
    async with running_site(tmp_path) as site:
        assert (await site.cli("queue", "drop", "--paused")).out == "dropped 2\n"
        assert (await site.cli("queue", "resume")).out == "0 go on\n"
        await site.quiet()
        assert not site.sink.mails


async def test_resend_sends_it_at_once(tmp_path: Path) -> None:
    from mailforum import config
    from mailforum.app import Service

    put_back(await waiting_copy(tmp_path), tmp_path)
    async with Sink() as sink:
        from tests.support.site import write_config

        file = write_config(tmp_path, sink.url)
        async with Service(config.load(file, {}), resend=True):
            await sink.wait(2)
        assert sent(sink) == each_once(1)


async def test_a_digest_that_was_due_in_a_copy_is_paused_as_well(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await make_list(site)
        await site.cli("member", "set", "pmo", MEMBERS[0], "mode=digest")
        await post(site, 1)
        await site.quiet()
        await site.cli("backup", str(tmp_path / "copy.db"))
        await site.cli("digest", "send", "pmo")
        await site.quiet()
        assert len(site.sink.to(MEMBERS[0])) == 1
    put_back(tmp_path / "copy.db", tmp_path)
    async with running_site(tmp_path) as site:
        assert await paused(site) == 1
        assert (await site.cli("digest", "send", "pmo")).out == "no new posts, so no digest\n"
        await post(site, 2)
        assert "digest 2 with 1 post" in (await site.cli("digest", "send", "pmo")).out
        await site.quiet()
        (digest,) = site.sink.to(MEMBERS[0])
        assert b"1@example.org" not in digest.data


async def test_a_copy_made_by_hand_is_known_by_the_file_beside_it(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        async with running_site(tmp_path) as site:
            if number == 1:
                await make_list(site)
        if number == 1:
            shutil.copy(tmp_path / "mailforum.db", tmp_path / "by-hand")
    assert not [line for line in log.messages if "event=restored" in line], "a restart is no restore"
    put_back(tmp_path / "by-hand", tmp_path)
    async with running_site(tmp_path):
        assert len([line for line in log.messages if "event=restored" in line]) == 1
    async with running_site(tmp_path):
        assert len([line for line in log.messages if "event=restored" in line]) == 1
    (tmp_path / "mailforum.db.served").unlink()
    async with running_site(tmp_path):
        assert len([line for line in log.messages if "event=restored" in line]) == 2


async def test_ids_that_were_given_after_the_copy_are_not_given_again(tmp_path: Path) -> None:
    """A reply address in mail that the copy knows nothing of must not lead to another post."""
    async with running_site(tmp_path) as site:
        await make_list(site)
        await post(site, 1)
        await site.cli("backup", str(tmp_path / "copy.db"))
        for number in (2, 3):
            await post(site, number)
        await site.quiet()
        lost = {int(row[0]) for row in _ids(tmp_path)}
    put_back(tmp_path / "copy.db", tmp_path)
    async with running_site(tmp_path) as site:
        await post(site, 4)
        await site.quiet()
        assert {int(row[0]) for row in _ids(tmp_path)} & lost == {1}


def _ids(folder: Path) -> list[tuple[int]]:
    with sqlite3.connect(folder / "mailforum.db") as connection:
        rows = connection.execute("SELECT id FROM post").fetchall()
    connection.close()
    return rows


async def test_an_admin_can_say_that_a_database_was_put_back(tmp_path: Path) -> None:
    copy = await waiting_copy(tmp_path)
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE fence SET copied_at = NULL")
    connection.close()
    put_back(copy, tmp_path)  # as if it had been put back by means that leave no trace
    words = ["--config", str(tmp_path / "mailforum.toml"), "store", "restored"]
    assert (await asyncio.to_thread(run_cli, words)).code == 0
    async with running_site(tmp_path) as site:
        assert await paused(site) == 2


async def test_a_dump_that_is_restored_elsewhere_is_known_there(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    hold = asyncio.Event()

    async def wait(_: object) -> None:
        await hold.wait()

    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    with database_url() as url, database_url(empty=True) as there:
        async with running_site(tmp_path / "first", Sink(dot=wait), store_url=f'"{url}"') as site:
            await make_list(site)
            await post(site, 1)
            await asyncio.to_thread(dumped_and_restored, url, there)
            hold.set()
            await site.quiet()
        with closing(connect(there)) as session:  # a dump is older than those are waited for that had work in hand
            session.simple("UPDATE host SET seen_at = seen_at - 60")
        async with running_site(tmp_path / "second", store_url=f'"{there}"') as site:  # a host that has served nothing
            (line,) = [line for line in log.messages if line.startswith("event=restored ")]
            assert "paused=2" in line
            await post(site, 2)
            await site.quiet()
            assert sent(site.sink) == each_once(2)
            assert (await site.cli("queue", "resume")).out == "2 go on\n"
            await site.quiet()
            assert sent(site.sink) == each_once(1, 2)
        log.clear()
        async with running_site(tmp_path / "third", store_url=f'"{there}"'):
            assert not [line for line in log.messages if line.startswith("event=restored ")]


def dumped_and_restored(url: str, there: str) -> None:
    folder = programs()
    if not folder or not (folder / "pg_dump").exists():
        pytest.skip("NOT TESTED: there is no pg_dump beside this PostgreSQL")
    dump = subprocess.run([folder / "pg_dump", "-Fc", url], check=True, capture_output=True).stdout
    subprocess.run([folder / "pg_restore", "--exit-on-error", "-d", there], check=True, input=dump)
