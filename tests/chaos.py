"""Kill the server again and again while mail flows, and keep the books.

    python -m tests.chaos --kills 200 --seed 1

A real `mailforum serve` takes posts over SMTP from senders that repeat what was not answered, as
honest mail servers do, and sends to a sink. At random moments it is killed with SIGKILL and started
again. What was answered with 250 must reach every member; a member may get a second copy only
where the sink's answer was on its way at a kill: at most one for each open connection and kill.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mailforum import config
from mailforum.app import core
from mailforum.store import queue
from tests.support.sink import Sink
from tests.support.site import DOMAIN, free_port, run_cli, write_config

CONNECTIONS = 8
PATIENCE = 90.0


@dataclass
class Books:
    """What was promised, and what came."""

    members: int
    accepted: set[str] = field(default_factory=set)
    kills: int = 0

    def lost(self, copies: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return (member, Message-ID) of every promise that was not kept."""
        return [(to, msgid) for msgid in self.accepted for to in addresses(self.members) if not copies[to, msgid]]


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    posts: int
    deliveries: int
    kills: int
    lost: int
    second_copies: int
    allowed: int
    shunted: bool

    @property
    def good(self) -> bool:
        """Whether the promise was kept."""
        return not self.lost and not self.shunted and self.second_copies <= self.allowed


def addresses(count: int) -> list[str]:
    """Return the addresses of the members."""
    return [f"member{number}@example.org" for number in range(count)]


class Server:
    """`mailforum serve` in a process of its own, to be killed."""

    def __init__(self, config_file: Path, port: int, log: Path) -> None:
        self.config_file, self.port, self.log = config_file, port, log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it may not be ready yet."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mailforum", "--config", str(self.config_file), "serve", stdout=log, stderr=log
            )

    async def kill(self) -> None:
        """End it as a power cut would, as far as a process can."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def run(*, kills: int, seed: int, members: int = 60, senders: int = 3, folder: Path) -> Result:
    """Play the whole game in `folder`; the books are in the result."""
    rng = random.Random(seed)
    port = free_port()
    async with Sink() as sink:
        options = {"smtp_listen": f'["127.0.0.1:{port}"]', "smtp_lmtp": "[]", "web_listen": "[]"}
        retry = {"delivery_retry": '["1s"]', "delivery_connections": str(CONNECTIONS)}
        config_file = write_config(folder, sink.url, **options, **retry)
        await asyncio.to_thread(_make_list, config_file, folder, members)
        books = Books(members)
        server = Server(config_file, port, folder / "serve.log")
        await server.start()
        stop = asyncio.Event()
        posting = [asyncio.create_task(_post(port, books, f"s{seed}.{n}", rng.random(), stop)) for n in range(senders)]
        for _ in range(kills):
            await _kill_once(server, books, sink, rng)
        stop.set()
        await asyncio.wait_for(asyncio.gather(*posting), PATIENCE)
        await _until_sent(config_file, books, sink)
        await server.kill()
        return await _result(config_file, books, sink)


def _make_list(config_file: Path, folder: Path, members: int) -> None:
    (folder / "members.txt").write_text("\n".join(addresses(members)))
    for words in (["list", "create", "pmo"], ["list", "set", "pmo", "posting=anyone"]):
        assert run_cli(["--config", str(config_file), *words]).code == 0
    answer = run_cli(["--config", str(config_file), "member", "import", "pmo", str(folder / "members.txt")])
    assert answer.code == 0, answer


async def _kill_once(server: Server, books: Books, sink: Sink, rng: random.Random) -> None:
    """Let mail flow for a random while, now and then only just after the start, and kill."""
    seen = len(sink.seen)
    wait = rng.choice([rng.uniform(0.2, 1.0), rng.uniform(0.8, 2.5)])
    if wait > 0.8:  # a kill in the middle of a fan-out: wait until one is under way
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while len(sink.seen) < seen + rng.randint(1, 40):
                    await asyncio.sleep(0.002)
        await asyncio.sleep(rng.uniform(0, 0.02))
    else:
        await asyncio.sleep(wait)
    await server.kill()
    books.kills += 1
    await server.start()


async def _post(port: int, books: Books, name: str, phase: float, stop: asyncio.Event) -> None:
    """One honest sender: each post is repeated until it is answered, and only then the next."""
    await asyncio.sleep(phase)
    number = 0
    while not stop.is_set():
        number += 1
        msgid = f"<{number}.{name}@example.com>"
        while not await _sent(port, msgid):
            await asyncio.sleep(0.05)
        books.accepted.add(msgid)
        await asyncio.sleep(0.15)


async def _sent(port: int, msgid: str) -> bool:
    """Send one mail over a connection of its own; True only when the answer to the dot was 250."""
    mail = f"From: author@example.com\r\nTo: pmo@{DOMAIN}\r\nSubject: {msgid}\r\nMessage-ID: {msgid}\r\n\r\nHello.\r\n"
    dialogue = ("EHLO client.example.com", "MAIL FROM:<author@example.com>", f"RCPT TO:<pmo@{DOMAIN}>", "DATA")
    try:
        async with asyncio.timeout(15):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await _reply(reader)
                for line in dialogue:
                    writer.write(line.encode() + b"\r\n")
                    if (await _reply(reader))[:1] not in ("2", "3"):
                        return False
                writer.write(mail.encode() + b".\r\n")
                return (await _reply(reader)).startswith("250")
            finally:
                writer.close()
    except (OSError, TimeoutError, EOFError):
        return False


async def _reply(reader: asyncio.StreamReader) -> str:
    while line := (await reader.readline()).decode():
        if line[3:4] != "-":
            return line
    raise EOFError


async def _until_sent(config_file: Path, books: Books, sink: Sink) -> None:
    """Wait until the queue is empty, or for as long as patience lasts."""
    async with core(config.load(config_file)) as site:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            stats = await site.db.read(queue.stats)
            if not stats["queued"][0] and not stats["deferred"][0]:
                return
            await asyncio.sleep(0.1)


async def _result(config_file: Path, books: Books, sink: Sink) -> Result:
    copies = Counter((mail.rcpts[0], _msgid(mail.data)) for mail in sink.mails)
    shunts = await asyncio.to_thread(run_cli, ["--config", str(config_file), "shunt", "ls", "--json"])
    return Result(
        posts=len(books.accepted),
        deliveries=len(sink.mails),
        kills=books.kills,
        lost=len(books.lost(copies)),
        second_copies=sum(count - 1 for count in copies.values()),
        allowed=books.kills * CONNECTIONS,
        shunted=bool(shunts.out.strip()),
    )


def _msgid(data: bytes) -> str:
    return data.partition(b"\r\nMessage-ID: ")[2].partition(b"\r\n")[0].decode()


def main() -> int:
    """Run from the command line; exit status 1 when the promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--members", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(run(kills=args.kills, seed=args.seed, members=args.members, folder=Path(folder)))
    print(f"seed {args.seed}: {result}")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
