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
    """Where to go on: when the oldest run is due of which something may be free, and up to which id each run has
    been looked at. It only saves time; without it all that is free is found."""

    since: float = 0.0
    reached: Mapping[Run, int] = MappingProxyType({})


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
    free = {"now": now, "living": json.dumps(who.living), "newest": who.newest}
    oldest = runs = _runs(tx, "queue.free_runs", free | {"since": progress.since, "runs": min(STEPS, want)})
    turn = max(TURN, want // 5)
    while runs and len(taken.due) < want and claims.seen < want * MOST:
        runs = claims.turns(runs, turn, want - len(taken.due))
    if len(taken.due) >= want:
        claims.turns(_runs(tx, "queue.newest_free_runs", free | {"runs": NEWEST}), TURN, TURN)
    queue.add_outlines(tx, taken)
    since = min(oldest[0][0], now - LATE) if oldest else 0.0
    return taken, Progress(since, claims.reached)


def _runs(tx: Tx, query: str, params: Mapping[str, object]) -> list[Run]:
    return [(row["due_at"], row["mailing_id"]) for row in tx.all(query, **params)]


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

    def turns(self, runs: Sequence[Run], turn: int, want: int) -> list[Run]:
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
