"""A server on a free port with an intake that only remembers, and a client that speaks bytes."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from mailforum.clock import SystemClock
from mailforum.errors import Deferred, Refused
from mailforum.model import Envelope, Outcome, Route, RouteRole
from mailforum.options import Config, Smtp
from mailforum.options import Limits as RateLimits
from mailforum.smtpd.server import Server
from mailforum.smtpd.shared import Limits
from mailforum.units import Address, Duration, Size

FREE = Address("127.0.0.1:0")


@dataclass
class RememberingIntake:
    """Knows every address of lists.example.org but `nobody@`; `answer` may be changed by a test."""

    mails: list[tuple[Envelope, bytes]] = field(default_factory=list)
    routed: list[str] = field(default_factory=list)
    answers: dict[str, Outcome | Exception] = field(default_factory=dict)
    failure: Exception | None = None
    full: bool = False
    begun: int = 0
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event | None = None

    async def admit(self, mail_from: str) -> None:
        if self.full:
            raise Deferred("Too much mail is waiting", code=452, enhanced="4.3.1")

    async def route(self, rcpt: str) -> Route:
        self.routed.append(rcpt)
        answer = self.answers.get(rcpt)
        if isinstance(answer, Exception):
            raise answer
        if rcpt.startswith("nobody@") or not rcpt.endswith("@lists.example.org"):
            raise Refused("There is no such list", "unknown address", code=550, enhanced="5.1.1")
        return Route(rcpt, RouteRole.POST)

    async def receive(self, envelope: Envelope, raw: bytes) -> tuple[Outcome, ...]:
        self.begun += 1
        self.busy.set()
        if self.go:
            await self.go.wait()
        if self.failure:
            raise self.failure
        self.mails.append((envelope, raw))
        return tuple(self._outcome(route.rcpt) for route in envelope.routes)

    def _outcome(self, rcpt: str) -> Outcome:
        answer = self.answers.get(rcpt)
        return answer if isinstance(answer, Outcome) else Outcome(rcpt, 250, "2.0.0", f"Taken for {rcpt}")


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> str:
        """Read one reply, all its lines; "" when the server has closed."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 10)).decode()
            lines.append(line.rstrip("\r\n"))
            if not line or line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, line: str | bytes) -> str:
        await self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.read()

    async def hello(self, verb: str = "EHLO") -> str:
        assert (await self.read()).startswith("220 ")
        return await self.say(f"{verb} client.example.com")

    async def begin(self, *rcpts: str, verb: str = "EHLO") -> None:
        """Say everything up to DATA's 354."""
        await self.hello(verb)
        assert (await self.say("MAIL FROM:<ann@example.com>"))[:3] == "250"
        for rcpt in rcpts or ("pmo@lists.example.org",):
            assert (await self.say(f"RCPT TO:<{rcpt}>"))[:3] == "250"
        assert (await self.say("DATA"))[:3] == "354"

    async def closed(self) -> bool:
        """Wait until the server has closed; whatever else it says is read."""
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(self.reader.read(), 10)
        return True

    def close(self) -> None:
        self.writer.close()


class StoppedClock(SystemClock):
    """Stands still but for what a test adds."""

    at = 1000.0

    def monotonic(self) -> float:
        return self.at


class House:
    def __init__(self, server: Server, intake: RememberingIntake, clock: StoppedClock) -> None:
        self.server = server
        self.intake = intake
        self.clock = clock
        self.clients: list[Client] = []

    async def connect(self, *, lmtp: bool = False) -> Client:
        address = (self.server.lmtp_addresses if lmtp else self.server.addresses)[0]
        self.clients.append(Client(*await asyncio.open_connection(address.host, address.port)))
        return self.clients[-1]

    async def ready(self, *, lmtp: bool = False) -> Client:
        client = await self.connect(lmtp=lmtp)
        await client.hello("LHLO" if lmtp else "EHLO")
        return client

    @property
    def raw(self) -> bytes:
        """The one mail that was taken."""
        ((_, raw),) = self.intake.mails
        return raw

    async def close(self) -> None:
        for client in self.clients:
            client.close()
        await self.server.stop(0.2)


async def build(
    base: Path = Path(), limits: Limits | None = None, rates: RateLimits | None = None, **options: object
) -> House:
    defaults: dict[str, object] = {
        "listen": (FREE,),
        "lmtp": (FREE,),
        "max_size": Size(100_000),
        "command_timeout": Duration(20),
        "data_timeout": Duration(20),
    }
    config = Config(
        smtp=msgspec.structs.replace(Smtp(), **{**defaults, **options}), base=base, limits=rates or RateLimits()
    )
    intake = RememberingIntake()
    clock = StoppedClock()
    house = House(Server(config, intake, "lists.example.org", clock, limits), intake, clock)
    await house.server.start()
    return house


@pytest.fixture
async def serve():
    """Start servers: `house = await serve(max_size=1000, limits=Limits(...))`."""
    houses: list[House] = []

    async def start(
        base: Path = Path(), limits: Limits | None = None, rates: RateLimits | None = None, **options: object
    ) -> House:
        houses.append(await build(base, limits, rates, **options))
        return houses[-1]

    yield start
    for house in houses:
        await house.close()
