"""What is too old to keep, deleted in steps so small that no mail has to wait for one.

A step is a function of where the last one ended and of a transaction; it returns where the next one
begins (None: nothing more is to be done) and how many rows it has dealt with. What SQLite frees it
uses again for new mail, so the file ends up as large as what is kept, and stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailforum.options import Store
from mailforum.store import journal
from mailforum.store.database import Tx

ROWS = 500  # of a step; some milliseconds
MAILS = 20  # of a step, where each may have megabytes

BEGIN: int | None = 0
Step = Callable[[int, Tx], tuple[int | None, int]]


def steps(keep: Store, seen: float, now: float) -> Iterator[tuple[str, Step, bool]]:
    """Yield what there is to do, each with its name, and whether it decides anything (`Database.write`) or not.

    `seen`: how long a mail is known again, in seconds.
    """
    yield "seen", _while(lambda tx: tx.run("upkeep.drop_seen", before=now - seen, limit=ROWS)), False
    yield "answers", _while(lambda tx: tx.run("upkeep.drop_answers", day=int(now // 86400) - 2, limit=ROWS)), False
    yield "requests", _up("requests", now - seen, ROWS), False
    yield "deliveries", _up("deliveries", now - keep.keep_sent, ROWS), False
    yield "journal", _while(lambda tx: journal.prune(tx, now - keep.keep_log)), False
    yield "mailings", _up("mailings", now - keep.keep_sent, MAILS), True
    if keep.keep_held:
        yield "held", _held(now - keep.keep_held, now), True
    for name, seconds, limit in (
        ("shunts", keep.keep_shunted, MAILS),
        ("bounces", keep.keep_bounces, ROWS),
    ):
        if seconds:
            yield name, _up(name, now - seconds, limit), False
    if keep.keep_bounces:
        yield "failing", _while(lambda tx: tx.run("bounce.forget_failing", before=now - keep.keep_bounces)), False
        yield "storms", _while(lambda tx: tx.run("bounce.forget_storms", before=now - keep.keep_bounces)), False


def _while(delete: Callable[[Tx], int]) -> Step:
    def step(at: int, tx: Tx) -> tuple[int | None, int]:
        rows = delete(tx)
        return (at if rows else None), rows

    return step


def _up(name: str, before: float, limit: int) -> Step:
    """Delete what is of a time before `before`, from the lowest id up to the first that is all newer."""

    def step(at: int, tx: Tx) -> tuple[int | None, int]:
        row = tx.one(f"upkeep.{name}", after=at, limit=limit)
        if row is None or row["last"] is None or row["oldest"] >= before:
            return None, 0
        return row["last"], tx.run(f"upkeep.drop_{name}", after=at, last=row["last"], before=before)

    return step


def _held(before: float, now: float) -> Step:
    """Delete held posts, as `_up`, and write down that nobody has looked at them in time."""
    delete = _up("held", before, MAILS)

    def step(at: int, tx: Tx) -> tuple[int | None, int]:
        row = tx.one("upkeep.held", after=at, limit=MAILS)
        if row is not None and row["last"] is not None:
            tx.run("journal.held_expired", after=at, last=row["last"], before=before, now=now)
        return delete(at, tx)

    return step


def old_posts(tx: Tx, before: float) -> list[int]:
    """Return the next posts (ids) received before `before` whose text is still there."""
    ids = []
    for row in tx.all("upkeep.posts", before=before, limit=MAILS):
        if not row["old"]:
            break
        ids.append(row["id"])
    return ids


def forgotten(tx: Tx) -> int:
    """Return up to which post (id) texts have been replaced."""
    row = tx.one("upkeep.forgotten")
    assert row is not None
    return int(row["bodies_to"])


def replace_body(tx: Tx, post_id: int, raw: bytes) -> None:
    """Put `raw` in the place of a post's text; posts up to this one are then done."""
    tx.run("upkeep.replace_body", post_id=post_id, raw=raw)
    tx.run("upkeep.bodies_to", id=post_id)
