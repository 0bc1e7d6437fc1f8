"""Replies without what says which mail they answer, and whether they are found by their subject.

threads, replies = truth(tx, mails)             # the thread of each mail, the numbers of the replies
measure(tx, mails, threads, tenth(replies, random))     # Found(stripped=98, joined=97, right=97)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from mailforum.forum import branches, posts, same_subject
from mailforum.mail import message, subject
from mailforum.mail.message import Message
from mailforum.model import How, Post
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from tests.support.stores import connection_of, undone

ADDRESS = "pmo@lists.example.org"
NOW = 2_000_000_000.0
DAYS = 30
_ID = re.compile(rb"<([^<>@\s]{1,200})@([^<>@\s]{1,200})>")


@dataclass(frozen=True)
class Found:
    """Of `stripped` replies so many were joined to a thread, and so many of them to the right one."""

    stripped: int
    joined: int
    right: int

    @property
    def precision(self) -> float:
        """The share of those joined that are in the right thread."""
        return self.right / self.joined if self.joined else 1.0

    @property
    def recall(self) -> float:
        """The share of those stripped that are in the right thread."""
        return self.right / self.stripped if self.stripped else 1.0

    def __add__(self, other: Found) -> Found:
        return Found(self.stripped + other.stripped, self.joined + other.joined, self.right + other.right)


def strip(raw: bytes) -> bytes:
    """Take out of a mail everything that names another: the fields, and ids in its text."""
    msg = message.read(message.normalise(raw))
    bare = msg.without("In-Reply-To", "References", "Thread-Index", "Thread-Topic")
    return Message(bare.headers, _ID.sub(rb"\1 at \2", bare.body)).to_bytes()


@contextmanager
def played(tx: Tx, mails: Sequence[bytes], days: int, stripped: Collection[int] = ()) -> Iterator[list[Post]]:
    """Import mails into a new list, some of them stripped; yields the posts, in the order of the mails.

    A mail that can not be read is left out. The list is gone afterwards.
    """
    with undone(tx):
        list_id = lists.add(tx, ADDRESS, "", ListSettings(subject_days=days), 0.0)
        mlist = lists.by_id(tx, list_id or 0)
        assert mlist
        for number, mail in enumerate(mails):
            msg, raw = posts.parse(strip(mail) if number in stripped else mail)
            posts.store(tx, mlist, msg, raw, NOW, mark=msg.fingerprint, imported=True)
        yield rows.of_list(tx, mlist.id)


def truth(tx: Tx, mails: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Return the thread of each mail, and the numbers of the replies.

    A reply is a mail whose header names one of the archive, and whose subject is marked as that of a reply.
    """
    with played(tx, mails, DAYS) as found:
        replies = [
            number
            for number, post in enumerate(found)
            if post.parent_id is not None
            and post.how not in (How.TEXT, How.SUBJECT)
            and subject.topic(post.subject).marked
        ]
        return [post.thread for post in found], replies


def measure(
    tx: Tx, mails: Sequence[bytes], threads: Sequence[int], stripped: Collection[int], strays: Collection[int] = ()
) -> Found:
    """Import the mails with so many replies stripped, and count those found by their subject.

    The `strays` look like replies and answer nothing: where one is joined to a thread, it is to a wrong one.
    """
    with played(tx, mails, DAYS, stripped) as found:
        number = {post.id: number for number, post in enumerate(found)}
        joined = [(n, found[n].parent_id) for n in {*stripped, *strays} if found[n].how == How.SUBJECT]
        right = sum(threads[n] == threads[number[parent]] for n, parent in joined if parent is not None)
        return Found(len(stripped), len(joined), right)


def tenth(replies: Sequence[int], random: Random) -> set[int]:
    """Choose each tenth of the replies, anywhere."""
    return set(random.sample(replies, len(replies) // 10))


def each_alone(tx: Tx, mails: Sequence[bytes], threads: Sequence[int], replies: Sequence[int]) -> Found:
    """Import the mails as they are; then take one reply after the other out of its thread, with all that answers it,
    as if only that one had been stripped, look where it belongs by its subject, and put it back."""
    found = Found(0, 0, 0)
    with played(tx, mails, DAYS) as stored:
        number = {post.id: number for number, post in enumerate(stored)}
        for reply in replies:
            parent = _alone(tx, stored[reply])
            right = parent is not None and threads[number[parent]] == threads[reply]
            found += Found(1, int(parent is not None), int(right))
    return found


def _alone(tx: Tx, post: Post) -> int | None:
    """Return the parent that a post is found to have if it names none."""
    run = connection_of(tx).execute
    run("SAVEPOINT alone")
    run("DELETE FROM reference WHERE post_id = ?", [post.id])
    run("UPDATE post SET lonely = 1, named_id = NULL, named_how = 0 WHERE id = ?", [post.id])
    branches.hang(tx, post.id, None, How.NONE, NOW)
    (base,) = run("SELECT base FROM post WHERE id = ?", [post.id]).fetchone()
    same_subject.review(tx, post.list_id, same_subject.Span(base, post.date, post.date), [], NOW)
    (parent,) = run("SELECT parent_id FROM post WHERE id = ?", [post.id]).fetchone()
    run("ROLLBACK TO alone")
    run("RELEASE alone")
    return parent
