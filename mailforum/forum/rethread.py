"""A list threaded anew, from the bytes of its posts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailforum.mail.evidence import Evidence
from mailforum.model import How, MailingList, Post
from mailforum.store.database import Database


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a post stands: the number of its thread (0: a new one), the label of its parent ("": none), and how
    that was found."""

    thread: int
    parent: str
    how: How


@dataclass(frozen=True, slots=True)
class Change:
    """A post that stands elsewhere now."""

    label: str
    old: Spot
    new: Spot


async def rethread(
    db: Database,
    mlist: MailingList,
    evidence_of: Callable[[Post, bytes], Evidence],
    now: float,
    dry_run: bool = False,
    done: Callable[[int], None] = lambda posts: None,
) -> list[Change]:
    """Read all posts of a list again, put each where it belongs, and return those that have moved.

    `done` is called now and then with how many posts have been read. With `dry_run` all stays as it is.
    """
    raise NotImplementedError
