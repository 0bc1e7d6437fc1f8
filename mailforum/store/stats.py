"""How the queue stands, in numbers. Nothing here reads what is finished, unless it says so."""

from __future__ import annotations

from dataclasses import dataclass

from mailforum.model import State
from mailforum.store import queue
from mailforum.store.database import Tx

RECENT = 1000  # failed attempts that are looked at


@dataclass(frozen=True, slots=True)
class Numbers:
    """The queue and what waits beside it. `to_come` members of big lists have no delivery yet.

    `oldest` and `oldest_deferred` are when what still waits was queued; `due_at` is when the first of it is due;
    `paused` of it have no time, since the database was restored.
    """

    queued: int
    deferred: int
    to_come: int
    failed: int
    oldest: float | None
    oldest_deferred: float | None
    due_at: float | None
    suspended: int
    held: int
    shunts: int
    paused: int = 0

    @property
    def waiting(self) -> int:
        """How many deliveries are still to be made."""
        return self.queued + self.deferred + self.to_come


@dataclass(frozen=True, slots=True)
class OfList:
    """What waits of one list; `address` is empty for what belongs to none."""

    address: str
    waiting: int
    oldest: float
    due_at: float | None


@dataclass(frozen=True, slots=True)
class OfDomain:
    """What waits for one destination."""

    domain: str
    waiting: int
    deferred: int
    oldest: float


@dataclass(frozen=True, slots=True)
class OfHost:
    """What a host has in hand."""

    id: int
    name: str
    in_hand: int


@dataclass(frozen=True, slots=True)
class Failing:
    """A destination that did not take mail lately: how often, and what it said last."""

    domain: str
    times: int
    at: float
    enhanced: str
    reply: str


def alive(tx: Tx) -> bool:
    """Ask the database something that is no work."""
    return tx.one("stats.alive") is not None


def size(tx: Tx) -> int:
    """Return how many bytes the database takes."""
    row = tx.one("stats.size")
    assert row is not None
    return int(row["bytes"])


def numbers(tx: Tx) -> Numbers:
    """Return how the queue stands."""
    return look(tx)[0]


def look(tx: Tx) -> tuple[Numbers, list[OfList]]:
    """Return how the queue stands, and the lists that something waits of, those with the most of it first.

    A queue of a million takes about a fifth of a second.
    """
    rows = tx.all("stats.waiting", paused=queue.PAUSED)
    waiting = [OfList(row["address"] or "", row["deliveries"], row["oldest"], row["due_at"]) for row in rows]
    return _numbers(tx, waiting), waiting


def _numbers(tx: Tx, waiting: list[OfList]) -> Numbers:
    trouble, to_come = tx.one("stats.in_trouble"), tx.one("stats.to_come")
    assert trouble is not None and to_come is not None
    return Numbers(
        queued=sum(one.waiting for one in waiting) - trouble["deferred"],
        deferred=trouble["deferred"],
        to_come=to_come["members"],
        failed=trouble["failed"],
        oldest=min((one.oldest for one in waiting), default=None),
        oldest_deferred=trouble["oldest"],
        due_at=min((one.due_at for one in waiting if one.due_at is not None), default=None),
        suspended=trouble["suspended"],
        held=trouble["held"],
        shunts=trouble["shunts"],
        paused=queue.paused(tx),
    )


def finished(tx: Tx) -> int:
    """Count the deliveries that are finished and still kept; takes a while where they are millions."""
    row = tx.one("stats.finished")
    assert row is not None
    return int(row["finished"])


def by_domain(tx: Tx, limit: int) -> list[OfDomain]:
    """Return the destinations with the most that waits; looks at each delivery that does."""
    rows = tx.all("stats.domains", limit=limit)
    return [OfDomain(row["domain"], row["waiting"], row["deferred"], row["oldest"]) for row in rows]


def states(tx: Tx) -> dict[str, tuple[int, float | None]]:
    """Return for every state how many deliveries are in it and when the oldest was queued."""
    counts: dict[str, tuple[int, float | None]] = {state.value: (0, None) for state in State}
    for row in tx.all("stats.states"):
        counts[row["state"]] = (row["deliveries"], row["oldest"])
    return counts


def in_hand(tx: Tx) -> list[OfHost]:
    """Return how much each of several hosts has in hand; looks at each delivery that waits."""
    return [OfHost(row["id"], row["name"], row["deliveries"]) for row in tx.all("stats.in_hand")]


def failing(tx: Tx, since: float) -> list[Failing]:
    """Return the destinations that did not take mail since that time, the worst first."""
    found: dict[str, Failing] = {}
    for row in tx.all("stats.failures", since=since, most=RECENT):
        before = found.get(row["domain"])
        times = before.times + 1 if before else 1
        found[row["domain"]] = Failing(row["domain"], times, row["at"], row["enhanced"], row["reply"])
    return sorted(found.values(), key=lambda each: -each.times)
