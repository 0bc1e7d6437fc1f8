"""The relay that everything goes to: fast, honest, now and then short of temper, and it keeps the books.

What it has read up to the dot it keeps, before it answers. It can be told to hold its answers back,
or to stop reading, so that the server can be killed between its dot and the answer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import count

END = b"\r\n.\r\n"
HELLO = b"250-relay.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 0\r\n"


class Relay:
    """Listens; `keep(life, transaction, mail_from, rcpts, data)` is told of every mail kept, and returns its id.

    `life` is counted up by whoever starts the server; a connection belongs to the life it was made in. Where there
    are several servers, `lives` has that of each, by address, and a mail belongs to the life it comes in.
    `refusals` is the share of answers that are a temporary no.
    """

    def __init__(
        self, keep: Callable[..., str], rng: random.Random, refusals: float = 0.002, host: str = "127.0.0.1"
    ) -> None:
        self.keep, self.rng, self.refusals, self.host = keep, rng, refusals, host
        self.life = 0
        self.lives: dict[str, int] = {}
        self.kept = 0
        self.holding: str | None = None  # answers to mails whose id begins so are held back
        self.held = 0
        self.deaf = False
        self.changed = asyncio.Event()
        self.numbers = count(1)
        self.port = 0
        self.open: set[Session] = set()

    async def start(self) -> None:
        """Listen on a port of its own."""
        server = await asyncio.get_running_loop().create_server(lambda: Session(self), self.host, 0, backlog=512)
        self.server, self.port = server, server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Let go of everything."""
        self.server.close()
        for session in list(self.open):
            session.transport.abort()

    def hold(self, prefix: str | None = "") -> None:
        """Answer no dot from now on of a mail whose Message-ID begins with `prefix`; None: answer again."""
        self.holding, self.held = prefix, 0

    def listen_to_none(self, deaf: bool) -> None:
        """Stop reading, or read again what has come meanwhile."""
        self.deaf = deaf
        for session in self.open:
            if deaf:
                session.transport.pause_reading()
            else:
                session.transport.resume_reading()

    def tell(self) -> None:
        """Wake whoever waits for something to happen here."""
        self.changed.set()
        self.changed.clear()


class Session(asyncio.Protocol):
    """One connection; commands may come pipelined."""

    def __init__(self, relay: Relay) -> None:
        self.relay, self.life, self.number = relay, relay.life, next(relay.numbers)
        self.waiting = bytearray()
        self.in_mail = self.silent = False
        self.mail_from, self.rcpts, self.mails = "", [], 0  # type: str, list[str], int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.peer = transport.get_extra_info("peername")[0]
        self.relay.open.add(self)
        transport.write(b"220 relay.example.org ESMTP\r\n")  # type: ignore[attr-defined]
        if self.relay.deaf:
            self.transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.relay.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        answers = bytearray()
        while True:
            end = END if self.in_mail else b"\r\n"
            at = self.waiting.find(end)
            if at < 0:
                break
            part = bytes(self.waiting[:at])
            del self.waiting[: at + len(end)]
            answers += self.mail(part + b"\r\n") if self.in_mail else self.command(part)
        if answers and not self.silent:
            self.transport.write(bytes(answers))

    def command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        argument = line.partition(b"<")[2].partition(b">")[0].decode()
        if verb in (b"EHLO", b"HELO"):
            return HELLO
        if verb == b"MAIL":
            self.mail_from, self.rcpts = argument, []
        elif verb == b"RCPT":
            if self.moody():
                return b"450 4.2.1 not now\r\n"
            self.rcpts.append(argument)
        elif verb == b"DATA":
            if not self.rcpts:
                return b"554 5.5.1 no valid recipients\r\n"
            self.in_mail = True
            return b"354 go on\r\n"
        elif verb == b"QUIT":
            return b"221 2.0.0 bye\r\n"
        return b"250 2.0.0 ok\r\n"

    def mail(self, stuffed: bytes) -> bytes:
        self.in_mail = False
        if len(self.rcpts) == 1 and self.moody():
            return b"451 4.3.0 not now\r\n"
        self.mails += 1
        relay, data = self.relay, stuffed.replace(b"\r\n..", b"\r\n.")
        life = relay.lives.get(self.peer, self.life)
        msgid = relay.keep(life, (self.number, self.mails), self.mail_from, self.rcpts, data)
        relay.kept += 1
        if relay.holding is not None and msgid.startswith(relay.holding):
            self.silent = True  # for ever: whoever waits for this answer will be killed
            relay.held += 1
        relay.tell()
        return b"250 2.0.0 kept\r\n"

    def moody(self) -> bool:
        return self.relay.rng.random() < self.relay.refusals
