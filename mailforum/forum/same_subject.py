"""Replies that name no post: found by their subject, where that leaves no doubt.

A reply is *lonely* if its subject is marked as one (`Re:`, `AW:`, `(was: …)`) and it names neither a post of the list
nor a mail that the list has not got. It belongs to the thread of the posts with the same base subject, if all of
these are of one thread:

- those dated in the `subject_days` before it; where there are none, those up to ten minutes after it, as clocks differ;
- where none has its subject, those with the one that it says it had before, `(was: …)`;
- the hundred nearest of them; it looks at no more;
- not those of its own thread, nor those of one that begins with a lonely reply dated later than itself.

Its parent is the nearest of them. Lonely replies are judged in the order of (date, Message-ID), and what one has
joined counts for the next. A subject that says nothing (`hello`) is good for a few days only. A wrong join is worse
than a broken thread: where two threads may be meant, none is.

This is a function of the set of posts. What one sees cannot be changed by a later one, since what hangs below a later
one does not count. So each is judged by what is stored; and when posts arrive late or threads change, `review` judges
those whom it may concern, in their order and each once.
"""

from __future__ import annotations

import heapq
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from mailforum.forum import branches
from mailforum.forum.newcomer import Newcomer
from mailforum.mail import plain
from mailforum.model import How
from mailforum.store import lists
from mailforum.store.database import Row, Tx

DAY = 86400.0
FAST = 600.0  # seconds by which the clock of a parent may be ahead
MOST = 100  # posts with one subject that are looked at
PLAIN_DAYS = 3  # for how long a subject that says nothing is good
MOST_DAYS = 365  # of `subject_days`

Order = tuple[float, str, int]


class Spot(NamedTuple):
    """A post that may be a parent, and the thread in which it is stored. `order` is that of a lonely reply."""

    id: int
    thread_id: int
    date: float
    order: Order | None


class Span(NamedTuple):
    """Posts with one base subject, from the first to the last of their dates."""

    base: str
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Seeker:
    """A lonely reply; without an id it is not stored yet, and comes behind all others of its date and Message-ID."""

    date: float
    message_id: str
    base: str
    was: str = ""
    id: int = sys.maxsize
    thread_id: int = 0
    parent_id: int | None = None

    @property
    def order(self) -> Order:
        """By what lonely replies are judged one after the other."""
        return self.date, self.message_id, self.id


def find(tx: Tx, post: Newcomer) -> int | None:
    """Return the id of the parent of a lonely reply that no stored post has been waiting for; None if none is sure."""
    seeker = Seeker(post.date, post.message_id, post.base, post.was)
    parent = _Search(tx, post.list_id).parent(seeker)
    return parent.id if parent else None


def review(tx: Tx, list_id: int, changed: Span | None, threads: Iterable[int], now: float) -> None:
    """Judge the lonely replies anew that posts within `changed`, and those of `threads`, may concern.

    Who turns out to have another parent is put there, with all below it.
    """
    search = _Search(tx, list_id)
    if changed and changed.base:
        search.concern([changed])
    for thread_id in threads:
        search.concern(_spans(tx.all("subject.of_thread", thread_id=thread_id)))
    found = search.changes()
    # Who has none any more goes first, the last of a chain at first: so nobody is moved twice, nor below itself.
    for reply in [reply for reply, parent in found.items() if not parent][::-1]:
        branches.hang(tx, reply, None, How.NONE, now)
    for reply, parent in found.items():
        if parent:
            branches.hang(tx, reply, parent.id, How.SUBJECT, now)


def review_ahead(tx: Tx, list_id: int, changed: Span) -> None:
    """Say that `review` will be asked for, with nothing done until then that makes replies lonely, or others so."""
    if changed.base:
        tx.ahead("subject.seekers", **_seekers(list_id, changed))


def _seekers(list_id: int, changed: Span, after: float = -math.inf) -> dict[str, object]:
    """Return for which replies is asked: most often none is there at all, and how far each looks, it says itself."""
    base, first, last = changed
    since, until = max(first - FAST, after), last + MOST_DAYS * DAY
    values = {"list_id": list_id, "base": base, "since": since, "first": first, "last": last}
    return {**values, "until": until, "most": MOST}


def _spans(rows: Iterable[Row]) -> list[Span]:
    """Return the base subjects of posts (`base` and `date` of each), and from when to when they were written."""
    found: dict[str, Span] = {}
    for row in rows:
        base, date = row["base"], row["date"]
        known = found.get(base, Span(base, date, date))
        found[base] = Span(base, min(known.first, date), max(known.last, date))
    return [span for span in found.values() if span.base]


class _Search:
    """One search: in what is stored, and in what it has found."""

    def __init__(self, tx: Tx, list_id: int) -> None:
        self._tx, self._list_id = tx, list_id
        self._waiting: list[tuple[Order, Seeker]] = []
        self._met: set[int] = set()  # lonely replies that wait or have been judged
        self._homes = _Homes(tx)

    @cached_property
    def _days(self) -> int:
        mlist = lists.by_id(self._tx, self._list_id)
        return mlist.settings.subject_days if mlist else 0

    def changes(self) -> dict[int, Spot | None]:
        """Judge all that wait; return the new parents by reply, in the order of the replies."""
        while self._waiting:
            self._judge(heapq.heappop(self._waiting)[1])
        return self._homes.changes

    def concern(self, changed: Iterable[Span], after: float = -math.inf) -> None:
        """Have the lonely replies judged that look at posts within `changed`: those dated `after` or later."""
        for span in changed:
            for row in self._tx.all("subject.seekers", **_seekers(self._list_id, span, after)):
                seeker = Seeker(**dict(row))
                if seeker.id not in self._met:
                    self._met.add(seeker.id)
                    heapq.heappush(self._waiting, (seeker.order, seeker))

    def _judge(self, seeker: Seeker) -> None:
        """Find the parent of a stored reply; should that take it elsewhere, others are concerned."""
        parent = self.parent(seeker)
        if (parent.id if parent else None) == seeker.parent_id:
            return
        self._homes.changes[seeker.id] = parent
        if (parent.thread_id if parent else 0) != seeker.thread_id and self._homes.part(seeker.thread_id):
            self.concern(_spans(self._tx.all("subject.of_thread", thread_id=seeker.thread_id)), seeker.date)

    def parent(self, seeker: Seeker) -> Spot | None:
        """Return the nearest of the posts that may be meant, if they are all of one thread."""
        for base in filter(None, (seeker.base, seeker.was)):
            for spots in self._same_subject(seeker, base):
                if counted := self._homes.earlier(seeker, spots):
                    near = counted[0]
                    good = self._days if not plain.is_plain(base) else min(self._days, PLAIN_DAYS)
                    sure = len({self._homes.of(spot) for spot in counted}) == 1
                    return near if sure and seeker.date - near.date <= good * DAY else None
        return None

    def _same_subject(self, seeker: Seeker, base: str) -> Iterator[list[Spot]]:
        """Yield the posts before `seeker`, then those a little later; each the nearest first."""
        since, date = seeker.date - self._days * DAY, seeker.date
        for query, first, last in (("subject.before", since, date), ("subject.after", date, date + FAST)):
            values = {"list_id": self._list_id, "base": base, "since": first, "until": last}
            rows = self._tx.all(query, **values, most=MOST) if self._days else []
            yield [_spot(row) for row in rows]


def _spot(row: Row) -> Spot:
    order = (row["date"], row["message_id"], row["id"]) if row["seeks"] else None
    return Spot(row["id"], row["thread_id"], row["date"], order)


class _Node(NamedTuple):
    parent_id: int | None
    seeks: bool
    order: Order


class _Homes:
    """To which thread posts belong, `changes` to the parents of lonely replies counted in."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.changes: dict[int, Spot | None] = {}
        self._parted: set[int] = set()  # threads that a reply has left, with all below it
        self._trees: dict[int, dict[int, _Node]] = {}
        self._beginnings: dict[int, int | None] = {}
        self._known: dict[int, int] = {}
        self._last: dict[int, Order | None] = {}

    def part(self, thread_id: int) -> bool:
        """Take note that a reply has left a thread; False if another one had before."""
        new = thread_id not in self._parted
        self._parted.add(thread_id)
        return new

    def earlier(self, seeker: Seeker, spots: list[Spot]) -> list[Spot]:
        """Return those posts that are not in a tree which a lonely reply not before `seeker` begins."""
        spots = [spot for spot in spots if spot.order is None or spot.order < seeker.order]
        self._look_for_last({spot.thread_id for spot in spots} - self._last.keys(), seeker.date)
        return [
            spot
            for spot in spots
            if (last := self._last[spot.thread_id]) is None or last < seeker.order or self._begins_before(seeker, spot)
        ]

    def _look_for_last(self, threads: Iterable[int], since: float) -> None:
        """Find the last lonely reply in `threads` that something hangs below. Who asks later on is dated later."""
        self._last.update(dict.fromkeys(threads))
        for row in self._tx.all("subject.last_above", threads=json.dumps(list(threads)), since=since):
            self._last[row["thread_id"]] = row["date"], row["message_id"], row["id"]

    def _begins_before(self, seeker: Seeker, spot: Spot) -> bool:
        beginning = self._beginning(spot.id, spot.thread_id)
        return beginning is None or self._tree(spot.thread_id)[beginning].order < seeker.order

    def of(self, spot: Spot) -> int:
        """Return what the thread of a post is called during this search.

        That is its id, and for what has left it the id of the lonely reply at its beginning, made negative.
        """
        home, (at, thread_id), passed = None, spot[:2], []
        while home is None:
            beginning = self._beginning(at, thread_id) if thread_id in self._parted else None
            if beginning is None or beginning in self._known:
                home = thread_id if beginning is None else self._known[beginning]
                break
            passed.append(beginning)
            if parent := self._parent(beginning, thread_id):
                at, thread_id = parent
            else:
                home = -beginning if beginning in self.changes else thread_id
        self._known.update(dict.fromkeys(passed, home))
        return home

    def _parent(self, beginning: int, thread_id: int) -> tuple[int, int] | None:
        """Return the parent of a lonely reply, as it is now, and the thread in which that is stored."""
        if beginning in self.changes:
            spot = self.changes[beginning]
            return (spot.id, spot.thread_id) if spot else None
        stored = self._tree(thread_id)[beginning].parent_id
        return (stored, thread_id) if stored is not None else None

    def _beginning(self, at: int, thread_id: int) -> int | None:
        """Return the lonely reply that begins the tree of a post by the other rules; None: something else does."""
        tree, passed = self._tree(thread_id), []
        while at not in self._beginnings:
            passed.append(at)
            node = tree[at]
            if node.seeks or node.parent_id not in tree:
                self._beginnings[at] = at if node.seeks else None
            else:
                at = node.parent_id
        self._beginnings.update(dict.fromkeys(passed, self._beginnings[at]))
        return self._beginnings[at]

    def _tree(self, thread_id: int) -> dict[int, _Node]:
        if thread_id not in self._trees:
            rows = self._tx.all("subject.of_thread", thread_id=thread_id)
            self._trees[thread_id] = {
                row["id"]: _Node(row["parent_id"], bool(row["seeks"]), (row["date"], row["message_id"], row["id"]))
                for row in rows
            }
        return self._trees[thread_id]
