"""Hosts for tests: several workers on one PostgreSQL, each with connections of its own, in this process.

async with hosts(tmp_path, sink, 2) as (first, second):
    await first.post(["ada@example.com"])

Their leases end when a test says so (`forget`), and they look at each other when it says so (`beat`) or,
with `beating`, as often as in life.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mailforum import config
from mailforum.clock import SystemClock
from mailforum.core import preparer_of, site_of
from mailforum.delivery.nexthop import transport_for
from mailforum.delivery.worker import Worker
from mailforum.hosting import Host
from mailforum.model import Kind
from mailforum.options import Config
from mailforum.store import queue
from mailforum.store.database import Database, Tx
from mailforum.store.opening import open_database
from tests.support.postgres import emptied_url
from tests.support.sink import Sink
from tests.support.site import write_config

MAIL = b"From: ada@example.org\r\nSubject: Hello\r\n\r\nHello, all.\r\n"


class Sender:
    """A host that sends."""

    def __init__(self, name: str, db: Database, settings: Config) -> None:
        self.db, self.clock = db, SystemClock()
        self.host = Host(db, self.clock, name, ["deliver"])
        preparer = preparer_of(site_of(settings), settings)
        self.worker = Worker(db, transport_for(settings), preparer, settings.delivery, self.clock, host=self.host)
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._running = asyncio.create_task(self.worker.run())

    async def stop(self) -> None:
        """Send what is under way, and no more."""
        self.worker.stop()
        if self._running:
            await self._running

    async def post(self, rcpts: Sequence[str]) -> int:
        """Queue a mail to each of these addresses; return the mailing's id."""

        def unit(tx: Tx) -> int:
            now = self.clock.now()
            mailing = queue.add_mailing(tx, Kind.FORWARD, list_id=None, mail_from="", now=now, raw=MAIL)
            for rcpt in rcpts:
                queue.address_to(tx, mailing, rcpt, now)
            return mailing

        return await self.db.write(unit)

    async def forget(self) -> None:
        """Let our lease end: others take us for dead when they look next."""
        statement = f"UPDATE host SET seen_at = seen_at - 100 WHERE id = {self.host.id}"
        await self.db.write(lambda tx: tx._session.simple(statement), ())  # type: ignore[attr-defined]

    async def waiting(self) -> int:
        """How many deliveries are not finished."""
        return await self.db.read(lambda tx: queue.backlog(tx, 100_000))


@asynccontextmanager
async def hosts(folder: Path, sink: Sink, count: int, **options: str) -> AsyncIterator[tuple[Sender, ...]]:
    """Have `count` hosts that know of each other and do not send yet. `options` as for `running_site`."""
    async with AsyncExitStack() as stack:
        url = stack.enter_context(emptied_url())
        await stack.enter_async_context(sink)
        options = {"delivery_recipients": "1"} | options
        settings = config.load(write_config(folder, sink.url, **options), {})
        senders = []
        for number in range(count):
            db = await open_database(url)
            stack.push_async_callback(db.close)
            senders.append(Sender(f"host{number}", db, settings))
            stack.push_async_callback(senders[-1].stop)
        await beat(*senders)
        for sender in senders:
            be_old(sender.host)
        yield tuple(senders)


def be_old(host: Host) -> None:
    """Have a host know the dead, as one that has been there for half a lease."""
    host._bury_from = float("-inf")


async def beat(*senders: Sender) -> None:
    """Have all look at each other, until each knows that all have."""
    for _ in range(3):
        for sender in senders:
            await sender.host.beat()
