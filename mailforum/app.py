"""`mailforum serve`: everything built from one Config, started, reloaded and stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from mailforum import log
from mailforum.chores import Chores, Indexing
from mailforum.clock import Clock, SystemClock
from mailforum.core import Core, open_core, preparer_of, texts_of, token_keys, worker_of
from mailforum.delivery.crew import Crew
from mailforum.delivery.render import Texts
from mailforum.delivery.worker import Worker
from mailforum.errors import ConfigError, Deferred
from mailforum.forum import restore
from mailforum.health import Health, Parts
from mailforum.options import SECTIONS, Config, options
from mailforum.smtpd.server import Server
from mailforum.store import fence
from mailforum.store.database import Tx
from mailforum.store.lock import alone
from mailforum.store.queue import Part
from mailforum.web import Pages, listen

logger = logging.getLogger("mailforum")

STOP = 10.0  # seconds that work under way may take when we stop, all of it together


class Service:
    """`mailforum serve`: mail in, mail out, the clock and HTTP, in one process.

    To be used as `async with Service(config) as service: await service.until_stopped()`.
    """

    def __init__(
        self, config: Config, clock: Clock | None = None, sender: Sequence[str] = (), *, resend: bool = False
    ) -> None:
        """`sender`: the command that starts a further process that sends. `resend`: on a database from a
        backup, send what waits in it, perhaps for the second time."""
        self.config = config
        self._sender = sender
        self._resend = resend
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self._stops: list[Callable[[], None]] = []
        self._end = 0.0
        self.failed = False
        self.core: Core
        self.server: Server
        self.worker: Worker
        self.health: Health
        self.crew: Crew
        self.chores: Chores
        self.web_addresses: tuple[str, ...] = ()

    async def __aenter__(self) -> Service:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *reason: object) -> None:
        """All parts are asked to stop at once, and have the same ten seconds for what is under way."""
        self._end = self._clock.monotonic() + STOP
        for stop in self._stops:
            stop()
        await self._stack.aclose()

    async def _start(self) -> None:
        """Build from the inside out: what is started last is stopped first."""
        lock = self._stack.enter_context(alone(self.config.database))
        self.core = await self._stack.enter_async_context(
            open_core(self.config, self._clock, reserve=self.config.store.reserve, served=True)
        )
        await self._count_start()
        count = self.config.delivery.processes if self._sender else 1
        self.worker = worker_of(self.core, Part(0, count))
        self.server = Server(
            self.config, self.core.intake, self.config.site.domain, self._clock, new_id=self.core.ids.new
        )
        self.health = Health(self.core.db, self._clock, self.config.database, self.core.intake.room, self._parts)
        self._background(self.worker.run(), self.worker.stop)
        self.crew = Crew(self._sender, count, [lock])
        self._background(self.crew.run(), self.crew.stop)
        self.core.db.on_commit(self.crew.look)
        self.chores = Chores(self.core)
        self._background(self.chores.run(), self.chores.stop)
        indexing = Indexing(self.core)
        self.core.db.on_commit(indexing.look)
        self._background(indexing.run(), indexing.stop)
        await self._start_web(texts_of(self.config))
        await self.server.start()
        self._stack.push_async_callback(lambda: self.server.stop(self._left()))
        names = {"smtp": self.server.addresses, "lmtp": self.server.lmtp_addresses, "web": self.web_addresses}
        log.event("ready", logging.INFO, **{name: ",".join(where) or None for name, where in names.items()})

    async def _count_start(self) -> None:
        """Find out whether the database comes from a backup, and if so, pause what may have been sent already.

        It is also the first thing that is written: a database that cannot be written is not served.
        """
        marker, now = fence.Marker.of(self.config.database), self._clock.now()

        def count(tx: Tx) -> tuple[fence.Start, int]:
            start = fence.start(tx, marker.read())
            return start, restore.pause(tx, now) if start.restored and not self._resend else 0

        try:
            start, paused = await self.core.db.write(count)
        except Deferred:  # if the disk is full, that has given up the reserve
            start, paused = await self.core.db.write(count)
        try:
            marker.write(start.served)
        except OSError as error:  # one that is behind is as good
            logger.error("the count of starts cannot be written: %s", error)
        if start.restored:
            made = datetime.fromtimestamp(start.copied_at, UTC).isoformat(" ", "seconds") if start.copied_at else None
            what = "The database was restored from a copy; what waits in it may have been sent already and is paused."
            go_on = "mailforum queue resume sends it, mailforum queue drop --paused gives it up"
            log.event("restored", logging.WARNING, what=what, copied_at=made, paused=paused, go_on=go_on)

    def _parts(self) -> Parts:
        return Parts(
            clients=self.server.connections,
            connections=self.worker.connections,
            relay_down=self.worker.down_for,
            resting=self.worker.resting,
            digest_lag=self.chores.digest_lag,
        )

    async def _start_web(self, texts: Texts) -> None:
        pages = Pages(self.core.db, self.core.site, self._clock, texts.page, self.health, self.core.ids.new)
        for address in self.config.web.listen:
            try:
                server = await listen(address, pages)
            except OSError as error:
                raise ConfigError(f"[web] listen: cannot listen on {address}: {error.strerror}") from error
            self._stack.callback(server.close)
            bound = server.sockets[0].getsockname()
            self.web_addresses += (f"{address.host}:{bound[1]}",)

    def _left(self) -> float:
        return max(0.0, self._end - self._clock.monotonic())

    def _background(self, work: Coroutine[object, object, None], stop: Callable[[], None]) -> None:
        """Run `work` beside everything else; at the end it is asked to stop, and waited for."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._stops.append(stop)

        async def end() -> None:
            stop()
            done, _ = await asyncio.wait([task], timeout=self._left())
            if not done:
                task.cancel()
                await asyncio.wait([task])

        self._stack.push_async_callback(end)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A part that fails takes the service down, so that it is started again whole."""
        if not task.cancelled() and task.exception() is not None:
            logger.critical("a part of the service has failed", exc_info=task.exception())
            self.failed = True
        self._stop.set()

    def stop(self) -> None:
        """Ask the service to end; `until_stopped` then returns."""
        self._stop.set()

    async def until_stopped(self) -> None:
        """Wait for `stop`, or for a part to fail."""
        await self._stop.wait()

    def reload(self, config: Config) -> None:
        """Take over texts, keys (of DKIM and of tokens), certificate and delivery options from `config`.

        Raises ConfigError and changes nothing if they cannot be used. Addresses, the database and the
        site's own data need a restart.
        """
        preparer, keys = preparer_of(self.core.site, config), token_keys(config)
        self.server.reload()
        self.core.site.signer.use(keys)
        self.worker.use(preparer, config.delivery)
        self.crew.reload()
        log.event("reloaded", needs_restart=", ".join(_only_at_start(self.config, config)) or None)


def _only_at_start(old: Config, new: Config) -> list[str]:
    """Name the options that have changed and are looked at only when the service starts."""
    kept = {
        "site": ("domain", "admin", "special_domains"),
        "delivery": ("relay", "user", "password", "password_file", "tls", "processes"),
        "dkim": (),
        "web": ("listen",),
    }
    return [
        f"[{option.section}] {option.name}"
        for section in SECTIONS
        for option in options(section)
        if option.name in kept.get(section, (option.name,))
        and getattr(getattr(old, section), option.name) != getattr(getattr(new, section), option.name)
    ]
