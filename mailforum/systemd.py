"""What systemd wants to hear of a service: ready, reloading, still alive (sd_notify(3)).

It is told over a socket named in NOTIFY_SOCKET; without that nobody asks and nothing is said.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

from mailforum.errors import MailforumError

logger = logging.getLogger("mailforum")

EVERY = 30.0  # seconds between two words on how we are, where there is no watchdog


class Systemd:
    """Tells systemd how we are, if `environ` says that it wants to know."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._socket = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog = _watchdog(environ) if name else 0.0

    def tell(self, *states: str) -> None:
        """Send `NAME=value` pairs. A systemd that does not listen is a line in the log, and no more."""
        if not self._socket:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)  # whoever does not read must not make us wait
                sock.connect(self._socket)
                sock.send("\n".join(states).encode())
        except OSError as error:
            logger.warning("systemd could not be told %s: %s", states[0], error)

    def reloading(self, monotonic: float) -> None:
        """Say that a reload begins, at `monotonic` seconds on CLOCK_MONOTONIC; `READY=1` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={int(monotonic * 1_000_000)}")

    async def keep_telling(self, status: Callable[[], Awaitable[str]]) -> None:
        """Say again and again how we are, and that we are alive, as long as `status` answers in time.

        The event loop has to run for this, and `status` to ask the database: where either hangs, systemd
        hears nothing and starts us again.
        """
        every = self.watchdog / 2 or EVERY
        while self._socket:
            try:
                async with asyncio.timeout(every / 2):
                    text = await status()
                self.tell("WATCHDOG=1", f"STATUS={text}")
            except (MailforumError, TimeoutError) as error:
                logger.error("no sign of life for systemd: %s", error or "the database does not answer")
            await asyncio.sleep(every)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds within which systemd wants a sign of life; 0: it wants none of this process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    meant = not pid or pid == str(os.getpid())
    return int(usec) / 1_000_000 if meant and usec.isdecimal() else 0.0
