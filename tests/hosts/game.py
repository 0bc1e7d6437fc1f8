"""The game: two hosts and a database on a network of their own, senders that try one host and then the other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.chaos.ledger import Copy, Ledger, List, Pair, Verdict, judge, mailing, seconds
from tests.chaos.relay import Relay
from tests.chaos.senders import Author, Client, carried_to_the_end
from tests.chaos.stages import Trigger
from tests.hosts import stage
from tests.hosts.troubles import LEASE, Host, Scene, Trouble
from tests.support.failing import failing
from tests.support.process import Server
from tests.support.site import run_cli, write_config

CONNECTIONS, RECIPIENTS = 16, 20
PATIENCE = 60.0
SMTP = 25
SECRET = "5ec2e7" * 10  # of all hosts

LISTS = (
    List("everybody", 10_000, personal=False),
    List("few", 3),
    List("own300", 300),
    List("shared100", 100, personal=False),
)
UNSENT = "FROM delivery WHERE done_at IS NULL"
UNFANNED = "FROM mailing WHERE fan_after < fan_last"


@dataclass
class Result:
    """How a game ended."""

    verdict: Verdict
    troubles: Counter[str]
    posts: int
    given_up: int
    deliveries: int
    by_host: dict[str, int]
    seconds_untold: list[Pair]
    repeated: int
    transactions: int  # in which that was first sent
    losses: int  # of hosts, by death or because they were silent for too long
    refused: list[str]
    faults: list[str]
    waiting: int
    seconds: float

    @property
    def bad(self) -> list[str]:
        """Everything that broke the promise, in words; empty if it was kept."""
        return [
            *(f"lost: {msgid} to {rcpt}" for rcpt, msgid in self.verdict.lost),
            *(f"torn: {msgid}" for msgid in self.verdict.torn),
            *(f"damaged: {what}" for what in self.verdict.damaged),
            *(f"twice, and no log says so: {msgid} to {rcpt}" for rcpt, msgid in self.seconds_untold),
            *(f"refused: {what}" for what in self.refused),
            *(f"fault: {what}" for what in self.faults),
            *[f"{self.waiting} deliveries were still waiting at the end"] * bool(self.waiting),
            *[f"{self.transactions} transactions were repeated"] * (self.transactions > self.most),
        ]

    @property
    def most(self) -> int:
        """How many transactions may be repeated: for each loss of a host what its connections had under way."""
        return CONNECTIONS * self.losses


@dataclass
class Game:
    """All who take part."""

    folder: Path
    rng: random.Random
    roles: tuple[str, str] = ("all", "all")
    ledger: Ledger = field(default_factory=Ledger)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    troubles: Counter[str] = field(default_factory=Counter)
    fallen: list[str] = field(default_factory=list)

    async def play(self, troubles: Sequence[Trouble], seconds: float) -> Result:
        """Play until all of it has happened or time is up, let everything come to rest, and judge."""
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            home, *places = stack.enter_context(stage.network(["database", "one", "two"]))
            self.database = stack.enter_context(failing(home.inside, home.inner))
            self.url = self.database.url(self.database.create())
            self.relay = Relay(self.ledger.keep, self.rng, host=f"{stage.OUTER}.{stage.STAGE}")
            await self.relay.start()
            await self._hosts(places)
            authors = self._authors()
            tasks = [asyncio.create_task(author.write(self.stop)) for author in authors]
            await self._happen(troubles, started + seconds)
            waiting = await self._come_to_rest(tasks)
            return await asyncio.to_thread(self._result, authors, waiting, time.monotonic() - started)

    # -- before

    async def _hosts(self, places: Sequence[stage.Place]) -> None:
        (self.folder / "secret.key").write_text(SECRET)
        self.hosts = [self._host(place, role) for place, role in zip(places, self.roles, strict=True)]
        await asyncio.to_thread(self._set_up, self.hosts[0].server.config_file)
        for host in self.hosts:
            await host.start()
            await host.server.ready()

    def _host(self, place: stage.Place, role: str) -> Host:
        folder = self.folder / place.name
        folder.mkdir()
        file = write_config(
            folder,
            f"smtp://{self.relay.host}:{self.relay.port}",
            site_secret_file='"../secret.key"',
            store_url=f'"{self.database.tcp(psycopg.conninfo.conninfo_to_dict(self.url)["dbname"])}"',
            store_lease=f'"{LEASE:g}s"',
            smtp_listen=f'["{place.outer}:{SMTP}"]',
            smtp_lmtp="[]",
            web_listen="[]",
            delivery_retry='["1s"]',
            delivery_connections=str(CONNECTIONS),
            delivery_recipients=str(RECIPIENTS),
        )
        words = ("--role", role)
        self.relay.lives[place.outer] = place.number
        return Host(place, Server(file, inside=place.inside, words=words))

    def _set_up(self, config: Path) -> None:
        def cli(*words: str) -> None:
            answer = run_cli(["--config", str(config), *words])
            assert answer.code == 0, answer

        for each in LISTS:
            rows = "\n".join(f"{reader},each" for reader in each.readers)
            (self.folder / "members.csv").write_text(f"address,mode\n{rows}\n")
            cli("list", "create", each.name)
            cli("list", "set", each.name, "posting=anyone", f"personal={'on' if each.personal else 'off'}")
            cli("member", "import", each.name, str(self.folder / "members.csv"))

    def _authors(self) -> list[Author]:
        addresses = [host.place.outer for host, role in zip(self.hosts, self.roles, strict=True) if takes(role)]
        made = []
        for number in range(3):
            turned = tuple(addresses[number % len(addresses) :] + addresses[: number % len(addresses)])
            client = Client(SMTP, Trigger(), hosts=turned, patience=4 * LEASE)
            rng = random.Random(self.rng.random())
            made.append(Author(f"a{number}", client, LISTS[1:], self.ledger, rng, backlog=1000, pause=0.1))
        made[0].lists = LISTS
        return made

    # -- while mail flows

    async def _happen(self, troubles: Sequence[Trouble], end: float) -> None:
        scene = Scene(self.hosts, self.database, self.rng)
        for trouble in troubles:
            if time.monotonic() > end:
                return
            await self._amid_a_fan_out()
            await trouble.strike(scene)
            self.troubles[trouble.name] += 1
            await self._see_to_the_fallen(trouble)

    async def _see_to_the_fallen(self, trouble: Trouble) -> None:
        """Start again who has ended without being killed, which nobody may."""
        for host in self.hosts:
            assert host.server.process
            if host.server.process.returncode is not None:
                code = host.server.process.returncode
                self.fallen.append(f"host {host.place.name} has ended by itself ({code}), as {trouble.name}")
                await host.start()

    async def _amid_a_fan_out(self) -> None:
        """Have a post to everybody under way, somewhere between its first and its last delivery."""
        if self.ledger.owed < LISTS[0].size / 2:
            self.ledger.wish = LISTS[0].name
        wanted = self.relay.kept + self.rng.randint(1, LISTS[0].size // RECIPIENTS // 2)
        end = time.monotonic() + PATIENCE
        while self.relay.kept < wanted and time.monotonic() < end:
            await asyncio.sleep(0.01)

    # -- after

    async def _come_to_rest(self, tasks: list[asyncio.Task[None]]) -> int:
        """Let the senders finish and wait until nothing waits any more, or nothing moves; return how much waits."""
        self.stop.set()
        await carried_to_the_end(tasks, PATIENCE)
        end, before = time.monotonic() + PATIENCE, -1
        while (waiting := await asyncio.to_thread(self._waiting)) and time.monotonic() < end:
            if self.relay.kept != before:
                end, before = time.monotonic() + PATIENCE / 2, self.relay.kept
            await asyncio.sleep(0.2)
        for host in self.hosts:
            host.server.signal(signal.SIGTERM)
        for host in self.hosts:
            await host.server.ended()
        await self.relay.stop()
        return waiting

    def _waiting(self) -> int:
        return sum(int(row[0]) for rows in (UNSENT, UNFANNED) for row in self._ask(f"SELECT count(*) {rows}"))

    def _ask(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql).fetchall()

    def _result(self, authors: list[Author], waiting: int, took: float) -> Result:
        mailings = self._mailings()
        logs = [text for host in self.hosts for text in _logs(host.server)]
        told = {pair for text in logs for pair in _uncertain(text)}
        again = [(pair, first) for pair, first, _ in seconds(self.ledger)]
        accepted = sum(post.accepted for post in self.ledger.posts.values())
        return Result(
            verdict=judge(self.ledger, mailings),
            troubles=self.troubles,
            posts=accepted,
            given_up=len(self.ledger.posts) - accepted,
            deliveries=sum(map(len, self.ledger.copies.values())),
            by_host=self._by_host(),
            seconds_untold=[pair for pair, _ in again if (mailing(pair, mailings), pair[0]) not in told],
            repeated=len(again),
            transactions=len({first.transaction for _, first in again}),
            losses=sum(text.count("event=host_lost") for text in logs),
            refused=[what for author in authors for what in author.refused],
            faults=self.fallen
            + [line for text in logs for line in text.splitlines() if "event=fault" in line or "shunted" in line],
            waiting=waiting,
            seconds=took,
        )

    def _by_host(self) -> dict[str, int]:
        copies: list[Copy] = [copy for some in self.ledger.copies.values() for copy in some]
        names = {host.place.number: host.place.name for host in self.hosts}
        return dict(Counter(names[copy.life] for copy in copies))

    def _mailings(self) -> dict[Pair, int]:
        sql = """SELECT list.address, post.message_id, mailing.id FROM mailing
                 JOIN post ON post.id = mailing.ref_id JOIN list ON list.id = post.list_id WHERE kind = 'post'"""
        return {(str(row[0]).partition("@")[0], str(row[1])): int(str(row[2])) for row in self._ask(sql)}


def takes(role: str) -> bool:
    """Say whether a host with these roles takes mail in."""
    return "smtp" in role or "all" in role


def _logs(server: Server) -> Iterator[str]:
    for life in range(1, server.life + 1):
        yield server.log_file(life).read_text()


def _uncertain(text: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r"event=uncertain mail=\w+ delivery=\d+ mailing=(\d+) rcpt=(\S+)", text):
        yield int(found[1]), found[2]


async def play(
    folder: Path, *, troubles: Sequence[Trouble], seed: int, seconds: float, roles: tuple[str, str] = ("all", "all")
) -> Result:
    """Play a game in `folder`, inside a network of our own (`stage.enter`)."""
    return await Game(folder, random.Random(seed), roles).play(troubles, seconds)
