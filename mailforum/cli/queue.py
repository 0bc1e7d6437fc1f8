"""`mailforum queue` and `mailforum digest`: what waits to be sent, and what will."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mailforum.cli import top
from mailforum.cli.common import Commands, add_list, counted, emit, find_list, read, show, when, with_json, write
from mailforum.errors import Refused, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.admin import Outlook
    from mailforum.model import Delivery, Mailing
    from mailforum.store.database import Tx

STATES = ("queued", "deferred", "failed", "sent")


def add(commands: Commands) -> None:
    """Add the commands `queue` and `digest`."""
    _add_queue(commands.add_parser("queue", help="what is to be sent").add_subparsers(metavar="VERB", required=True))
    digest = commands.add_parser("digest", help="the daily digests").add_subparsers(metavar="VERB", required=True)
    due = digest.add_parser("due", help="when each list's next digest is due, and how many posts wait for it")
    with_json(due)
    due.set_defaults(run=list_due)
    send = digest.add_parser("send", help="send the digest of a list now")
    add_list(send)
    send.add_argument("--to", metavar="ADDRESS", help="only to this address; the posts stay in the next digest too")
    send.set_defaults(run=send_digest)


def _add_queue(verbs: Commands) -> None:
    ls = verbs.add_parser("ls", help="what has not been sent")
    ls.add_argument("--state", choices=(*STATES, "all"), help="only these; all: also what has been sent")
    with_json(ls)
    ls.set_defaults(run=list_queue)
    one = verbs.add_parser("show", help="one delivery")
    with_json(one)
    one.set_defaults(run=show_delivery)
    one.add_argument("id", metavar="ID", type=int, help="its number in `queue ls`")
    drop = verbs.add_parser("drop", help="give up a delivery that waits, or all that are paused")
    what = drop.add_mutually_exclusive_group(required=True)
    what.add_argument("id", metavar="ID", type=int, nargs="?", help="its number in `queue ls`")
    what.add_argument("--paused", action="store_true", help="all that are paused since the database was restored")
    drop.set_defaults(run=drop_deliveries)
    resume = verbs.add_parser("resume", help="send what is paused since the database was restored from a backup")
    resume.set_defaults(run=resume_deliveries)
    retry = verbs.add_parser("retry", help="try again now: one that waits or has failed, or all that wait")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("id", metavar="ID", type=int, nargs="?", help="its number in `queue ls`")
    which.add_argument("--all", action="store_true", help="all that wait for later, also for a relay that rests")
    retry.set_defaults(run=retry_deliveries)
    top.add(verbs)


def list_queue(args: argparse.Namespace) -> None:
    """Print the deliveries in some states, in order."""
    from mailforum.store import queue

    states = STATES if args.state == "all" else (args.state,) if args.state else STATES[:3]
    found = read(args, lambda core, tx: [each for state in states for each in queue.deliveries(tx, state)])
    rows = [_row(delivery) for delivery in sorted(found, key=lambda delivery: delivery.id)]
    emit(args, rows, ("id", "state", "rcpt", "attempts", "due", "reply"))


def _row(delivery: Delivery) -> dict[str, object]:
    from mailforum.store.queue import PAUSED

    waits = delivery.state in ("queued", "deferred")
    due = "paused" if delivery.due_at >= PAUSED else when(delivery.due_at)
    return {
        "id": delivery.id,
        "mailing": delivery.mailing_id,
        "state": delivery.state.value,
        "rcpt": delivery.rcpt,
        "attempts": delivery.attempts,
        "queued": when(delivery.created_at),
        "due": due if waits else None,
        "status": delivery.enhanced,
        "reply": delivery.reply,
    }


def show_delivery(args: argparse.Namespace) -> None:
    """Print a delivery and what it carries."""
    from mailforum.store import queue

    def find(core: Core, tx: Tx) -> dict[str, object]:
        delivery = queue.delivery(tx, args.id)
        mailing = queue.mailing(tx, delivery.mailing_id) if delivery else None
        if delivery is None or mailing is None:
            raise UsageError(_missing(args.id))
        return _row(delivery) | _carried(tx, mailing)

    show(args, read(args, find))


def _carried(tx: Tx, mailing: Mailing) -> dict[str, object]:
    from mailforum.store import lists, posts

    mlist = lists.by_id(tx, mailing.list_id) if mailing.list_id else None
    post = posts.by_id(tx, mailing.ref_id) if mailing.kind == "post" and mailing.ref_id else None
    return {
        "list": mlist.address if mlist else None,
        "kind": mailing.kind.value,
        "text": mailing.template or None,
        "post": post.label if post else None,
        "message_id": post.message_id if post else None,
        "subject": post.subject if post else None,
        "mail_from": mailing.mail_from,
    }


def _missing(delivery_id: int) -> str:
    return f"there is no delivery {delivery_id} (any more)"


def retry_deliveries(args: argparse.Namespace) -> None:
    """Make deliveries due now."""
    from mailforum.store import hurry, queue

    def retry(core: Core, tx: Tx) -> int:
        if args.all:
            hurry.all_senders(tx, core.clock.now(), many_hosts=not isinstance(core.config.database, Path))
        return queue.retry(tx, core.clock.now(), args.id or 0)

    count = write(args, retry)
    if not count and not args.all:
        raise UsageError(f"there is no delivery {args.id} that waits or has failed")
    print(f"{count} due now")


def resume_deliveries(args: argparse.Namespace) -> None:
    """Go on with what is paused."""
    from mailforum.store import queue

    print(f"{write(args, lambda core, tx: queue.resume(tx))} go on")


def drop_deliveries(args: argparse.Namespace) -> None:
    """Give up a delivery, or all that are paused."""
    from mailforum.store import queue

    if args.paused:
        print(f"dropped {write(args, lambda core, tx: queue.drop_paused(tx, core.clock.now()))}")
        return
    if not write(args, lambda core, tx: queue.drop(tx, core.clock.now(), args.id)):
        raise UsageError(f"there is no delivery {args.id} that waits")
    print(f"dropped {args.id}")


def list_due(args: argparse.Namespace) -> None:
    """Print when each list's next digest is due."""
    from mailforum.forum import admin
    from mailforum.store import lists

    def outlooks(core: Core, tx: Tx) -> list[Outlook]:
        return [admin.outlook(tx, mlist, core.clock.now()) for mlist in lists.every(tx) if mlist.settings.digest]

    rows = [
        {"list": each.mlist.address, "due": when(each.due_at), "posts": each.posts, "readers": each.readers}
        for each in read(args, outlooks)
    ]
    emit(args, rows, ("list", "due", "posts", "readers"))


def send_digest(args: argparse.Namespace) -> None:
    """Cut a list's digest now; it leaves when the server runs."""
    from mailforum.forum import digests
    from mailforum.mail import address

    def cut(core: Core, tx: Tx) -> tuple[str, int, int, int] | None:
        mlist = find_list(tx, args.list)
        to = address.subscriber(args.to, special_domains=core.site.special_domains) if args.to else ""
        found = digests.cut(tx, mlist, core.clock.now(), to)
        return (mlist.address, found[0].number, found[0].posts, found[1]) if found else None

    try:
        done = write(args, cut)
    except Refused as refused:
        raise UsageError(f"{args.to}: {refused.text}") from refused
    if done is None:
        print("no new posts, so no digest")
        return
    list_address, number, posts, readers = done
    print(
        f"{list_address}: digest {number} with {counted(posts, 'post')} queued to {counted(readers, 'reader')}; "
        "it leaves when the server runs"
    )
