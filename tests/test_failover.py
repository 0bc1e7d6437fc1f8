"""PostgreSQL ends or is cut off while mail flows: senders hear 451, and nobody gets a mail twice, or never."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.chaos.ledger import Ledger, List, judge, seconds
from tests.chaos.relay import Relay
from tests.chaos.senders import Author, Client
from tests.chaos.stages import Trigger
from tests.support.failing import Failing, Signal, failing
from tests.support.forward import Way
from tests.support.process import Server
from tests.support.site import free_port, run_cli, write_config

LISTS = (List("few", 3), List("own100", 100), List("shared300", 300, personal=False))
UNSENT = """SELECT (SELECT count(*) FROM delivery WHERE done_at IS NULL)
                 + (SELECT count(*) FROM mailing WHERE fan_after < fan_last)"""


@pytest.fixture(scope="module")
def database() -> Iterator[Failing]:
    with failing() as server:
        yield server


@dataclass
class Play:
    """A server on a PostgreSQL, an author who repeats what was not taken, and a relay that keeps the books."""

    server: Server
    url: str
    smtp: int
    relay: Relay
    ledger: Ledger
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def author(self, seed: int) -> Author:
        client, rng = Client(self.smtp, Trigger()), random.Random(seed)
        return Author(f"a{seed}", client, LISTS, self.ledger, rng, backlog=1500)

    async def sent(self, more: int) -> None:
        """Wait until so many transactions more have come to the relay."""
        wanted = self.relay.kept + more
        async with asyncio.timeout(60):
            while self.relay.kept < wanted:
                await asyncio.sleep(0.01)

    async def come_to_rest(self, *writing: asyncio.Task[None]) -> None:
        """Let authors end, wait until all is sent, and stop the server."""
        self.stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*writing)
            while await asyncio.to_thread(self._unsent):
                await asyncio.sleep(0.05)
        self.server.signal(signal.SIGTERM)
        await self.server.ended()

    def _unsent(self) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(UNSENT).fetchone()
            assert row
            return int(row[0])

    def check(self) -> None:
        """The books: all that was accepted has reached everybody, once and whole, and nothing was our fault."""
        verdict = judge(self.ledger, {})
        assert (verdict.lost, verdict.torn, verdict.damaged) == ([], [], [])
        assert list(seconds(self.ledger)) == []
        assert sum(post.accepted for post in self.ledger.posts.values()) > 5
        assert not re.findall(r".*(?:Traceback|event=fault|event=shunted|Error:).*", self.server.log)


@asynccontextmanager
async def play(folder: Path, url: str, over: str = "") -> AsyncIterator[Play]:
    """Have all of them; the server reaches its database at `over`, if that is another URL."""
    ledger = Ledger()
    relay = Relay(ledger.keep, random.Random(1))
    await relay.start()
    port = free_port()
    file = write_config(
        folder,
        f"smtp://127.0.0.1:{relay.port}",
        store_url=f'"{url}"',
        smtp_listen=f'["127.0.0.1:{port}"]',
        smtp_lmtp="[]",
        web_listen="[]",
        delivery_retry='["1s"]',
    )
    await asyncio.to_thread(_make_lists, folder, file)
    file.write_text(file.read_text().replace(url, over or url))
    server = Server(file)
    await server.start()
    try:
        await server.ready()
        yield Play(server, url, port, relay, ledger)
    finally:
        await server.kill()
        await relay.stop()


def _make_lists(folder: Path, file: Path) -> None:
    def cli(*words: str) -> None:
        answer = run_cli(["--config", str(file), *words])
        assert answer.code == 0, answer

    for each in LISTS:
        (folder / "members").write_text("\n".join(each.readers))
        cli("list", "create", each.name)
        cli("list", "set", each.name, "posting=anyone", f"personal={'on' if each.personal else 'off'}")
        cli("member", "import", each.name, str(folder / "members"))


@pytest.mark.timeout(180)
async def test_postgres_ends_in_every_way_and_nothing_is_lost_or_sent_twice(tmp_path: Path, database: Failing) -> None:
    ways: tuple[Signal, ...] = ("INT", "QUIT", "KILL")
    async with play(tmp_path, database.url(database.create())) as game:
        writing = [asyncio.create_task(game.author(seed).write(game.stop)) for seed in range(2)]
        for times, how in enumerate(ways, 1):
            await game.sent(25)
            await asyncio.to_thread(database.end, how)
            refused = game.server.log.count("code=451")
            await game.server.logged("code=451", refused + 2)  # senders hear it
            assert game.server.process
            assert game.server.process.returncode is None
            await asyncio.to_thread(database.begin)
            await game.sent(25)
            assert game.server.log.count("event=ready") == 1, f"it was started again the {times}th time"
        await game.come_to_rest(*writing)
        game.check()


async def test_who_starts_again_after_a_kill_goes_on_at_once_with_what_it_had_in_hand(
    tmp_path: Path, database: Failing
) -> None:
    async with play(tmp_path, database.url(database.create())) as game:
        mail = "From: ada@example.org\r\nSubject: x\r\nMessage-ID: <mail{}ofx@example.org>\r\n\r\nHello.\r\n"
        for number in range(3):
            client, data = Client(game.smtp, Trigger()), mail.format(number).encode()
            assert (await client.send("ada@example.org", ["own100@lists.example.test"], data))[:3] == "250"
        await game.sent(10)
        await game.server.kill()
        assert game.relay.kept < 300
        await game.server.start()
        await game.server.ready()
        async with asyncio.timeout(15):  # half a lease
            while await asyncio.to_thread(game._unsent):
                await asyncio.sleep(0.05)
        assert game.relay.kept >= 300
        assert game.server.log.count("event=host_lost") == 1


async def test_a_session_goes_on_when_the_database_is_back(tmp_path: Path, database: Failing) -> None:
    async with play(tmp_path, database.url(database.create())) as game:
        client = Client(game.smtp, Trigger())
        mail = b"From: ada@example.org\r\nSubject: x\r\nMessage-ID: <mail1ofx@example.org>\r\n\r\nHello.\r\n"
        await asyncio.to_thread(database.end, "INT")
        assert (await client.send("ada@example.org", ["few@lists.example.test"], mail))[:9] == "451 4.3.0"
        before = client.streams
        await asyncio.to_thread(database.begin)
        async with asyncio.timeout(20):
            while (answer := await client.send("ada@example.org", ["few@lists.example.test"], mail))[:3] != "250":
                assert answer[:3] == "451"
                await asyncio.sleep(0.05)
        assert client.streams is before is not None
        await game.sent(3 - game.relay.kept)


class LosingWay(Way):
    """A way on which the answer to one commit in so many is lost, and the connection with it: it has taken place."""

    def __init__(self, url: str, rng: random.Random, share: float) -> None:
        super().__init__(url)
        self.rng, self.share, self.lost = rng, share, 0

    def passes(self, answer: bytes) -> bool:
        if b"COMMIT\0" in answer and self.rng.random() < self.share:
            self.lost += 1
            return False
        return True


@pytest.mark.timeout(180)
async def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_made_twice(tmp_path: Path, database: Failing) -> None:
    url = database.url(database.create())
    way = LosingWay(url, random.Random(5), 0.1)
    await way.open()
    try:
        async with play(tmp_path, url, way.url) as game:
            writing = asyncio.create_task(game.author(3).write(game.stop))
            async with asyncio.timeout(60):
                while way.lost < 6 or sum(post.accepted for post in game.ledger.posts.values()) < 10:
                    await asyncio.sleep(0.05)
            way.share = 0.0
            await game.come_to_rest(writing)
            game.check()
    finally:
        await way.cut()
