"""The wire under a dialogue: lines, mail data, time-outs, TLS, and parting from a client.

`Wire` is an aiosmtpd connection with another engine. What aiosmtpd 1.4.6 does and this does not:
keep a line without end in memory, cancel the handler (and a commit with it) when the client
closes, end a session by a fixed clock, answer an exception with its text. Whatever the client
does, what is here ends in `HangUp`, and no cancel is ever sent to work on a mail.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from aiosmtpd.smtp import SMTP

from mailforum import log
from mailforum.config import Smtp
from mailforum.errors import Deferred, Refused
from mailforum.smtpd.syntax import MailData, reply, words

T = TypeVar("T")

_WINDOW = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that no site has had to change. Sizes in bytes, times in seconds."""

    line: int = 4096  # a command; RFC 5321 section 4.5.3.1.4 asks for 512, extensions for some more
    junk: int = 20  # errors and idle talk without a mail taken
    grace: float = 60.0  # a mail may start slowly,
    pace: int = 1024  # then this many bytes a second are the least
    excess: int = 4  # times max_size a mail too large is read to its end
    spare: int = 64 * 1024  # of each mail is not charged to `memory`, so that plain mail always passes
    memory: int = 64 * 1024**2  # for all mails being received, but room for two of max_size at least
    handshake: float = 30.0
    linger: float = 2.0


class HangUp(Exception):
    """The end of a session, with a last reply or none; the only way a dialogue ends."""

    def __init__(self, reply: str = "") -> None:
        super().__init__(reply)
        self.reply = reply


def client_of(peer: str) -> str:
    """Say who is counted for an address: an IPv4 address, the /64 of an IPv6 one, "" for this machine."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return ""
    return str(address) if address.version == 4 else address.exploded[:19]


class Shared:
    """What all connections of a server have in common: its options, its certificate, who is inside."""

    def __init__(
        self,
        options: Smtp,
        hostname: str,
        tls: ssl.SSLContext | None,
        limits: Limits,
        new_id: Callable[[], str],
    ) -> None:
        self.options = options
        self.new_id = new_id
        self.hostname = hostname
        self.tls = tls
        self.limits = limits
        self.closing = False
        self.inside: set[Wire] = set()
        self.work: set[asyncio.Task[Any]] = set()
        self._clients: Counter[str] = Counter()
        self._memory = max(limits.memory, 2 * options.max_size)

    def admit(self, wire: Wire) -> str:
        """Let a connection in; returns "", or why not."""
        if len(self.inside) >= self.options.max_connections:
            return "Too many connections"
        if wire.client and self._clients[wire.client] >= self.options.max_connections_per_client:
            return "Too many connections from your address"
        self.inside.add(wire)
        self._clients[wire.client] += 1
        return ""

    def leave(self, wire: Wire) -> None:
        """Forget a connection that `admit` let in."""
        self.inside.discard(wire)
        self._clients[wire.client] -= 1
        if not self._clients[wire.client]:
            del self._clients[wire.client]

    def take_memory(self, size: int) -> bool:
        """Reserve room for a part of a large mail; False: there is none. Negative sizes give it back."""
        if size > self._memory:
            return False
        self._memory -= size
        return True

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in a task of its own, which goes on whatever becomes of the caller."""
        task = asyncio.get_running_loop().create_task(work)
        self.work.add(task)
        task.add_done_callback(self.work.discard)
        return await asyncio.shield(task)


class Wire(SMTP):
    """One connection. The dialogue on it is a subclass: `greeting` and `obey`."""

    transport: asyncio.Transport
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _paused: bool

    def __init__(self, shared: Shared) -> None:
        # SMTP.__init__ searches itself for hooks and logins with dir(), 0.25 ms for each connection;
        # neither is used here.
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_WINDOW, loop=loop)
        asyncio.StreamReaderProtocol.__init__(self, reader, self._cb_client_connected, loop)
        self.loop = loop
        self.shared = shared
        self.peer = self.client = ""
        self.encrypted = False
        self.waiting = False
        self._junk = 0
        self._memory = 0
        self._deadline: float | None = None
        self._timeout_handle = None
        self._handler_coroutine = None

    # -- what a dialogue says and does

    def greeting(self) -> str:
        """Return the first line of the server."""
        raise NotImplementedError

    async def obey(self, verb: str, argument: str) -> None:
        """Carry out one command and push its reply; Refused and Deferred become replies."""
        raise NotImplementedError

    def is_between_mails(self) -> bool:
        """Say whether the dialogue has no mail begun."""
        raise NotImplementedError

    def mail_id(self) -> str:
        """Return the id of the mail that the dialogue is about; "" between two."""
        raise NotImplementedError

    # -- coming and going

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        name = transport.get_extra_info("peername")
        if name:
            self.peer, self.client = name[0], client_of(name[0])
        reason = self.shared.admit(self)
        if reason:
            log.event("turned_away", peer=self.peer, reason=reason)
            self.dismiss(f"421 4.7.0 {reason}, try again later")
            return
        self._handler_coroutine = self.loop.create_task(self._handle_client())
        self._handler_coroutine.add_done_callback(self._left)

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that the dialogue runs in, once it does."""
        return self._handler_coroutine

    def connection_lost(self, error: Exception | None) -> None:
        # The dialogue learns of it at its next read or write; work on a mail goes on.
        asyncio.StreamReaderProtocol.connection_lost(self, error)

    def eof_received(self) -> bool | None:
        # A client may close its side right behind the dot and still gets its answer.
        return asyncio.StreamReaderProtocol.eof_received(self)

    def dismiss(self, farewell: str) -> None:
        """End a session from outside, at once; work on a mail that it has begun goes on."""
        if not self.transport.is_closing():
            self.transport.write(farewell.encode() + b"\r\n")
        self._close()
        if self._handler_coroutine:
            self._handler_coroutine.cancel()

    def _close(self) -> None:
        if self.transport.is_closing():  # closing TLS twice breaks it in Python 3.11
            return
        unsent = self.transport.get_write_buffer_size()
        self.transport.close()
        if unsent:  # a client that does not even read is not waited for
            self.loop.call_later(self.shared.limits.linger, self.transport.abort)

    async def _handle_client(self) -> None:
        try:
            await self._converse()
        except HangUp as end:
            with suppress(HangUp, OSError, TimeoutError):
                await self._part(end.reply)
        except Exception as error:
            with suppress(HangUp):
                await self.push(await self.handle_exception(error))

    def _left(self, _: asyncio.Task[None]) -> None:
        # A callback and no `finally`: a task that is cancelled before its first step runs neither.
        self._deadline = None
        if self._timeout_handle:
            self._timeout_handle.cancel()
        self._close()
        self.release_memory()
        self.shared.leave(self)

    async def _converse(self) -> None:
        self._reset_timeout()
        await self.push(self.greeting())
        while True:
            try:
                await self.obey(*words(await self._read_line()))
            except HangUp:
                raise
            except (Refused, Deferred) as error:
                await self._complain(error)
            except Exception as error:
                await self.push(await self.handle_exception(error))

    async def _complain(self, error: Refused | Deferred) -> None:
        if isinstance(error, Refused):
            self.count_junk()
        text = reply(error.code, error.enhanced, error.text)
        if error.code == 421:
            raise HangUp(text)
        await self.push(text)

    async def handle_exception(self, error: Exception) -> str:
        """Log our own fault with an id and return what the client hears of it: 451 and that id."""
        fault = secrets.token_hex(4)
        log.event("fault", logging.ERROR, error, id=fault, mail=self.mail_id(), peer=self.peer)
        return reply(451, "4.3.0", f"Something went wrong on our side, please try again later (id {fault})")

    def count_junk(self) -> None:
        """Count an error or a command that leads nowhere; HangUp when there were too many."""
        self._junk += 1
        if self._junk >= self.shared.limits.junk:
            log.event("turned_away", peer=self.peer, reason="too many errors")
            raise HangUp("421 4.7.0 Too many errors or idle commands")

    def forgive(self) -> None:
        """Start counting anew: this client does send mail."""
        self._junk = 0

    async def _part(self, farewell: str) -> None:
        if not farewell:
            return
        await self.push(farewell)
        if farewell.startswith("221") or not self.transport.can_write_eof():
            return
        # Closing with bytes unread makes the kernel send a reset, and the client never sees the reply.
        self.transport.write_eof()
        async with asyncio.timeout(self.shared.limits.linger):
            while await self._reader.read(_WINDOW):
                pass

    # -- reading and writing

    async def push(self, status: str | bytes) -> None:
        """Send one reply; HangUp when the client is gone."""
        if self.transport.is_closing():
            raise HangUp
        self._writer.write((status.encode() if isinstance(status, str) else status) + b"\r\n")
        if self._paused:  # by asyncio: the client reads more slowly than it asks
            self._reset_timeout()
            try:
                await self._writer.drain()
            except OSError:
                raise HangUp from None

    async def _read_line(self) -> bytes:
        if self.shared.closing and self.is_between_mails():
            raise HangUp("421 4.3.2 The server is going down, try again later")
        self._reset_timeout()
        self.waiting = True
        try:
            line = await self._reader.readuntil(b"\n")
        except (EOFError, OSError):
            raise HangUp from None
        except asyncio.LimitOverrunError:
            raise HangUp("500 5.5.2 Line too long") from None
        finally:
            self.waiting = False
        self._deadline = None  # now it is the client who waits for us
        if len(line) > self.shared.limits.line:
            raise Refused("Line too long", code=500, enhanced="5.5.2")
        if not line.endswith(b"\r\n"):
            raise Refused("Lines must end with CR LF", code=500, enhanced="5.5.2")
        return line[:-2]

    async def read_mail(self) -> bytes:
        """Read mail data up to its end and return it, dots taken off.

        Raises Refused 552 (too large; all of it was read) and Deferred 452 (too many large mails at
        once); HangUp when the client goes, falls silent, crawls, or sends far more than is allowed.
        """
        options = self.shared.options
        mail = MailData(options.max_size)
        started = self.loop.time()
        rest = None
        while rest is None:
            self._reset_timeout(options.data_timeout)
            try:
                chunk = await self._reader.read(_WINDOW)
            except OSError:
                raise HangUp from None
            if not chunk:
                raise HangUp
            rest = mail.feed(chunk)
            if rest is None:
                self._check_mail(mail, started)
        self._reader._buffer[:0] = rest  # type: ignore[attr-defined]  # there is no public "unread"
        self._deadline = None
        return mail.content()

    def _check_mail(self, mail: MailData, started: float) -> None:
        limits = self.shared.limits
        seconds = self.loop.time() - started
        if seconds > limits.grace and mail.received < seconds * limits.pace:
            raise HangUp("421 4.4.2 Too slow, try again later")
        if mail.received > self.shared.options.max_size * limits.excess + _WINDOW:
            raise HangUp("552 5.3.4 The mail is far too large")
        more = max(0, mail.kept - limits.spare) - self._memory
        if self.shared.take_memory(more):
            self._memory += more
        else:
            mail.discard(Deferred("Too many large mails at once, try again later", code=452, enhanced="4.3.1"))

    def release_memory(self) -> None:
        """Give back what `read_mail` reserved, once the mail is dealt with."""
        self.shared.take_memory(-self._memory)
        self._memory = 0

    def bytes_waiting(self) -> bool:
        """Say whether the client has sent more than was read."""
        return bool(self._reader._buffer)  # type: ignore[attr-defined]

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Say 220 and turn the connection into TLS; HangUp when the handshake fails.

        Commands that came in the clear behind STARTTLS are dropped (RFC 3207 section 4.2, CVE-2011-0411).
        Nothing may wait between that and the new transport: the next bytes are the handshake.
        """
        self._reader._buffer.clear()  # type: ignore[attr-defined]
        self._writer.write(b"220 2.0.0 Ready to start TLS\r\n")
        try:
            transport = await self.loop.start_tls(
                self.transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self.shared.limits.handshake,
                ssl_shutdown_timeout=self.shared.limits.linger,
            )
        except OSError:
            raise HangUp from None
        if transport is None or transport.is_closing():  # gone in mid-handshake: asyncio calls that a success
            raise HangUp
        self.transport = transport
        self._reader._transport = self._writer._transport = transport  # type: ignore[attr-defined]
        self._transport, self._over_ssl, self.encrypted = transport, True, True

    # -- time

    def _reset_timeout(self, duration: float | None = None) -> None:
        # Moving the deadline is cheaper than moving the timer: it is set anew only to ring earlier.
        self._deadline = self.loop.time() + (duration or self.shared.options.command_timeout)
        if self._timeout_handle and self._timeout_handle.when() > self._deadline:
            self._timeout_handle.cancel()
            self._timeout_handle = None
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_at(self._deadline, self._timeout_cb)

    def _timeout_cb(self) -> None:
        self._timeout_handle = None
        if self._deadline is None:
            return
        if self._deadline - self.loop.time() > 0.001:
            self._timeout_handle = self.loop.call_at(self._deadline, self._timeout_cb)
        else:
            self.dismiss("421 4.4.2 Time-out, try again later")
