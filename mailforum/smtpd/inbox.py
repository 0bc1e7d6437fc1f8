"""What a client has sent and nobody has read: asyncio's StreamReader does the same at three times the cost."""

from __future__ import annotations

import asyncio

WINDOW = 64 * 1024


class Gone(Exception):
    """The client sends no more."""


class TooLong(Exception):
    """A line has no end within `WINDOW` bytes."""


class Inbox:
    """Bytes that came, in order. With more than two windows of them the client has to wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.buffer = bytearray()
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._paused = False

    def use(self, transport: asyncio.Transport) -> None:
        """Say where the bytes come from: the connection, and later the TLS on it."""
        self._transport, self._paused = transport, False

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self.buffer += data
        self._wake()
        if len(self.buffer) > 2 * WINDOW and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()

    def end(self) -> None:
        """Note that nothing more will come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self._ended:
            raise Gone
        if self._paused and self._transport:
            self._paused = False
            self._transport.resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def line(self) -> bytes:
        """Return the next line with its LF. Raises Gone and TooLong."""
        start = 0
        while (end := self.buffer.find(b"\n", start, WINDOW)) < 0:
            start = len(self.buffer)
            if start >= WINDOW:
                raise TooLong
            await self._more()
        return self.cut(end + 1)

    async def at_least(self, n: int) -> None:
        """Wait until so many bytes are there, not more than `WINDOW`. Raises Gone."""
        while len(self.buffer) < n:
            await self._more()

    def cut(self, n: int) -> bytes:
        """Return the first bytes of what is there, at most so many."""
        first = bytes(self.buffer[:n])
        del self.buffer[:n]
        return first

    async def chunk(self) -> bytearray:
        """Return all that is there, something at least. Raises Gone."""
        while not self.buffer:
            await self._more()
        chunk, self.buffer = self.buffer, bytearray()
        return chunk
