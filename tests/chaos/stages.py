"""The stages at which the server is killed, and how each is reached on purpose.

Two kinds. From inside: the process kills itself at a `Moment` of its work with the database. From
outside: somebody watches (a sender in the middle of its mail, the relay behind a dot, the log of
the database) and the kill comes when they see what they wait for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.doomed import Moment

if TYPE_CHECKING:
    from tests.chaos.relay import Relay

POST, MARK, CUT = r"INSERT INTO post\b", "UPDATE delivery SET state", r"INSERT INTO issue\b"
FAN = r"UPDATE mailing SET fan_after\b"
ANSWERED, LEFT = "UPDATE request SET done_at", r"DELETE FROM member\b"


class Trigger:
    """Where senders report how far they are. Who reaches the place that is wanted wakes the killer."""

    def __init__(self) -> None:
        self.wanted = ""
        self._reached = asyncio.Event()

    async def at(self, place: str) -> None:
        """Say that a sender is at `place`. In the middle of a mail it stays there until the kill."""
        if place == self.wanted:
            self._reached.set()
            while place.startswith("half") and place == self.wanted:
                await asyncio.sleep(0.001)

    async def wait(self, place: str) -> None:
        """Return when a sender gets to `place`."""
        self.wanted = place
        self._reached.clear()
        await self._reached.wait()

    def rest(self) -> None:
        """Nobody is waited for any more."""
        self.wanted = ""


@dataclass
class Scene:
    """What an outside stage can see."""

    relay: Relay
    trigger: Trigger
    rng: random.Random
    ready: Callable[[], Awaitable[object]]
    wal: Path


Watch = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Stage:
    """A place in the server's life. Either `moment` or `watch` says when it is killed there.

    `digest`: a digest must be due when the server starts. `post_to`: a list that somebody has to post to.
    """

    name: str
    moment: Callable[[random.Random], Moment] | None = None
    watch: Watch | None = None
    digest: bool = False
    post_to: str = ""


def _commit(when: str, among: str, most: int = 3) -> Callable[[random.Random], Moment]:
    return lambda rng: Moment(when, "^COMMIT", among, rng.randint(1, most))


def _sender(place: str, seconds: float = 0.0) -> Watch:
    async def watch(scene: Scene) -> None:
        await scene.ready()
        await asyncio.sleep(scene.rng.uniform(0, 0.2))
        await scene.trigger.wait(place)
        await asyncio.sleep(scene.rng.uniform(0, seconds))

    return watch


def _unanswered(prefix: str = "") -> Watch:
    """The relay has kept mail and does not answer; after a while every connection waits."""

    async def watch(scene: Scene) -> None:
        if not prefix:
            await scene.ready()
            await asyncio.sleep(scene.rng.uniform(0, 0.3))
        scene.relay.hold(prefix)
        while not scene.relay.held:
            await scene.relay.changed.wait()
        await asyncio.sleep(scene.rng.choice([0, 0.01, 0.1]))

    return watch


async def _deaf(scene: Scene) -> None:
    """The relay reads nothing more; what was written to it meanwhile it reads after the kill."""
    await scene.ready()
    await asyncio.sleep(scene.rng.uniform(0, 0.3))
    scene.relay.listen_to_none(True)
    await asyncio.sleep(scene.rng.uniform(0.02, 0.1))


async def _starting(scene: Scene) -> None:
    await asyncio.sleep(scene.rng.uniform(0, 0.8))


async def _random(scene: Scene) -> None:
    await scene.ready()
    await asyncio.sleep(scene.rng.uniform(0, 1.0))


async def _log_grows(scene: Scene) -> None:
    """The writer is between the first page of a transaction and its fsync, or just behind it."""
    await scene.ready()
    await asyncio.sleep(scene.rng.uniform(0, 0.3))
    await asyncio.to_thread(_until_it_grows, scene.wal)


def _until_it_grows(wal: Path) -> None:
    before = wal.stat()
    while True:
        now = wal.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return


async def _busy(scene: Scene) -> None:
    """Mail is on its way to the relay: so many have come since the start."""
    wanted = scene.relay.kept + scene.rng.randint(1, 100)
    while scene.relay.kept < wanted:
        await scene.relay.changed.wait()


STAGES: tuple[Stage, ...] = (
    Stage("half a mail has come in", watch=_sender("half a mail is sent")),
    Stage("0 to 8 ms after the dot", watch=_sender("dot", 0.008)),
    Stage("a post is stored, not committed", _commit("before", POST)),
    Stage("in the middle of a fan-out", lambda rng: Moment("after", "^INSERT INTO delivery", count=rng.randint(1, 4))),
    Stage("a post is committed, no 250 yet", _commit("after", POST)),
    Stage("the 250 has arrived", watch=_sender("250")),
    Stage("the log of the database grows", watch=_log_grows),
    Stage("a large fan-out goes on", _commit("before", FAN, 2), post_to="shared2500"),
    Stage("a large fan-out has gone on", _commit("after", FAN, 2), post_to="shared2500"),
    Stage("what flies is written, not committed", _commit("before", "INTO in_flight", 9)),
    Stage("what flies is committed, no dot yet", _commit("after", "INTO in_flight", 9)),
    Stage("mail on its way to the relay", watch=_busy),
    Stage("the relay has kept it, no answer yet", watch=_unanswered()),
    Stage("the relay reads only after the kill", watch=_deaf),
    Stage("marks are written, not committed", _commit("before", MARK, 9)),
    Stage("marks are committed", _commit("after", MARK, 9)),
    Stage("0 to 0.8 s after the start", watch=_starting),
    Stage("one of the first statements", lambda rng: Moment("before", "", count=rng.randint(1, 60))),
    Stage("a digest is cut, not committed", _commit("before", CUT, 1), digest=True),
    Stage("a digest is committed", _commit("after", CUT, 1), digest=True),
    Stage("the relay has kept a digest, no answer", watch=_unanswered("<digest."), digest=True),
    Stage("an answer is handled, not committed", _commit("before", ANSWERED)),
    Stage("an answer is committed, no 250 yet", _commit("after", ANSWERED)),
    Stage("somebody leaves, not committed", _commit("before", LEFT, 1)),
    Stage("somebody has left, no 250 yet", _commit("after", LEFT, 1)),
    Stage("at a random moment", watch=_random),
)
