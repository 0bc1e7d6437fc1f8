"""The real server and the real intake on an event loop of their own: hypothesis knows no async rules."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from mailforum import config
from mailforum.core import open_core
from mailforum.model import Envelope, Outcome, Route
from mailforum.settings import ListSettings
from mailforum.smtpd.intake import Intake
from mailforum.smtpd.server import Server
from mailforum.store import lists, posts
from mailforum.store.database import Tx
from tests.fuzz.model import DOMAIN, LISTS
from tests.support.certificate import make_certificate
from tests.support.site import write_config

T = TypeVar("T")
PATIENCE = 20.0


class RecordingIntake:
    """The real one, which remembers what it has taken."""

    def __init__(self, intake: Intake) -> None:
        self.real = intake
        self.taken: list[bytes] = []

    async def admit(self, mail_from: str) -> None:
        await self.real.admit(mail_from)

    async def route(self, rcpt: str) -> Route:
        return await self.real.route(rcpt)

    async def receive(self, envelope: Envelope, raw: bytes) -> tuple[Outcome, ...]:
        outcomes = await self.real.receive(envelope, raw)
        if any(outcome.code == 250 for outcome in outcomes):
            self.taken.append(raw)
        return outcomes


class Faults(logging.Handler):
    """Everything that was logged as an error: our own faults."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class House:
    """A server for all examples."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.faults = Faults()
        for name in ("mailforum", "asyncio"):
            logging.getLogger(name).addHandler(self.faults)
        self.run(self._start(folder))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def _start(self, folder: Path) -> None:
        make_certificate(folder, "tls")
        options = {
            "smtp_max_size": '"100K"',
            "smtp_memory_per_mail": '"2K"',
            "smtp_max_errors": "1000000",
            "smtp_tls_cert": '"tls.pem"',
            "smtp_tls_key": '"tls.key"',
        }
        settings = config.load(write_config(folder, "smtp://127.0.0.1:1", **options), {})
        self.core = await self.stack.enter_async_context(open_core(settings))
        await self.core.db.write(self._make_lists)
        self.intake = RecordingIntake(self.core.intake)
        self.server = Server(settings, self.intake, DOMAIN, self.core.clock)
        await self.server.start()

    def _make_lists(self, tx: Tx) -> None:
        for name in LISTS:
            lists.add(tx, f"{name}@{DOMAIN}", name, ListSettings(posting="anyone"), self.core.clock.now())

    def posts(self) -> int:
        """How many posts there are."""
        return self.run(self.core.db.read(_posts))

    def close(self) -> None:
        for name in ("mailforum", "asyncio"):
            logging.getLogger(name).removeHandler(self.faults)
        self.run(self.server.stop(1))
        self.run(self.stack.aclose())
        self.loop.close()


def _posts(tx: Tx) -> int:
    return sum(posts.newest(tx, mlist.id, 0)[1] for mlist in lists.every(tx))


class Client:
    """A connection that sends bytes and reads replies."""

    def __init__(self, house: House, *, lmtp: bool) -> None:
        address = (house.server.lmtp_addresses if lmtp else house.server.addresses)[0]
        self.house = house
        self.reader, self.writer = house.run(asyncio.open_connection(address.host, address.port))

    def send(self, data: bytes) -> None:
        async def sent() -> None:
            self.writer.write(data)
            await self.writer.drain()

        self.house.run(sent())

    def reply(self) -> list[bytes]:
        """Read a reply, all its lines; [] when the server has closed."""

        async def read() -> list[bytes]:
            lines: list[bytes] = []
            async with asyncio.timeout(PATIENCE):
                while not lines or lines[-1][3:4] == b"-":
                    lines.append(await self.reader.readline())
            return lines if lines[0] else []

        return self.house.run(read())

    def rest(self) -> bytes:
        """Read to the end; a server that closes with bytes unread makes the kernel send a reset."""

        async def read() -> bytes:
            async with asyncio.timeout(PATIENCE):
                try:
                    return await self.reader.read()
                except ConnectionError:
                    return b""

        return self.house.run(read())

    def half_close(self) -> None:
        self.writer.write_eof()

    def start_tls(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.house.run(self.writer.start_tls(context))

    def close(self, *, reset: bool = False) -> None:
        sock = self.writer.get_extra_info("socket")
        if reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.house.run(asyncio.sleep(0))
