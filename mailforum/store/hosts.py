"""The hosts that serve one PostgreSQL database, and what they have in common.

Each serving process is a row of `host` and renews it. Who has not done so for the length of a lease is
buried by any other; what it may have sent is named in the log, and what it had in hand is free from then
on. All times are the database's own: no host's clock is asked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mailforum import log
from mailforum.errors import ConfigError
from mailforum.store import queue
from mailforum.store.database import Row, Tx

_COMING = 0x6D61696F_00000000  # the number of an advisory lock


@dataclass(frozen=True, slots=True)
class Living:
    """A host that serves. `keys` shows what has to be the same everywhere.

    `seen_at`: as of when it knows who is there; `now`: when we looked.
    """

    id: int
    name: str
    roles: tuple[str, ...]
    version: str
    keys: str
    started_at: float
    seen_at: float
    now: float


class Buried(NamedTuple):
    """A host that was not heard of for `silent` seconds."""

    id: int
    name: str
    silent: float


def register(tx: Tx, name: str, roles: Sequence[str], version: str, keys: str) -> int:
    """Become a host; return its id. Hosts come one after the other.

    Raises ConfigError when the schema has become one that this program does not know, or the database has moved:
    who has changed that either sees the host, or has done it before.
    """
    tx.one("host.wait_for_schema")
    row = tx.one("host.schema")
    if row and row["runs_with"] > row["knows"]:
        raise ConfigError(f"the database was made by a newer mailforum (schema {row['number']}); please upgrade")
    fence = tx.one("host.closed")
    if fence and fence["closed"]:
        raise ConfigError(f"the database is closed: {fence['closed']}")
    tx.one("host.be_the_only_one", lock=_COMING)
    _name_what_was_under_way(tx)
    return tx.insert("host.register", name=name, roles=",".join(roles), version=version, keys=keys)


def renew(tx: Tx, host: int, now: float) -> bool:
    """Say that a host lives and has looked who is there at `now`; False if it has been buried."""
    return tx.run("host.renew", id=host, now=now) > 0


def show(tx: Tx, host: int, keys: str) -> None:
    """Have a host show other keys."""
    tx.run("host.show", id=host, keys=keys)


def look(tx: Tx) -> tuple[list[Living], int]:
    """Return the hosts in the order in which they came, and the largest id that was ever given.

    Whoever has an id up to that one and is not among them has gone for good: nobody is just coming.
    """
    tx.one("host.wait_for_the_only_one", lock=_COMING)
    newest = tx.one("host.newest")
    assert newest is not None
    return living(tx), newest["id"]


def living(tx: Tx) -> list[Living]:
    """Return the hosts in the order in which they came."""
    return [
        Living(
            row["id"],
            row["name"],
            tuple(filter(None, row["roles"].split(","))),
            row["version"],
            row["keys"],
            row["started_at"],
            row["seen_at"],
            float(row["now"]),
        )
        for row in tx.all("host.living")
    ]


def bury(tx: Tx, lease: float) -> list[Buried]:
    """Remove the hosts that have not been heard of for `lease` seconds; any number of hosts may do so at once."""
    return _buried(tx, tx.all("host.bury", lease=lease))


def bury_ended(tx: Tx, ended: Collection[int]) -> list[Buried]:
    """Remove the hosts whose processes are known to have `ended`.

    The server may still be at what one of them has sent it last: that one is passed over.
    """
    return _buried(tx, tx.all("host.bury_ended", ids=json.dumps(sorted(ended))))


def _buried(tx: Tx, rows: Sequence[Row]) -> list[Buried]:
    if rows:
        _name_what_was_under_way(tx)
    return [Buried(row["id"], row["name"], float(row["silent"])) for row in rows]


def leave(tx: Tx, host: int) -> None:
    """Be no host any more. What is still under way may have been sent, and is named in the log."""
    tx.run("host.leave", id=host)
    _name_what_was_under_way(tx)


def _name_what_was_under_way(tx: Tx) -> None:
    """Name what a host had under way that is none any more.

    Before the commit, or a kill in between would leave it without a line; twice, if the commit fails.
    """
    lanes = [json.loads(row["deliveries"]) for row in tx.all("host.land_orphans")]
    for found in queue.unsettled(tx, [one for deliveries in lanes for one in deliveries]):
        log.uncertain(mail=found.mail, delivery=found.id, mailing=found.mailing_id, rcpt=found.rcpt)


def standing(tx: Tx, hosts: Collection[int]) -> set[int]:
    """Return which of these hosts are such; none of them can be buried before the transaction ends."""
    return {row["id"] for row in tx.all("host.standing", ids=json.dumps(sorted(hosts)))}


# -- what they have in common


class Rest(NamedTuple):
    """Something that is not sent to, for so many `seconds` more, and why."""

    key: str
    reason: str
    seconds: float


def rest(tx: Tx, rests: Iterable[Rest]) -> None:
    """Have all hosts leave something alone."""
    for key, reason, seconds in sorted(rests):
        tx.run("breaker.open", key=key, reason=reason, seconds=seconds)


def rests(tx: Tx) -> list[Rest]:
    """Return what is left alone."""
    return [Rest(row["key"], row["reason"], float(row["seconds"])) for row in tx.all("breaker.are_open")]


class Spent(NamedTuple):
    """What a client has used of one of its rates (`what`), in seconds until its bucket is full again."""

    what: str
    client: str
    seconds: float


def spend(tx: Tx, spent: Iterable[Spent]) -> list[Spent]:
    """Add to what clients have used on all hosts; return how that stands."""
    rows = tx.all("rate.spend", spent=json.dumps([one._asdict() for one in spent]))
    return [Spent(row["what"], row["client"], float(row["seconds"])) for row in rows]


def forget(tx: Tx) -> None:
    """Delete what has no meaning any more."""
    tx.run("breaker.forget")
    tx.run("rate.forget")
