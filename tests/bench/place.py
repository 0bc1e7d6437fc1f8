"""Where the benches take place: a `mailforum serve` in a process of its own, and sinks in others.

Nothing here asserts anything about time. What is measured is written down as a `Row` (table.py).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import os
import random
import re
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from mailforum import config
from mailforum.core import open_core
from mailforum.delivery.sign import new_key
from mailforum.model import Mode, Role
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store.database import Tx
from tests.bench.references import sink, tool
from tests.support.site import DOMAIN, free_port, write_config

LIST = f"pmo@{DOMAIN}"
SMALL_LIST = f"lab@{DOMAIN}"
SMALL = 10  # members of the small list
AUTHOR = "author@example.com"
PATIENCE = 1200.0
TICKS = os.sysconf("SC_CLK_TCK")
# How to reach a relay that is not there: the worker tries one delivery every few seconds, no more.
NOWHERE = "smtp://127.0.0.1:1"

_PENDING = """SELECT EXISTS (SELECT 1 FROM delivery WHERE done_at IS NULL)
                  OR EXISTS (SELECT 1 FROM mailing WHERE fan_after < fan_last)"""

# Given on the command line (`--option delivery_processes=2`): for every site that is made.
given_options: dict[str, str] = {}


class Serving:
    """A running `mailforum serve`: where it listens, what it costs, what it has written down."""

    def __init__(self, process: subprocess.Popen[str], port: int, database: Path | str, started: float) -> None:
        """`database` is a SQLite file, or the URL of a PostgreSQL database."""
        self.process, self.port, self.database, self.started = process, port, database, started

    @property
    def cpu(self) -> float:
        """Seconds of CPU used in all threads, and in the processes that it has started."""
        return cpu(self.process.pid)

    def memory(self, what: str = "VmRSS") -> float:
        """MiB in memory now (VmRSS), or at the peak (VmHWM), of it and the processes that it has started."""
        status = "".join(Path(f"/proc/{pid}/status").read_text() for pid in self._pids())
        return sum(int(size) for size in re.findall(rf"{what}:\s+(\d+)", status)) / 1024

    def forget_peak(self) -> None:
        """Let VmHWM start again from what is in memory now."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        return processes(self.process.pid)

    def ask(self, sql: str, *values: object) -> float:
        """Return the one number that a query on the database gives."""
        if isinstance(self.database, str):
            found = _connected(self.database).execute(sql.replace("?", "%s"), values).fetchone()
            return float((found and found[0]) or 0)
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return float(connection.execute(sql, values).fetchone()[0] or 0)

    def until_sent(self, mailing: int, readers: int) -> None:
        """Wait until a mailing has gone out to all its readers, each at the first attempt."""
        end = time.monotonic() + PATIENCE
        while self.ask(_PENDING) or self.ask("SELECT count(*) FROM delivery WHERE mailing_id = ?", mailing) < readers:
            assert time.monotonic() < end, "the queue does not get empty"
            time.sleep(0.05)
        odd = "SELECT count(*) FROM delivery WHERE mailing_id = ? AND (state <> 'sent' OR attempts <> 1)"
        failed = self.ask(odd, mailing)
        assert not failed, f"{failed} deliveries did not go out at once"

    def post(self, mail: bytes, to: str = LIST) -> tuple[float, float, int]:
        """Post a mail; return the time of the 250, the seconds it took after the dot, and the mailing's id."""
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.example.org") as client:
            client.ehlo()
            client.mail(AUTHOR)
            client.rcpt(to)
            started = time.time()
            code, text = client.data(mail)
            answered = time.time()
        assert code == 250, text
        mailing = self.ask("SELECT max(mailing.id) FROM mailing JOIN list ON list.id = list_id WHERE address = ?", to)
        return answered, answered - started, int(mailing)

    def first(self, mailing: int) -> float:
        """When the first delivery of a mailing was done; waits for it."""
        return self._when("min", mailing, 1)

    def last(self, mailing: int, readers: int) -> float:
        """When the last delivery of a mailing to so many readers was done; waits for it."""
        return self._when("max", mailing, readers)

    def _when(self, which: str, mailing: int, readers: int) -> float:
        done = f"SELECT CASE WHEN count(done_at) >= ? THEN {which}(done_at) END FROM delivery WHERE mailing_id = ?"
        end = time.monotonic() + PATIENCE
        while not (when := self.ask(done, readers, mailing)):
            assert time.monotonic() < end, "nothing is delivered"
            time.sleep(0.02)
        return when

    def kill(self) -> None:
        """End it as a power cut would, but for the disk."""
        self.process.kill()
        self.process.wait()


@functools.cache
def _connected(url: str) -> psycopg.Connection:
    """Return a connection that is kept: to open one takes more of the server than all that it is asked."""
    return psycopg.connect(url, autocommit=True)


def processes(pid: int) -> list[int]:
    """Return a process and all that it has started, grandchildren too."""
    found = [pid]
    for one in found:  # it grows meanwhile
        for task in Path(f"/proc/{one}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used, and all that it has started."""
    return sum(_seconds(one) for one in processes(pid))


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS  # its own, and that of children which have ended


def asking(url: str) -> float:
    """Return the seconds of CPU that our own questions (`Serving.ask`) have taken of a PostgreSQL."""
    return cpu(_connected(url).info.backend_pid)


@contextlib.contextmanager
def serving(folder: Path, url: str = "") -> Iterator[Serving]:
    """Serve what is in `folder` (see `make_site`), or on the PostgreSQL at `url`, until the block ends."""
    started = time.monotonic()
    with (folder / "serve.log").open("ab") as log:
        command = [sys.executable, "-m", "mailforum", "--config", str(folder / "mailforum.toml"), "serve"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout
        ready = process.stdout.readline()
        match = re.search(r"SMTP on 127\.0\.0\.1:(\d+)", ready)
        assert match, (folder / "serve.log").read_text()
        yield Serving(process, int(match[1]), url or folder / "mailforum.db", time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if process.stdout:
            process.stdout.close()


def make_site(folder: Path, relay: str, members: int, *, keys: tuple[str, ...] = (), **options: str) -> Path:
    """Make a site with one list of so many, and a small one. Returns the configuration.

    `keys` (`rsa`, `ed25519`) sign what it sends. With `personal` (the default) each reader's mail has a
    return path, leave links by mail and https, and a footer of its own.
    """
    personal = options.pop("personal", "true") == "true"
    for prefix, kind in zip(("", "extra_"), keys, strict=False):
        (folder / f"{kind}.pem").write_bytes(new_key(kind)[0])
        options |= {f"dkim_{prefix}selector": f'"{kind}"', f"dkim_{prefix}key_file": f'"{folder / kind}.pem"'}
    fixed = {"smtp_lmtp": "[]", "smtp_max_connections_per_client": "100", "web_url": '"https://lists.example.test"'}
    file = write_config(folder, relay, **{**fixed, **options, **given_options})
    settings = ListSettings(posting="anyone", personal=personal, footer=personal)
    asyncio.run(_make_lists(file, settings, {LIST: members, SMALL_LIST: SMALL}))
    return file


async def _make_lists(file: Path, settings: ListSettings, sizes: dict[str, int]) -> None:
    def fill(tx: Tx) -> None:
        for address, members in sizes.items():
            list_id = lists.add(tx, address, "PMO circle", settings, time.time())
            assert list_id
            for number in range(members):
                reader = f"reader{number}@example.org"
                lists.add_member(tx, list_id, reader, reader, "", Role.MEMBER, Mode.EACH, 0.0)

    async with open_core(config.load(file, {})) as site:
        await site.db.write(fill)


def mail(name: str, size: int = 3072) -> bytes:
    """Return a post of about `size` bytes."""
    kind = "text/plain; charset=utf-8"
    head = _head(name, kind)
    line = "The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
    return (head + line * max(1, (size - len(head)) // len(line))).encode()


def mail_with_file(name: str, size: int) -> bytes:
    """Return a post of about `size` bytes, most of them an attachment that no compression makes smaller."""
    text = "--=_1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThe minutes are attached.\r\n"
    part = '--=_1\r\nContent-Type: application/pdf; name="minutes.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    content = base64.encodebytes(random.Random(name).randbytes(size * 57 // 78)).replace(b"\n", b"\r\n")
    head = _head(name, 'multipart/mixed; boundary="=_1"')
    return (head + text + part).encode() + content + b"--=_1--\r\n"


def _head(name: str, kind: str) -> str:
    return (
        f"From: An Author <{AUTHOR}>\r\nTo: {LIST}\r\nSubject: Budget {name}\r\nMessage-ID: <{name}@example.com>\r\n"
        f"Date: Sat, 22 Nov 2025 14:05:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n"
    )


@contextlib.contextmanager
def relay(delay: float | None = None) -> Iterator[int]:
    """Run a sink; yields its port. With `delay`, one that waits so many seconds before it answers a dot."""
    if delay is None and tool("smtp-sink"):
        with sink() as port:
            yield port
        return
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.slow_sink", str(port), str(delay or 0)])
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
