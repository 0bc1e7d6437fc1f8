"""`mailforum thread` and `mailforum post`: reading a list on the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    add_list,
    completes,
    emit,
    find_list,
    list_addresses,
    read,
    safe,
    safe_text,
    show,
    when,
    with_json,
)
from mailforum.errors import Refused, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.mail.body import Body
    from mailforum.model import MailingList, Post, Thread
    from mailforum.store.database import Tx

HEADERS = ("From", "To", "Cc", "Reply-To", "Date", "Subject", "Message-ID", "In-Reply-To", "References")


def add(commands: Commands) -> None:
    """Add the commands `thread` and `post`."""
    threads = commands.add_parser("thread", help="threads of a list").add_subparsers(metavar="VERB", required=True)
    ls = threads.add_parser("ls", help="the threads of a list")
    ls.set_defaults(run=list_threads)
    tree = threads.add_parser("show", help="one thread as a tree")
    tree.set_defaults(run=show_thread)
    posts = commands.add_parser("post", help="posts of a list").add_subparsers(metavar="VERB", required=True)
    posts_ls = posts.add_parser("ls", help="the posts of a list, in order of arrival")
    posts_ls.set_defaults(run=list_posts)
    for verb in (ls, tree, posts_ls):
        add_list(verb)
        with_json(verb)
    tree.add_argument("id", metavar="ID", help="the thread's number, such as 48")
    one = posts.add_parser("show", help="one post, to be read, and how it is threaded")
    completes(one.add_argument("list", metavar="LIST", nargs="?", help="needed if several have it"), list_addresses)
    one.add_argument("id", metavar="ID", help="its id, such as 48.3")
    one.add_argument("--raw", action="store_true", help="the mail as it was taken in, byte by byte")
    with_json(one)
    one.set_defaults(run=show_post)


def list_threads(args: argparse.Namespace) -> None:
    """Print the threads of a list."""
    from mailforum.store import posts

    found = read(args, lambda core, tx: posts.threads(tx, find_list(tx, args.list).id))
    rows = [_thread_row(thread) for thread in found]
    if not args.json:
        rows = [row | {"id": f"#{row['id']}"} for row in rows]
    emit(args, rows, ("id", "subject", "posts", "last"))


def _thread_row(thread: Thread) -> dict[str, object]:
    return {
        "id": thread.number,
        "subject": thread.subject,
        "posts": thread.posts,
        "created": when(thread.created_at),
        "last": when(thread.last_at),
    }


def show_thread(args: argparse.Namespace) -> None:
    """Print a thread as a tree: who answers whom."""
    from mailforum.forum import threads
    from mailforum.store import posts

    def content(core: Core, tx: Tx) -> tuple[Thread, list[tuple[int, Post]]]:
        thread = find_thread(tx, find_list(tx, args.list), args.id)
        return thread, list(threads.tree(posts.of_thread(tx, thread.id)))

    thread, tree = read(args, content)
    if args.json:
        emit(args, [{"depth": depth, **post_row(post)} for depth, post in tree], ())
        return
    print(f"#{thread.number}  {safe(thread.subject)}")
    for depth, post in tree:
        print(f"{'  ' * min(depth, 20)}{post.label}  {when(post.date)}  {safe(_author(post))}")


def find_thread(tx: Tx, mlist: MailingList, text: str) -> Thread:
    """Find a thread of a list by its number, or what it was merged into. Raises UsageError."""
    from mailforum.store import posts

    thread = posts.thread_by_number(tx, mlist.id, _number(text))
    if thread is None:
        raise UsageError(f"{mlist.address} has no thread {text}")
    return thread


def _number(text: str) -> int:
    """Read a thread's number; the thread of a post's id will do."""
    number = text.strip().removeprefix("#").partition(".")[0]
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise UsageError(f"`{text}` is no thread; its number is in `mailforum thread ls`")
    return int(number)


def _author(post: Post) -> str:
    return f"{post.from_name} <{post.from_address}>" if post.from_name else post.from_address


def post_row(post: Post) -> dict[str, object]:
    """Return a post as `--json` shows it."""
    return {
        "id": post.label,
        "thread": post.thread,
        "parent": post.parent,
        "message_id": post.message_id,
        "from": post.from_address,
        "name": post.from_name,
        "date": when(post.date),
        "received": when(post.received_at),
        "subject": post.subject,
        "size": post.size,
    }


def list_posts(args: argparse.Namespace) -> None:
    """Print the posts of a list in order of arrival."""
    from mailforum.store import posts

    found = read(args, lambda core, tx: posts.of_list(tx, find_list(tx, args.list).id))
    emit(args, [post_row(post) for post in found], ("id", "date", "from", "subject"))


def show_post(args: argparse.Namespace) -> None:
    """Print a post: headers of interest, how it is threaded, and its text."""
    from mailforum.store import posts

    def content(core: Core, tx: Tx) -> tuple[MailingList, Post, bytes]:
        mlist, post = _find_post(tx, args.list, args.id)
        return mlist, post, posts.raw(tx, post.id)

    mlist, post, raw = read(args, content)
    if args.raw:
        write_bytes(raw)
    elif args.json:
        body = readable(raw)
        attachments = [{"filename": a.filename, "type": a.content_type, "size": a.size} for a in body.attachments]
        show(args, {"list": mlist.address, **post_row(post), "text": body.text, "attachments": attachments})
    else:
        _print_post(mlist, post, raw)


def _find_post(tx: Tx, list_name: str | None, text: str) -> tuple[MailingList, Post]:
    """Find a post by its id, which is unique within a list only. Raises UsageError."""
    from mailforum.store import lists, posts

    label = text.strip().removeprefix("#")
    among = [find_list(tx, list_name)] if list_name else lists.every(tx)
    found = [(mlist, post) for mlist in among if (post := posts.by_label(tx, mlist.id, label))]
    if not found:
        raise UsageError(f"there is no post {text}{f' on {among[0].address}' if list_name else ''}")
    if len(found) > 1:
        names = ", ".join(mlist.address for mlist, _ in found)
        raise UsageError(f"several lists have a post {text}: {names}; say which: `mailforum post show LIST {text}`")
    return found[0]


def _print_post(mlist: MailingList, post: Post, raw: bytes) -> None:
    from mailforum.mail import message

    msg = message.parse(raw)
    print(f"#{post.label} on {mlist.address}, thread #{post.thread}")
    if post.parent:
        print(f"answers {safe(post.parent)}")
    print(f"received {when(post.received_at)}, {post.size} bytes\n")
    for name in HEADERS:
        if msg.get(name):
            print(f"{name}: {safe(msg.text(name))}")
    print_body(readable(raw))


def readable(raw: bytes) -> Body:
    """Return what is to be read in a mail; what cannot be read at all says so."""
    from mailforum.mail import body, message

    try:
        return body.read(message.parse(raw))
    except Refused as error:
        return body.Body(f"(This mail cannot be shown: {error.reason})", ())


def print_body(body: Body) -> None:
    """Print the text of a mail and name its attachments."""
    print(f"\n{safe_text(body.text)}".rstrip())
    for attachment in body.attachments:
        name = safe(attachment.filename or "without a name")
        print(f"[attachment: {name}, {safe(attachment.content_type)}, {attachment.size} bytes]")


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output as they are."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # replaced by something that takes text only
        sys.stdout.write(data.decode("utf-8", "surrogateescape"))
    else:
        sys.stdout.flush()
        binary.write(data)
        binary.flush()
