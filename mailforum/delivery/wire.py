"""One connection to a mail server: bytes out, replies in, both bounded and timed.

`Wire` knows lines, limits and time-outs, but no commands. Nothing here raises when the connection
breaks: `failure` is set, `replies` returns what had come until then, and the caller decides.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from mailforum.delivery.transport import RelayDown

KEPT = 4096  # bytes of a reply line, and characters of a reply's text, that are kept
MOST_LINES = 1000  # of one reply
MOST_BYTES = 64 * 1024  # of one reply
CHUNK = 256 * 1024  # what is handed to the socket at once
LATE = 0.5  # seconds that a timer may ring late in a process that runs

_ENHANCED = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})(?: |$)")


class Reply(NamedTuple):
    """What the server answered: the code, and the text of each line."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def ok(self) -> bool:
        """Whether the code is 2yz."""
        return 200 <= self.code <= 299

    @property
    def enhanced(self) -> str:
        """The RFC 3463 code of the text, or one made of the reply code's first digit."""
        found = _ENHANCED.match(self.lines[0])
        kind = str(self.code)[0]
        code = found[1].decode() if found else ""
        return code if code.startswith(kind) else f"{kind}.0.0"

    @property
    def text(self) -> str:
        """Code and words on one line; an enhanced code that is repeated on each line stands once."""
        first, *others = self.lines
        words = [first, *(_ENHANCED.sub(b"", line, count=1) for line in others)]
        return f"{self.code} {b' '.join(words).decode('utf-8', 'replace')}".strip()[:KEPT]


def _chunks(pieces: Sequence[bytes]) -> Iterable[Sequence[bytes | memoryview]]:
    """Part what is to be written into what is handed to the socket at once, without copying it."""
    if sum(map(len, pieces)) <= CHUNK:
        return (pieces,)
    views = [memoryview(piece) for piece in pieces]
    return ((view[start : start + CHUNK],) for view in views for start in range(0, len(view), CHUNK))


class Wire(asyncio.Protocol):
    """The protocol object of one connection. `failure` says why it cannot be used any more."""

    def __init__(self) -> None:
        self.failure: RelayDown | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()  # a line that has no end yet
        self._lines: list[bytes] = []  # a reply that has no last line yet
        self._size = 0  # and its bytes so far
        self._replies: deque[Reply] = deque()
        self._wanted = 0
        self._arrival: asyncio.Future[None] | None = None
        self._heard = self._timeout = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def loopback(self) -> bool:
        """Whether the peer is this machine."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return peer is not None and (peer[0].startswith("127.") or peer[0] == "::1")

    async def send(self, pieces: Sequence[bytes], timeout: float) -> bool:
        """Write `pieces`; say whether all of it was handed over. `timeout` seconds for each chunk.

        Whoever sends has read every answer before: a reply that waits here was asked for by nobody,
        and would be taken for the answer to something else.
        """
        if self._replies:
            self._replies.clear()
            self.fail(RelayDown("the relay answered without being asked", enhanced="4.5.0"))
        for some in _chunks(pieces):
            if self.failure or self._transport is None:
                return False
            self._transport.writelines(some)
            if self._room:
                await self._drain(self._room, timeout)
        return self.failure is None

    async def _drain(self, room: asyncio.Future[None], timeout: float) -> None:
        done, _ = await asyncio.wait([room], timeout=timeout)
        if not done:
            self.fail(RelayDown(f"the relay took no data for {timeout:g} seconds"))

    async def replies(self, count: int, timeout: float) -> list[Reply]:
        """Return the next `count` replies, or fewer if the connection fails before.

        `timeout` is the longest silence, in seconds; only a complete reply ends a silence.
        """
        if len(self._replies) < count and not self.failure:
            self._wanted = count
            self._arrival = self._loop.create_future()
            self._watch(timeout)
            try:
                await self._arrival
            finally:
                self._arrival = None
        return [self._replies.popleft() for _ in range(min(count, len(self._replies)))]

    def _watch(self, timeout: float) -> None:
        """Begin a silence. One timer serves many waits: one for each costs time."""
        self._heard, self._timeout = self._loop.time(), timeout
        if self._timer is None or self._timer.when() > self._heard + timeout:
            self._stop_timer()
            self._timer = self._loop.call_later(timeout, self._check_silence)

    def _check_silence(self) -> None:
        self._timer = None
        if self._arrival is None:
            return
        left = self._heard + self._timeout - self._loop.time()
        if left < -LATE:
            # We were stopped ourselves, as when a virtual machine is moved: the answer may lie there unread.
            left = LATE
            self._heard = self._loop.time() + left - self._timeout
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_silence)
        else:
            self.fail(RelayDown(f"no answer within {self._timeout:g} seconds"))

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def start_tls(self, context: ssl.SSLContext, host: str, timeout: float) -> None:
        """Go on in TLS; OSError (which ssl.SSLError is) if that does not work.

        What was said in plain text behind the answer to STARTTLS is forgotten: somebody in between
        may have put it there (RFC 3207 section 6, CVE-2021-38371).
        """
        self._partial.clear()
        self._lines, self._size = [], 0
        self._replies.clear()
        assert self._transport is not None
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=timeout
        )
        self._transport = transport

    def fail(self, reason: RelayDown) -> None:
        """Give the connection up; the first reason stays."""
        self.failure = self.failure or reason
        self._wake()
        self._stop_timer()
        self.resume_writing()
        if self._transport:
            self._transport.abort()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._partial += data
        if b"\n" in data:
            *lines, rest = bytes(self._partial).split(b"\n")
            self._partial[:] = rest
            self._heard = self._loop.time() if self._read(lines) else self._heard
        if self._size + len(self._partial) > MOST_BYTES:
            self.fail(RelayDown("the relay's answer is too long", enhanced="4.5.0"))
        self._wake()

    def _read(self, lines: list[bytes]) -> bool:
        """Take lines in; say whether they completed a reply."""
        before = len(self._replies)
        for line in lines:
            code, mark = line[:3], line[3:4]
            if not (code.isdigit() and len(code) == 3 and b"2" <= code < b"6" and mark in b" -\r"):
                self.fail(RelayDown("the relay's answer is not SMTP", enhanced="4.5.0"))
                break
            self._lines.append(line[4 : 4 + KEPT].rstrip())
            self._size += len(line)
            if len(self._lines) > MOST_LINES or self._size > MOST_BYTES:
                self.fail(RelayDown("the relay's answer is too long", enhanced="4.5.0"))
                break
            if mark == b"-":
                continue
            reply = Reply(int(code), tuple(self._lines))
            self._lines, self._size = [], 0
            self._replies.append(reply)
            if reply.code == 421:  # RFC 5321 section 3.8: the server is about to close
                self.fail(RelayDown(reply.text, enhanced=reply.enhanced))
                break
        return len(self._replies) > before

    def _wake(self) -> None:
        if self._arrival and not self._arrival.done() and (self.failure or len(self._replies) >= self._wanted):
            self._arrival.set_result(None)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def connection_lost(self, exc: Exception | None) -> None:
        why = f": {exc}" if exc and str(exc) else ""
        self.fail(RelayDown(f"the relay closed the connection{why}"))
