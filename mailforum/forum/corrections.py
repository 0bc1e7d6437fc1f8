"""What people correct in the threads of a list. Each correction is written down with who made it (store/audit.py).

Whoever calls this has made sure that they may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mailforum.errors import UsageError
from mailforum.forum import decisions
from mailforum.forum import rethread as anew
from mailforum.forum.rethread import Change, Spot
from mailforum.model import MailingList, Post, Thread
from mailforum.store import audit, posts
from mailforum.store.database import Database, Tx

MOST_NAMED = 200  # posts in one row of the audit


@dataclass(frozen=True, slots=True)
class By:
    """Whose correction it is: a name for the audit, and when it is made."""

    who: str
    at: float


@dataclass(frozen=True, slots=True)
class Parted:
    """What has become of a thread that was split: the post that begins the new one, and both as they are now."""

    post: Post
    old: Thread
    new: Thread


@dataclass(frozen=True, slots=True)
class Joined:
    """What has become of two threads that were merged: the one they are now, and the one that leads to it."""

    thread: Thread
    gone: Thread


def split(tx: Tx, mlist: MailingList, post: Post, by: By) -> Parted:
    """Let a post begin a thread of its own, with all that answers it. Raises UsageError if it does already."""
    beginnings = [each.id for each in posts.of_thread(tx, _thread_of(tx, post).id) if each.parent_id is None]
    if beginnings == [post.id]:
        raise UsageError(f"#{post.label} begins #{post.thread} already")
    parent = posts.by_id(tx, post.parent_id or 0)
    new = decisions.split(tx, post, by.at)
    before = {"thread": post.thread, "parent": parent.label if parent else None, "how": post.how.label or None}
    _note(tx, mlist, by, "thread split", post.label, before, {"thread": new.number, "posts": new.posts})
    return Parted(post, _thread_of(tx, post), new)


def merge(tx: Tx, mlist: MailingList, thread: Thread, into: Thread, by: By) -> Joined:
    """Put a thread below the first post of another. Raises UsageError if they are one, or of two lists."""
    if thread.list_id != into.list_id:
        raise UsageError(f"#{thread.number} and #{into.number} are on two lists")
    if thread.id == into.id:
        raise UsageError(f"there is nothing to merge: both are #{into.number}")
    one = decisions.merge(tx, thread, into, by.at)
    gone = thread if one.number == into.number else into
    before = {
        "subject": thread.subject,
        "posts": thread.posts,
        "into": f"#{into.number}",
        "its_subject": into.subject,
    }
    after = {"thread": one.number, "subject": one.subject, "posts": one.posts}
    _note(tx, mlist, by, "thread merge", f"#{thread.number}", before, after)
    return Joined(one, gone)


def rename(tx: Tx, mlist: MailingList, thread: Thread, title: str, by: By) -> Thread:
    """Give a thread another subject, "" for that of its first post; return it as it is now."""
    decisions.rename(tx, thread, title)
    new = posts.thread(tx, thread.id)
    assert new is not None
    _note(tx, mlist, by, "thread rename", f"#{thread.number}", {"subject": thread.subject}, {"subject": new.subject})
    return new


async def rethread(
    db: Database, mlist: MailingList, by: By, advance: Callable[[int, int], None], *, dry_run: bool = False
) -> list[Change]:
    """Work out the threads of a list anew (forum/rethread.py); return the posts that stand elsewhere now.

    Its row in the audit names the first of them. With `dry_run` all stays as it is.
    """
    changes = await anew.rethread(db, mlist, by.at, dry_run=dry_run, advance=advance)
    if changes and not dry_run:
        named = changes[:MOST_NAMED]
        before = {change.label: spot_words(change.old) for change in named}
        after = {"changed": len(changes), **{change.label: spot_words(change.new) for change in named}}
        await db.write(lambda tx: _note(tx, mlist, by, "rethread", "", before, after), ())
    return changes


def spot_words(spot: Spot) -> str:
    """Say where a post stands: `#48, answers 48.2 (references)`."""
    answers = f"answers {spot.parent} ({spot.how.label})" if spot.parent else "answers none"
    return f"{f'#{spot.thread}' if spot.thread else 'a new thread'}, {answers}"


def _thread_of(tx: Tx, post: Post) -> Thread:
    thread = posts.thread_by_number(tx, post.list_id, post.thread)
    assert thread is not None
    return thread


def _note(
    tx: Tx,
    mlist: MailingList,
    by: By,
    what: str,
    target: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> None:
    audit.add(tx, audit.Change(by.at, by.who, what, mlist.address, target, before, after))
