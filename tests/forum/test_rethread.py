"""A list threaded anew from its bytes: nothing changes, unless something has changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from mailforum.forum import posts, threads
from mailforum.forum.rethread import Change, Spot, rethread
from mailforum.model import How, MailingList, Post
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import posts as rows
from mailforum.store.database import Database, Tx
from mailforum.store.opening import open_database
from tests.support.stores import by_hand, one_store
from tests.support.stripped import strip
from tests.support.talk import TROUBLED, discussion

NOW = 1_700_000_000.0
GOLDEN = Path(__file__).parents[1] / "golden" / "threads"


@dataclass
class Forum:
    """A list in a real database."""

    db: Database
    store: str
    mlist: MailingList

    async def take(self, *mails: bytes, under: str = "", imported: bool = False) -> None:
        for mail in mails:
            msg, raw = posts.parse(mail)
            mark = msg.fingerprint
            await self.db.write(
                lambda tx, msg=msg, raw=raw, mark=mark: posts.store(
                    tx, self.mlist, msg, raw, NOW, under, mark=mark, imported=imported
                )
            )

    async def change(self, settings: ListSettings) -> None:
        await self.db.write(lambda tx: lists.change(tx, self.mlist.id, "", settings))
        mlist = await self.db.read(lambda tx: lists.by_id(tx, self.mlist.id))
        assert mlist
        self.mlist = mlist

    async def tree(self) -> list[tuple[str, int, int | None, How]]:
        found: list[Post] = await self.db.read(lambda tx: rows.of_list(tx, self.mlist.id))
        return [(post.label, post.thread, post.parent_id, post.how) for post in found]

    async def rethread(self, **how: bool) -> list[Change]:
        return await rethread(self.db, self.mlist, NOW, **how)

    def by_hand(self, sql: str) -> None:
        by_hand(self.store, sql)


@pytest.fixture
async def forum(store: str) -> AsyncIterator[Forum]:
    database = await open_database(store)
    list_id = await database.write(lambda tx: lists.add(tx, "pmo@lists.example.org", "", ListSettings(), 0.0)) or 0
    mlist = await database.read(lambda tx: lists.by_id(tx, list_id))
    assert mlist
    yield Forum(database, store, mlist)
    await database.close()


def mail(name: str, *references: str, subject: str = "Budget", text: str = "Hello", **more: str) -> bytes:
    lines = [f"Message-ID: <{name}@example.org>", f"Subject: {subject}", "From: ada@example.org"]
    lines += [f"References: {' '.join(f'<{one}@example.org>' for one in references)}"] if references else []
    lines += [f"{field}: {value}" for field, value in more.items()]
    return "\r\n".join([*lines, "", text, ""]).encode()


def golden() -> list[bytes]:
    """All mails of the golden trees, with all the dirt of real ones."""
    texts = [path.read_text() for path in sorted(GOLDEN.glob("*.txt"))]
    mails = [one.strip().encode() + b"\n" for text in texts for one in text.split("\n%%\n")]
    return [one for one in mails if b"ten-thousand" not in one and not one.startswith(b"#")]


@pytest.mark.parametrize("imported", [False, True])
async def test_right_after_posts_have_come_in_nothing_changes(forum: Forum, imported: bool) -> None:
    mails = golden()
    await forum.take(*mails[::2], *mails[1::2], imported=imported)
    before = await forum.tree()
    assert len(before) > 100
    assert await forum.rethread(dry_run=True) == []
    assert await forum.rethread() == []
    assert await forum.tree() == before


async def test_what_is_known_of_posts_is_found_again_in_their_bytes(forum: Forum) -> None:
    await forum.take(*golden())
    before = await forum.tree()
    forum.by_hand(
        "DELETE FROM reference; UPDATE post SET parent_id = NULL, how = 0, named_id = NULL, named_how = 0,"
        " claim_id = NULL, base = '', was = '', lonely = FALSE"
    )
    assert await forum.rethread()
    found = await forum.tree()
    assert [(label, parent, how) for label, _, parent, how in found] == [
        (label, parent, how) for label, _, parent, how in before
    ]


async def test_of_two_posts_with_one_id_the_one_is_answered_that_is_meant(forum: Forum) -> None:
    await forum.take(mail("a"), mail("a", subject="Lunch", text="Another"))
    second = await forum.db.read(lambda tx: rows.of_list(tx, forum.mlist.id)[1])
    name = await forum.db.read(lambda tx: posts.name_of(tx, second))
    await forum.take(mail("b", "a", subject="Re: Lunch"), under=name)
    footer = "> -- \n> #2.1 \u00b7 pmo@lists.example.org"
    await forum.take(mail("c", subject="Answer", text=footer))
    tree = await forum.tree()
    assert [post[1:] for post in tree[2:]] == [(2, second.id, How.TOKEN), (2, second.id, How.TEXT)]
    assert await forum.rethread(dry_run=True) == []


async def test_who_stands_apart_is_judged_by_subjects_as_they_are_read_now(forum: Forum) -> None:
    await forum.change(ListSettings(new_subject_new_thread=True))
    await forum.take(mail("a"), mail("b", "a", subject="Lunch"), mail("c", "a", subject="Budget"))
    before = await forum.tree()
    forum.by_hand("UPDATE post SET base = 'lunch' WHERE label = '1.1'")
    forum.by_hand("UPDATE post SET apart = FALSE, how = 3, parent_id = 1, thread_id = 1 WHERE message_id LIKE '<b@%'")
    forum.by_hand("UPDATE thread SET merged_into = 1 WHERE number = 2")
    assert await forum.rethread()
    assert await forum.rethread(dry_run=True) == []
    assert await forum.tree() == before


async def test_a_dry_run_says_what_would_change_and_changes_nothing(forum: Forum) -> None:
    await forum.take(mail("a"), mail("b", "a", subject="Lunch"), mail("c", "b", subject="Re: Lunch"))
    before = await forum.tree()
    await forum.change(ListSettings(new_subject_new_thread=True))
    moves = [
        Change("1.2", Spot(1, "1.1", How.REFERENCES), Spot(0, "", How.NONE)),
        Change("1.3", Spot(1, "1.2", How.REFERENCES), Spot(0, "1.2", How.REFERENCES)),
    ]
    assert await forum.rethread(dry_run=True) == moves
    assert await forum.tree() == before
    assert [(one.label, one.new.thread) for one in await forum.rethread()] == [("1.2", 2), ("1.3", 2)]
    assert await forum.rethread() == []
    await forum.change(ListSettings())
    assert [(one.label, one.new.thread) for one in await forum.rethread()] == [("1.2", 1), ("1.3", 1)]
    assert await forum.tree() == before


async def test_mail_comes_in_while_a_dry_run_is_under_way(forum: Forum) -> None:
    await forum.take(mail("a"))
    changed, go_on = threading.Event(), threading.Event()

    def rehearsal(tx: Tx) -> list[int]:
        threads.open_for(tx, forum.mlist.id, 1, "", NOW)
        changed.set()
        assert go_on.wait(20)
        return [post.thread for post in rows.of_list(tx, forum.mlist.id)]

    trying = asyncio.create_task(forum.db.rehearse(rehearsal, forum.mlist.id))
    await asyncio.to_thread(changed.wait)
    await forum.take(mail("b", "a"))
    go_on.set()
    assert await trying == [2]
    assert [post[1] for post in await forum.tree()] == [1, 1]


async def test_that_a_post_came_to_our_reply_address_is_not_forgotten(forum: Forum) -> None:
    await forum.take(mail("a"), mail("b"))
    await forum.take(mail("c", "b", subject="Re: Budget"), under="<a@example.org>")
    assert (await forum.tree())[2] == ("1.2", 1, 1, How.TOKEN)
    assert await forum.rethread() == []


async def test_what_moderators_have_decided_stays(forum: Forum) -> None:
    await forum.take(mail("a"), mail("b", "a"), mail("c"))
    forum.by_hand("UPDATE post SET cut = TRUE WHERE id = 2; UPDATE post SET put_under = 1 WHERE id = 3")
    assert {one.label: one.new for one in await forum.rethread()} == {
        "1.2": Spot(3, "", How.NONE),
        "2.1": Spot(1, "1.1", How.MODERATOR),
    }
    assert await forum.rethread() == []


async def test_posts_whose_text_is_no_longer_kept_stay_where_they_are(forum: Forum) -> None:
    await forum.take(mail("a"), mail("b", "a", subject="Re: Budget", text="> Hello"), mail("c", "lost", "b"))
    before = await forum.tree()
    while await forum.db.write(lambda tx: posts.forget_bodies(NOW + 1)(0, tx)[1]):
        pass
    assert await forum.rethread() == []
    assert await forum.tree() == before


@one_store
async def test_another_time_for_subjects_is_as_if_it_had_always_been(forum: Forum) -> None:
    stripped = [strip(talk.raw) if number % 3 else talk.raw for number, talk in enumerate(discussion(120, 3, TROUBLED))]
    await forum.take(*Random(1).sample(stripped, len(stripped)))
    assert await forum.rethread(dry_run=True) == []
    before = await forum.tree()
    assert How.SUBJECT in {how for _, _, _, how in before}
    await forum.change(ListSettings(subject_days=0))
    assert await forum.rethread()
    assert How.SUBJECT not in {how for _, _, _, how in await forum.tree()}
    await forum.change(ListSettings())
    assert await forum.rethread()
    assert await forum.tree() == before
    assert await forum.rethread(dry_run=True) == []
