"""`mailforum thread split`, `merge` and `rename`, and `mailforum rethread`: what stands in the wrong place is moved.

They work beside a server that runs, each in transactions of its own.
"""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    add_list,
    counted,
    emit,
    find_list,
    note,
    progress,
    run_core,
    safe,
    show,
    with_json,
    write,
)
from mailforum.cli.posts import add_id, find_post, find_thread

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.corrections import By, Joined, Parted
    from mailforum.forum.rethread import Change, Spot
    from mailforum.model import Thread
    from mailforum.store.database import Tx


def add_verbs(verbs: Commands) -> None:
    """Add `split`, `merge` and `rename` to the verbs of `thread`."""
    split = verbs.add_parser("split", help="let a post, with its answers, begin a thread of its own")
    add_id(split, "the post's id, such as 48.3")
    split.set_defaults(run=split_thread)
    merge = verbs.add_parser("merge", help="put a thread below the first post of another")
    add_id(merge, "the thread's number, such as 48")
    merge.add_argument("into", metavar="INTO", help="the number of the other, such as 12")
    merge.set_defaults(run=merge_threads)
    rename = verbs.add_parser("rename", help="give a thread another subject, which no later post changes")
    add_id(rename, "the thread's number, such as 48")
    rename.add_argument("title", metavar="TITLE", help="the subject; '' for that of its first post")
    rename.set_defaults(run=rename_thread)
    for verb in (split, merge, rename):
        _with_who(verb)
        with_json(verb)


def add(commands: Commands) -> None:
    """Add the command `rethread`."""
    parser = commands.add_parser(
        "rethread",
        help="work out the threads of a list anew",
        description="Read all posts of a list again, put each where the rules say, and print those that stand "
        "elsewhere now. What was split, merged and renamed stays so. Usually there is nothing to do, unless "
        "an option or mailforum itself has changed.",
    )
    add_list(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only say what would")
    _with_who(parser)
    with_json(parser)
    parser.set_defaults(run=rethread)


def _with_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="who", metavar="NAME", help="who does it, for `mailforum audit` (else your user)")


def _by(args: argparse.Namespace, core: Core) -> By:
    """Return whose correction it is: as --as says, else the user who has typed it, also behind sudo."""
    from mailforum.forum.corrections import By

    user = pwd.getpwuid(os.getuid()).pw_name
    typist = os.environ.get("SUDO_USER") or user
    who = args.who or (user if typist == user else f"{typist} as {user}")
    return By(safe(who).strip()[:200], core.clock.now())


def split_thread(args: argparse.Namespace) -> None:
    """Split a thread, and say what has become of both parts."""
    from mailforum.forum import corrections

    def split(core: Core, tx: Tx) -> Parted:
        return corrections.split(tx, *find_post(tx, args.list, args.id), _by(args, core))

    parted = write(args, split)
    old, new, label = parted.old, parted.new, parted.post.label
    if args.json:
        show(args, {"post": label, "thread": new.number, "posts": new.posts, "from": old.number, "left": old.posts})
        return
    below = new.posts - 1
    what = f"#{label} and {counted(below, 'answer')} to it are" if below else f"#{label} is"
    print(f"{what} thread #{new.number} now: {safe(new.subject)}")
    print(f"#{old.number} keeps {counted(old.posts, 'post')}; the ids of posts stay, and answers go where these are")


def merge_threads(args: argparse.Namespace) -> None:
    """Merge two threads, and say what leads where."""
    from mailforum.forum import corrections

    def merge(core: Core, tx: Tx) -> Joined:
        mlist, thread = find_thread(tx, args.list, args.id)
        _, into = find_thread(tx, mlist.address, args.into)
        return corrections.merge(tx, mlist, thread, into, _by(args, core))

    joined = write(args, merge)
    one, gone = joined.thread, joined.gone
    if args.json:
        show(args, {"thread": one.number, "posts": one.posts, "subject": one.subject, "merged": gone.number})
        return
    print(f"#{one.number} has {counted(one.posts, 'post')} now: {safe(one.subject)}")
    print(f"#{gone.number} leads to it; the ids of posts stay")


def rename_thread(args: argparse.Namespace) -> None:
    """Rename a thread."""
    from mailforum.forum import corrections

    def rename(core: Core, tx: Tx) -> Thread:
        return corrections.rename(tx, *find_thread(tx, args.list, args.id), args.title, _by(args, core))

    thread = write(args, rename)
    if args.json:
        show(args, {"thread": thread.number, "subject": thread.subject})
    else:
        print(f"#{thread.number} is called: {safe(thread.subject)}")


def rethread(args: argparse.Namespace) -> None:
    """Work out the threads of a list anew, and print which posts stand elsewhere."""
    changes = run_core(args, lambda core: _rethread(core, args))
    if args.json:
        emit(args, [_row(change) for change in changes], ())
    elif changes:
        rows = [{"post": each.label, "was": _words(each.old), "is": _words(each.new)} for each in changes]
        emit(args, rows, ("post", "was", "is"))
    note(_summary(changes, args.dry_run))


async def _rethread(core: Core, args: argparse.Namespace) -> list[Change]:
    from mailforum.forum import corrections

    mlist = await core.db.read(lambda tx: find_list(tx, args.list))
    by = _by(args, core)
    with progress("posts") as advance:
        return await corrections.rethread(core.db, mlist, by, advance, dry_run=args.dry_run)


def _summary(changes: Sequence[Change], dry_run: bool) -> str:
    """Say how many posts stand elsewhere, and in which way."""
    if not changes:
        return "every post stands where it should"
    moved = sum(each.old.thread != each.new.thread for each in changes)
    hung = sum(each.old.thread == each.new.thread and each.old.parent != each.new.parent for each in changes)
    rest = len(changes) - moved - hung
    counts = [(moved, "in another thread"), (hung, "below another post of its thread"), (rest, "only found otherwise")]
    ways = ", ".join(f"{count} {how}" for count, how in counts if count)
    return f"{counted(len(changes), 'post')} {'would change' if dry_run else 'changed'}: {ways}"


def _row(change: Change) -> dict[str, object]:
    return {"id": change.label, "old": _values(change.old), "new": _values(change.new)}


def _values(spot: Spot) -> dict[str, object]:
    return {"thread": spot.thread or None, "answers": spot.parent or None, "how": spot.how.label or None}


def _words(spot: Spot) -> str:
    """Say where a post stands: `in #48, answers 48.2 (references)`."""
    answers = f"answers {spot.parent} ({spot.how.label})" if spot.parent else "answers none"
    return f"{f'in #{spot.thread}' if spot.thread else 'in a new thread'}, {answers}"
