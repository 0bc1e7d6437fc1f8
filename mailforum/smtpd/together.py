"""Several hosts count together how often a client may do something (`[limits]`).

Each decides by what it knows, at once, and once a second they tell each other what was spent. So a client
that comes to all of them may have a second's worth more, and never more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping

from mailforum.clock import comes
from mailforum.errors import Deferred
from mailforum.smtpd.rates import Rate
from mailforum.store import hosts
from mailforum.store.database import Database
from mailforum.store.hosts import Spent

EVERY = 1.0  # seconds


class Together:
    """Counts for the `rates` of this host, by name, until `stop`."""

    def __init__(self, db: Database, rates: Mapping[str, Rate]) -> None:
        self._db = db
        self._rates = rates
        self._stop = asyncio.Event()
        for rate in rates.values():
            rate.spent = Counter()

    def stop(self) -> None:
        """Have `run` return."""
        self._stop.set()

    async def run(self) -> None:
        """Tell and hear what was spent, once a second."""
        while not self._stop.is_set():
            with contextlib.suppress(Deferred):  # it is told the next time
                await self.count()
            await comes(self._stop, EVERY)

    async def count(self) -> None:
        """Tell what was spent here, and hear how those clients stand everywhere. Raises Deferred."""
        told = {what: rate.spent for what, rate in self._rates.items() if rate.spent}
        spent = [
            Spent(what, client, self._rates[what].seconds(tokens))
            for what, clients in told.items()
            for client, tokens in clients.items()
        ]
        if not spent:
            return
        for what in told:
            self._rates[what].spent = Counter()
        try:
            found = await self._db.write(lambda tx: hosts.spend(tx, spent), ())
        except Deferred:
            for what, clients in told.items():
                clients.update(self._rates[what].spent or ())
                self._rates[what].spent = clients
            raise
        for one in found:
            self._rates[one.what].learn(one.client, one.seconds)
