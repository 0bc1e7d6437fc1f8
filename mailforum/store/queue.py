"""What is to be sent: mailings, and a row for each of their deliveries.

A delivery is queued, then claimed by a worker, then settled: sent, failed, or deferred with the time
of its next attempt. `recover` at start-up returns what a crash left claimed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from mailforum.model import Delivery, Kind, Mailing, Mode, State, Status
from mailforum.store.database import Row, Tx

_STATES = {state.value: state for state in State}


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
    row = tx.one(
        "queue.add_mailing",
        list_id=list_id,
        kind=kind,
        ref_id=ref_id,
        template=template,
        data=json.dumps(values or {}),
        reply_to=reply_to,
        mail_from=mail_from,
        raw=raw,
        mail=tx.mail,
        now=now,
    )
    assert row is not None
    return int(row["id"])


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


def address_to(
    tx: Tx, mailing_id: int, list_id: int | None, rcpt: str, now: float, member_id: int | None = None
) -> None:
    """Queue one delivery of a mailing to `rcpt`."""
    tx.run("queue.add_delivery", mailing_id=mailing_id, list_id=list_id, member_id=member_id, rcpt=rcpt, now=now)


def first_recipient(tx: Tx, mailing_id: int) -> str:
    """Return to whom a notice goes; LookupError if its delivery is gone."""
    row = tx.one("queue.first_recipient", mailing_id=mailing_id)
    if row is None:
        raise LookupError(f"mailing {mailing_id} goes to nobody")
    return str(row["rcpt"])


def fan_out(tx: Tx, mailing_id: int, list_id: int, mode: Mode, now: float, author: str = "") -> int:
    """Queue a mailing to every active member who reads in `mode`; return how many.

    `author` is the key of the post's author, who is left out if they asked for that.
    """
    return tx.run("queue.fan_out", mailing_id=mailing_id, list_id=list_id, mode=mode, author=author, now=now)


def claim(tx: Tx, now: float, limit: int) -> list[Delivery]:
    """Take up to `limit` deliveries that are due, the oldest first."""
    rows = [_delivery(row) for row in tx.all("queue.claim", now=now, limit=limit)]
    return sorted(rows, key=lambda delivery: (delivery.due_at, delivery.id))


def unclaim(tx: Tx, ids: Iterable[int]) -> None:
    """Put back deliveries that were claimed but not tried."""
    tx.many("queue.unclaim", [{"id": delivery_id} for delivery_id in ids])


def recover(tx: Tx) -> list[Delivery]:
    """Put back whatever a crash left claimed; each of these may already have been sent."""
    return [_delivery(row) for row in tx.all("queue.recover")]


def next_due(tx: Tx) -> float | None:
    """Return when the next delivery is due, or None if nothing waits."""
    row = tx.one("queue.next_due")
    return row["due_at"] if row else None


def settle(tx: Tx, results: Iterable[tuple[int, Status, float]], now: float) -> None:
    """Write down how attempts ended: (delivery id, status, due time if deferred) for each."""
    ended = [
        (
            delivery_id,
            status.state,
            due_at,
            None if status.state is State.DEFERRED else now,
            status.enhanced,
            status.reply,
        )
        for delivery_id, status, due_at in results
    ]
    tx.run("queue.settle", results=json.dumps(ended))


def deliveries(tx: Tx, state: str = "") -> list[Delivery]:
    """Return the deliveries in `state`, or all of them, in order."""
    return [_delivery(row) for row in tx.all("queue.of_state", state=state)]


def delivery(tx: Tx, delivery_id: int) -> Delivery | None:
    """Return the delivery with that id."""
    row = tx.one("queue.by_id", id=delivery_id)
    return _delivery(row) if row else None


def retry(tx: Tx, now: float, delivery_id: int = 0) -> int:
    """Make one deferred or failed delivery, or all deferred ones, due now; return how many."""
    return tx.run("queue.retry", id=delivery_id, now=now)


def drop(tx: Tx, now: float, delivery_id: int) -> bool:
    """Give up a delivery that waits; say whether there was one."""
    return tx.run("queue.drop", id=delivery_id, now=now) > 0


def stats(tx: Tx) -> dict[str, tuple[int, float | None]]:
    """Return for every state how many deliveries are in it and when the oldest was queued."""
    counts: dict[str, tuple[int, float | None]] = {state.value: (0, None) for state in State}
    for row in tx.all("queue.stats"):
        counts[row["state"]] = (row["deliveries"], row["oldest"])
    return counts


def prune(tx: Tx, before: float) -> int:
    """Delete mailings all of whose deliveries were finished before that time; return how many."""
    return tx.run("queue.prune", before=before)
