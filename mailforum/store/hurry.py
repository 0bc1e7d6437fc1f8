"""An admin wants all that waits to be tried now: who sends then leaves nothing alone any more."""

from __future__ import annotations

from mailforum.store import intake
from mailforum.store.database import Tx

_WHAT = "all deliveries to be tried now"


def all_senders(tx: Tx, now: float, *, many_hosts: bool) -> None:
    """Have all that send try at once what they leave alone. `many_hosts`: the database is on a server."""
    if many_hosts:
        tx.run("breaker.close_all")
    intake.reach(tx, _WHAT, times(tx) + 1, now)


def times(tx: Tx) -> int:
    """Return a number that is another one after each call of `all_senders`."""
    return intake.reached(tx, _WHAT)
