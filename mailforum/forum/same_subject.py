"""Replies that name nobody: found by their subject, where that leaves no doubt."""

from __future__ import annotations

from collections.abc import Iterable

from mailforum.forum.newcomer import Newcomer
from mailforum.store.database import Tx


def find(tx: Tx, post: Newcomer) -> int | None:
    """Return the id of the post that a lonely newcomer hangs below, by what is stored; None if there is none."""
    raise NotImplementedError


def review(tx: Tx, list_id: int, post_id: int, threads: Iterable[int], now: float) -> None:
    """Look again for the parents of lonely posts that may have another one now, and move them.

    Called when a post has been placed (`post_id`), and with all `threads` whose posts have become others by
    what the other rules say. `branches.hang` puts a post and all below it elsewhere.
    """
    raise NotImplementedError
