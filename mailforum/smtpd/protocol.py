"""The wire under a dialogue: lines, mail data, time-outs, TLS, and parting from a client.

`Wire` is an aiosmtpd connection with another engine. What aiosmtpd 1.4.6 does and this does not:
keep a line without end in memory, cancel the handler (and a commit with it) when the client
closes, end a session by a fixed clock, answer an exception with its text. Whatever the client
does, what is here ends in `HangUp`, and no cancel is ever sent to work on a mail.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar, cast

from aiosmtpd.smtp import SMTP

from mailforum import log
from mailforum.errors import Deferred, Refused
from mailforum.smtpd import proxied
from mailforum.smtpd.data import MailData
from mailforum.smtpd.inbox import WINDOW, Gone, Inbox, TooLong
from mailforum.smtpd.shared import Shared
from mailforum.smtpd.syntax import reply, words

T = TypeVar("T")


class HangUp(Exception):
    """The end of a session, with a last reply or none; the only way a dialogue ends."""

    def __init__(self, reply: str = "") -> None:
        super().__init__(reply)
        self.reply = reply


class Wire(SMTP):
    """One connection. The dialogue on it is a subclass: `greeting` and `obey`."""

    transport: asyncio.Transport
    _paused: bool
    _closed: asyncio.Future[None]

    def __init__(self, shared: Shared) -> None:
        # SMTP.__init__ searches itself for hooks and logins with dir(), 0.25 ms for each connection;
        # neither is used here.
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(self, cast(asyncio.StreamReader, None), None, loop)
        self.loop = loop
        self.shared = shared
        self.peer = self.client = ""
        self.proxied = False
        self.inbox = Inbox(loop)
        self.encrypted = False
        self._held = bytearray()
        self._working = self._parted = False
        self.waiting = False
        self._junk = 0
        self._mail: MailData | None = None
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
        self.inbox.use(self.transport)
        name = transport.get_extra_info("peername")
        self.peer = name[0] if name else ""
        self.proxied = bool(name) and self.peer in self.shared.proxies
        if self.peer and not self.proxied:
            self.client = self.shared.clients.name(self.peer)
        if self._let_in():
            self._handler_coroutine = self.loop.create_task(self._handle_client())
            self._handler_coroutine.add_done_callback(self._left)

    def _let_in(self) -> bool:
        reason = self.shared.admit(self)
        if reason:
            log.event("turned_away", peer=self.peer, reason=reason)
            self.dismiss(f"421 4.7.0 {reason}, try again later")
        return not reason

    @property
    def silent_since(self) -> float:
        """Since when we wait for a command (the loop's time); never, when it is the client who waits."""
        if not self.waiting or self._deadline is None:
            return float("inf")
        return self._deadline - self.shared.options.command_timeout

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that the dialogue runs in, once it does."""
        return self._handler_coroutine

    def data_received(self, data: bytes) -> None:
        self.inbox.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        # The dialogue learns of it at its next read or write; work on a mail goes on.
        self.inbox.end()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        if error is not None and self._closed.done():
            self._closed.exception()  # nobody asks for it, and asyncio would say so with a traceback

    def eof_received(self) -> bool | None:
        # A client may close its side right behind the dot and still gets its answer.
        self.inbox.end()
        return asyncio.StreamReaderProtocol.eof_received(self)

    def dismiss(self, farewell: str) -> None:
        """End a session from outside, at once; work on a mail that it has begun goes on."""
        if not self.transport.is_closing() and not self._parted:
            self._write(farewell)
        self._close()
        if self._handler_coroutine and not self._working:
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
            with suppress(HangUp, Gone, OSError, TimeoutError):
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
        if self._mail:
            self.shared.release(self._mail)
        self.shared.leave(self)

    async def _introduced(self) -> None:
        """Let the proxy say whose connection this is; from here on it is as if that client had come itself."""
        self.waiting = True
        try:
            peer = await proxied.client(self.inbox, self.shared.limits.header)
        except proxied.NoHeader as error:
            log.event("turned_away", peer=self.peer, reason=f"no PROXY header: {error}")
            raise HangUp("421 4.7.0 Your address has to speak the PROXY protocol here") from None
        finally:
            self.waiting = False
        self.shared.leave(self)
        if peer:  # else it is a health check, say: who may name any client at all is not counted itself
            self.peer, self.client = peer, self.shared.clients.name(peer)
        if not self._let_in():
            raise HangUp

    async def _converse(self) -> None:
        if self.proxied:
            await self._introduced()
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
        if self._junk >= self.shared.options.max_errors:
            log.event("turned_away", peer=self.peer, reason="too many errors")
            raise HangUp("421 4.7.0 Too many errors or idle commands")

    def forgive(self) -> None:
        """Start counting anew: this client does send mail."""
        self._junk = 0

    async def _part(self, farewell: str) -> None:
        if not farewell:
            return
        await self.push(farewell)
        polite = farewell.startswith("221") and not self.bytes_waiting()
        if polite or not self.transport.can_write_eof():
            return
        # Closing with bytes unread makes the kernel send a reset, and the client never sees the reply.
        self._parted = True
        self.transport.write_eof()
        async with asyncio.timeout(self.shared.limits.linger):
            while await self.inbox.chunk():
                pass

    # -- reading and writing

    async def push(self, status: str | bytes) -> None:
        """Send one reply; HangUp when the client is gone."""
        if self.transport.is_closing():
            raise HangUp
        self._write(status)
        if self._paused:  # by asyncio: the client reads more slowly than it asks
            self._reset_timeout()
            try:
                await self._drain_helper()  # type: ignore[attr-defined]  # not in the stubs
            except OSError:
                raise HangUp from None

    async def push_soon(self, status: str) -> None:
        """Send one reply together with the next, when the client has sent the next command already (RFC 2920)."""
        if b"\n" in self.inbox.buffer:
            self._held += status.encode() + b"\r\n"
        else:
            await self.push(status)

    def _write(self, status: str | bytes) -> None:
        line = (status.encode() if isinstance(status, str) else status) + b"\r\n"
        if self._held:
            line = bytes(self._held) + line
            self._held.clear()
        self.transport.write(line)

    async def undisturbed(self, work: Awaitable[T]) -> T:
        """Wait for `work` on a mail. It goes on when the session is ended from outside."""
        self._working = True
        try:
            return await work
        finally:
            self._working = False

    async def _read_line(self) -> bytes:
        if self.shared.closing and self.is_between_mails():
            raise HangUp("421 4.3.2 The server is going down, try again later")
        self._reset_timeout()
        self.waiting = True
        try:
            line = await self.inbox.line()
        except Gone:
            raise HangUp from None
        except TooLong:
            raise HangUp("500 5.5.2 Line too long") from None
        finally:
            self.waiting = False
        self._deadline = None  # now it is the client who waits for us
        if len(line) > self.shared.limits.line:
            raise Refused("Line too long", code=500, enhanced="5.5.2")
        if not line.endswith(b"\r\n"):
            raise Refused("Lines must end with CR LF", code=500, enhanced="5.5.2")
        return line[:-2]

    async def read_mail(self) -> MailData:
        """Read mail data up to its end and return it, to be released (`Shared.release`) when it is dealt with.

        HangUp when the client goes, falls silent, crawls, or sends far more than is allowed.
        """
        options = self.shared.options
        mail = self._mail = MailData(options.max_size, options.memory_per_mail, self.shared.folder)
        started = self.loop.time()
        rest = None
        while rest is None:
            self._reset_timeout(options.data_timeout)
            try:
                chunk = await self.inbox.chunk()
            except Gone:
                raise HangUp from None
            rest = mail.feed(chunk)
            if rest is None:
                self._check_mail(mail, started)
                if mail.full:
                    await self._spill(mail)
        self.inbox.buffer[:0] = rest
        self._deadline = self._mail = None
        return mail

    def _check_mail(self, mail: MailData, started: float) -> None:
        limits, options = self.shared.limits, self.shared.options
        seconds = self.loop.time() - started
        if seconds > limits.grace and mail.received < seconds * options.min_rate:
            raise HangUp("421 4.4.2 Too slow, try again later")
        if mail.received > options.max_size * limits.excess + WINDOW:
            raise HangUp("552 5.3.4 The mail is far too large")

    async def _spill(self, mail: MailData) -> None:
        if not self.shared.reserve(mail):
            mail.discard(Deferred("Too many large mails at once, try again later", code=452, enhanced="4.3.1"))
            return
        try:
            await asyncio.to_thread(mail.spill)
        except Deferred as error:
            mail.discard(error)

    def bytes_waiting(self) -> bool:
        """Say whether the client has sent more than was read."""
        return bool(self.inbox.buffer)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Say 220 and turn the connection into TLS; HangUp when the handshake fails.

        Commands that came in the clear behind STARTTLS are dropped (RFC 3207 section 4.2, CVE-2011-0411).
        Nothing may wait between that and the new transport: the next bytes are the handshake.
        """
        self.inbox.buffer.clear()
        self._write("220 2.0.0 Ready to start TLS")
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
        self.inbox.use(transport)
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
