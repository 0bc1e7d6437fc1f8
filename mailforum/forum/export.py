"""Archives: the posts of a list are given out again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from mailforum.model import MailingList, Post, Selection
from mailforum.store import posts as rows
from mailforum.store.database import Database, Tx

BATCH = 200  # posts read at once
BATCH_BYTES = 8 * 1024**2


async def give_out(
    db: Database, mlist: MailingList, chosen: Selection, advance: Callable[[int, int], None] = lambda done, total: None
) -> AsyncIterator[tuple[Post, bytes]]:
    """Yield the chosen posts of a list with their bytes as they were taken in, in order of arrival.

    `advance` is told how many of how many were taken. It is what was there when it began: what comes in
    meanwhile is left out. Others may write between the pages, so no snapshot keeps the log of the database
    from being emptied.
    """
    total, last = await db.read(lambda tx: rows.count_selected(tx, mlist.id, chosen))
    after = done = 0
    while page := await db.read(lambda tx, after=after: _page(tx, mlist.id, chosen, after, last)):  # type: ignore[misc]
        for post, raw in page:
            yield post, raw
            done += 1
            advance(done, total)
        after = page[-1][0].id


def _page(tx: Tx, list_id: int, chosen: Selection, after: int, last: int) -> list[tuple[Post, bytes]]:
    """Return the next posts, as many as a batch may hold: at least one if there is any."""
    page: list[tuple[Post, bytes]] = []
    size = 0
    for post in rows.selected(tx, list_id, chosen, after, last, BATCH):
        if page and size + post.size > BATCH_BYTES:
            break
        page.append((post, rows.raw(tx, post.id)))
        size += post.size
    return page
