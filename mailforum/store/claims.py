"""What several hosts take in hand: each delivery is claimed by one of them, in the row itself.

A claim counts as long as its host stands in `host`, so those of a host that is buried need not be given
back. What was not sent in spite of a claim is let go. As in `queue.take`, runs take turns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from mailforum.model import Due
from mailforum.store import queue
from mailforum.store.database import Tx
from mailforum.store.queue import NEWEST, STEPS, TURN, Run, Taken

LATE = 60.0  # seconds by which a commit, or another host's clock, may be behind
FIRST: Run = (0.0, 0)  # there is none before
LAST = 2**62  # no mailing has so high an id
MORE = 8  # times as many runs are looked for when those that were found are not enough
MOST = 10  # times what is wanted are looked at, where most is for others to send


class Claimant(NamedTuple):
    """Who claims. `living` are the ids of the hosts that there were when it looked last, `newest` is the largest
    that had been given by then (`hosts.look`).

    A claim by a host that has come since counts. One by a host that had gone does not: no id is given twice.
    """

    host: int
    living: tuple[int, ...]
    newest: int


class Progress(NamedTuple):
    """Where to go on: when the oldest run is due of which something may be free; up to which id each run has
    been looked at; and the newest and the oldest of the runs between which nothing is free, as seen from the newest.
    It only saves time; without it all that is free is found."""

    since: float = 0.0
    reached: Mapping[Run, int] = MappingProxyType({})
    passed: tuple[Run, Run] = (FIRST, FIRST)


BEGINNING = Progress()


def take(
    tx: Tx,
    now: float,
    who: Claimant,
    want: int,
    progress: Progress = BEGINNING,
    elsewhere: Callable[[str], bool] | None = None,
) -> tuple[Taken, Progress]:
    """Claim about `want` deliveries that are due; return them, and where to go on.

    The oldest runs take turns; one more turn goes to the newest, so that new mail is not kept waiting by a
    long queue. Recipients that are for another host to send to (`elsewhere`) are left to it.
    """
    taken = queue.begin_taking(tx)
    claims = _Claims(tx, taken, who, dict(progress.reached), elsewhere)
    turn = max(TURN, want // 5)
    first, _ = claims.take(_Search("queue.free_runs", (progress.since, 0)), now, turn, want, STEPS, want * MOST)
    passed = claims.newest(now, progress.passed) if len(taken.due) >= want else progress.passed
    queue.add_outlines(tx, taken)
    since = min(first[0], now - LATE) if first else 0.0
    return taken, Progress(since, claims.reached, passed)


_NEWEST = "queue.newest_free_runs"


class _Search(NamedTuple):
    """By which query runs are looked for, from which one on, and above which one, when it goes backwards."""

    query: str
    start: Run
    above: Run | None = None

    def limits(self, now: float) -> dict[str, float]:
        """Return the parameters that say where runs end."""
        return {"above_at": self.above[0], "above_id": self.above[1]} if self.above else {"now": now}


class _Claims:
    """The claiming of some runs, turn by turn."""

    def __init__(
        self, tx: Tx, taken: Taken, who: Claimant, reached: dict[Run, int], elsewhere: Callable[[str], bool] | None
    ) -> None:
        self._tx = tx
        self._taken = taken
        self.reached = reached
        self.seen = 0  # how many have been claimed, also for nothing
        self._elsewhere = elsewhere
        self._who = {"host": who.host, "living": json.dumps(who.living), "newest": who.newest}

    def take(
        self, search: _Search, now: float, turn: int, want: int, runs: int, most: int
    ) -> tuple[Run | None, Run | None]:
        """Claim `want` deliveries of up to so many `runs`, of each up to `turn` before it is the next one's turn;
        return the first run, and the one where to go on. No more are claimed than `most`, also for others.

        Each run that is looked for costs a step in the index, and mostly the first has what is wanted. So they
        are looked for a few at a time.
        """
        goal, limit, number = len(self._taken.due) + want, self.seen + most, -(-want // turn)
        found: list[Run] = []
        again: list[Run] = []
        while len(self._taken.due) < goal and self.seen < limit and len(found) < runs:
            asked = min(number, runs - len(found))
            more = self._runs(search, now, found[-1] if found else search.start, asked)
            again += self._turns(more, turn, goal - len(self._taken.due)) if more else []
            found += more
            number *= MORE
            if len(more) < asked:
                break
        while again and len(self._taken.due) < goal and self.seen < limit:
            again = self._turns(again, turn, goal - len(self._taken.due))
        return next(iter(found), None), next(iter(again), found[-1] if found else None)

    def newest(self, now: float, passed: tuple[Run, Run]) -> tuple[Run, Run]:
        """Claim one turn of the newest runs; return between which runs nothing is free now.

        What is in hand there is not looked at each time: only what has come since, and what is older.
        """
        (above, below), seen = passed, self.seen
        _, last = self.take(_Search(_NEWEST, (now, LAST), above), now, TURN, TURN, NEWEST, TURN)
        rest = TURN - (self.seen - seen)
        if rest > 0 and below != FIRST:
            start = (below[0], below[1] + 1)
            _, older = self.take(_Search(_NEWEST, start, FIRST), now, TURN, rest, NEWEST, rest)
            last = older or below
        upper = (now - LATE, 0)
        return (upper, last) if last and last < upper else (FIRST, FIRST)

    def _runs(self, search: _Search, now: float, after: Run, number: int) -> list[Run]:
        who = {"living": self._who["living"], "newest": self._who["newest"]}
        rows = self._tx.all(
            search.query, **who, **search.limits(now), due_at=after[0], mailing_id=after[1], runs=number
        )
        return [(row["due_at"], row["mailing_id"]) for row in rows]

    def _turns(self, runs: Sequence[Run], turn: int, want: int) -> list[Run]:
        """Claim up to `turn` deliveries of each run, `want` in all; return the runs of which there may be more."""
        listed = [
            {"key": place, "due_at": run[0], "mailing_id": run[1], "after": self.reached.get(run, 0)}
            for place, run in enumerate(runs)
        ]
        rows = self._tx.all("queue.claim", **self._who, runs=json.dumps(listed), turn=turn, want=want)
        self.seen += len(rows)
        counts = [0] * len(runs)
        elsewhere: list[int] = []
        for row in sorted(rows, key=lambda row: (row["place"], row["id"])):
            run, place = runs[row["place"]], row["place"]
            counts[place] += 1
            self.reached[run] = row["id"]
            if row["gone"]:
                self._taken.gone.append(row["id"])
            elif self._elsewhere and self._elsewhere(row["rcpt"]):
                elsewhere.append(row["id"])
            else:
                self._taken.due.append(
                    Due(row["id"], run[1], row["member_id"], row["rcpt"], row["attempts"], row["created_at"], run[0])
                )
        let_go(self._tx, elsewhere, self._who["host"])
        return [run for run, count in zip(runs, counts, strict=True) if count == turn or len(rows) == want]


def let_go(tx: Tx, ids: Sequence[int], host: object) -> None:
    """Have others take what `host` has in hand and does not send."""
    if ids:
        # Where the answer to a COMMIT was lost, the server may still be at it: then wait, and look again.
        tx.all("queue.wait_for", ids=json.dumps(ids))
        tx.run("queue.let_go", ids=json.dumps(ids), host=host)
