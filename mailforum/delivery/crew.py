"""More processes that send: `[delivery] processes`.

Each is a `mailforum serve --part K` of its own, with a worker that takes every n-th delivery. What they
need from the first process comes through a pipe: a byte when something may have been queued, and its
end when it is time to stop. So none outlives the first one, however that ends. What they have counted
comes back by another pipe, a line of JSON a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Sequence

from mailforum import log
from mailforum.delivery.worker import Worker

AGAIN = 1.0  # seconds before a process that has ended is started again
REPORT = 1.0  # seconds between reports of what was counted
STOP = 8.0  # seconds for what is under way when it is time to stop; until then no other mailforum can start


class Crew:
    """The further processes. `command` starts one, followed by its number; `held` are files that it keeps open."""

    def __init__(self, command: Sequence[str], count: int, held: Sequence[int]) -> None:
        self._command = command
        self._parts = range(1, count)
        self._held = held
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Keep all of them running until `stop`."""
        await asyncio.gather(*(self._keep_running(part) for part in self._parts))
        await self._stop.wait()

    async def _keep_running(self, part: int) -> None:
        while not self._stop.is_set():
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *self._command, str(part), stdin=pipe, stdout=pipe, pass_fds=self._held
            )
            self._running[part] = process
            if self._stop.is_set():  # while it was being started
                self.stop()
            await self._listen(process)
            code = await process.wait()
            if not self._stop.is_set():
                log.event("sender_ended", logging.ERROR, part=part, code=code)
                await asyncio.sleep(AGAIN)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Add what a process counts to what is counted here, until it ends."""
        assert process.stdout is not None
        before: dict[str, float] = {}
        while line := await process.stdout.readline():
            now = json.loads(line)
            log.add({name: value - before.get(name, 0) for name, value in now.items()})
            before = now

    def look(self) -> None:
        """Tell all of them that something may have been queued."""
        for process in self._running.values():
            if process.stdin and not process.stdin.is_closing():
                process.stdin.write(b"\n")

    def reload(self) -> None:
        """Have all of them read the configuration again."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Have all of them end when what is under way is settled."""
        self._stop.set()
        for process in self._running.values():
            if process.stdin:
                process.stdin.close()


async def join(worker: Worker) -> None:
    """Be one of the further processes: run `worker` until standard input ends, and report what it counts."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    running, report = asyncio.create_task(worker.run()), asyncio.create_task(_report())
    obeying = asyncio.create_task(_obey(commands, worker))
    await asyncio.wait([running, obeying], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([running], timeout=STOP)
    for task in (running, obeying, report):
        task.cancel()
    await asyncio.wait([running])
    _print_counters()
    if not running.cancelled():
        running.result()  # raises what it has raised


async def _obey(commands: asyncio.StreamReader, worker: Worker) -> None:
    while await commands.read(4096):
        worker.look()
    worker.stop()


async def _report() -> None:
    while True:
        _print_counters()
        await asyncio.sleep(REPORT)


def _print_counters() -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
        print(json.dumps(log.tally()), flush=True)
