"""What the clock has to do: digests that are due, word to the owners, bounces, and what is too old to keep."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from mailforum import log
from mailforum.clock import comes
from mailforum.core import Core
from mailforum.errors import Deferred
from mailforum.forum import digests, moderation, posts, search, suspension
from mailforum.store import search as index
from mailforum.store import upkeep
from mailforum.store.database import caused_by

logger = logging.getLogger("mailforum")

TICK = 20.0  # seconds between looks at the clock
HOUSEKEEPING = 3600.0
GATHER = 0.2  # seconds between posts that are put into the index: those of one moment go in together
RESTS = 9  # times as long as it took
REMEMBER = 14 * 86400.0  # how long a mail is known again, in seconds


CLOCK = "clock"  # what `Database.lead` is asked for: one process of all does these jobs


class Chores:
    """Does them until `stop`, as long as no other process does."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stop = asyncio.Event()
        self._digests_cut: float | None = None
        self._cleaned = float("-inf")

    @property
    def digest_lag(self) -> float | None:
        """Seconds since all digests that were due had been cut; None where another process looks after them."""
        return self._core.clock.monotonic() - self._digests_cut if self._digests_cut is not None else None

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stop.set()

    async def run(self) -> None:
        """Look at the clock every 20 seconds, and do what is due."""
        while not self._stop.is_set():
            try:
                if await self._core.db.lead(CLOCK):
                    await self._look()
                else:
                    self._digests_cut = None
            except (Deferred, OSError) as error:
                logger.error(
                    "the clock's jobs have to wait: %s", error.reason if isinstance(error, Deferred) else error
                )
            await comes(self._stop, TICK)

    async def _look(self) -> None:
        core, monotonic = self._core, self._core.clock.monotonic
        if self._digests_cut is None:  # from now on it is ours to see that they are cut
            self._digests_cut = monotonic()
        await send_due_digests(core, core.clock.now())
        self._digests_cut = monotonic()
        await tell_what_waits(core, core.clock.now())
        await keep_bounces(core, core.clock.now())
        if monotonic() - self._cleaned > HOUSEKEEPING:
            await self.clean()
            self._cleaned = monotonic()
        if log_size := await core.db.tidy():
            log.event("log_large", logging.WARNING, bytes=log_size, what="a long read is under way")

    async def clean(self) -> None:
        """Delete in small steps what is too old; others write between them."""
        now, keep = self._core.clock.now(), self._core.config.store
        for name, step, decides in upkeep.steps(keep, REMEMBER, now):
            await self._do_steps(name, step, decides)
        if keep.keep_bodies:
            await self._do_steps("bodies", posts.forget_bodies(now - keep.keep_bodies))

    async def _do_steps(self, name: str, step: upkeep.Step, decides: bool = True) -> None:
        db, at, rows = self._core.db, upkeep.BEGIN, 0
        while at is not None and not self._stop.is_set():
            at, done = await (db.write if decides else db.tend)(partial(step, at))
            rows += done
        if rows:
            log.event("cleared", what=name, rows=rows)


async def send_due_digests(core: Core, now: float) -> None:
    """Cut and queue the digest of every list for which it is due. Each has an id, as a mail has."""
    await core.db.write(lambda tx: digests.clock_went_back(tx, now), ())
    for mlist in await core.db.read(lambda tx: digests.due(tx, now)):
        mail, cut_one = core.ids.new(), partial(digests.cut_if_due, list_id=mlist.id, now=now)
        cut = await core.db.write(caused_by(mail, cut_one), [mlist.id])
        if cut:
            issue, readers = cut
            log.event("digest", mail=mail, list=mlist.address, issue=issue.number, posts=issue.posts, readers=readers)


async def tell_what_waits(core: Core, now: float) -> None:
    """Tell the owners of each list what has been held since they last heard of it, once an hour."""
    for list_id in await core.db.read(lambda tx: moderation.untold(tx, now)):
        tell = partial(moderation.tell_what_waits, site=core.site, list_id=list_id, now=now)
        await core.db.write(caused_by(core.ids.new(), tell), [list_id])


async def keep_bounces(core: Core, now: float) -> None:
    """Do what is due about mail that has come back: tests, suspensions, word to the owners."""
    while await core.db.read(lambda tx: suspension.is_due(tx, core.site, now)):
        keep = caused_by(mail := core.ids.new(), lambda tx: suspension.keep(tx, core.site, now))
        for one in await core.db.write(keep):
            log.event("bounces", mail=mail, list=one.list_address, what=one.what, about=one.about)


class Indexing:
    """Puts posts into the index of full-text search soon after they came, until `stop`, as long as no other does.

    It rests nine times as long as it works: while much comes in, posting is hardly slower, and the index
    follows later.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        self._renewed = False

    def look(self) -> None:
        """Hear that something was committed, which may be a post."""
        self._news.set()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stop.set()
        self._news.set()

    async def run(self) -> None:
        """Look after each commit, and every 20 seconds, as another process may have stored a post."""
        monotonic = self._core.clock.monotonic
        while not self._stop.is_set():
            self._news.clear()
            started = monotonic()
            done = await self._some()
            worked = monotonic() - started
            await comes(self._stop, TICK if done is None else max(GATHER, RESTS * worked))
            if done == 0:
                await comes(self._news, TICK)

    async def _some(self) -> int | None:
        """Put some posts in; return how many, or None if that cannot be done now. Mail goes on without it."""
        try:
            if not await self._core.db.lead(CLOCK):
                return 0
            await self._renew()
            return await search.index_some(self._core.db)
        except Deferred as error:
            logger.error("full-text search has to wait: %s", error.reason)
        except Exception:
            logger.exception("posts cannot be put into the index of full-text search")
        return None

    async def _renew(self) -> None:
        """Have the index made anew if an older mailforum has made it by other rules; later on as well, if it is on
        another host and goes on doing so.

        Where an import was killed, merging is still left for later; that ends here.
        """
        db = self._core.db
        if not self._renewed:
            await db.tend(lambda tx: index.merge_from(tx, index.MERGE))
        if await db.peek(search.is_behind if self._renewed else search.is_old) and await db.write(search.renew):
            log.event("reindexing", why="the rules by which words are compared have changed")
        self._renewed = True
