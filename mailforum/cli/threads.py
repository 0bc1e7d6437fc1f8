"""`mailforum thread`: the threads of a list on the terminal."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from mailforum.cli import corrections
from mailforum.cli.common import (
    Commands,
    add_list,
    counted,
    cut,
    emit,
    read,
    run_core,
    safe,
    table,
    terminal_width,
    when,
    with_json,
)
from mailforum.cli.listing import list_and_period, print_pages, with_bounds, with_sort
from mailforum.cli.posts import FOUND, add_id, author, find_thread, post_row

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import MailingList, Post, Thread
    from mailforum.store.database import Tx

DEEPEST = 12  # levels that are indented; who answers whom is seen well enough behind that
MOST_PEOPLE = 5  # that are named
DOUBTFUL = {"text", "subject", "moderator"}  # a parent that the mail itself has not named


def add(commands: Commands) -> None:
    """Add the command `thread`."""
    verbs = commands.add_parser("thread", help="threads of a list").add_subparsers(metavar="VERB", required=True)
    ls = verbs.add_parser("ls", help="the threads of a list")
    add_list(ls)
    with_json(ls)
    with_sort(ls, ("oldest", "newest", "active"), "by when they began, or the one that was active last first")
    with_bounds(ls)
    ls.set_defaults(run=list_threads)
    one = verbs.add_parser("show", help="one thread as a tree")
    add_id(one, "the thread's number, such as 48, or a post of it")
    with_json(one)
    with_sort(one, ("thread", "oldest", "newest"), "as a tree, or by date")
    one.set_defaults(run=show_thread)
    corrections.add_verbs(verbs)


def list_threads(args: argparse.Namespace) -> None:
    """Print the threads of a list."""

    async def run(core: Core) -> None:
        from mailforum.forum import order

        mlist, period = await list_and_period(core, args)
        pages = order.threads_of(core.db, mlist.id, order.ThreadOrder(args.sort), period)
        row = thread_row if args.json else _shown_row
        await print_pages(args, pages, row, ("id", "posts", "begun", "last", "subject"))

    run_core(args, run)


def thread_row(thread: Thread) -> dict[str, object]:
    """Return a thread as `--json` shows it."""
    return {
        "id": thread.number,
        "subject": thread.subject,
        "posts": thread.posts,
        "begun": when(thread.begun_at),
        "last": when(thread.last_at),
    }


def _shown_row(thread: Thread) -> dict[str, object]:
    return thread_row(thread) | {"id": f"#{thread.number}"}


def show_thread(args: argparse.Namespace) -> None:
    """Print a thread: what it is about, who has written, and who answers whom."""
    from mailforum.forum import order
    from mailforum.store import posts

    def content(core: Core, tx: Tx) -> tuple[MailingList, Thread, list[Post]]:
        mlist, thread = find_thread(tx, args.list, args.id)
        return mlist, thread, posts.of_thread(tx, thread.id)

    mlist, thread, found = read(args, content)
    placed = order.posts(found, order.PostOrder(args.sort))
    if args.json:
        emit(args, [{"depth": depth, **post_row(post)} for depth, post in placed], ())
        return
    for line in lines(mlist, thread, placed, indented=args.sort == "thread"):
        print(line)


def lines(mlist: MailingList, thread: Thread, placed: Sequence[tuple[int, Post]], *, indented: bool) -> Iterator[str]:
    """Yield the lines that show a thread: what it is about, who has written, and each post by depth."""
    found = [post for _, post in placed]
    for line in (*_head(mlist, thread, found), ""):
        yield cut(line, terminal_width())
    notes = _notes(mlist, thread, found)
    rows = [_placed_row(depth if indented else 0, post, notes[post.id]) for depth, post in placed]
    yield from list(table(rows, ("post", "date", "from", "note")))[1:]


def _head(mlist: MailingList, thread: Thread, found: Sequence[Post]) -> Iterator[str]:
    writers = Counter(post.from_address or post.from_name for post in found)
    names = {post.from_address or post.from_name: author(post) for post in found}
    people = [f"{safe(names[key])} ({times})" for key, times in writers.most_common(MOST_PEOPLE)]
    more = len(writers) - len(people)
    yield f"#{thread.number}  {safe(thread.subject)}"
    lived = f"begun {when(thread.begun_at)}, last active {when(thread.last_at)}"
    yield f"{counted(thread.posts, 'post')} on {mlist.address}, {lived}"
    yield f"by {', '.join(people)}{f' and {more} more' if more else ''}"


def _placed_row(depth: int, post: Post, note: str) -> dict[str, object]:
    return {
        "post": "  " * min(depth, DEEPEST) + post.label,
        "date": when(post.date),
        "from": post.from_name or post.from_address,
        "note": note,
    }


def _notes(mlist: MailingList, thread: Thread, found: Sequence[Post]) -> dict[int, str]:
    """Return what a reader of the tree should know of each post: where the subject becomes another, and where
    it was not the mail that named the post above it."""
    from mailforum.mail import subject

    @cache
    def base(text: str) -> str:
        return subject.base(text, mlist.settings.prefix)

    subjects = {post.id: base(post.subject) for post in found}
    notes = {}
    for post in found:
        above = subjects.get(post.parent_id or 0, thread.subject)
        changed = "" if subjects[post.id].casefold() == above.casefold() else f"“{subjects[post.id]}”"
        doubt = f"({FOUND[post.how.label]})" if post.how.label in DOUBTFUL else ""
        notes[post.id] = "  ".join(filter(None, (changed, doubt)))
    return notes
