"""Several processes that send: each delivery once, none left behind, and all end with the first."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from mailforum.delivery.crew import Crew
from tests.support.postgres import database_url
from tests.support.sink import Mail, Sink
from tests.support.site import DOMAIN, _send, free_port, run_cli, write_config

POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <%d@example.org>\r\n\r\nHello, all.\r\n"
MEMBERS = [f"m{number}@example.com" for number in range(300)]


class Served:
    """A `mailforum serve` of its own, with two processes that send."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, sink: Sink) -> None:
        self.process, self.port, self.sink = process, port, sink

    async def post(self, number: int) -> None:
        rcpts = [f"pmo@{DOMAIN}"]
        answer = await asyncio.to_thread(_send, ("127.0.0.1", self.port), "ada@example.org", rcpts, POST % number)
        assert answer.startswith("250"), answer

    @property
    def senders(self) -> list[int]:
        """The further processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@asynccontextmanager
async def served(folder: Path, sink: Sink, store: str = "sqlite:mailforum.db") -> AsyncIterator[Served]:
    port = free_port()
    async with sink:
        options = {"smtp_listen": f'["127.0.0.1:{port}"]', "smtp_lmtp": "[]", "web_listen": "[]"}
        options |= {"store_url": f'"{store}"', "store_lease": '"2s"'}
        file = write_config(folder, sink.url, **options, delivery_processes="2")
        (folder / "members").write_text("\n".join(MEMBERS))
        for words in (
            ["list", "create", "pmo"],
            ["list", "set", "pmo", "posting=anyone"],
            ["member", "import", "pmo", str(folder / "members")],
        ):
            assert (await asyncio.to_thread(run_cli, ["--config", str(file), *words])).code == 0
        command = [sys.executable, "-m", "mailforum", "--config", str(file), "serve"]
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert process.stdout
        assert b"ready" in await process.stdout.readline()
        try:
            yield Served(process, port, sink)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def copies(sink: Sink) -> Counter[str]:
    return Counter(mail.rcpts[0] for mail in sink.mails)


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            await asyncio.sleep(0.02)


async def test_two_processes_send_each_delivery_once_and_both_do_their_part(tmp_path: Path, store: str) -> None:
    async with served(tmp_path, Sink(), store) as site:
        await site.post(1)
        await site.sink.wait(300, 30)
        assert copies(site.sink) == Counter(MEMBERS)
        (sender,) = site.senders
        site.process.send_signal(signal.SIGTERM)
        assert await site.process.wait() == 0
        await until_gone(sender)
    assert (tmp_path / "log").read_text().count("event=sent ") == 300


async def test_a_sender_that_is_killed_is_started_again_and_repeats_only_what_was_on_its_way(
    tmp_path: Path, store: str
) -> None:
    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.01)

    async with served(tmp_path, Sink(dot=dot), store) as site:
        await site.post(1)
        await site.sink.wait(100, 30)
        (sender,) = site.senders
        os.kill(sender, signal.SIGKILL)
        async with asyncio.timeout(30):
            while len(copies(site.sink)) < 300:
                await asyncio.sleep(0.02)
        assert site.senders != [sender]
    log = (tmp_path / "log").read_text()
    named = re.findall(r"event=uncertain mail=\w+ delivery=\d+ mailing=\d+ rcpt=(\S+)", log)
    assert set(named) >= {rcpt for rcpt, count in copies(site.sink).items() if count > 1}
    assert len(named) <= 16


async def test_a_sender_that_stands_still_for_longer_than_its_lease_goes_on_with_nothing_that_others_have(
    tmp_path: Path,
) -> None:
    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.05)

    log, waiting = tmp_path / "log", "SELECT count(*) FROM in_flight WHERE deliveries <> '[]' AND lane >= 2000"
    with database_url() as url, psycopg.connect(url, autocommit=True) as looking:

        async def until(query: str, count: int) -> None:
            async with asyncio.timeout(30):
                while looking.execute(query).fetchone() < (count,):  # type: ignore[operator]
                    await asyncio.sleep(0.01)

        async with served(tmp_path, Sink(dot=dot), url) as site:
            await until("SELECT count(*) FROM host", 2)
            await asyncio.gather(*(site.post(number) for number in range(3)))
            await until(waiting, 8)
            (sender,) = site.senders
            os.kill(sender, signal.SIGSTOP)
            await site.sink.wait(900, 30)
            os.kill(sender, signal.SIGCONT)
            async with asyncio.timeout(30):
                while "event=host_back" not in log.read_text():
                    await asyncio.sleep(0.02)
            site.process.send_signal(signal.SIGTERM)
            assert await site.process.wait() == 0
            await until_gone(sender)
        assert set(Counter(mail.rcpts[0] for mail in site.sink.mails)) == set(MEMBERS)
        named = re.findall(r"event=uncertain mail=\w+ delivery=(\d+)", log.read_text())
        sent = Counter(re.findall(r"event=sent mail=\w+ delivery=(\d+)", log.read_text()))
        assert len(sent) == 900
        assert {delivery for delivery, count in sent.items() if count > 1} <= {*named}
        assert 8 <= len(named) <= 16
        assert 900 <= len(site.sink.mails) <= 900 + len(named)


async def test_the_senders_end_when_the_first_process_is_killed(tmp_path: Path) -> None:
    async with served(tmp_path, Sink()) as site:
        async with asyncio.timeout(20):
            while not site.senders:
                await asyncio.sleep(0.02)
        (sender,) = site.senders
        site.process.kill()
        await site.process.wait()
        await until_gone(sender)


async def test_a_sender_that_is_just_being_started_is_told_to_stop_as_well() -> None:
    crew = Crew(["sh", "-c", "exec cat >/dev/null"], 2, [])
    running = asyncio.create_task(crew.run())
    for _ in range(3):  # now it is
        await asyncio.sleep(0)
    crew.stop()
    async with asyncio.timeout(5):
        await running
