"""From where a worker takes deliveries in hand: from a queue that is its own, or one that hosts share.

Where hosts share it, what is taken is claimed, and what is not sent in spite of that is let go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from mailforum import log
from mailforum.errors import Deferred
from mailforum.hosting import Host
from mailforum.store import claims, queue
from mailforum.store.database import Database, Tx
from mailforum.store.queue import LANES, Part, Run, Taken
from mailforum.units import Place

logger = logging.getLogger("mailforum")

BEGIN_AGAIN = 2.0  # seconds after which hosts look from the beginning, for what others have let go


class Source(Protocol):
    """Where deliveries come from. `part` has the numbers of our connections, `places` are ours in the limits."""

    @property
    def part(self) -> Part: ...

    @property
    def host(self) -> int:
        """Who claims; 0 where nobody does."""
        ...

    @property
    def fans_out(self) -> bool:
        """Whether it is for us to go on with fan-outs."""
        ...

    @property
    def places(self) -> tuple[Place, ...]: ...

    async def recovered(self) -> bool:
        """Name what an earlier process may have sent; False if the database does not let us yet."""
        ...

    def renewed(self) -> bool:
        """Say whether we have become another host, or none, since this was asked last: nothing in hand is ours."""
        ...

    def lost(self, lane: int) -> None:
        """Hear that the host which connection number `lane` is of, we, was taken for dead."""
        ...

    async def take(
        self, now: float, due: float, reached: Mapping[Run, int], want: int, elsewhere: Callable[[str], bool] | None
    ) -> Taken:
        """Take about `want` deliveries in hand that are due at `due`. Raises Deferred. `now` is monotonic.

        `reached` says up to which id each run is in hand; recipients who are `elsewhere` are not wanted.
        """
        ...

    def will_not_send(self, ids: Iterable[int]) -> None:
        """Hear of deliveries in hand that nobody here is going to send now."""
        ...

    def have_put_off(self, ids: Iterable[int]) -> None:
        """Hear that it is written down of these when they are due."""
        ...

    async def let_go(self) -> None:
        """Have others take what we will not send. Raises Deferred."""
        ...


class Alone:
    """A queue of which a part is ours: who else takes from it takes another part."""

    host = 0
    places: tuple[Place, ...] = ()

    def __init__(self, db: Database, part: Part) -> None:
        self._db = db
        self.part = part
        self.fans_out = part.index == 0

    async def recovered(self) -> bool:
        try:
            for delivery in await self._db.read(lambda tx: queue.in_flight(tx, self.part)):
                log.uncertain(mail=delivery.mail, delivery=delivery.id, mailing=delivery.mailing_id, rcpt=delivery.rcpt)
            # Only now: a kill in between must not leave them without a line.
            await self._db.write(lambda tx: queue.land(tx, self.part), ())
        except Deferred as error:
            logger.debug("the queue cannot be read: %s", error.reason)  # the database has said so, not each second
            return False
        return True

    def renewed(self) -> bool:
        return False

    def lost(self, lane: int) -> None:
        pass

    async def take(
        self, now: float, due: float, reached: Mapping[Run, int], want: int, elsewhere: Callable[[str], bool] | None
    ) -> Taken:
        reached = dict(reached)
        return await self._db.read(lambda tx: queue.take(tx, due, reached, want, self.part))

    def will_not_send(self, ids: Iterable[int]) -> None:
        pass

    def have_put_off(self, ids: Iterable[int]) -> None:
        pass

    async def let_go(self) -> None:
        pass


class Shared:
    """A queue that hosts share; `host` is which of them we are."""

    fans_out = True

    def __init__(self, db: Database, host: Host) -> None:
        self._db = db
        self._host = host
        self._unsent: set[int] = set()  # claimed, and to be let go
        self._progress, self._began_at = claims.BEGINNING, 0.0
        self.part = Part()

    @property
    def host(self) -> int:
        return self.part.index

    @property
    def places(self) -> tuple[Place, ...]:
        return self._host.places

    async def recovered(self) -> bool:
        return True  # hosts that come and go see to that (store/hosts.py)

    def renewed(self) -> bool:
        if self._host.id == self.part.index:
            return False
        self.part = Part(self._host.id)
        self._unsent.clear()
        self._progress = claims.BEGINNING
        return True

    def lost(self, lane: int) -> None:
        self._host.lost(lane // LANES)

    async def take(
        self, now: float, due: float, reached: Mapping[Run, int], want: int, elsewhere: Callable[[str], bool] | None
    ) -> Taken:
        who = self._host.claimant
        if not self.host or who.host != self.host:  # we are another by now: that is to be noticed first
            return Taken([], [], False)
        if now - self._began_at > BEGIN_AGAIN:
            self._progress, self._began_at = claims.BEGINNING, now
        progress, claimed = self._progress, list[int]()

        def take(tx: Tx) -> tuple[Taken, claims.Progress]:
            taken, there = claims.take(tx, due, who, want, progress, elsewhere)
            claimed[:] = [*(one.id for one in taken.due), *taken.gone]
            return taken, there

        try:
            taken, self._progress = await self._db.claim(take)
        except Deferred:
            self._unsent.update(claimed)  # nobody knows whether that was committed
            raise
        return taken

    def will_not_send(self, ids: Iterable[int]) -> None:
        self._unsent.update(ids)

    def have_put_off(self, ids: Iterable[int]) -> None:
        self._unsent.difference_update(ids)

    async def let_go(self) -> None:
        if self._unsent:
            ids, host = list(self._unsent), self.host
            await self._db.write(lambda tx: claims.let_go(tx, ids, host), ())
            self._unsent.difference_update(ids)
            self._progress = claims.BEGINNING
