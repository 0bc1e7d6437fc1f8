"""A list threaded anew, from the bytes of its posts.

What each post says is read again and compared with what is stored. Where it differs, because an option or
mailforum itself has changed, it is written down and the post is put where it belongs. Then the rule is applied to
all threads. Right after posts have come in or were imported, nothing changes by it.

Some things stay as they are: what moderators have decided; that a post came to our reply address, which its bytes
do not tell; its own Thread-Index; and everything about posts whose text is no longer kept.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from mailforum.errors import Refused
from mailforum.forum import branches, export, posts, threads
from mailforum.forum.newcomer import Newcomer
from mailforum.mail.evidence import Evidence
from mailforum.mail.message import Message
from mailforum.model import How, MailingList, Post, Selection
from mailforum.store import posts as rows
from mailforum.store.database import Database, Row, Tx

PAGE = 5000  # rows that are read at once


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a post stands: the number of its thread (0: a new one), the label of its parent ("": none), and how
    that was found."""

    thread: int
    parent: str
    how: How


@dataclass(frozen=True, slots=True)
class Change:
    """A post that stands elsewhere now."""

    label: str
    old: Spot
    new: Spot


async def rethread(
    db: Database,
    mlist: MailingList,
    now: float,
    *,
    dry_run: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Change]:
    """Read all posts of a list again, put each where it belongs, and return those that stand elsewhere.

    `advance` is told how many of how many posts have been read. With `dry_run` all stays as it is, and no mail has
    to wait: it is tried on a copy.
    """
    differing = [one async for one in _differing(db, mlist, advance)]
    if dry_run:
        return await db.rehearse(partial(_try, mlist, differing, now), mlist.id)
    before = await db.read(partial(_Places, mlist.id))
    await db.write(partial(_restate, mlist, differing, now), [mlist.id])
    for some in await db.read(partial(_chunks, mlist.id)):
        await db.write(lambda tx, some=some: threads.regroup(tx, mlist.id, some, now), [mlist.id])  # type: ignore[misc]
    return await db.read(lambda tx: list(before.changes(tx)))


def _try(mlist: MailingList, differing: Sequence[_Read], now: float, tx: Tx) -> list[Change]:
    before = _Places(mlist.id, tx)
    row = tx.one("thread.newest_number", list_id=mlist.id)
    _restate(mlist, differing, now, tx)
    threads.regroup_all(tx, mlist.id, now)
    return list(before.changes(tx, newest=row["number"] if row else 0))


def _chunks(list_id: int, tx: Tx) -> list[list[int]]:
    return list(threads.chunks(tx, list_id))


class _Read(NamedTuple):
    """A post, and what was found in it now."""

    post: Post
    found: Evidence


async def _differing(db: Database, mlist: MailingList, advance: Callable[[int, int], None]) -> AsyncIterator[_Read]:
    """Yield the posts that say something else than is stored."""
    async for post, raw in export.give_out(db, mlist, Selection(), advance):
        msg = _parsed(raw)
        if msg is not None and (found := await db.read(partial(_difference, mlist, post, msg, raw))):
            yield _Read(post, found)


def _parsed(raw: bytes) -> Message | None:
    try:
        return posts.parse(raw)[0]
    except Refused:
        return None


def _difference(mlist: MailingList, post: Post, msg: Message, raw: bytes, tx: Tx) -> Evidence | None:
    row = tx.one("thread.standing", id=post.id)
    if row is None or row["fingerprint"] != msg.fingerprint:
        return None  # the text is no longer kept
    named = rows.by_id(tx, row["named_id"]) if row["named_how"] == How.TOKEN else None
    found = posts.evidence_of(mlist, msg, raw, posts.name_of(tx, named) if named else "")
    newcomer, stance = _say(tx, mlist, post, row, found)
    stored = [(one["msgid"], one["how"]) for one in tx.all("thread.names_of", id=post.id)]
    same = stored == list(stance.missing) and all(
        row[name] == value for name, value in _values(newcomer, stance).items()
    )
    return None if same else found


def _say(tx: Tx, mlist: MailingList, post: Post, row: Row, found: Evidence) -> tuple[Newcomer, threads.Stance]:
    """Return what a stored post says, seen as if it came in now."""
    newcomer = posts.introduce(
        tx, mlist, found, post.message_id, post.subject, post.date, imported=bool(row["imported"]), before=post.id
    )
    newcomer = replace(newcomer, index=row["thread_index"])
    return newcomer, threads.stand(newcomer, threads.heard_of(tx, newcomer))


def _values(newcomer: Newcomer, stance: threads.Stance) -> dict[str, object]:
    return {
        "named_id": stance.row["id"] if stance.row else None,
        "named_how": stance.how,
        "apart": stance.apart,
        "base": newcomer.base,
        "was": newcomer.was,
        "lonely": newcomer.lonely,
        "fresh": newcomer.fresh,
    }


def _restate(mlist: MailingList, differing: Sequence[_Read], now: float, tx: Tx) -> None:
    """Write down what posts say now, and put them where they belong."""
    ids = [one.post.id for one in differing]
    ghosts = set(threads.ghosts_of(tx, ids))
    for post, found in differing:
        row = tx.one("thread.standing", id=post.id)
        assert row is not None
        newcomer, stance = _say(tx, mlist, post, row, found)
        tx.run("thread.restate", id=post.id, **_values(newcomer, stance))
        tx.run("thread.forget", post_id=post.id, position=0)
        threads.refer(tx, mlist.id, post.id, stance.missing)
    threads.stand_apart(tx, mlist.id)
    branches.around(tx, mlist.id, ids, ghosts.union(threads.ghosts_of(tx, ids)), now)


class _Places:
    """Where all posts of a list stand: a million of them in some 30 MiB."""

    def __init__(self, list_id: int, tx: Tx) -> None:
        self._list_id = list_id
        self._threads, self._parents, self._hows = array("q"), array("q"), array("q")
        for row in self._rows(tx):
            self._threads.append(row["number"])
            self._parents.append(row["parent_id"])
            self._hows.append(row["how"])

    def _rows(self, tx: Tx) -> Iterator[Row]:
        after = 0
        while page := tx.all("thread.places", list_id=self._list_id, after=after, limit=PAGE):
            yield from page
            after = page[-1]["id"]

    def changes(self, tx: Tx, newest: int | None = None) -> Iterator[Change]:
        """Yield the posts that stand elsewhere by now. Threads with numbers after `newest` are new ones."""
        stood = zip(self._threads, self._parents, self._hows, strict=True)
        # No post goes away, and what has come since is behind these.
        for row, old in zip(self._rows(tx), stood, strict=False):
            new = row["number"], row["parent_id"], row["how"]
            if old != new:
                number = 0 if newest is not None and new[0] > newest else new[0]
                yield Change(row["label"], _spot(tx, *old), _spot(tx, number, *new[1:]))


def _spot(tx: Tx, number: int, parent_id: int, how: int) -> Spot:
    parent = rows.by_id(tx, parent_id) if parent_id else None
    return Spot(number, parent.label if parent else "", How(how))
