"""A whole mailforum for tests: the real service on free ports, with a sink for a relay.

async with running_site(tmp_path) as site:
    await site.cli("list", "create", "pmo")
    reply = await site.send("ada@example.org", ["pmo@lists.example.test"], mail)
    await site.quiet()
    assert site.sink.to("bob@example.com")
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import smtplib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailforum import config, manual
from mailforum.app import Service
from mailforum.chores import keep_bounces
from mailforum.cli.main import main
from mailforum.store import queue
from mailforum.store.database import Tx
from tests.support.clock import ShiftedClock
from tests.support.sink import Sink

DOMAIN = "lists.example.test"
PATIENCE = 20.0


@dataclass
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


class Site:
    """A running service, its relay and its clock."""

    def __init__(self, service: Service, sink: Sink, clock: ShiftedClock, config_file: Path) -> None:
        self.service, self.sink, self.clock, self.config_file = service, sink, clock, config_file

    @property
    def smtp(self) -> tuple[str, int]:
        """Where SMTP is spoken."""
        address = self.service.server.addresses[0]
        return address.host, address.port

    @property
    def lmtp(self) -> tuple[str, int]:
        """Where LMTP is spoken."""
        address = self.service.server.lmtp_addresses[0]
        return address.host, address.port

    async def cli(self, *words: str, check: bool = True) -> Answer:
        """Run a command as an admin would, while the service runs."""
        answer = await asyncio.to_thread(run_cli, ["--config", str(self.config_file), *words])
        assert not check or answer.code == 0, answer
        return answer

    async def send(self, mail_from: str, rcpts: Sequence[str], mail: bytes) -> str:
        """Send a mail with Python's own SMTP client; return the answer, `250 …` or what refused it."""
        return await asyncio.to_thread(_send, self.smtp, mail_from, rcpts, mail)

    async def raw(self, dialogue: bytes, *, lmtp: bool = False) -> bytes:
        """Send bytes as they are, and return everything that comes back until the server closes."""
        reader, writer = await asyncio.open_connection(*(self.lmtp if lmtp else self.smtp))
        writer.write(dialogue)
        await writer.drain()
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()
        return answer

    async def tick(self) -> None:
        """Let the clock do what is due about mail that comes back, as it does every twenty seconds."""
        await keep_bounces(self.service.core, self.clock.now())

    async def quiet(self) -> None:
        """Wait until nothing is left to be sent now."""
        if self.service.worker:
            self.service.worker.look()  # a clock that was moved wakes nobody
        async with asyncio.timeout(PATIENCE):
            while await self._busy():
                await asyncio.sleep(0.01)

    async def _busy(self) -> bool:
        now = self.clock.now()

        def busy(tx: Tx) -> bool:
            waiting = [row for each in ("queued", "deferred") for row in queue.deliveries(tx, each)]
            return any(row.due_at <= now for row in waiting) or tx.one("queue.fanning") is not None

        return await self.service.core.db.read(busy)


@contextlib.asynccontextmanager
async def running_site(folder: Path, sink: Sink | None = None, **options: str) -> AsyncIterator[Site]:
    """Start a service in `folder`. `options` are like `delivery_connections="2"`, in TOML."""
    async with sink or Sink() as relay:
        config_file = write_config(folder, relay.url, **options)
        clock = ShiftedClock()
        async with Service(config.load(config_file, {}), clock) as service:
            yield Site(service, relay, clock, config_file)


def write_config(folder: Path, relay: str, **options: str) -> Path:
    """Write a configuration for tests: free ports, reserved domains allowed."""
    values = {
        ("site", "domain"): f'"{DOMAIN}"',
        ("site", "admin"): '"postmaster@example.org"',
        ("site", "special_domains"): "true",
        ("store", "min_free"): '"0"',
        # Many tests post one text as fast as they can; what ends loops has tests of its own.
        ("store", "reserve"): '"0"',
        ("smtp", "listen"): '["127.0.0.1:0"]',
        ("smtp", "lmtp"): '["127.0.0.1:0"]',
        ("web", "listen"): '["127.0.0.1:0"]',
        ("delivery", "relay"): f'"{relay}"',
    }
    for name, value in options.items():
        section, _, option = name.partition("_")
        values[section, option] = value
    if "postgres" in values.get(("store", "url"), ""):  # there it is for the admin to see that all hosts have one key
        (folder / "secret.key").write_text("5e" * 32 + "\n")
        (folder / "secret.key").chmod(0o600)
    file = folder / "mailforum.toml"
    file.write_text(manual.sample(values))
    return file


def run_cli(words: list[str]) -> Answer:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Answer(code or 0, out.getvalue(), err.getvalue())


def _send(address: tuple[str, int], mail_from: str, rcpts: Sequence[str], mail: bytes) -> str:
    with smtplib.SMTP(*address, local_hostname="client.example.org", timeout=PATIENCE) as client:
        client.ehlo()
        code, text = client.mail(mail_from, ["BODY=8BITMIME"])
        for rcpt in rcpts:
            if code == 250:
                code, text = client.rcpt(rcpt)
        if code == 250:
            code, text = client.data(mail)
        return f"{code} {text.decode()}"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
