"""Now and sleep: the one place that time comes from.

Everything that needs the time is given a `Clock`; tests give a `FakeClock` of their own.
Wall-clock time is only ever stored and shown; waiting is done on the monotonic clock,
so a clock that is set back or forward neither repeats nor skips anything.
"""

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever grow; for measuring and waiting."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def comes(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`; say whether it has come within `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
