"""Posts with all that hangs below them, moved from thread to thread."""

from __future__ import annotations

from mailforum.model import How
from mailforum.store.database import Tx


def hang(tx: Tx, post_id: int, parent_id: int | None, how: How, now: float) -> set[int]:
    """Put a post, with all that hangs below it, under `parent_id`, or into a thread of its own if that is None.

    Returns the ids of the threads whose posts are others now: the one that it was in, and the one that it is in.
    """
    raise NotImplementedError
