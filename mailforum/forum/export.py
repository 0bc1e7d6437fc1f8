"""Archives: the posts of a list are given out again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mailforum.model import MailingList, Post
from mailforum.store import posts as rows
from mailforum.store.database import Database, Tx

BATCH = 200  # posts read at once
BATCH_BYTES = 8 * 1024**2


async def give_out(db: Database, mlist: MailingList) -> AsyncIterator[tuple[Post, bytes]]:
    """Yield the posts of a list with their bytes as they were taken in, in order of arrival."""
    after = 0
    while page := await db.read(lambda tx, after=after: _page(tx, mlist.id, after)):  # type: ignore[misc]
        for post, raw in page:
            yield post, raw
        after = page[-1][0].id


def _page(tx: Tx, list_id: int, after: int) -> list[tuple[Post, bytes]]:
    """Return the next posts, as many as a batch may hold: at least one if there is any."""
    page: list[tuple[Post, bytes]] = []
    size = 0
    for post in rows.of_list(tx, list_id, after, BATCH):
        if page and size + post.size > BATCH_BYTES:
            break
        page.append((post, rows.raw(tx, post.id)))
        size += post.size
    return page
