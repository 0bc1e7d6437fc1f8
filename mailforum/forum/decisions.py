"""What moderators decide about threads. It counts more than anything the posts say.

A decision that takes back another one leaves nothing of both: what was split and merged again, or merged and split
again, stands where it stood, and what comes later finds it as if nothing had happened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mailforum.forum import branches, order, same_subject, threads
from mailforum.mail import subject
from mailforum.model import Post, Thread
from mailforum.store import posts as rows
from mailforum.store.database import Row, Tx


def split(tx: Tx, post: Post, now: float) -> Thread:
    """Cut a post, with all that hangs below it, from its thread; return the one that it begins.

    It must not be the only beginning of its thread. Replies found by their subject, which both threads will have,
    stay where they are: the moderator has seen them there.
    """
    tx.run("thread.hold", id=post.id)
    if tx.run("thread.take_back", id=post.id):  # it was merged into it
        _place_anew(tx, post.list_id, [post.id], now)
    again = _post(tx, post.id)
    if again.parent_id is not None or again.thread == post.thread:
        tx.run("thread.cut", id=post.id)
        _place_anew(tx, post.list_id, [post.id], now)
    return _thread(tx, post.id)


def merge(tx: Tx, thread: Thread, into: Thread, now: float) -> Thread:
    """Put a thread below the first post of another one of its list, whose name stays; return what they are now.

    What had been split off from that one goes back to where it was. All of the thread comes along, also replies
    that would not have been found by their subject in the other one.
    """
    members = [post for _, post in order.tree(rows.of_thread(tx, thread.id))]
    first = tx.one("thread.first", id=into.id)
    assert first is not None
    beginnings = [row["id"] for row in tx.all("thread.roots", id=thread.id)]
    names = {each.id: tx.one("thread.name", id=each.id) for each in (thread, into)}
    if tx.run("thread.uncut", posts=json.dumps(beginnings), into=into.id):
        _place_anew(tx, thread.list_id, beginnings, now)
    here = _post(tx, first["id"]).thread
    elsewhere = [post_id for post_id in beginnings if _post(tx, post_id).thread != here]
    if elsewhere:
        tx.run("thread.put_under", under=first["id"], posts=json.dumps(elsewhere))
        _place_anew(tx, thread.list_id, elsewhere, now)
    for post in members:
        _keep_below(tx, post, first["id"], now)
    one = _thread(tx, first["id"])
    _give_name(tx, one.id, names[into.id])
    if one.id == into.id:
        _give_name(tx, thread.id, names[thread.id])  # for the day when it is split off again
    return _thread(tx, first["id"])


def _give_name(tx: Tx, thread_id: int, name: Row | None) -> None:
    assert name is not None
    tx.run("thread.rename", id=thread_id, subject=name["subject"], named=bool(name["named"]))
    branches.entitle(tx, thread_id)


def _keep_below(tx: Tx, post: Post, first: int, now: float) -> None:
    """Put a post below its parent again if that is in the thread of `first` and it is not."""
    here = _post(tx, first).thread
    if post.parent_id and _post(tx, post.id).thread != here and _post(tx, post.parent_id).thread == here:
        tx.run("thread.put_under", under=post.parent_id, posts=json.dumps([post.id]))
        _place_anew(tx, post.list_id, [post.id], now)


def rename(tx: Tx, thread: Thread, title: str) -> None:
    """Give a thread a subject that no later post changes; an empty one: its first post's again."""
    title = " ".join("".join(char if char.isprintable() else " " for char in title).split())
    tx.run("thread.rename", id=thread.id, subject=title[: subject.MAX_SUBJECT], named=bool(title))
    branches.entitle(tx, thread.id)


def _place_anew(tx: Tx, list_id: int, posts: Sequence[int], now: float) -> None:
    """Put posts, about which something has been decided, where they belong now."""
    moved = branches.around(tx, list_id, posts, threads.ghosts_of(tx, posts), now)
    same_subject.review(tx, list_id, None, moved, now)


def _post(tx: Tx, post_id: int) -> Post:
    post = rows.by_id(tx, post_id)
    assert post is not None
    return post


def _thread(tx: Tx, post_id: int) -> Thread:
    post = _post(tx, post_id)
    thread = rows.thread_by_number(tx, post.list_id, post.thread)
    assert thread is not None
    return thread
