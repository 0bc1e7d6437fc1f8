"""The way to a PostgreSQL, which can be cut and mended: a port on loopback in front of the server's socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, urlsplit

from tests.support.site import free_port

NOWHERE = "postgresql://mailforum@/forum?host=/nowhere"


class Way:
    """Open or not, at a port that stays the same. `url` leads over it to the database of the URL it was made of."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.url = f"postgresql://{parts.username}@127.0.0.1:{self._port}{parts.path}"

    async def open(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._through, "127.0.0.1", self._port)

    def silence(self) -> None:
        """Let nothing through any more, as a server that stands still: connections stay, and new ones are made."""
        self._flowing.clear()

    async def cut(self) -> None:
        """End all connections, and refuse new ones."""
        if self._server:
            self._server.close()
            self._server = None
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def hears(self, said: bytes) -> bool:
        """Say whether the server gets to hear what is said to it; if not, the connection ends."""
        return True

    def passes(self, answer: bytes) -> bool:
        """Say whether what the server has answered is let through; if not, the connection ends."""
        return True

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._under_way.add(task)
        try:
            await self._flowing.wait()
            back, forth = await asyncio.open_unix_connection(self._socket)
            try:
                await asyncio.wait(
                    [
                        asyncio.create_task(self._copy(reader, forth, self.hears)),
                        asyncio.create_task(self._copy(back, writer, self.passes)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                forth.close()
        except asyncio.CancelledError:
            pass
        finally:
            self._under_way.discard(task)
            writer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := await reader.read(65536)) and passes(data):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def way_to(url: str) -> AsyncIterator[Way]:
    """Have a way to the database at `url`, which is not open yet."""
    way = Way(url)
    try:
        yield way
    finally:
        await way.cut()
