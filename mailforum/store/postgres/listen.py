"""Hearing of what other hosts have committed. That only saves time: who misses it looks anyway, a little later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import psycopg

from mailforum.store.postgres.session import complete

CHANNEL = "mailforum"
AGAIN = 1.0  # seconds before a connection that was lost is opened again

logger = logging.getLogger("mailforum")


class Listener:
    """Calls `heard` in the event loop when another than `me` has said that there is work."""

    def __init__(self, url: str, me: str, heard: Callable[[], None]) -> None:
        self._url = url
        self._me = me
        self._heard = heard
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, if nobody has."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error:
                pass  # others say what is wrong with the server
            except Exception as error:
                logger.error("nothing is heard of other hosts", exc_info=error)
            await asyncio.sleep(AGAIN)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(complete(self._url), autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._heard()  # there may have been something while nobody listened
            async for notify in connection.notifies():
                if notify.payload != self._me:
                    self._heard()

    async def close(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
