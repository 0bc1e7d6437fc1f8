"""`mailforum post`: the posts of a list on the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mailforum.cli.common import (
    Commands,
    add_list,
    completes,
    find_list,
    list_addresses,
    read,
    run_core,
    safe,
    safe_text,
    show,
    when,
    with_json,
)
from mailforum.cli.listing import list_and_period, print_pages, with_bounds, with_sort
from mailforum.errors import Refused, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.mail.body import Body
    from mailforum.model import MailingList, Post, Thread
    from mailforum.store.database import Tx

T = TypeVar("T")

HEADERS = ("From", "To", "Cc", "Reply-To", "Date", "Subject", "Message-ID", "In-Reply-To", "References")
NAMED = 5  # lists of several that are named


def add(commands: Commands) -> None:
    """Add the command `post`."""
    posts = commands.add_parser("post", help="posts of a list").add_subparsers(metavar="VERB", required=True)
    ls = posts.add_parser("ls", help="the posts of a list")
    add_list(ls)
    with_json(ls)
    with_sort(ls, ("oldest", "newest", "thread"), "by date, or thread by thread as they answer each other")
    with_bounds(ls)
    ls.set_defaults(run=list_posts)
    one = posts.add_parser("show", help="one post, to be read, and how it is threaded")
    add_id(one, "its id, such as 48.3")
    one.add_argument("--raw", action="store_true", help="the mail as it was taken in, byte by byte")
    with_json(one)
    one.set_defaults(run=show_post)


def add_id(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the arguments LIST, which may be left out where only one list has it, and ID."""
    completes(parser.add_argument("list", metavar="LIST", nargs="?", help="needed if several have it"), list_addresses)
    parser.add_argument("id", metavar="ID", help=what)


def author(post: Post) -> str:
    """Return who wrote a post, name and address."""
    return f"{post.from_name} <{post.from_address}>" if post.from_name else post.from_address


def post_row(post: Post) -> dict[str, object]:
    """Return a post as `--json` shows it."""
    return {
        "id": post.label,
        "thread": post.thread,
        "parent": post.parent,
        "how": post.how.label or None,
        "message_id": post.message_id,
        "from": post.from_address,
        "name": post.from_name,
        "date": when(post.date),
        "received": when(post.received_at),
        "subject": post.subject,
        "size": post.size,
    }


def list_posts(args: argparse.Namespace) -> None:
    """Print the posts of a list."""

    async def run(core: Core) -> None:
        from mailforum.forum import order

        mlist, period = await list_and_period(core, args)
        pages = order.posts_of(core.db, mlist.id, order.PostOrder(args.sort), period)
        await print_pages(args, pages, post_row, ("id", "date", "from", "subject"))

    run_core(args, run)


def show_post(args: argparse.Namespace) -> None:
    """Print a post: headers of interest, how it is threaded, and its text."""
    from mailforum.store import posts

    def content(core: Core, tx: Tx) -> tuple[_Shown, bytes]:
        mlist, post = find_post(tx, args.list, args.id)
        shown = _Shown(mlist, post, posts.by_id(tx, post.parent_id or 0), posts.is_cut(tx, post.id))
        return shown, posts.raw(tx, post.id)

    shown, raw = read(args, content)
    if args.raw:
        write_bytes(raw)
    elif args.json:
        body = readable(raw)
        attachments = [{"filename": a.filename, "type": a.content_type, "size": a.size} for a in body.attachments]
        about = {"list": shown.mlist.address, **post_row(shown.post)}
        about |= {"answers": shown.parent.label if shown.parent else None, "split": shown.cut}
        show(args, about | {"text": body.text, "attachments": attachments})
    else:
        _print_post(shown, raw)


class _Shown(NamedTuple):
    """A post, what it answers, and whether it has been split off from something."""

    mlist: MailingList
    post: Post
    parent: Post | None
    cut: bool


def find_post(tx: Tx, list_name: str | None, text: str) -> tuple[MailingList, Post]:
    """Find a post by its id, which is unique within a list only: `48.3`, `pmo#48.3`. Raises UsageError."""
    from mailforum.store import posts

    mlist, post = _the_one(tx, list_name, text, "post", posts.by_label)
    return mlist, post


def find_thread(tx: Tx, list_name: str | None, text: str) -> tuple[MailingList, Thread]:
    """Find a thread by its number, or the one that a post is in: `48`, `pmo#48`, `48.3`. Raises UsageError."""
    from mailforum.store import posts

    def by_name(tx: Tx, list_id: int, name: str) -> Thread | None:
        if "." in name:
            post = posts.by_label(tx, list_id, name)
            return posts.thread_by_number(tx, list_id, post.thread) if post else None
        number = int(name) if name.isascii() and name.isdigit() and len(name) <= 18 else 0
        return posts.thread_by_number(tx, list_id, number)

    return _the_one(tx, list_name, text, "thread", by_name)


def _the_one(
    tx: Tx, list_name: str | None, text: str, noun: str, find: Callable[[Tx, int, str], T | None]
) -> tuple[MailingList, T]:
    """Find the post or thread `text` on the list that is named, or on the only one that has it."""
    from mailforum.store import lists

    before, _, name = text.strip().rpartition("#")
    list_name = before or list_name
    among = [find_list(tx, list_name)] if list_name else lists.every(tx)
    found = [(mlist, one) for mlist in among if (one := find(tx, mlist.id, name))]
    if not found:
        raise UsageError(f"there is no {noun} {text}{f' on {among[0].address}' if list_name else ''}")
    if len(found) > 1:
        names = ", ".join(mlist.address for mlist, _ in found[:NAMED])
        names += f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise UsageError(f"several lists have a {noun} {text}: {names}; say which: `{found[0][0].name}#{name}`")
    return found[0]


# How the parent of a post was found (model.How), as people say it.
FOUND = {
    "token": "found by the address it was sent to",
    "in-reply-to": "found by its In-Reply-To",
    "references": "found by its References",
    "thread-index": "found by its Thread-Index",
    "text": "found by what it quotes",
    "subject": "found by its subject",
    "moderator": "put there by a moderator",
}


def _print_post(shown: _Shown, raw: bytes) -> None:
    from mailforum.mail import message

    msg, post, parent = message.parse(raw), shown.post, shown.parent
    print(f"#{post.label} on {shown.mlist.address}, thread #{post.thread}")
    if parent:
        print(f"answers #{parent.label} {safe(parent.message_id)} ({FOUND.get(post.how.label, 'found')})")
    elif shown.cut:
        print(f"begins #{post.thread} (split off by a moderator)")
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
