"""What befalls hosts, cables and the database while mail flows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.hosts.stage import INNER, OUTER, Place
from tests.support.failing import Failing, Signal
from tests.support.process import Server

LEASE = 2.0  # seconds; who is silent for so long has lost what it has in hand


@dataclass
class Host:
    """A mailforum of the site: where it runs, and its process."""

    place: Place
    server: Server

    async def start(self) -> None:
        """Begin its next life; it may not be ready yet."""
        await self.server.start()

    def stall(self, *, stalled: bool) -> None:
        """Stop all its processes where they are, or let them go on."""
        assert self.server.process
        os.killpg(self.server.process.pid, signal.SIGSTOP if stalled else signal.SIGCONT)


@dataclass
class Scene:
    """Who can be hit."""

    hosts: list[Host]
    database: Failing
    rng: random.Random

    def one(self) -> Host:
        """Return any of the hosts."""
        return self.rng.choice(self.hosts)

    async def a_while(self, least: float, most: float) -> None:
        """Wait some leases."""
        await asyncio.sleep(self.rng.uniform(least, most) * LEASE)


Strike = Callable[[Scene], Awaitable[None]]


async def _killed(scene: Scene) -> None:
    host = scene.one()
    await host.server.kill()
    await scene.a_while(0, 1.5)
    await host.start()


async def _without_power(scene: Scene) -> None:
    """It is gone and says goodbye to nobody: its sessions stay open at the database, with their locks."""
    host = scene.one()
    for side in (INNER, OUTER):
        host.place.plug(side, into=False)
    await host.server.kill()
    await scene.a_while(0.5, 2)
    for side in (INNER, OUTER):
        host.place.plug(side, into=True)
    await host.start()


def _stalled(least: float, most: float) -> Strike:
    async def strike(scene: Scene) -> None:
        host = scene.one()
        host.stall(stalled=True)
        try:
            await scene.a_while(least, most)
        finally:
            host.stall(stalled=False)

    return strike


def _cut(side: str, least: float, most: float) -> Strike:
    async def strike(scene: Scene) -> None:
        host = scene.one()
        host.place.plug(side, into=False)
        await scene.a_while(least, most)
        host.place.plug(side, into=True)

    return strike


async def _both_cut(scene: Scene) -> None:
    for host in scene.hosts:
        host.place.plug(INNER, into=False)
    await scene.a_while(0.2, 2)
    for host in scene.rng.sample(scene.hosts, len(scene.hosts)):
        host.place.plug(INNER, into=True)
        await scene.a_while(0, 0.3)


def _database(how: Signal) -> Strike:
    async def strike(scene: Scene) -> None:
        await asyncio.to_thread(scene.database.end, how)
        await scene.a_while(0, 1.5)
        await asyncio.to_thread(scene.database.begin)

    return strike


@dataclass(frozen=True)
class Trouble:
    """Something that happens, and is over when `strike` returns."""

    name: str
    strike: Strike


TROUBLES: tuple[Trouble, ...] = (
    Trouble("a host is killed", _killed),
    Trouble("a host loses its power", _without_power),
    Trouble("a host stalls past its lease", _stalled(1.2, 2.5)),
    Trouble("a host stalls for a moment", _stalled(0.1, 0.6)),
    Trouble("a host's cable to the database is pulled past its lease", _cut(INNER, 1.2, 2.5)),
    Trouble("a host's cable to the database is pulled for a moment", _cut(INNER, 0.1, 0.6)),
    Trouble("a host's cable to the world is pulled", _cut(OUTER, 0.2, 2)),
    Trouble("both cables to the database are pulled", _both_cut),
    Trouble("PostgreSQL is restarted", _database("INT")),
    Trouble("PostgreSQL is stopped at once", _database("QUIT")),
    Trouble("PostgreSQL is killed", _database("KILL")),
)
