"""`mailforum serve` as a process of its own, which can be signalled, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """A server with its configuration. Each start begins a new life, with a log of its own."""

    config_file: Path
    module: str = "mailforum"
    inside: tuple[str, ...] = ()  # words before the command, of a place to run it in
    words: tuple[str, ...] = ()  # options of `serve`
    life: int = 0
    process: asyncio.subprocess.Process | None = None
    said: asyncio.Task[bytes] | None = None

    async def start(self, environ: dict[str, str] | None = None) -> None:
        """Begin the next life; it may not be ready yet."""
        self.life += 1
        mailforum = [sys.executable, "-m", self.module, "--config", str(self.config_file)]
        command = [*self.inside, *mailforum, "serve", *self.words]
        with self.log_file(self.life).open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **(environ or {})},
                start_new_session=True,
            )
        assert self.process.stdout
        self.said = asyncio.create_task(self.process.stdout.readline())

    async def ready(self) -> str:
        """Return what it says when it is ready ("" if it has ended before)."""
        assert self.said
        async with asyncio.timeout(60):
            return (await asyncio.shield(self.said)).decode()

    async def port(self, name: str = "SMTP") -> int:
        """Return where it listens."""
        found = re.search(rf"{name} on 127\.0\.0\.1:(\d+)", await self.ready())
        assert found, self.log
        return int(found[1])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def ended(self, seconds: float = 60) -> int:
        """Wait for its end, and return the exit status. If it does not end, its log says where it hangs."""
        assert self.process and self.said
        try:
            async with asyncio.timeout(seconds):
                code = await self.process.wait()
        except TimeoutError:
            self.signal(signal.SIGABRT)
            await self.process.wait()
            raise AssertionError(f"not ended after {seconds} seconds:\n{self.log[-5000:]}") from None
        await self.said
        return code

    async def kill(self) -> None:
        """End it, and all its processes, as a power cut would, as far as that can be done to a process."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            while True:  # until nobody of its group is left
                os.killpg(self.process.pid, signal.SIGKILL)
                await asyncio.sleep(0.001)
                if self.process.returncode is None:
                    await self.ended()

    def log_file(self, life: int) -> Path:
        """Where the log of one of its lives is."""
        return self.config_file.with_name(f"serve.{life}.log")

    @property
    def log(self) -> str:
        """What it has logged in this life."""
        return self.log_file(self.life).read_text()

    async def logged(self, words: str, times: int = 1) -> None:
        """Wait until so many lines of the log have these words."""
        async with asyncio.timeout(30):
            while self.log.count(words) < times:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(config_file: Path) -> AsyncIterator[Server]:
    """Have a server that is ready; whatever becomes of it, it is gone at the end."""
    server = Server(config_file)
    await server.start()
    try:
        await server.ready()
        yield server
    finally:
        await server.kill()
