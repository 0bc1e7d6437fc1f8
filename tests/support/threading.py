"""A list in a real database, without the event loop, in which posts are threaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mailforum.forum import threads
from mailforum.forum.newcomer import Newcomer
from mailforum.model import MailingList
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from tests.support.oracle import Tree
from tests.support.stores import undone

NOW = 1_700_000_000.0


@contextmanager
def new_list(tx: Tx, settings: ListSettings | None = None) -> Iterator[MailingList]:
    """A new list, gone afterwards with all that was done to the database."""
    with undone(tx):
        list_id = lists.add(tx, "pmo@lists.example.org", "PMO", settings or ListSettings(), 0.0)
        mlist = lists.by_id(tx, list_id or 0)
        assert mlist
        yield mlist


def keep(tx: Tx, list_id: int, newcomer: Newcomer) -> int:
    """Store and thread a post of which nothing is known but what threading looks at; return its id."""
    newcomer = replace(newcomer, list_id=list_id)
    place = threads.place(tx, newcomer, NOW)
    post_id = tx.insert(
        "post.add",
        list_id=list_id,
        **place.values,
        **newcomer.values,
        from_address="ada@example.org",
        from_name="",
        received_at=NOW,
        size=0,
        fingerprint=newcomer.message_id.encode(),
        imported=False,
        mail="",
    )
    threads.settle(tx, post_id, newcomer, place, NOW)
    return post_id


def stored(tx: Tx, list_id: int, ids: Sequence[int]) -> Tree:
    """Return the tree as it is stored; posts are called by their position in `ids`."""
    posts = {post.id: post for post in rows.of_list(tx, list_id)}
    position = {post_id: number for number, post_id in enumerate(ids)}
    groups: dict[int, set[int]] = {}
    for post_id in ids:
        groups.setdefault(posts[post_id].thread, set()).add(position[post_id])
    parents = [position[post.parent_id] if post.parent_id else None for post in map(posts.__getitem__, ids)]
    return Tree(parents, [posts[post_id].how for post_id in ids], {frozenset(group) for group in groups.values()})


def is_whole(tx: Tx, list_id: int) -> bool:
    """Say whether numbers and labels lead to what they were given to, and `check` would find nothing."""
    for post in rows.of_list(tx, list_id):
        assert rows.by_label(tx, list_id, post.label) == post
        thread = rows.thread_by_number(tx, list_id, int(post.label.partition(".")[0]))
        assert thread and rows.of_thread(tx, thread.id), f"#{post.label} is of a thread that leads to nothing"
    for thread in rows.threads(tx, list_id):
        assert thread.posts, f"#{thread.number} has no posts"
    return True
