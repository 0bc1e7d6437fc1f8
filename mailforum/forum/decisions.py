"""What moderators decide about threads. It counts more than anything the posts say."""

from __future__ import annotations

from mailforum.model import Post, Thread
from mailforum.store.database import Tx


def split(tx: Tx, post: Post, now: float) -> Thread:
    """Cut a post, with all that hangs below it, from its thread; return the one that it begins.

    Raises Refused when there is nothing to cut: it is the only beginning of its thread.
    """
    raise NotImplementedError


def merge(tx: Tx, thread: Thread, into: Thread, now: float) -> Thread:
    """Put a thread below the first post of another; return what has become of both.

    Raises Refused when they are one thread, or of two lists.
    """
    raise NotImplementedError


def rename(tx: Tx, thread: Thread, title: str) -> None:
    """Give a thread a subject that no later post changes; an empty one: its first post's again."""
    raise NotImplementedError
