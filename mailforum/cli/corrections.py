"""`mailforum thread split`, `merge` and `rename`: what stands in the wrong place is moved.

They work beside a server that runs, each in transactions of its own.
"""

from __future__ import annotations

import argparse
import os
import pwd
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    counted,
    safe,
    show,
    with_json,
    write,
)
from mailforum.cli.posts import add_id, find_post, find_thread

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.corrections import By, Joined, Parted
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
        with_who(verb)
        with_json(verb)


def with_who(parser: argparse.ArgumentParser) -> None:
    """Give a command that leaves a row in the audit `--as`."""
    parser.add_argument("--as", dest="who", metavar="NAME", help="who does it, for `mailforum audit` (else your user)")


def by(args: argparse.Namespace, core: Core) -> By:
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
        return corrections.split(tx, *find_post(tx, args.list, args.id), by(args, core))

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
        return corrections.merge(tx, mlist, thread, into, by(args, core))

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
        return corrections.rename(tx, *find_thread(tx, args.list, args.id), args.title, by(args, core))

    thread = write(args, rename)
    if args.json:
        show(args, {"thread": thread.number, "subject": thread.subject})
    else:
        print(f"#{thread.number} is called: {safe(thread.subject)}")
