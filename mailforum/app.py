"""`mailforum serve`: what its roles need is built from one Config, started, reloaded and stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mailforum import alike, log
from mailforum.chores import Chores, Indexing
from mailforum.clock import Clock, SystemClock, comes
from mailforum.core import Core, open_core, preparer_of, texts_of, token_keys, worker_of
from mailforum.delivery.crew import Crew
from mailforum.delivery.worker import Worker
from mailforum.errors import ConfigError, Deferred, MailforumError
from mailforum.forum import restore
from mailforum.health import Health, Parts
from mailforum.hosting import Host
from mailforum.options import SECTIONS, Config, options
from mailforum.smtpd.server import Server
from mailforum.smtpd.together import Together
from mailforum.store import fence
from mailforum.store.database import Tx
from mailforum.store.lock import alone
from mailforum.store.queue import Part
from mailforum.store.schema import Step
from mailforum.store.trouble import Unavailable
from mailforum.units import Address
from mailforum.web import Pages, listen

logger = logging.getLogger("mailforum")

ROLES = ("smtp", "deliver", "clock", "web")
STOP = 10.0  # seconds that work under way may take when we stop, all of it together
T = TypeVar("T")

WAIT = 60.0  # seconds for which a database that cannot be reached is waited for at a start
MENDED = 5.0  # and one that does not let us in: while another takes over that may pass, but mostly it is to be mended
AGAIN = 1.0  # seconds between two tries
# It restarts, another takes over, one that died has locked it.
PASSING = {"GONE", "STOPPED", "READONLY", "BUSY", "REFUSED"}


class Stopped(MailforumError):
    """The service was asked to stop before it had started."""


class Service:
    """`mailforum serve`: mail in, mail out, the clock and HTTP, or some of these roles, in one process.

    To be used as `async with Service(config) as service: await service.until_stopped()`.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        sender: Sequence[str] = (),
        *,
        roles: Collection[str] = (),
        resend: bool = False,
        known: Sequence[Step] = (),
    ) -> None:
        """`sender`: the command that starts a further process that sends. `roles`: of ROLES; none are all.
        `resend`: on a database from a backup, send what waits in it, perhaps for the second time. `known`: as for
        `open_database`.

        Raises ConfigError where the database is a file and not all roles are wanted: it is one process's.
        """
        self.config = config
        self.roles = tuple(role for role in ROLES if role in roles or not roles)
        if isinstance(config.database, Path) and self.roles != ROLES:
            raise ConfigError(ALL_OF_A_FILE)
        self._sender = sender
        self._resend = resend
        self._known = known
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self._stops: list[Callable[[], None]] = []
        self._end = 0.0
        self.failed = False
        self._held: list[int] = []  # files that keep the database ours
        self.core: Core
        self.health: Health
        self.host: Host | None = None
        self.server: Server | None = None
        self.worker: Worker | None = None
        self.crew: Crew | None = None
        self.chores: Chores | None = None
        self.web_addresses: tuple[Address, ...] = ()

    async def __aenter__(self) -> Service:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()  # what has begun to work meanwhile is let finish as well
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
        if not self.config.folder.is_dir():
            raise ConfigError(f"[store] folder: there is no folder {self.config.folder}")
        if isinstance(self.config.database, Path):
            self._held.append(self._stack.enter_context(alone(self.config.database)))
        self.core = await self._patiently(self._open)
        await self._patiently(self._count_start)
        await self._join()
        self.health = Health(self.core.db, self._clock, self.config, self.core.intake.room, self._parts)
        await self._listen_web(self.config.web.health, health_only=True)
        for role, start in _STARTS.items():
            if role in self.roles:
                await start(self)
        some = None if self.roles == ROLES else ",".join(self.roles)
        log.event("ready", logging.INFO, roles=some, **{n: ",".join(at) or None for n, at in self.addresses.items()})

    async def _open(self) -> Core:
        reserve = self.config.store.reserve
        core = open_core(self.config, self._clock, reserve=reserve, served=True, known=self._known)
        return await self._stack.enter_async_context(core)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the database lets us. One on another host may be about to start, or to fail over."""
        wait = 0.0 if isinstance(self.config.database, Path) else WAIT
        began, said = self._clock.monotonic(), False
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                seconds = min(wait, MENDED) if error.kind == "REFUSED" else wait
                if error.kind not in PASSING or self._clock.monotonic() >= began + seconds:
                    raise
                if not said:
                    log.event("waiting", logging.WARNING, what=error.reason, seconds=seconds)
                    said = True
            if await comes(self._stop, AGAIN):
                raise Stopped

    async def _join(self) -> None:
        """Be one of several hosts where there are such, from now until all parts have stopped."""
        self.host = alike.host_of(self.core, self.roles)
        if self.host:
            await self._stack.enter_async_context(self.host)
            self.core.ids.as_host(self.host.id)
            alike.warn(alike.marks_of(self.config), self.host)

    async def _start_deliver(self) -> None:
        count = self.config.delivery.processes if self._sender else 1
        self.worker = worker_of(self.core, Part(0, count), self.host)
        self._background(self.worker.run(), self.worker.stop)
        self.crew = Crew(self._sender, count, self._held)
        self._background(self.crew.run(), self.crew.stop)
        self.core.db.on_commit(self.crew.look)

    async def _start_clock(self) -> None:
        self.chores = Chores(self.core)
        self._background(self.chores.run(), self.chores.stop)
        indexing = Indexing(self.core)
        self.core.db.on_commit(indexing.look)
        self._background(indexing.run(), indexing.stop)

    async def _start_web(self) -> None:
        await self._listen_web(self.config.web.listen)

    async def _start_smtp(self) -> None:
        self.server = server = Server(
            self.config, self.core.intake, self.config.site.domain, self._clock, new_id=self.core.ids.new
        )
        if self.host:
            together = Together(self.core.db, server.rates)
            self._background(together.run(), together.stop)
        await server.start()
        self._stack.push_async_callback(lambda: server.stop(self._left()))

    @property
    def addresses(self) -> dict[str, Sequence[Address]]:
        """Where what is spoken: `smtp`, `lmtp` and `web`."""
        smtp, lmtp = (self.server.addresses, self.server.lmtp_addresses) if self.server else ((), ())
        return {"smtp": smtp, "lmtp": lmtp, "web": self.web_addresses}

    async def _count_start(self) -> None:
        """Find out whether the database comes from a backup, and if so, pause what may have been sent already.

        It is also the first thing that is written: a database that cannot be written is not served.
        """
        file, now = self.config.database, self._clock.now()
        many_hosts = not isinstance(file, Path)
        marker = fence.Marker.of(file) if isinstance(file, Path) else fence.Marker.within(self.config.folder)

        def count(tx: Tx) -> tuple[fence.Start, int]:
            start = fence.start(tx, marker.read(), many_hosts=many_hosts)
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
            roles=self.roles,
            hosts=len(self.host.living) if self.host else None,
            clients=self.server.connections if self.server else None,
            connections=self.worker.connections if self.worker else None,
            relay_down=self.worker.down_for if self.worker else None,
            resting=self.worker.resting if self.worker else None,
            in_hand=self.worker.in_hand if self.worker else None,
            digest_lag=self.chores.digest_lag if self.chores else None,
        )

    async def _listen_web(self, addresses: Sequence[Address], *, health_only: bool = False) -> None:
        page, option = texts_of(self.config).page, "health" if health_only else "listen"
        core = self.core
        pages = Pages(core.db, core.site, self._clock, page, self.health, core.ids.new, health_only)
        for address in addresses:
            try:
                server = await listen(address, pages)
            except OSError as error:
                raise ConfigError(f"[web] {option}: cannot listen on {address}: {error.strerror}") from error
            self._stack.callback(server.close)
            bound = server.sockets[0].getsockname()
            self.web_addresses += (Address(f"{address.host}:{bound[1]}"),)

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
        marks = alike.marks_of(config) if self.host else {}
        if self.server:
            self.server.reload()
        self.core.site.signer.use(keys)
        if self.worker and self.crew:
            self.worker.use(preparer, config.delivery)
            self.crew.reload()
        if self.host:
            self.host.show(alike.to_text(marks))
            alike.warn(marks, self.host)
        log.event("reloaded", needs_restart=", ".join(_only_at_start(self.config, config)) or None)


ALL_OF_A_FILE = "a database file is served by one process that does everything: --role needs PostgreSQL ([store] url)"

# In the order in which they start: what is started last is stopped first, and that is who takes mail in.
_STARTS: Mapping[str, Callable[[Service], Awaitable[None]]] = {
    "deliver": Service._start_deliver,
    "clock": Service._start_clock,
    "web": Service._start_web,
    "smtp": Service._start_smtp,
}


def _only_at_start(old: Config, new: Config) -> list[str]:
    """Name the options that have changed and are looked at only when the service starts."""
    kept = {
        "site": ("domain", "admin", "special_domains"),
        "delivery": ("relay", "user", "password", "password_file", "tls", "processes"),
        "dkim": (),
        "web": ("listen", "health"),
    }
    return [
        f"[{option.section}] {option.name}"
        for section in SECTIONS
        for option in options(section)
        if option.name in kept.get(section, (option.name,))
        and getattr(getattr(old, section), option.name) != getattr(getattr(new, section), option.name)
    ]
