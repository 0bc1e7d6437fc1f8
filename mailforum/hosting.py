"""Being one of several hosts: a row that is renewed, and what is known of the others by it.

A host is a process that serves a database on a PostgreSQL server; where the database is a file there is
one process, and none of this. Three things rest on it:

- What a host has claimed is free when its row is gone, so a host that is buried sends nothing more
  (`store.hosts.standing`) and becomes a new one.
- What the admin has limited is divided among those that deliver. While it is not certain that all of them
  know of one who has come or gone, each uses the smaller of its old and its new part.
- Circuit breakers that one has opened are heard of by all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailforum import __version__, log
from mailforum.clock import Clock, comes
from mailforum.errors import ConfigError, Deferred
from mailforum.store import hosts
from mailforum.store.claims import Claimant
from mailforum.store.database import Database, Tx, Unit
from mailforum.store.hosts import Buried, Living, Rest
from mailforum.units import Place

logger = logging.getLogger("mailforum")

DELIVER = "deliver"
BEATS = 10  # in a lease
LOOK = 1.0  # seconds between looks at what others have found out
AGAIN = 1.0  # seconds before what the database did not let us do is tried again
LEAVE = 5.0  # seconds for saying good-bye
FORGET = 600.0  # seconds between clearings


@dataclass(frozen=True, slots=True)
class _View:
    """Who delivers, as it was seen at a time of the database's clock."""

    ids: tuple[int, ...]
    seen_at: float

    def place(self, host: int) -> Place:
        return Place(self.ids.index(host), len(self.ids)) if host in self.ids else Place(0, 0)


class Host:
    """This process among the hosts. To be used as `async with Host(…)`, around all that sends.

    `roles` and `keys` are shown to the others. `lease`: seconds after which they take us for dead. `has_ended` says
    of another one whether it is certain that it does not run any more: that one is not waited for.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        name: str,
        roles: Sequence[str],
        keys: str = "",
        lease: float = 30.0,
        has_ended: Callable[[Living], bool] = lambda one: False,
    ) -> None:
        self._db = db
        self._clock = clock
        self._name, self._roles, self._keys = name, tuple(roles), keys
        self._shown = ""
        self._lease = lease
        self._has_ended = has_ended
        self._newest = 0  # the largest id that has ever been given
        self._views: list[_View] = []
        self._rests: dict[str, float] = {}
        self._adopt: Callable[[Rest], None] = lambda rest: None
        self._tasks: list[asyncio.Task[None]] = []
        self._hurry = asyncio.Event()
        self._cleared_at = clock.monotonic()
        self._looked_at = float("-inf")
        self._bury_from = float("-inf")
        self.id = 0  # 0: none at the moment, and nothing may be sent
        self.living: tuple[Living, ...] = ()

    async def __aenter__(self) -> Host:
        await self.beat()
        self._tasks = [asyncio.create_task(self._keep_beating())]
        if DELIVER in self._roles:
            self._tasks.append(asyncio.create_task(self._keep_looking()))
        return self

    async def __aexit__(self, *reason: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.id:
            with contextlib.suppress(Deferred, TimeoutError):  # then the lease ends
                async with asyncio.timeout(LEAVE):
                    await self._db.write(lambda tx: hosts.leave(tx, self.id), lists=())

    # -- what others ask

    @property
    def claimant(self) -> Claimant:
        """As whom deliveries are claimed."""
        return Claimant(self.id, tuple(one.id for one in self.living), self._newest)

    @property
    def places(self) -> tuple[Place, ...]:
        """Which among those that deliver we are: now, and as others may still believe."""
        return tuple(view.place(self.id) for view in self._views)

    def lost(self, host: int) -> None:
        """Hear that `host`, which was we, is buried."""
        if host == self.id:
            log.event("fenced", logging.WARNING, host=host, what="others took this host for dead; it begins anew")
            self.id = 0
            self._hurry.set()

    def show(self, keys: str) -> None:
        """Have the others see other keys from now on."""
        self._keys = keys
        self._hurry.set()

    def hear(self, adopt: Callable[[Rest], None]) -> None:
        """Have `adopt` called for what another host leaves alone."""
        self._adopt = adopt

    # -- what is done

    async def _keep_beating(self) -> None:
        while True:
            await comes(self._hurry, self._lease / BEATS if self.id else AGAIN)
            self._hurry.clear()
            await self.beat()

    async def beat(self) -> None:
        """Look who is there, say that we have, and bury who is not heard of; become a new host if we are none."""
        try:
            host = self.id or await self._db.write(self._register, lists=())
            living, newest = await self._look_who_lives()
            if not living or not await self._db.write(lambda tx: hosts.renew(tx, host, living[0].now), lists=()):
                self.lost(host)
                return
            self._see(host, living, newest)
            if self._shown != self._keys:
                keys = self._keys
                await self._db.write(lambda tx: hosts.show(tx, host, keys), lists=())
                self._shown = keys
            if self._knows_the_dead():
                await self._bury(lambda tx: hosts.bury(tx, self._lease))
            if self._clock.monotonic() - self._cleared_at > FORGET:
                self._cleared_at = self._clock.monotonic()
                await self._db.write(hosts.forget, lists=())
        except ConfigError as error:
            if not self._newest:
                raise
            logger.error("this host cannot go on: %s", error)
        except Deferred as error:
            logger.debug("the hosts cannot be looked after: %s", error.reason)  # the database has said so
        except Exception:
            logger.exception("the hosts cannot be looked after")

    def _knows_the_dead(self) -> bool:
        """Say whether who is not heard of must be dead.

        If we could not look for a while ourselves, or have only just come, the database may have been away from all:
        they have time to come back.
        """
        now = self._clock.monotonic()
        if now - self._looked_at > self._lease / 2:
            self._bury_from = now + self._lease / 2
        self._looked_at = now
        return now >= self._bury_from

    async def _look_who_lives(self) -> tuple[list[Living], int]:
        """Do as `hosts.look`, and bury first whose process is known to have ended, as that of one killed here."""
        found = await self._db.write(hosts.look, lists=())
        ended = [one.id for one in found[0] if self._has_ended(one)]
        if not ended:
            return found
        await self._bury(lambda tx: hosts.bury_ended(tx, ended))
        return await self._db.write(hosts.look, lists=())

    async def _bury(self, unit: Unit[list[Buried]]) -> None:
        buried = await self._db.write(unit, lists=())
        for one in buried:
            log.event("host_lost", logging.ERROR, host=one.id, name=one.name, silent=round(one.silent, 1))
        gone = {one.id for one in buried}
        self.living = tuple(one for one in self.living if one.id not in gone)

    def _register(self, tx: Tx) -> int:
        return hosts.register(tx, self._name, self._roles, __version__, self._keys)

    def _see(self, host: int, living: Sequence[Living], newest: int) -> None:
        """Take notice of who is there, and of what all of them know by now."""
        if host != self.id:
            if self._newest:  # we were one before
                log.event("host_back", logging.WARNING, host=host, what="claims and sends again")
            self._views = [_View((), 0.0)]  # no part of anything, until all others know of us
        self.id, self.living, self._newest = host, tuple(living), newest
        delivering = [one for one in living if DELIVER in one.roles]
        ids = tuple(one.id for one in delivering)
        if self._views[-1].ids != ids:
            self._views.append(_View(ids, living[0].now))
        if all(one.seen_at > self._views[-1].seen_at for one in delivering if one.id != host):
            self._views = self._views[-1:]

    async def _keep_looking(self) -> None:
        while True:
            await self._clock.sleep(LOOK)
            await self.look()

    async def look(self) -> None:
        """Hear of breakers that others have opened."""
        try:
            found = await self._db.peek(hosts.rests)
        except Deferred:
            return  # whoever needs the database more will say so
        now = self._clock.monotonic()
        for rest in found:
            if now + rest.seconds > self._rests.get(rest.key, 0.0) + LOOK:  # it is news
                self._rests[rest.key] = now + rest.seconds
                self._adopt(rest)
        self._rests = {key: until for key, until in self._rests.items() if until > now}
