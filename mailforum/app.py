"""Everything built from one Config, started, reloaded and stopped.

Core      what the CLI needs: the database, the site, mail taken in by `inject`
Service   a Core that also listens, delivers and keeps the clock: `mailforum serve`
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from mailforum import log
from mailforum.clock import Clock, SystemClock
from mailforum.config import SECTIONS, Config, options
from mailforum.delivery.crew import Crew
from mailforum.delivery.mailings import Preparer
from mailforum.delivery.nexthop import transport_for
from mailforum.delivery.render import Texts
from mailforum.delivery.sign import Key, load_key
from mailforum.delivery.worker import Worker
from mailforum.errors import ConfigError, Deferred
from mailforum.forum import digests, moderation, posts, restore, suspension
from mailforum.forum.site import Site
from mailforum.health import Health, Parts
from mailforum.ids import Ids
from mailforum.mail.token import Signer, load_keys, new_key
from mailforum.smtpd.backlog import Backlog
from mailforum.smtpd.intake import Intake
from mailforum.smtpd.server import Server
from mailforum.store import fence, upkeep
from mailforum.store.database import Database, Tx, caused_by
from mailforum.store.lock import alone
from mailforum.store.queue import Part
from mailforum.store.sqlite import BUSY_SECONDS, open_sqlite
from mailforum.web import Pages, listen

logger = logging.getLogger("mailforum")

TICK = 20.0  # seconds between looks at the clock
HOUSEKEEPING = 3600.0
REMEMBER = 14 * 86400.0  # how long a mail is known again, in seconds
STOP = 10.0  # seconds that work under way may take when we stop, all of it together


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that every command works with."""

    config: Config
    db: Database
    site: Site
    clock: Clock
    intake: Intake
    ids: Ids


@asynccontextmanager
async def core(
    config: Config,
    clock: Clock | None = None,
    *,
    patience: float = BUSY_SECONDS,
    reserve: int = 0,
    served: bool = False,
) -> AsyncIterator[Core]:
    """Open the database and build what stands on it. Raises ConfigError or Deferred if that fails.

    `patience`, `reserve` and `served` are as for `open_sqlite`.
    """
    clock = clock or SystemClock()
    site = site_of(config)
    db = await open_sqlite(config.database, patience=patience, reserve=reserve, served=served)
    backlog = Backlog(db, clock, config.limits.queue_size)
    try:
        intake = Intake(db, site, clock, lambda: db.has_room(config.store.min_free), backlog)
        yield Core(config, db, site, clock, intake, Ids(clock.now, secrets.randbits(20)))
    finally:
        await db.close()


def site_of(config: Config) -> Site:
    """Return the part of the configuration that decisions rest on, with the keys for tokens."""
    return Site(
        domain=config.site.domain.lower(),
        admin=config.site.admin,
        signer=Signer(token_keys(config, make=True)),
        special_domains=config.site.special_domains,
        answers_per_day=config.limits.answers_per_day,
        answers_to_strangers=config.limits.answers_to_strangers,
        strangers_per_hour=config.limits.strangers_per_hour,
        same_text=config.limits.same_text,
        answers_per_ten_minutes=config.limits.answers_per_ten_minutes,
        owner_notices_per_day=config.limits.owner_notices_per_day,
        storm=config.limits.bounce_storm,
        confirm_seconds=config.limits.confirm_days * 86400,
        max_size=config.smtp.max_size,
    )


def token_keys(config: Config, *, make: bool = False) -> tuple[bytes, ...]:
    """Read the keys that sign tokens. With `make`, as the first start does, one is made if there is no file.

    Raises ConfigError.
    """
    path = config.path(config.site.secret_file)
    if make and not path.exists():
        _make_key(path)
    try:
        return load_keys(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[site] secret_file: {path} cannot be read: {error}") from error


def _make_key(path: Path) -> None:
    """Make a key that only we may read: whole under its name, or not at all."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(new_key(secrets.token_bytes(32)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(new, path)
    except OSError as error:
        raise ConfigError(f"[site] secret_file: {path} cannot be made: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)


def texts_of(config: Config) -> Texts:
    """Return the texts, the site's own before the package's."""
    return Texts([config.path(config.site.templates)])


def keys_of(config: Config) -> Callable[[str], tuple[Key, ...]]:
    """Return a function from a domain to the keys that sign for it. Raises ConfigError for a bad key."""
    options = config.dkim
    pairs = [(options.selector, options.key_file), (options.extra_selector, options.extra_key_file)]
    try:
        pems = [(selector, config.path(file).read_bytes()) for selector, file in pairs if file]
    except OSError as error:
        raise ConfigError(f"[dkim] key_file: {error.filename}: {error.strerror}") from error

    @cache
    def keys(domain: str) -> tuple[Key, ...]:
        return tuple(load_key(pem, options.domain or domain, selector) for selector, pem in pems)

    keys(config.site.domain)
    return keys


def preparer_of(site: Site, config: Config) -> Preparer:
    """Return what makes mailings ready, with the texts and keys of `config`. Raises ConfigError for bad ones."""
    return Preparer(site, texts_of(config), keys_of(config), config.web.url.rstrip("/"))


def worker_of(core: Core, part: Part) -> Worker:
    """Return a worker for a part of what is queued."""
    config = core.config
    mailings = preparer_of(core.site, config)
    return Worker(core.db, transport_for(config), mailings, config.delivery, core.clock, part)


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
        self.web_addresses: tuple[str, ...] = ()
        self._digests_cut = self._clock.monotonic()  # when all that were due had been cut

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
            core(self.config, self._clock, reserve=self.config.store.reserve, served=True)
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
        self._background(self._keep_time(), self._stop.set)
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
            digest_lag=self._clock.monotonic() - self._digests_cut,
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

    async def _keep_time(self) -> None:
        """The clock's jobs: digests that are due, and what is too old to keep."""
        cleaned = float("-inf")
        while not self._stop.is_set():
            try:
                await send_due_digests(self.core, self._clock.now())
                self._digests_cut = self._clock.monotonic()
                await tell_what_waits(self.core, self._clock.now())
                await keep_bounces(self.core, self._clock.now())
                if self._clock.monotonic() - cleaned > HOUSEKEEPING:
                    await self._clean()
                    cleaned = self._clock.monotonic()
                if log_size := await self.core.db.tidy():
                    log.event("log_large", logging.WARNING, bytes=log_size, what="a long read is under way")
            except (Deferred, OSError) as error:
                logger.error(
                    "the clock's jobs have to wait: %s", error.reason if isinstance(error, Deferred) else error
                )
            try:
                await asyncio.wait_for(self._stop.wait(), TICK)
            except TimeoutError:
                continue

    async def _clean(self) -> None:
        """Delete in small steps what is too old; others write between them."""
        now, keep = self._clock.now(), self.config.store
        for name, step in upkeep.steps(keep, REMEMBER, now):
            await self._do_steps(name, step)
        if keep.keep_bodies:
            await self._do_steps("bodies", posts.forget_bodies(now - keep.keep_bodies))

    async def _do_steps(self, name: str, step: upkeep.Step) -> None:
        at, rows = upkeep.BEGIN, 0
        while at is not None and not self._stop.is_set():
            at, done = await self.core.db.write(partial(step, at))
            rows += done
        if rows:
            log.event("cleared", what=name, rows=rows)


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


async def send_due_digests(core: Core, now: float) -> None:
    """Cut and queue the digest of every list for which it is due. Each has an id, as a mail has."""
    await core.db.write(lambda tx: digests.clock_went_back(tx, now))
    for mlist in await core.db.read(lambda tx: digests.due(tx, now)):
        mail, cut_one = core.ids.new(), partial(digests.cut_if_due, list_id=mlist.id, now=now)
        cut = await core.db.write(caused_by(mail, cut_one))
        if cut:
            issue, readers = cut
            log.event("digest", mail=mail, list=mlist.address, issue=issue.number, posts=issue.posts, readers=readers)


async def tell_what_waits(core: Core, now: float) -> None:
    """Tell the owners of each list what has been held since they last heard of it, once an hour."""
    for list_id in await core.db.read(lambda tx: moderation.untold(tx, now)):
        tell = partial(moderation.tell_what_waits, site=core.site, list_id=list_id, now=now)
        await core.db.write(caused_by(core.ids.new(), tell))


async def keep_bounces(core: Core, now: float) -> None:
    """Do what is due about mail that has come back: tests, suspensions, word to the owners."""
    while await core.db.read(lambda tx: suspension.is_due(tx, core.site, now)):
        keep = caused_by(mail := core.ids.new(), lambda tx: suspension.keep(tx, core.site, now))
        for one in await core.db.write(keep):
            log.event("bounces", mail=mail, list=one.list_address, what=one.what, about=one.about)
