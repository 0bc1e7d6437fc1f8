"""The order of threads and posts: one rule, in SQL and in Python, whatever the dates and however deep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.forum import order, posts
from mailforum.forum.order import PostOrder, ThreadOrder
from mailforum.model import How, MailingList, Post, Thread
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import posts as rows
from mailforum.store.connection import connect
from mailforum.store.database import Database, Tx
from mailforum.store.migrate import migrate
from mailforum.store.opening import open_database
from mailforum.store.sqlite import queries
from mailforum.units import Period

T = TypeVar("T")
DAY = 86400.0
NOW = 1_700_000_000.0


def post(number: int, parent: int | None = None, date: float = 0.0) -> Post:
    return Post(
        id=number,
        list_id=1,
        thread=1,
        label=f"1.{number}",
        parent_id=parent,
        parent=None,
        how=How.NONE,
        message_id=f"<{number}@example.org>",
        from_address="ada@example.org",
        from_name="Ada",
        subject="Budget",
        date=date,
        received_at=NOW,
        size=100,
    )


def thread(number: int, begun_at: float, last_at: float) -> Thread:
    return Thread(number, 1, number, "Budget", 1, begun_at, last_at)


def shape(found: list[tuple[int, Post]]) -> list[tuple[int, int]]:
    return [(depth, post.id) for depth, post in found]


TALK = [post(1, None, 10), post(2, 1, 30), post(3, 1, 20), post(4, 2, 40), post(5, None, 5)]


def test_thread_order_is_depth_first_and_each_level_by_date() -> None:
    assert shape(order.posts(TALK, PostOrder.THREAD)) == [(0, 5), (0, 1), (1, 3), (1, 2), (2, 4)]


def test_oldest_and_newest_go_by_date_and_keep_the_depth() -> None:
    assert shape(order.posts(TALK, PostOrder.OLDEST)) == [(0, 5), (0, 1), (1, 3), (1, 2), (2, 4)]
    assert shape(order.posts(TALK, PostOrder.NEWEST)) == [(2, 4), (1, 2), (1, 3), (0, 1), (0, 5)]


def test_of_two_posts_with_one_date_the_lower_id_is_the_older() -> None:
    assert [post.id for _, post in order.posts([post(2), post(3), post(1)], PostOrder.THREAD)] == [1, 2, 3]
    assert [post.id for _, post in order.posts([post(2), post(3), post(1)], PostOrder.NEWEST)] == [3, 2, 1]


def test_a_post_whose_parent_is_not_given_stands_at_the_top() -> None:
    assert shape(order.posts([post(7, 2, 9), post(8, 7, 10)], PostOrder.THREAD)) == [(0, 7), (1, 8)]


def test_posts_that_a_damaged_database_has_in_a_circle_are_shown_once_each() -> None:
    found = [post(1, None, 9), post(2, 4, 2), post(3, 2, 3), post(4, 3, 4), post(5, 5, 1)]
    assert shape(order.posts(found, PostOrder.THREAD)) == [(0, 1), (0, 5), (0, 2), (1, 3), (2, 4)]


def test_a_thread_of_ten_thousand_levels_is_no_deeper_than_it_is_long() -> None:
    found = [post(number, number - 1 or None, 1.0) for number in range(1, 10_001)]
    Random(1).shuffle(found)
    assert shape(order.posts(found, PostOrder.THREAD)) == [(number - 1, number) for number in range(1, 10_001)]


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=30), st.randoms())
def test_every_post_is_there_once_behind_the_one_it_answers(made: list[tuple[int, float]], random: Random) -> None:
    found = [post(number, parent if parent < number else None, date) for number, (parent, date) in enumerate(made, 1)]
    placed = order.posts(random.sample(found, len(found)), PostOrder.THREAD)
    at = {post.id: (index, depth) for index, (depth, post) in enumerate(placed)}
    assert sorted(at) == [post.id for post in found]
    for each in found:
        if each.parent_id in at:
            assert at[each.id][0] > at[each.parent_id][0]
            assert at[each.id][1] == at[each.parent_id][1] + 1


def test_threads_are_ordered_by_their_beginning_or_their_last_activity() -> None:
    found = [thread(1, 10, 50), thread(2, 30, 40), thread(3, 20, 60), thread(4, 20, 60)]
    assert [one.id for one in order.threads(found, ThreadOrder.OLDEST)] == [1, 3, 4, 2]
    assert [one.id for one in order.threads(found, ThreadOrder.NEWEST)] == [2, 4, 3, 1]
    assert [one.id for one in order.threads(found, ThreadOrder.ACTIVE)] == [4, 3, 1, 2]


YEAR = order.YEAR


@pytest.mark.parametrize(
    ("written", "dated"),
    [
        (None, NOW),
        (NOW - 60, NOW - 60),
        (NOW + 3600, NOW),  # a clock that is fast, or a wrong time zone
        (NOW + 40 * YEAR, NOW),
        (NOW - 3 * YEAR, NOW - 3 * YEAR),  # somebody passes an old mail on
        (10 * YEAR, 10 * YEAR),  # an archive of 1980
        (0.0, NOW),  # a clock without a battery
        (-YEAR, NOW),
    ],
)
def test_a_date_is_believed_where_it_can_be(written: float | None, dated: float) -> None:
    assert order.date(written, NOW) == dated


# -- what is read from the database, a page at a time


@dataclass(frozen=True)
class Mail:
    """A mail of a made archive: when it was written and came, both in hours, and which earlier one it answers."""

    written: int
    came: int
    answers: int | None
    imported: bool

    def raw(self, number: int) -> bytes:
        lines = [f"Message-ID: <{number}@example.org>", "Subject: Budget", f"From: ada{number % 7}@example.org"]
        lines += [f"Date: {1 + self.written // 24} Mar 2023 {self.written % 24:02}:00:00 +0000"]
        lines += [f"In-Reply-To: <{self.answers}@example.org>"] if self.answers is not None else []
        return "\r\n".join([*lines, "", f"{number}", ""]).encode()


MARCH = 1_677_628_800.0


def _archive(seed: int, count: int) -> list[Mail]:
    random = Random(seed)
    mails = []
    for number in range(count):
        answers = random.randrange(number) if number and random.random() < 0.7 else None
        written = random.randrange(24 * 28)
        mails.append(Mail(written, written + random.choice([0, 0, 1, 50]), answers, random.random() < 0.3))
    return mails


async def _stored(db: Database, mails: list[Mail]) -> MailingList:
    def store(tx: Tx) -> MailingList:
        list_id = lists.add(tx, "pmo@lists.example.test", "", ListSettings(), 1.0) or 0
        lists.add(tx, "lab@lists.example.test", "", ListSettings(), 1.0)
        mlist = lists.by_id(tx, list_id)
        assert mlist
        for number, mail in enumerate(mails):
            msg, raw = posts.parse(mail.raw(number))
            came = MARCH + 3600.0 * mail.came
            posts.store(tx, mlist, msg, raw, came, mark=msg.fingerprint, imported=mail.imported)
        return mlist

    return await db.write(store)


async def _all(pages: AsyncGenerator[list[T], None]) -> list[T]:
    return [one async for page in pages for one in page]


def test_what_is_ordered_in_sql_is_in_the_same_order_as_what_is_ordered_here(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "PAGE", 7)
    mails = _archive(5, 120)
    asyncio.run(_compare(store, mails))


async def _compare(store: str, mails: list[Mail]) -> None:
    db = await open_database(store)
    try:
        mlist = await _stored(db, mails)
        every = await db.read(lambda tx: rows.of_list(tx, mlist.id))
        assert len(every) == len(mails)
        for each in (PostOrder.OLDEST, PostOrder.NEWEST):
            assert await _all(order.posts_of(db, mlist.id, each)) == [one for _, one in order.posts(every, each)]
        threads = await _all(order.threads_of(db, mlist.id, ThreadOrder.OLDEST))
        _check(threads, every, {one.label: mail for one, mail in zip(every, mails, strict=True)})
        for by in ThreadOrder:
            assert await _all(order.threads_of(db, mlist.id, by)) == order.threads(threads, by)
        tree = [
            one
            for each in threads
            for _, one in order.posts([p for p in every if p.thread == each.number], PostOrder.THREAD)
        ]
        assert await _all(order.posts_of(db, mlist.id, PostOrder.THREAD)) == tree
        await _compare_periods(db, mlist, every, threads, tree)
    finally:
        await db.close()


def _check(threads: list[Thread], every: list[Post], mails: dict[str, Mail]) -> None:
    """A thread begins with its first post, and was active last when the last one came."""
    assert 10 < len(threads) < len(every)
    for one in threads:
        inside = [post for post in every if post.thread == one.number]
        came = [post.date if mails[post.label].imported else post.received_at for post in inside]
        assert one.posts == len(inside)
        assert one.last_at == max(came)
        assert one.begun_at == min(post.date for post in inside if post.parent_id is None)


async def _compare_periods(
    db: Database, mlist: MailingList, every: list[Post], threads: list[Thread], tree: list[Post]
) -> None:
    week = Period(MARCH + 7 * DAY, MARCH + 14 * DAY)
    dated = [one for one in every if week.start <= one.date < week.end]
    assert 0 < len(dated) < len(every)
    for each in (PostOrder.OLDEST, PostOrder.NEWEST):
        assert await _all(order.posts_of(db, mlist.id, each, week)) == [one for _, one in order.posts(dated, each)]
    assert sorted(one.id for one in await _all(order.posts_of(db, mlist.id, PostOrder.THREAD, week))) == sorted(
        one.id for one in tree if one in dated
    )
    alive = [one for one in threads if one.begun_at < week.end and one.last_at >= week.start]
    assert 0 < len(alive) < len(threads)
    for by in ThreadOrder:
        assert await _all(order.threads_of(db, mlist.id, by, week)) == order.threads(alive, by)


def test_a_page_is_read_from_an_index_in_its_order(tmp_path: Path) -> None:
    migrate(tmp_path / "test.db")
    values = dict.fromkeys(("list_id", "at", "id", "since", "until", "limit"), 1)
    with closing(connect(tmp_path / "test.db")) as connection:
        for name, query in queries().items():
            if name.startswith(("thread.by_", "post.by_")) and ":limit" in query:
                plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
                assert not [step for step in plan if "SCAN" in step or "TEMP" in step], (name, plan)
