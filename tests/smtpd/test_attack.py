"""Plain mail while others hold as many connections as they can get."""

import asyncio
import contextlib
import resource
import statistics
import time
from collections import Counter

import pytest

from tests.smtpd.serving import LIST, Server, serving

ATTACKERS = [f"127.0.0.{number}" for number in range(2, 12)]
EACH = 200
MAILS = 40
HELLO = b"EHLO x\r\n"
MAIL = HELLO + b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<%s>\r\n" % LIST.encode()
# What an attacker says at first, and then a byte at a time.
WAYS = [(b"", b""), (b"", b"EHLO "), (HELLO, b"NOOP "), (MAIL, b""), (MAIL + b"DATA\r\n", b"Subject: ")]


class Attack:
    """Connections from many addresses of this machine, that are silent or crawl."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []
        self.begun = 0

    async def __aenter__(self) -> "Attack":
        for number in range(EACH):
            for address in ATTACKERS:
                self.tasks.append(asyncio.create_task(self._crawl(address, *WAYS[number % len(WAYS)])))
        async with asyncio.timeout(60):
            while self.begun < len(self.tasks):
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _crawl(self, address: str, said: bytes, crawl: bytes) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        finally:
            self.begun += 1
        with contextlib.suppress(OSError), contextlib.closing(writer):
            self.answers[(await reader.readline()).decode()[:3]] += 1
            writer.write(said)
            for byte in crawl * 100:
                await asyncio.sleep(1)
                writer.write(bytes([byte]))
            await reader.read()


@pytest.fixture(autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * len(ATTACKERS) * EACH:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_idle_and_crawling_connections_do_not_keep_plain_mail_out(tmp_path):
    with serving(tmp_path, smtp_trusted="[]", limits_mails_per_minute="0") as server:
        asyncio.run(_attacked(server))


async def _attacked(server: Server) -> None:
    before = server.memory("VmRSS")
    async with Attack(server.port) as attack:
        await asyncio.sleep(1)  # those inside are taken for idle from then on
        took = []
        for number in range(MAILS):
            started = time.monotonic()
            mail = b"From: ada@example.org\r\nMessage-ID: <%d@example.org>\r\n\r\nHello.\r\n" % number
            assert (await server.send(mail)).startswith("250")
            took.append(time.monotonic() - started)
        assert statistics.median(took) < 1  # all of them, where nothing else is running
        assert max(took) < 10
        assert attack.answers["421"] >= len(attack.tasks) - 200 - MAILS
    assert server.memory("VmHWM") - before < 64
