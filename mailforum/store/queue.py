"""What is to be sent: mailings, and a row for each of their deliveries.

A delivery is queued, then taken in hand by a worker, then settled: sent, failed, or deferred with the
time of its next attempt. What is in hand only the worker knows (with several hosts it is written down: claims.py);
what may be on its way is written down before it is (`settle`), and `in_flight` returns what a crash left there.

Deliveries of one mailing that are due at the same time are a *run*; runs take turns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from mailforum.model import Delivery, Due, Kind, Mailing, Mode, State, Status
from mailforum.store.database import Row, Tx

PAUSED = 1e11  # seconds that are added to the due time of what is paused: the year 5138
EVERYBODY = 2**62  # no member has so high an id
STEP = 1000  # members to whom a mailing is queued in one transaction
TURN = 100  # deliveries of one run that are taken before it is another's turn
LANES = 1000  # numbers of connections that a worker has for itself
STEPS, NEWEST = 500, 50  # runs that are looked at, from the oldest that are not in hand and from the newest

_STATES = {state.value: state for state in State}


@dataclass(frozen=True, slots=True)
class Part:
    """What one of several workers takes: the deliveries whose id leaves `index` when divided by `count`."""

    index: int = 0
    count: int = 1

    @property
    def lanes(self) -> range:
        """The numbers of its connections."""
        return range(self.index * LANES, (self.index + 1) * LANES)


WHOLE = Part()

Run = tuple[float, int]
"""When deliveries are due, and the mailing that they are of."""


def _delivery(row: Row) -> Delivery:
    return Delivery(
        row["id"],
        row["mailing_id"],
        row["list_id"],
        row["member_id"],
        row["rcpt"],
        _STATES[row["state"]],
        row["attempts"],
        row["created_at"],
        row["due_at"],
        row["enhanced"],
        row["reply"],
        row["mail"],
    )


def add_mailing(
    tx: Tx,
    kind: Kind,
    *,
    list_id: int | None,
    mail_from: str,
    now: float,
    ref_id: int | None = None,
    template: str = "",
    values: Mapping[str, object] | None = None,
    reply_to: str = "",
    raw: bytes | None = None,
) -> int:
    """Queue a mailing without any delivery yet; return its id."""
    mailing_id = tx.insert(
        "queue.add_mailing",
        list_id=list_id,
        kind=kind,
        ref_id=ref_id,
        template=template,
        data=json.dumps(values or {}),
        reply_to=reply_to,
        mail_from=mail_from,
        raw=raw and tx.inline(raw),
        size=len(raw or b""),
        mail=tx.mail,
        now=now,
    )
    tx.fill("mailing", "raw", mailing_id, raw or b"")
    return mailing_id


def mailing(tx: Tx, mailing_id: int) -> Mailing | None:
    """Return a mailing without the bytes of a forward."""
    row = tx.one("queue.mailing", id=mailing_id)
    if row is None:
        return None
    return Mailing(
        id=row["id"],
        list_id=row["list_id"],
        kind=Kind(row["kind"]),
        ref_id=row["ref_id"],
        template=row["template"],
        values=json.loads(row["data"]),
        reply_to=row["reply_to"],
        mail_from=row["mail_from"],
        created_at=row["created_at"],
        mail=row["mail"],
    )


def mailing_raw(tx: Tx, mailing_id: int) -> bytes:
    """Return the bytes that a forward carries."""
    row = tx.one("queue.mailing_raw", id=mailing_id)
    if row is None or row["raw"] is None:
        raise LookupError(f"mailing {mailing_id} carries no mail")
    return bytes(row["raw"])


def address_to(tx: Tx, mailing_id: int, rcpt: str, now: float, member_id: int | None = None) -> None:
    """Queue one delivery of a mailing to `rcpt`."""
    tx.run("queue.add_delivery", mailing_id=mailing_id, member_id=member_id, rcpt=rcpt, now=now)


def first_recipient(tx: Tx, mailing_id: int) -> str:
    """Return to whom a notice goes; LookupError if its delivery is gone."""
    row = tx.one("queue.first_recipient", mailing_id=mailing_id)
    if row is None:
        raise LookupError(f"mailing {mailing_id} goes to nobody")
    return str(row["rcpt"])


def fan_out(tx: Tx, mailing_id: int, modes: Sequence[Mode], author: str = "") -> None:
    """Queue a mailing to every active member who reads in one of `modes`.

    A big list is only begun: `go_on_fanning_out` does the rest, in steps that nobody has to wait for.
    Who joins from now on gets nothing of it. `author` is the key of the post's author, who is left
    out if they asked for that.
    """
    who = {"modes": json.dumps(modes), "author": author}
    tx.put("queue.fan_out", id=mailing_id, after=0, last=EVERYBODY, limit=STEP, **who)
    tx.put("queue.begin_fan_out", id=mailing_id, step=STEP, **who)


def go_on_fanning_out(tx: Tx) -> bool:
    """Queue the next deliveries of a mailing that is not fanned out; say if there was one.

    Others may do the same at the same time: each takes a mailing that no other has.
    """
    row = tx.one("queue.fan_next")
    if row:
        where = {name: row[name] for name in ("id", "after", "last", "modes", "author")}
        queued = tx.run("queue.fan_out", **where, limit=STEP)
        tx.run("queue.fanned_out", id=row["id"], whole=queued < STEP)
    return row is not None


class Outline(NamedTuple):
    """What has to be known of a mailing before it is made: whether each recipient gets a mail of their own, and
    about how many bytes it has; the id of the mail that was the cause; and the list it is of."""

    personal: bool
    size: int
    mail: str
    list_id: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a worker takes in hand: `due`, in the order to be sent, and the outlines of their mailings.

    `gone`: those of members who have left meanwhile. `fanning`: some mailing is not fanned out.
    """

    due: list[Due]
    gone: list[int]
    fanning: bool
    outlines: dict[int, Outline] = field(default_factory=dict)


def take(tx: Tx, now: float, hand: Mapping[Run, int], want: int, part: Part = WHOLE) -> Taken:
    """Find about `want` deliveries that are due now.

    `hand` says up to which id each run is in hand already. The oldest runs take turns; one more turn
    goes to the newest, so that new mail is not kept waiting by a long queue.
    """
    reached = dict(hand)
    taken = begin_taking(tx)
    turn, share = max(TURN, want // 5), {"part": part.index, "parts": part.count}
    steps = STEPS + part.count * len(hand)  # the other parts have about as much in hand
    while len(taken.due) < want:
        took = 0
        for run in islice(_oldest(tx, now), steps):
            took += _turn(tx, taken, reached, run, share | {"limit": min(turn, want - len(taken.due))})
            if len(taken.due) >= want:
                break
        if not took:
            break
    else:
        next(filter(None, (_turn(tx, taken, reached, run, share | {"limit": TURN}) for run in _newest(tx, now))), 0)
    add_outlines(tx, taken)
    return taken


def begin_taking(tx: Tx) -> Taken:
    """Return what is taken at first: nothing."""
    return Taken([], [], tx.one("queue.fanning") is not None)


def add_outlines(tx: Tx, taken: Taken) -> None:
    """Add the outlines of the mailings that something was taken of."""
    mailings = {due.mailing_id for due in taken.due}
    for row in tx.all("queue.outlines", ids=json.dumps(sorted(mailings))) if mailings else ():
        taken.outlines[row["id"]] = Outline(bool(row["personal"]), row["size"], row["mail"], row["list_id"])


def _turn(tx: Tx, taken: Taken, reached: dict[Run, int], run: Run, share: Mapping[str, int]) -> int:
    """Take the next deliveries of a run; return how many there were."""
    due_at, mailing_id = run
    after = reached.get(run, 0)
    rows = tx.all("queue.due_in_run", due_at=due_at, mailing_id=mailing_id, after=after, **share)
    for row in rows:
        if row["gone"]:
            taken.gone.append(row["id"])
        else:
            taken.due.append(
                Due(row["id"], mailing_id, row["member_id"], row["rcpt"], row["attempts"], row["created_at"], due_at)
            )
    if rows:
        reached[run] = rows[-1]["id"]
    return len(rows)


def _oldest(tx: Tx, now: float) -> Iterator[Run]:
    return _runs(lambda at: tx.one("queue.next_run", now=now, due_at=at[0], mailing_id=at[1]), (0.0, 0))


def _newest(tx: Tx, now: float) -> Iterator[Run]:
    last = (now, 2**62)
    return islice(_runs(lambda at: tx.one("queue.last_run", now=now, due_at=at[0], mailing_id=at[1]), last), NEWEST)


def _runs(following: Callable[[Run], Row | None], at: Run) -> Iterator[Run]:
    while row := following(at):
        at = (row["due_at"], row["mailing_id"])
        yield at


def in_flight(tx: Tx, part: Part = WHOLE) -> list[Delivery]:
    """Return what a crash left on its way, and has no mark: it may have been sent, and will be again.

    A worker for the `WHOLE` or the first part answers for all; another one for its own connections.
    """
    return [_delivery(row) for row in tx.all("queue.in_flight", **_lanes(part))]


def unsettled(tx: Tx, ids: Sequence[int]) -> list[Delivery]:
    """Return those of some deliveries that are still to be made."""
    return [_delivery(row) for row in tx.all("queue.unsettled", ids=json.dumps(ids))] if ids else []


def land(tx: Tx, part: Part = WHOLE) -> None:
    """Write down that nothing of that is on its way."""
    tx.run("queue.land", **_lanes(part))


def _lanes(part: Part) -> dict[str, int]:
    return {"first": part.lanes.start, "last": part.lanes.stop - 1 if part.index else 2**31}


@dataclass(frozen=True, slots=True)
class Mark:
    """How attempts ended at `lane` (-1: at none), and which deliveries (ids) that lane sends next.

    `ended` has for each the delivery, its status, and when it is due again if it is deferred. `host` has
    claimed them; 0 where there are no claims.
    """

    lane: int
    ended: Sequence[tuple[Due, Status, float]]
    following: Sequence[int] = ()
    host: int = 0


def settle(tx: Tx, marks: Iterable[Mark], now: float, gone: Collection[int] = ()) -> None:
    """Write down how attempts ended, and what comes next at each lane: one statement for all that ended alike.

    Nothing comes next at the lanes of hosts that are `gone`. Of what a host has not claimed, or not any more, only
    that it was sent is written down; so marks may be written down again when nobody knows whether they are.
    """
    alike: dict[tuple[int, Status, float], list[int]] = {}
    flying: dict[int, Sequence[int]] = {}
    for mark in marks:
        for due, status, due_at in mark.ended:
            alike.setdefault((mark.host, status, due_at), []).append(due.id)
        if mark.lane >= 0 and mark.host not in gone:
            flying[mark.lane] = mark.following
    groups = [_group(host, status, due_at, ids, now) for (host, status, due_at), ids in alike.items()]
    tx.many("queue.tried", [group for group in groups if group["state"] is not State.SENT])
    tx.many("queue.settle", groups)
    for group in groups:
        if group["host"] and group["state"] is not State.SENT:  # an admin may have given up what was in hand
            tx.put("queue.let_go", ids=group["ids"], host=group["host"])
    tx.put("queue.take_off", flying=json.dumps(flying, sort_keys=True))


def _group(host: int, status: Status, due_at: float, ids: list[int], now: float) -> dict[str, object]:
    return {
        "host": host,
        "state": status.state,
        "due_at": due_at,
        "done_at": None if status.state is State.DEFERRED else now,
        "enhanced": status.enhanced,
        "reply": status.reply,
        "ids": json.dumps(ids),
        "now": now,
    }


def still_ours(tx: Tx, ids: Sequence[int], host: int = 0) -> set[int]:
    """Return those of some deliveries that we have in hand: nobody has settled them, or claimed them from `host`."""
    return {row["id"] for row in tx.all("queue.still_ours", ids=json.dumps(ids), host=host)}


def put_off(tx: Tx, ids: Sequence[int], due_at: float, host: int = 0) -> None:
    """Have deliveries that were not tried wait until `due_at`; those that `host` has claimed, if there are claims."""
    tx.run("queue.put_off", ids=json.dumps(ids), due_at=due_at, host=host)


def revive(tx: Tx, ids: Sequence[int], due_at: float) -> int:
    """Have failed deliveries tried again at `due_at`, as if they had been deferred; return how many."""
    return tx.run("queue.revive", ids=json.dumps(ids), due_at=due_at)


def withdraw(tx: Tx, ids: Sequence[int]) -> None:
    """Delete deliveries that wait: those whom they were for have left."""
    tx.run("queue.withdraw", ids=json.dumps(ids))


def attempts(tx: Tx, delivery_id: int) -> list[tuple[float, str, str]]:
    """Return the attempts at a delivery that did not succeed: when, RFC 3463 code, the server's words."""
    return [(row["at"], row["enhanced"], row["reply"]) for row in tx.all("queue.attempts", id=delivery_id)]


def backlog(tx: Tx, limit: int) -> int:
    """Return how many deliveries wait, counting to `limit` at most, and members still to be fanned out to."""
    row, rest = tx.one("queue.backlog", limit=limit), tx.one("queue.still_to_fan_out")
    assert row is not None and rest is not None
    return int(row["n"] + rest["members"])


def deliveries(tx: Tx, state: str = "") -> list[Delivery]:
    """Return the deliveries in `state`, or all of them, in order."""
    return [_delivery(row) for row in tx.all("queue.of_state", state=state)]


def delivery(tx: Tx, delivery_id: int) -> Delivery | None:
    """Return the delivery with that id."""
    row = tx.one("queue.by_id", id=delivery_id)
    return _delivery(row) if row else None


def retry(tx: Tx, now: float, delivery_id: int = 0) -> int:
    """Make one deferred, failed or paused delivery, or all that wait, due now; return how many were not."""
    if delivery_id:
        return tx.run("queue.retry", id=delivery_id, now=now, paused=PAUSED)
    return tx.run("queue.retry_all", now=now, paused=PAUSED)


def pause(tx: Tx) -> int:
    """Have all that waits wait until `resume`; return how many deliveries."""
    return tx.run("queue.pause", paused=PAUSED)


def resume(tx: Tx) -> int:
    """Go on with what `pause` stopped; return how many deliveries."""
    return tx.run("queue.resume", paused=PAUSED)


def drop_paused(tx: Tx, now: float) -> int:
    """Give up what `pause` stopped; return how many deliveries."""
    return tx.run("queue.drop_paused", now=now, paused=PAUSED)


def paused(tx: Tx) -> int:
    """Return how many deliveries `pause` has stopped."""
    row = tx.one("queue.paused", paused=PAUSED)
    assert row is not None
    return int(row["n"])


def drop(tx: Tx, now: float, delivery_id: int) -> bool:
    """Give up a delivery that waits; say whether there was one."""
    return tx.run("queue.drop", id=delivery_id, now=now) > 0
