"""The first start on a database that comes from a backup.

What waits in it may have been sent after the copy was made, by digests too. So it is paused: it stays
in the queue, and somebody decides (`mailforum queue resume`, `mailforum queue drop --paused`).
"""

from __future__ import annotations

from mailforum.forum import digests
from mailforum.store import lists, queue
from mailforum.store.database import Tx


def pause(tx: Tx, now: float) -> int:
    """Pause all that waits to be sent, and what would be in the next digests; return how many deliveries."""
    for mlist in lists.every(tx):
        if mlist.settings.digest:
            digests.cut(tx, mlist, now)
    while queue.go_on_fanning_out(tx):
        pass
    return queue.pause(tx)
