"""The game: one server, killed and started again; senders, people and a relay that live on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.ledger import Ledger, List, Pair, Verdict, judge
from tests.chaos.relay import Relay
from tests.chaos.senders import Author, Client, People, carried_to_the_end, opened
from tests.chaos.stages import STAGES, Scene, Stage, Trigger
from tests.support.process import Server
from tests.support.site import free_port, run_cli, write_config

CONNECTIONS, RECIPIENTS = 8, 20
PATIENCE = 90.0
REACH = 6.0  # seconds that a stage may take to come; then the server is killed where it is

CLUB = "club"
LISTS = (
    *(List(f"own{size}", size) for size in (1, 3, 30, 100, 300)),
    *(List(f"shared{size}", size, personal=False) for size in (2, 10, 100, 1000, 2500)),
    List("daily", 3, digest=True),
)
UNCUT = "FROM post JOIN list ON list.id = list_id WHERE address LIKE 'daily@%' AND post.id > digested_post"
UNSENT = "FROM delivery WHERE done_at IS NULL"
UNFANNED = "FROM mailing WHERE fan_after < fan_last"


@dataclass
class Result:
    """How a game ended."""

    verdict: Verdict
    kills: Counter[str]
    missed: Counter[str]
    posts: int
    given_up: int
    deliveries: int
    people: list[str]
    refused: list[str]
    shunted: int
    seconds: float

    @property
    def second_copies(self) -> int:
        """How many there were in all."""
        return self.verdict.repeated.total()

    @property
    def bad(self) -> list[str]:
        """Everything that broke the promise, in words; empty if it was kept."""
        verdict = self.verdict
        found = [
            *(f"lost: {msgid} to {rcpt}" for rcpt, msgid in verdict.lost),
            *(f"torn: {msgid}" for msgid in verdict.torn),
            *(f"damaged: {what}" for what in verdict.damaged),
            *(f"twice without a crash: {msgid} to {rcpt}" for rcpt, msgid in verdict.avoidable),
            *(f"twice, and the log does not say so: {msgid} to {rcpt}" for rcpt, msgid in verdict.untold),
            *(f"refused: {what}" for what in self.refused),
            *self.people,
        ]
        for life, transactions in verdict.transactions.items():
            if len(transactions) > CONNECTIONS or len({number for number, _ in transactions}) < len(transactions):
                found.append(f"kill {life}: {len(transactions)} transactions were repeated: {sorted(transactions)}")
        return found + [f"{self.shunted} mails were put aside"] * bool(self.shunted)


@dataclass
class Game:
    """All who take part."""

    folder: Path
    rng: random.Random
    processes: int = 1
    ledger: Ledger = field(default_factory=Ledger)
    trigger: Trigger = field(default_factory=Trigger)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    inbox: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    async def play(self, kills: int, seconds: float, stages: Sequence[Stage]) -> Result:
        """Play until so many kills or seconds are over, then let everything come to rest, and judge."""
        started = time.monotonic()
        self.relay = Relay(self._kept, self.rng)
        await self.relay.start()
        await asyncio.to_thread(self._set_up)
        authors, people = self._cast()
        tasks = [asyncio.create_task(author.write(self.stop)) for author in authors]
        tasks += [asyncio.create_task(one.come_and_go(self.stop, CLUB)) for one in people]
        for stage in self._order(stages, kills):
            if time.monotonic() - started > seconds:
                break
            await self._live(stage)
        await self._come_to_rest(tasks)
        return await asyncio.to_thread(self._result, authors, people, time.monotonic() - started)

    def _result(self, authors: list[Author], people: list[People], seconds: float) -> Result:
        accepted = sum(post.accepted for post in self.ledger.posts.values())
        return Result(
            verdict=judge(self.ledger, self._mailings()),
            kills=self.kills,
            missed=self.missed,
            posts=accepted,
            given_up=len(self.ledger.posts) - accepted,
            deliveries=sum(map(len, self.ledger.copies.values())),
            people=list(self._people(people)),
            refused=[what for author in authors for what in author.refused],
            shunted=self._ask("SELECT count(*) FROM shunt"),
            seconds=seconds,
        )

    # -- before

    def _set_up(self) -> None:
        ports = {"smtp_listen": free_port(), "smtp_lmtp": free_port()}
        self.ports = list(ports.values())
        options = {name: f'["127.0.0.1:{port}"]' for name, port in ports.items()}
        self.config_file = write_config(
            self.folder,
            f"smtp://127.0.0.1:{self.relay.port}",
            **options,
            web_listen="[]",
            delivery_retry='["1s"]',
            delivery_connections=str(CONNECTIONS),
            delivery_recipients=str(RECIPIENTS),
            delivery_processes=str(self.processes),
        )
        self.database = self.folder / "mailforum.db"
        self.server = Server(self.config_file, "tests.chaos.doomed")
        for each in LISTS:
            self._make_list(each)
        self._cli("list", "create", CLUB)

    def _make_list(self, each: List) -> None:
        mode = "digest" if each.digest else "each"
        rows = "\n".join(f"{reader},{mode}" for reader in each.readers)
        (self.folder / "members.csv").write_text(f"address,mode\n{rows}\n")
        self._cli("list", "create", each.name)
        self._cli("list", "set", each.name, "posting=anyone", f"personal={'on' if each.personal else 'off'}")
        self._cli("member", "import", each.name, str(self.folder / "members.csv"))

    def _cli(self, *words: str) -> None:
        answer = run_cli(["--config", str(self.config_file), *words])
        assert answer.code == 0, answer

    def _cast(self) -> tuple[list[Author], list[People]]:
        smtp, lmtp = self.ports
        clients = [Client(smtp, self.trigger), Client(smtp, self.trigger), Client(lmtp, self.trigger, lmtp=True)]
        authors = [
            Author(f"a{number}", client, LISTS, self.ledger, random.Random(self.rng.random()))
            for number, client in enumerate(clients)
        ]
        people = [
            People(f"p{number}", Client(smtp, self.trigger), self.inbox, random.Random(self.rng.random()))
            for number in range(2)
        ]
        return authors, people

    def _kept(self, life: int, transaction: tuple[int, int], mail_from: str, rcpts: list[str], data: bytes) -> str:
        msgid = self.ledger.keep(life, transaction, mail_from, rcpts, data)
        if rcpts[0] in self.inbox and len(self.ledger.copies[rcpts[0], msgid]) == 1:
            self.inbox[rcpts[0]].append(opened(data))
        return msgid

    # -- the lives of the server

    def _order(self, stages: Sequence[Stage], kills: int) -> Iterator[Stage]:
        """Every stage once, in any order; then all again, as often as it takes."""
        while kills > 0:
            some = self.rng.sample(stages, len(stages))[:kills]
            kills -= len(some)
            yield from some

    async def _live(self, stage: Stage) -> None:
        """Start the server for a life that ends at `stage`."""
        if stage.digest:
            await self._news()
            self._a_day_passes()
        self.ledger.wish = stage.post_to
        await self._start(stage.moment(self.rng).environ() if stage.moment else {})
        reached = await self._reached(stage)
        await self.server.kill()
        (self.kills if reached else self.missed)[stage.name] += 1
        self.trigger.rest()
        self.relay.hold(None)
        self.relay.listen_to_none(False)

    async def _start(self, environ: dict[str, str]) -> None:
        self.relay.life = self.server.life + 1
        await self.server.start(environ)

    async def _reached(self, stage: Stage) -> bool:
        assert self.server.process
        scene = Scene(
            self.relay, self.trigger, self.rng, self.server.ready, self.database.with_name("mailforum.db-wal")
        )
        try:
            async with asyncio.timeout(REACH):
                await (stage.watch(scene) if stage.watch else self.server.ended())
        except TimeoutError:
            return False
        return True

    async def _news(self) -> None:
        """Live until there is something for the next digest."""
        if self._ask(f"SELECT count(*) {UNCUT}"):
            return
        await self._start({})
        while not self._ask(f"SELECT count(*) {UNCUT}"):
            await asyncio.sleep(0.05)
        await self.server.kill()
        self.kills["to have news for a digest"] += 1

    def _a_day_passes(self) -> None:
        """What the list has had happen to it was a day ago: its digest, and its new posts."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            new = f"SELECT post.id {UNCUT}"
            connection.execute(f"UPDATE post SET received_at = received_at - 100000 WHERE id IN ({new})")
            connection.execute("UPDATE list SET digested_at = digested_at - 100000 WHERE address LIKE 'daily@%'")
            connection.execute(
                f"UPDATE post SET received_at = received_at - 100000 WHERE id IN (SELECT post.id {UNCUT})"
            )

    # -- after

    async def _come_to_rest(self, tasks: list[asyncio.Task[None]]) -> None:
        """Let the senders finish, cut a last digest, and wait until nothing waits any more."""
        self.stop.set()
        await self._start({})
        await carried_to_the_end(tasks, PATIENCE)
        await self.server.kill()
        self._a_day_passes()
        await self._start({})
        end, before = time.monotonic() + PATIENCE, -1
        while time.monotonic() < end and self._waits():
            if self.relay.kept != before:
                end, before = time.monotonic() + PATIENCE / 3, self.relay.kept
            await asyncio.sleep(0.2)
        self.server.signal(signal.SIGTERM)
        await self.server.ended()
        for life in range(1, self.server.life + 1):
            self.ledger.uncertain[life] = set(_uncertain(self.server.log_file(life)))
        await self.relay.stop()

    def _waits(self) -> bool:
        return any(self._ask(f"SELECT count(*) {rows}") for rows in (UNSENT, UNFANNED, UNCUT))

    def _ask(self, sql: str) -> int:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20)) as connection:
            return int(connection.execute(sql).fetchone()[0])

    def _mailings(self) -> dict[Pair, int]:
        sql = """SELECT list.address, post.message_id, mailing.id FROM mailing
                 JOIN post ON post.id = mailing.ref_id JOIN list ON list.id = post.list_id WHERE kind = 'post'"""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return {(address.partition("@")[0], msgid): mailing for address, msgid, mailing in connection.execute(sql)}

    def _people(self, people: list[People]) -> Iterator[str]:
        """Name whoever is not where they should be, or was told so more than once."""
        answer = run_cli(["--config", str(self.config_file), "member", "export", CLUB])
        members = {line.partition(",")[0] for line in answer.out.splitlines()}
        for one in people:
            yield from (f"{person} joined and is no member" for person in one.joined - one.left - members)
            yield from (f"{person} left and is a member" for person in one.left & members)
            for person in one.joined:
                words = Counter(subject.partition(" ")[0] for subject, _ in self.inbox[person])
                expected = {"Welcome": 1, "Please": 1 + (person in one.left)}
                if any(words[word] != times for word, times in expected.items()) and not _under_way(one, person):
                    yield f"{person} was told {dict(words)}"


def _under_way(one: People, person: str) -> bool:
    """The last one may have asked to leave when the game ended."""
    return int(person.split(".")[1].partition("@")[0]) == len(one.joined) and person not in one.left


def _uncertain(log: Path) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r"event=uncertain mail=\w+ delivery=\d+ mailing=(\d+) rcpt=(\S+)", log.read_text()):
        yield int(found[1]), found[2]


async def play(
    folder: Path,
    *,
    kills: int,
    seed: int,
    seconds: float = 1e9,
    stages: Sequence[Stage] = STAGES,
    processes: int = 1,
) -> Result:
    """Play a game in `folder`; `processes` of the server send."""
    return await Game(folder, random.Random(seed), processes).play(kills, seconds, stages)
