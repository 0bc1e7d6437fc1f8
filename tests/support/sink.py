"""A mail server for tests: keeps every mail, and misbehaves by script.

    async with Sink(rcpt=lambda addr: "550 5.1.1 no such user" if addr.startswith("bad") else None) as sink:
        ...                         # send to sink.url, or to sink.host and sink.port
        await sink.wait(3)          # until three mails were kept
        assert sink.mails[0].rcpts == ("bob@example.com",)

Each hook (`greeting`, `ehlo`, `mail`, `rcpt`, `data`, `dot`, `rset`, `auth`) is None, an answer, or a
function, `async` or not, that is given what the client said and returns one. For `greeting` that is
the number of the connection, for `dot` the `Mail`. Answers:

    None                            what a healthy server says
    "450 4.2.0 come back later"     this; several lines are separated by "\r\n"; 421 closes behind it
    "drop"                          closes the connection without a word
    "reset"                         the same, by RST
    "hang"                          never answers
    "close-after-reply"             answers as a healthy server, then closes; an answer of one's own
                                    may follow: "close-after-reply 250 2.0.0 bye"
"""

import asyncio
import base64
import contextlib
import dataclasses
import inspect
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

Hook = str | None | Callable[[Any], Any]
HOOKS = ("greeting", "ehlo", "mail", "rcpt", "data", "dot", "rset", "auth")
FEATURES = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@dataclass(frozen=True)
class Mail:
    """A mail as it arrived, without dot-stuffing. `connection` counts from 1, `parameters` are MAIL's."""

    mail_from: str
    rcpts: tuple[str, ...]
    data: bytes
    connection: int
    parameters: tuple[str, ...] = ()
    tls: bool = False
    user: str = ""


class _Gone(Exception):
    """The dialogue is over."""


class Sink:
    """The server.

    `mails`: those answered with 2yz, in order. `seen`: all that came to their dot.
    `chunks`: what came, as it came, (connection, bytes). `lines`: the commands, (connection, text).

    `tls` makes it offer STARTTLS, `users` (names and passwords) AUTH. `close_after` so many mails it
    closes the connection. `delay` is waited before each answer, in seconds.
    """

    def __init__(
        self,
        *,
        features: tuple[str, ...] = FEATURES,
        lmtp: bool = False,
        tls: ssl.SSLContext | None = None,
        users: dict[str, str] | None = None,
        close_after: int = 0,
        delay: float = 0,
        byte_by_byte: bool = False,
        behind_starttls: bytes = b"",
        port: int = 0,
        **hooks: Hook,
    ) -> None:
        assert set(hooks) <= set(HOOKS), f"hooks are {HOOKS}"
        self.hooks = hooks
        self.features, self.lmtp, self.tls, self.users = features, lmtp, tls, users or {}
        self.close_after, self.delay, self.byte_by_byte = close_after, delay, byte_by_byte
        self.host, self.port, self.behind_starttls = "127.0.0.1", port, behind_starttls
        self.mails: list[Mail] = []
        self.seen: list[Mail] = []
        self.chunks: list[tuple[int, bytes]] = []
        self.lines: list[tuple[int, str]] = []
        self.errors: list[Exception] = []
        self.connections = 0
        self.changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """The address as `[delivery] relay` takes it."""
        return f"{'lmtp' if self.lmtp else 'smtp'}://{self.host}:{self.port}"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._tasks)

    def to(self, rcpt: str) -> list[Mail]:
        """The mails kept for `rcpt`."""
        return [mail for mail in self.mails if rcpt in mail.rcpts]

    async def wait(self, count: int, timeout: float = 10) -> list[Mail]:
        """Wait until `count` mails are kept, and return them."""
        async with asyncio.timeout(timeout):
            while len(self.mails) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.mails

    async def __aenter__(self) -> "Sink":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self.errors:  # a mistake in a hook must not pass for a dropped connection
            raise self.errors[0]

    async def start(self) -> None:
        """Listen; after `stop` again on the same port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, self.host, self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and cut what is open."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        self.connections += 1
        number, chunks = self.connections, self.chunks

        class Tap(asyncio.StreamReader):
            def feed_data(self, data: Any) -> None:
                chunks.append((number, bytes(data)))
                super().feed_data(data)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = cast(asyncio.Task[None], asyncio.current_task())
            self._tasks.add(task)
            try:
                with contextlib.suppress(_Gone, OSError, EOFError, asyncio.CancelledError):
                    await _Dialogue(self, number, reader, writer).talk()
            except Exception as error:
                self.errors.append(error)
            finally:
                self._tasks.discard(task)
                writer.close()

        return asyncio.StreamReaderProtocol(Tap(limit=2**26), talk)


class _Dialogue:
    def __init__(self, sink: Sink, number: int, *streams: Any) -> None:
        self.sink, self.number = sink, number
        self.reader, self.writer = streams
        self.encrypted, self.user, self.taken = False, "", 0
        self.reset()
        self.sock = self.writer.get_extra_info("socket")
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        self.mail_from: str | None = None
        self.parameters: tuple[str, ...] = ()
        self.rcpts: list[str] = []

    async def talk(self) -> None:
        await self.answer("greeting", self.number, "220 sink.example.org ESMTP")
        while line := await self.reader.readline():
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            self.sink.lines.append((self.number, text))
            verb, _, rest = text.partition(" ")
            handler = getattr(self, f"on_{verb.lower()}", None)
            await (handler(rest.strip()) if handler else self.say("500 5.5.2 unknown command"))

    async def on_ehlo(self, name: str) -> None:
        tls = ["STARTTLS"] if self.sink.tls and not self.encrypted else []
        auth = ["AUTH PLAIN LOGIN"] if self.sink.users and "AUTH LOGIN" not in self.sink.features else []
        *most, last = ["sink.example.org", *self.sink.features, *tls, *auth]
        self.reset()
        await self.answer("ehlo", name, "\r\n".join([*(f"250-{line}" for line in most), f"250 {last}"]))

    on_lhlo = on_ehlo

    async def on_helo(self, _: str) -> None:
        await self.say("250 sink.example.org")

    async def on_starttls(self, _: str) -> None:
        self.writer.write(b"220 2.0.0 go ahead\r\n" + self.sink.behind_starttls)
        if self.sink.tls is None:
            raise _Gone
        await self.writer.start_tls(self.sink.tls)
        self.encrypted = True

    async def on_auth(self, rest: str) -> None:
        method, _, first = rest.partition(" ")
        if method.upper() == "PLAIN":
            _, user, password = base64.b64decode(first).decode().split("\0")
        else:
            user, password = await self.challenge("Username:"), await self.challenge("Password:")
        good = self.sink.users.get(user) == password
        self.user = user if good else ""
        await self.answer("auth", user, "235 2.7.0 welcome" if good else "535 5.7.8 wrong name or password")

    async def challenge(self, text: str) -> str:
        await self.say(f"334 {base64.b64encode(text.encode()).decode()}")
        return base64.b64decode(await self.reader.readline()).decode()

    async def on_mail(self, rest: str) -> None:
        path, *parameters = rest[len("FROM:") :].split(" ")
        if self.mail_from is not None:
            await self.say("503 5.5.1 nested MAIL command")
        elif await self.answer("mail", path.strip("<>"), "250 2.1.0 ok"):
            self.mail_from, self.parameters = path.strip("<>"), tuple(parameters)

    async def on_rcpt(self, rest: str) -> None:
        address = rest[len("TO:") :].partition(">")[0].strip("<>")
        if self.mail_from is None:
            await self.say("503 5.5.1 need MAIL first")
        elif await self.answer("rcpt", address, "250 2.1.5 ok"):
            self.rcpts.append(address)

    async def on_data(self, _: str) -> None:
        healthy = "354 end with a dot" if self.rcpts else "554 5.5.1 no valid recipients"
        if await self.answer("data", tuple(self.rcpts), healthy):
            await self.body()

    async def body(self) -> None:
        data = bytearray()
        while data != b".\r\n" and not data.endswith(b"\r\n.\r\n"):
            data += await self.reader.readuntil(b".\r\n")
        text = bytes(data[:-3]).replace(b"\r\n.", b"\r\n").removeprefix(b".")
        seen = (self.mail_from or "", tuple(self.rcpts), text, self.number, self.parameters)
        mail = Mail(*seen, self.encrypted, self.user)
        self.sink.seen.append(mail)
        self.reset()
        copies = [dataclasses.replace(mail, rcpts=(rcpt,)) for rcpt in mail.rcpts] if self.sink.lmtp else [mail]
        answers = [await self.verdict("dot", copy) for copy in copies]
        for copy, answer in zip(copies, answers, strict=True):
            if copy.rcpts and _parse(answer, "250")[1].startswith("2"):
                self.sink.mails.append(copy)
                self.sink.changed.set()
        self.taken += 1
        for answer in answers:
            await self.reply(answer, f"250 2.0.0 kept as {len(self.sink.mails)}")
        if self.taken == self.sink.close_after:
            raise _Gone

    async def on_rset(self, said: str) -> None:
        self.reset()
        await self.answer("rset", said, "250 2.0.0 ok")

    async def on_quit(self, _: str) -> None:
        await self.reply("close-after-reply", "221 2.0.0 bye")

    async def verdict(self, name: str, said: object) -> str | None:
        hook = self.sink.hooks.get(name)
        answer = hook(said) if callable(hook) else hook
        return await answer if inspect.isawaitable(answer) else answer

    async def answer(self, name: str, said: object, healthy: str) -> bool:
        return await self.reply(await self.verdict(name, said), healthy)

    async def reply(self, answer: str | None, healthy: str) -> bool:
        """Say it; tell whether it was a yes."""
        action, text = _parse(answer, healthy)
        if action == "hang":
            await asyncio.get_running_loop().create_future()
        if action == "reset":  # SO_LINGER with no time: close() sends RST
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if text:
            await self.say(text)
        if action:
            raise _Gone
        return text[:1] in "23"

    async def say(self, text: str) -> None:
        if self.sink.delay:
            await asyncio.sleep(self.sink.delay)
        data = text.encode("utf-8", "surrogateescape") + b"\r\n"
        step = 1 if self.sink.byte_by_byte else len(data)
        for start in range(0, len(data), step):
            self.writer.write(data[start : start + step])
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):  # what the client wrote before it went is still read
            await self.writer.drain()


def _parse(answer: str | None, healthy: str) -> tuple[str, str]:
    """Take an answer apart: what to do with the connection ("" to go on), and the text to say."""
    if answer in ("drop", "reset", "hang"):
        return answer, ""
    if answer and answer.startswith("close-after-reply"):
        return "close", answer.removeprefix("close-after-reply").lstrip() or healthy
    text = answer or healthy
    return ("close" if text.startswith("421") else ""), text
