"""Posts and threads, as rows. What belongs together in a thread is decided in forum/threads.py."""

from __future__ import annotations

import json
from dataclasses import fields
from math import inf
from typing import NamedTuple

from mailforum.model import How, Post, Selection, Thread
from mailforum.store.database import Row, Tx
from mailforum.units import EVER, Period

ALL = 2**62  # no list has so many

Key = tuple[float, int]  # where a list that is read in pages goes on: the time it is ordered by, and the id

_POST = [field.name for field in fields(Post)]
_HOW = _POST.index("how")
_THREAD = [field.name for field in fields(Thread)]


def _post(row: Row) -> Post:
    values = [row[name] for name in _POST]
    values[_HOW] = How(values[_HOW])
    return Post(*values)


def _thread(row: Row) -> Thread:
    return Thread(*[row[name] for name in _THREAD])


def by_id(tx: Tx, post_id: int) -> Post | None:
    """Return the post with that id."""
    row = tx.one("post.by_id", id=post_id)
    return _post(row) if row else None


def is_cut(tx: Tx, post_id: int) -> bool:
    """Say whether a moderator has split a post off from what it answers."""
    row = tx.one("post.is_cut", id=post_id)
    return bool(row and row["cut"])


def by_label(tx: Tx, list_id: int, label: str) -> Post | None:
    """Return the post whose public id is `label`, such as `48.3`."""
    row = tx.one("post.by_label", list_id=list_id, label=label)
    return _post(row) if row else None


def thread_index(tx: Tx, post_id: int) -> str:
    """Return the Thread-Index that a post came or is sent with, in hex; "" for none."""
    row = tx.one("post.index", id=post_id)
    return str(row["thread_index"]) if row else ""


def by_name(tx: Tx, list_id: int, name: str) -> Post | None:
    """Return the post that is called `name` (a Message-ID as it is compared: `msgid.key`) on a list."""
    row = tx.one("post.by_name", list_id=list_id, name=name)
    return _post(row) if row else None


def by_name_ahead(tx: Tx, list_id: int, name: str) -> None:
    """Say that `by_name` will be asked for."""
    tx.ahead("post.by_name", list_id=list_id, name=name)


def of_list(tx: Tx, list_id: int, after: int = 0, limit: int = ALL) -> list[Post]:
    """Return posts of a list in order of arrival, from the one after id `after`."""
    return [_post(row) for row in tx.all("post.of_list", list_id=list_id, after=after, limit=limit)]


def dated(tx: Tx, list_id: int, order: str, during: Period, after: Key | None, limit: int) -> list[Post]:
    """Return the posts dated in a period, `oldest` or `newest` first, from the one behind (date, id) `after`."""
    at, post_id = after or (during.start if order == "oldest" else during.end, 0)
    values = {"list_id": list_id, "since": during.start, "until": during.end, "limit": limit}
    return [_post(row) for row in tx.all(f"post.by_{order}", at=at, id=post_id, **values)]


def selected(tx: Tx, list_id: int, chosen: Selection, after: int, last: int, limit: int) -> list[Post]:
    """Return the chosen posts of a list with `after` < id <= `last` in order of arrival."""
    query, which = _chosen("post.selected", list_id, chosen)
    return [_post(row) for row in tx.all(query, **which, after=after, last=last, limit=limit)]


def count_selected(tx: Tx, list_id: int, chosen: Selection) -> tuple[int, int]:
    """Return (how many posts of a list are chosen, the id of the last of them); (0, 0) if there are none."""
    query, which = _chosen("post.count_selected", list_id, chosen)
    row = tx.one(query, **which)
    assert row is not None
    return row["posts"], row["last"]


def _chosen(query: str, list_id: int, chosen: Selection) -> tuple[str, dict[str, object]]:
    """Return the query that finds the chosen posts by the right index, and what both say of which they are."""
    which: dict[str, object] = {"list_id": list_id, "start": chosen.during.start, "end": chosen.during.end}
    if chosen.threads:
        return f"{query}_in_threads", which | {"threads": json.dumps(chosen.threads)}
    return query, which


def of_thread(tx: Tx, thread_id: int) -> list[Post]:
    """Return the posts of a thread in order of arrival."""
    return [_post(row) for row in tx.all("post.of_thread", thread_id=thread_id)]


def between(tx: Tx, list_id: int, after: int, last: int) -> list[Post]:
    """Return the posts of a list with `after` < id <= `last` that were not imported, in order of arrival."""
    return [_post(row) for row in tx.all("post.between", list_id=list_id, after=after, last=last)]


def newest(tx: Tx, list_id: int, after: int) -> tuple[int, int]:
    """Return (id of the newest post, how many posts) among those with id > `after` that were not imported.

    (0, 0) if there are none.
    """
    row = tx.one("post.newest", list_id=list_id, after=after)
    assert row is not None
    return row["id"], row["posts"]


def has(tx: Tx, list_id: int, name: str, fingerprint: bytes) -> bool:
    """Say whether a list has a post with that fingerprint, sent or imported; it would be called `name`."""
    return tx.one("post.known", list_id=list_id, name=name, fingerprint=fingerprint) is not None


class Imported(NamedTuple):
    """What has become of imported posts: threads they are in, and how many of these are new; posts that are
    named and not there; earliest and latest date."""

    threads: int
    opened: int
    ghosts: int
    first: float | None
    last: float | None


def newest_thread(tx: Tx) -> int:
    """Return the id of the newest thread of all lists, 0 if there is none."""
    row = tx.one("thread.newest")
    assert row is not None
    return int(row["id"])


def imported(tx: Tx, list_id: int, since: int, newest: int) -> Imported:
    """Tell of the imported posts with id >= `since`; threads are new with ids > `newest`."""
    row = tx.one("post.imported", list_id=list_id, since=since, newest=newest)
    ghosts = tx.one("post.ghosts", list_id=list_id)
    assert row is not None and ghosts is not None
    return Imported(row["threads"], row["opened"], ghosts["ghosts"], row["first"], row["last"])


def add_body(tx: Tx, post_id: int, raw: bytes) -> None:
    """Keep a post's bytes as they were taken in."""
    tx.put("post.add_body", post_id=post_id, raw=tx.inline(raw), size=len(raw))
    tx.fill("body", "raw", post_id, raw)


def raw(tx: Tx, post_id: int) -> bytes:
    """Return a post's bytes as they were taken in; LookupError if there is no such post."""
    row = tx.one("post.body", post_id=post_id)
    if row is None:
        raise LookupError(f"post {post_id} has no body")
    return bytes(row["raw"])


def head(tx: Tx, post_id: int, size: int) -> bytes:
    """Return the first `size` bytes of a post, or all if it has less; LookupError if there is no such post."""
    row = tx.one("post.body_size", post_id=post_id)
    if row is None:
        raise LookupError(f"post {post_id} has no body")
    return tx.head("body", "raw", post_id, min(size, row["size"]))


def thread(tx: Tx, thread_id: int) -> Thread | None:
    """Return the thread with that id."""
    row = tx.one("thread.by_id", id=thread_id)
    return _thread(row) if row else None


def thread_by_number(tx: Tx, list_id: int, number: int) -> Thread | None:
    """Return the thread that people know as #`number`, or the one it was merged into."""
    row = tx.one("thread.by_number", list_id=list_id, number=number)
    return thread(tx, row["id"]) if row else None


def threads(
    tx: Tx, list_id: int, order: str = "oldest", during: Period = EVER, after: Key | None = None, limit: int = ALL
) -> list[Thread]:
    """Return the threads that lived in a period: begun before its end, active after its start.

    `order` is `oldest`, `newest` or `active`; they go on behind (the time they are ordered by, id) `after`.
    """
    start = {"oldest": -inf, "newest": during.end, "active": inf}[order]
    at, thread_id = after or (start, 0)
    values = {"list_id": list_id, "since": during.start, "until": during.end, "limit": limit}
    return [_thread(row) for row in tx.all(f"thread.by_{order}", at=at, id=thread_id, **values)]
