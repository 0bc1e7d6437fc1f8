"""Everything at once for a while: memory and open files of the server must stay flat, and nothing be lost.

    python -m tests.soak --minutes 10

Posts to several lists, digests, commands, people who join and leave, bounces, big mails, a relay that
often says not now and sometimes hangs up, an admin and a monitor beside. The server's memory and files
are sampled every second; the last third of the time is compared with the second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.game import Game
from tests.chaos.ledger import List, judge
from tests.chaos.relay import Relay
from tests.chaos.senders import Author, Client, People
from tests.support.process import Server
from tests.support.site import DOMAIN, free_port, run_cli, write_config

LISTS = (List("own30", 30), List("shared200", 200, personal=False), List("pair", 2), List("daily", 5, digest=True))
GROWTH = 1.05  # how much more memory the last third may have than the second,
SLACK = 4.0  # and this many MiB
FILES = 5  # how many more open files
BIG = 3 * 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """The server at one moment: MiB in memory, open files, MiB of the database and of its log."""

    memory: float
    files: int
    database: float
    wal: float


def sample(pid: int, database: Path) -> Sample:
    """Look at the process and its database."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    sizes = [file.stat().st_size / 2**20 if file.exists() else 0.0 for file in (database, Path(f"{database}-wal"))]
    return Sample(pages * 4096 / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir())), *sizes)


class Soak(Game):
    """The cast of the game, without the killer and with more to do."""

    async def run(self, seconds: float) -> tuple[list[Sample], list[str]]:
        """Go on for so long; return the samples and what went wrong."""
        self.relay = Relay(self._kept, self.rng, refusals=0.02)
        await self.relay.start()
        await asyncio.to_thread(self._build)
        self.relay.life = 1
        await self.server.start()
        await self.server.ready()
        tasks = [asyncio.create_task(work) for work in self._work()]
        samples = await self._watch(seconds)
        self.stop.set()
        await asyncio.gather(*tasks)
        await self._settle()
        verdict = judge(self.ledger, await asyncio.to_thread(self._mailings))
        lost = [f"lost: {pair}" for pair in verdict.lost if not pair[0].endswith("@daily.example.org")]
        wrong = [*lost, *verdict.damaged, *(f"twice: {pair}" for pair in verdict.avoidable), *_faults(self.server.log)]
        return samples, wrong

    def _build(self) -> None:
        self.ports = [free_port(), free_port()]
        self.web = free_port()
        smtp, lmtp = self.ports
        listen = {"smtp_listen": smtp, "smtp_lmtp": lmtp, "web_listen": self.web}
        options = {name: f'["127.0.0.1:{port}"]' for name, port in listen.items()}
        relay = f"smtp://127.0.0.1:{self.relay.port}"
        self.config_file = write_config(self.folder, relay, **options, delivery_retry='["1s", "2s"]')
        self.database = self.folder / "mailforum.db"
        self.server = Server(self.config_file)
        for each in LISTS:
            self._make_list(each)
        self._cli("list", "create", "club")

    def _work(self) -> Iterator[Awaitable[None]]:
        smtp, lmtp = self.ports
        for number in range(3):
            client = Client(lmtp if number == 2 else smtp, self.trigger, lmtp=number == 2)
            rng = random.Random(self.rng.random())
            yield Author(f"a{number}", client, LISTS, self.ledger, rng, pause=0.6).write(self.stop)
        for number in range(2):
            person = People(f"p{number}", Client(smtp, self.trigger), self.inbox, self.rng, pause=0.3)
            yield person.come_and_go(self.stop, "club")
        yield self._often(0.5, self._bounce)
        yield self._often(0.7, self._command)
        yield self._often(4, self._big)
        yield self._often(3, self._admin)
        yield self._often(2, self._monitor)
        yield self._often(5, self._hang_up)

    async def _often(self, every: float, what: Callable[[int], Awaitable[object]]) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            await what(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), every * self.rng.uniform(0.5, 1.5))

    async def _send(self, mail_from: str, to: str, mail: str) -> None:
        client = Client(self.ports[0], self.trigger)
        await client.send(mail_from, [f"{to}@{DOMAIN}"], mail.replace("\n", "\r\n").encode())
        client.hang_up()

    async def _bounce(self, number: int) -> None:
        reader = f"reader{number % 30}"
        await self._send("", f"own30-bounces+{reader}=own30.example.org", REPORT.format(number=number, reader=reader))

    async def _command(self, number: int) -> None:
        word = ("help", "which", "lists", "info own30", "nonsense " * 20)[number % 5]
        person = f"asker{number}@people.example.org"
        await self._send(person, "own30-request", f"From: {person}\nMessage-ID: <c{number}@example.org>\n\n{word}\n")

    async def _big(self, number: int) -> None:
        msgid = f"<big{number}@example.com>"
        body = f"{number:076d}\r\n" * (BIG // 78)
        mail = f"From: author@example.com\r\nSubject: big\r\nMessage-ID: {msgid}\r\n\r\n{body}"
        post = self.ledger.post(msgid, (LISTS[2],), body.encode())
        client = Client(self.ports[0], self.trigger)
        if (await client.send("author@example.com", [f"pair@{DOMAIN}"], mail.encode())).startswith("250"):
            self.ledger.accept(post)
        client.hang_up()

    async def _admin(self, number: int) -> None:
        words = (["digest", "send", "daily"], ["queue", "stats"], ["post", "ls", "pair"], ["check"])[number % 4]
        await asyncio.to_thread(run_cli, ["--config", str(self.config_file), *words])

    async def _monitor(self, number: int) -> None:
        path = ("/healthz", "/metrics", "/leave/nothing", "/nowhere")[number % 4]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.web)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.read()
        writer.close()

    async def _hang_up(self, number: int) -> None:
        """A client that is gone in the middle of a mail."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[0])
        await reader.readline()
        envelope = f"EHLO x.example.org\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<pair@{DOMAIN}>\r\nDATA\r\n"
        writer.write(envelope.encode() + b"half a mail\r\n" * 1000)
        await asyncio.sleep(0.1)
        writer.transport.abort()

    async def _watch(self, seconds: float) -> list[Sample]:
        assert self.server.process
        samples = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            samples.append(sample(self.server.process.pid, self.database))
            await asyncio.sleep(min(1.0, seconds / 60))
        return samples

    async def _settle(self) -> None:
        """Let the queue get empty, and end the server."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self._ask("SELECT count(*) FROM delivery WHERE done_at IS NULL"):
            await asyncio.sleep(0.2)
        self.server.signal(signal.SIGTERM)
        assert await self.server.ended() == 0
        await self.relay.stop()


REPORT = """From: MAILER-DAEMON@relay.example.org
To: own30-bounces@lists.example.test
Subject: Undelivered Mail Returned to Sender
Message-ID: <bounce{number}@relay.example.org>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="x"

--x
Content-Type: text/plain

It did not arrive.
--x
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.org

Final-Recipient: rfc822; {reader}@own30.example.org
Action: delayed
Status: 4.2.2
Diagnostic-Code: smtp; 452 4.2.2 mailbox full

--x--
"""


def _faults(log: str) -> list[str]:
    return [
        line for line in log.splitlines() if "Traceback" in line or "event=fault" in line or "event=shunted" in line
    ]


def thirds(samples: list[Sample], what: Callable[[Sample], float]) -> list[float]:
    """Return the middle value of what was sampled in each third of the time."""
    size = len(samples) // 3
    return [statistics.median(map(what, samples[start : start + size])) for start in (0, size, 2 * size)]


def flat(samples: list[Sample]) -> list[str]:
    """Say what has grown from the second third to the last; nothing, if all is well."""
    grown = []
    _, before, after = thirds(samples, lambda one: one.memory)
    if after > before * GROWTH + SLACK:
        grown.append(f"memory grew from {before:.1f} to {after:.1f} MiB")
    _, before, after = thirds(samples, lambda one: one.files)
    if after > before + FILES:
        grown.append(f"open files grew from {before:.0f} to {after:.0f}")
    return grown


def table(samples: list[Sample], posts: int, deliveries: int) -> str:
    """Return what was seen, to be read by people."""
    rows = [f"{'':24}{'first third':>12}{'second':>12}{'last':>12}{'most':>12}"]
    for name, what in (
        ("memory, MiB", lambda one: one.memory),
        ("open files", lambda one: one.files),
        ("database, MiB", lambda one: one.database),
        ("its log (WAL), MiB", lambda one: one.wal),
    ):
        values = [*thirds(samples, what), max(map(what, samples))]  # type: ignore[arg-type]
        rows.append(f"{name:24}" + "".join(f"{value:12.1f}" for value in values))
    return "\n".join([*rows, f"{posts} posts, {deliveries} deliveries"])


def main() -> int:
    """Run from the command line; exit status 1 when something grew or was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), random.Random(args.seed))
        samples, wrong = asyncio.run(soak.run(args.minutes * 60))
        wrong += flat(samples)
    deliveries = sum(map(len, soak.ledger.copies.values()))
    print(f"seed {args.seed}\n{table(samples, len(soak.ledger.posts), deliveries)}")
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    print("flat" if not wrong else "not flat, or not whole")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
