"""The order of threads and of posts: the same on the terminal, in digests, and wherever else they are shown.

| | threads | posts |
|---|---|---|
| oldest | by the date of their first post | by date |
| newest | the other way round | the other way round |
| active | by when they were active last, the latest first | |
| thread | | depth-first: each post, then its answers by date |

A thread was active when its latest post *came*: neither a clock that is wrong nor a moderator who took a week
can bury it. An imported post came long ago to somewhere else; for it its date counts. Of two with one time the
one with the lower id is the older.

What a list holds is ordered in SQL, a page at a time (`thread.by_oldest` and the like in store/sql); what is at
hand is ordered here. A test compares the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator
from enum import StrEnum
from functools import partial

from mailforum.model import Post, Thread
from mailforum.store import posts as rows
from mailforum.store.database import Database, Tx
from mailforum.units import EVER, Period

PAGE = 500  # rows that are read at once

CLOCKS_DIFFER = 86400.0  # seconds that two clocks may differ, wrong time zone and all
YEAR = 365.25 * 86400  # seconds
FIRST_MAIL = YEAR  # 1971; an older date says that there was none


class PostOrder(StrEnum):
    """How posts are ordered; see above."""

    OLDEST = "oldest"
    NEWEST = "newest"
    THREAD = "thread"


class ThreadOrder(StrEnum):
    """How threads are ordered; see above."""

    OLDEST = "oldest"
    NEWEST = "newest"
    ACTIVE = "active"


def date(written: float | None, received: float) -> float:
    """Return when a post was written, as far as its author's clock can be believed; else when it was received.

    `written` is what its Date says, None if it says nothing. No mail was written after it was received, nor
    before there was any. It may be decades old: an old archive is also moved by sending its mails again.
    """
    return received if written is None or not FIRST_MAIL <= written <= received else written


def threads(found: Iterable[Thread], order: ThreadOrder) -> list[Thread]:
    """Order threads."""
    if order is ThreadOrder.ACTIVE:
        return sorted(found, key=lambda thread: (thread.last_at, thread.id), reverse=True)
    return sorted(found, key=lambda thread: (thread.begun_at, thread.id), reverse=order is ThreadOrder.NEWEST)


def posts(found: Iterable[Post], order: PostOrder) -> list[tuple[int, Post]]:
    """Order posts; each comes with its depth in the tree."""
    placed = list(tree(found))
    if order is PostOrder.THREAD:
        return placed
    return sorted(placed, key=lambda each: _age(each[1]), reverse=order is PostOrder.NEWEST)


def tree(found: Iterable[Post]) -> Iterator[tuple[int, Post]]:
    """Yield (depth, post) depth-first, each level by date. A post whose parent is not given stands at the top."""
    by_id = {post.id: post for post in found}
    newest_first = sorted(by_id.values(), key=_age, reverse=True)
    answers: dict[int | None, list[Post]] = defaultdict(list)
    for post in newest_first:
        answers[post.parent_id if post.parent_id in by_id else None].append(post)
    # Posts that answer each other in a circle stand below none of the tops; a damaged database is shown whole too.
    waiting = [(0, post) for post in (*newest_first, *answers[None])]
    while waiting:
        depth, post = waiting.pop()
        if by_id.pop(post.id, None):
            yield depth, post
            waiting.extend((depth + 1, answer) for answer in answers.get(post.id, ()))


def _age(post: Post) -> tuple[float, int]:
    return post.date, post.id


async def threads_of(
    db: Database, list_id: int, order: ThreadOrder, during: Period = EVER
) -> AsyncGenerator[list[Thread], None]:
    """Yield the threads of a list that lived in a period, a page at a time."""
    page = partial(rows.threads, list_id=list_id, order=order, during=during, limit=PAGE)
    after = None
    while found := await db.read(partial(page, after=after)):
        yield found
        last = found[-1]
        after = (last.last_at if order is ThreadOrder.ACTIVE else last.begun_at, last.id)


async def posts_of(
    db: Database, list_id: int, order: PostOrder, during: Period = EVER
) -> AsyncGenerator[list[Post], None]:
    """Yield the posts of a list that are dated in a period, a page at a time; in thread order thread by thread."""
    if order is PostOrder.THREAD:
        # An answer may be dated before what it answers, so where a thread begins says nothing of its end.
        async for found in threads_of(db, list_id, ThreadOrder.OLDEST, during._replace(end=EVER.end)):
            for thread in found:
                yield await db.read(partial(_of_thread, thread_id=thread.id, during=during))
        return
    page = partial(rows.dated, list_id=list_id, order=order, during=during, limit=PAGE)
    after = None
    while dated := await db.read(partial(page, after=after)):
        yield dated
        after = _age(dated[-1])


def _of_thread(tx: Tx, thread_id: int, during: Period) -> list[Post]:
    found = [post for post in rows.of_thread(tx, thread_id) if during.start <= post.date < during.end]
    return [post for _, post in tree(found)]
