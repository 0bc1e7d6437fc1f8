"""Where the benches take place: a `mailforum serve` in a process of its own, and sinks in others.

Nothing here asserts anything about time. What is measured is written down as a `Row`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import smtplib
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailforum import config
from mailforum.app import core
from mailforum.delivery.sign import new_key
from mailforum.model import ListSettings, Mode, Role
from mailforum.store import lists
from tests.support.site import DOMAIN, free_port, write_config

LIST = f"pmo@{DOMAIN}"
AUTHOR = "author@example.com"
PATIENCE = 600.0
TICKS = os.sysconf("SC_CLK_TCK")
# How to reach a relay that is not there: the worker tries one delivery every few seconds, no more.
NOWHERE = "smtp://127.0.0.1:1"


@dataclass(frozen=True)
class Row:
    """One line of the table. `each` is the server's own CPU time for one unit, in microseconds."""

    name: str
    value: str
    each: float | None = None
    ratio: float | None = None
    beside: str = ""
    notes: tuple[str, ...] = field(default=())


class Serving:
    """A running `mailforum serve`: where it listens, what it costs, what it has written down."""

    def __init__(self, process: subprocess.Popen[str], port: int, database: Path, started: float) -> None:
        self.process, self.port, self.database, self.started = process, port, database, started

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used, in all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, what: str = "VmRSS") -> float:
        """MiB in memory now (VmRSS), or at the peak (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def forget_peak(self) -> None:
        """Let VmHWM start again from what is in memory now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def ask(self, sql: str) -> float:
        """Return the one number that a query on the database gives."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return float(connection.execute(sql).fetchone()[0] or 0)

    def until_sent(self) -> None:
        """Wait until no delivery is left."""
        left = """SELECT EXISTS (SELECT 1 FROM delivery WHERE done_at IS NULL)
                      OR EXISTS (SELECT 1 FROM mailing WHERE fan_after < fan_last)"""
        end = time.monotonic() + PATIENCE
        while self.ask(left):
            assert time.monotonic() < end, "the queue does not get empty"
            time.sleep(0.05)

    def post(self, mail: bytes) -> tuple[float, float]:
        """Post a mail; return the time of the 250 and how long it took after the dot, in seconds."""
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example.org") as client:
            client.ehlo()
            client.mail(AUTHOR)
            client.rcpt(LIST)
            started = time.time()
            code, text = client.data(mail)
            answered = time.time()
            assert code == 250, text
            return answered, answered - started


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """Serve what is in `folder` (see `make_site`) until the block ends."""
    started = time.monotonic()
    with (folder / "serve.log").open("ab") as log:
        command = [sys.executable, "-m", "mailforum", "--config", str(folder / "mailforum.toml"), "serve"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout
        ready = process.stdout.readline()
        match = re.search(r"SMTP on 127\.0\.0\.1:(\d+)", ready)
        assert match, (folder / "serve.log").read_text()
        yield Serving(process, int(match[1]), folder / "mailforum.db", time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if process.stdout:
            process.stdout.close()


def make_site(folder: Path, relay: str, members: int, *, keys: tuple[str, ...] = (), **options: str) -> Path:
    """Make a site with one list; `keys` (`rsa`, `ed25519`) sign what it sends. Returns the configuration."""
    personal = options.pop("personal", "true") == "true"
    for prefix, kind in zip(("", "extra_"), keys, strict=False):
        (folder / f"{kind}.pem").write_bytes(new_key(kind)[0])
        options |= {f"dkim_{prefix}selector": f'"{kind}"', f"dkim_{prefix}key_file": f'"{folder / kind}.pem"'}
    file = write_config(folder, relay, **{"smtp_lmtp": "[]", "smtp_max_connections_per_client": "100", **options})
    settings = ListSettings(posting="anyone", personal=personal)
    asyncio.run(_make_list(file, settings, members))
    return file


async def _make_list(file: Path, settings: ListSettings, members: int) -> None:
    async with core(config.load(file, {})) as site:
        list_id = await site.db.write(lambda tx: lists.add(tx, LIST, "PMO circle", settings, time.time()))

        def fill(tx: object) -> None:
            for address in addresses(members):
                lists.add_member(tx, list_id, address, address, "", Role.MEMBER, Mode.EACH, 0.0)  # type: ignore[arg-type]

        await site.db.write(fill)


def addresses(count: int) -> Iterator[str]:
    """Yield the addresses of the members."""
    return (f"reader{number}@example.org" for number in range(count))


def mail(name: str, size: int = 3072) -> bytes:
    """Return a post of about `size` bytes."""
    head = (
        f"From: An Author <{AUTHOR}>\r\nTo: {LIST}\r\nSubject: Budget {name}\r\nMessage-ID: <{name}@example.com>\r\n"
        "Date: Sat, 22 Nov 2025 14:05:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    line = "The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
    return (head + line * max(1, (size - len(head)) // len(line))).encode()


@contextlib.contextmanager
def slow_sink(delay: float) -> Iterator[int]:
    """Run a sink that waits `delay` seconds before it answers a dot; yields its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.slow_sink", str(port), str(delay)])
    try:
        _until_listening(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _until_listening(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise AssertionError("the sink does not listen")


def median(values: list[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)
