"""`mailforum trace`: the whole life of a mail, from the session it came in to each delivery."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    completes,
    counted,
    emit,
    find_list,
    list_addresses,
    read,
    told,
    when,
    with_json,
)
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.store.database import Tx
    from mailforum.store.journal import Entry
    from mailforum.store.trace import Life, Sending, Traced

Line = dict[str, object]

_LABEL = re.compile(r"(?:([^#\s]*)#)?([0-9]{1,9}\.[0-9]{1,9})")
FEW = 10  # deliveries that are shown without being asked for
_NOW = float("inf")  # sorts behind everything that has happened


def add(commands: Commands) -> None:
    """Add the command `trace`."""
    trace = commands.add_parser(
        "trace",
        help="the whole life of a mail",
        description="Prints what became of a mail, from the session it came in to each delivery.",
    )
    trace.add_argument(
        "id",
        metavar="ID",
        help="the mail's id in the log; or its Message-ID, also that of a notice or digest of ours, a post such as "
        "pmo#48.3, or the number of a delivery",
    )
    completes(trace.add_argument("--list", metavar="LIST", help="the list of a post such as 48.3"), list_addresses)
    trace.add_argument("--all", action="store_true", help="each delivery, not only those that were in trouble")
    with_json(trace)
    trace.set_defaults(run=show_life)


def show_life(args: argparse.Namespace) -> None:
    """Print what has happened to a mail, in the order of time; several mails may have one Message-ID."""
    lines = read(args, lambda core, tx: _lines(core, tx, args))
    rows = [{**line, "at": "now" if line["at"] == _NOW else when(line["at"])} for line in lines]  # type: ignore[arg-type]
    several = len({row["mail"] for row in rows}) > 1
    emit(args, rows, (*(["mail"] if several else []), "at", "event", "who", "what"))


def _lines(core: Core, tx: Tx, args: argparse.Namespace) -> list[Line]:
    from mailforum.store import trace

    lives = [life for mail in _mails(tx, args) if (life := trace.life(tx, mail))]
    if not lives:
        kept = round(core.config.store.keep_log / 86400)
        raise UsageError(f"nothing is known of {args.id}; what came more than {kept} days ago is forgotten")
    return [line for life in lives for line in sorted(_of_life(tx, life, args.all), key=lambda line: line["at"])]  # type: ignore[arg-type,return-value]


def _mails(tx: Tx, args: argparse.Namespace) -> list[str]:
    """Return the ids of the mails that a word means."""
    from mailforum import ids
    from mailforum.store import trace

    word = args.id.strip()
    if ids.is_id(word.lower()) and not word.isdecimal():
        return [word.lower()]
    if word.isascii() and word.isdecimal() and len(word) < 19:
        return [_named(trace.mail_of_delivery(tx, int(word)), f"delivery {word}")]
    label = _LABEL.fullmatch(word)
    if label:
        return [_of_label(tx, label[1] or args.list, label[2])]
    message_id = f"<{word.removeprefix('<').removesuffix('>')}>"
    return _of_ours(tx, message_id) or trace.mails_of(tx, message_id)


def _of_ours(tx: Tx, message_id: str) -> list[str]:
    """Return the id of the mail that one of our own notices or digests was written because of."""
    from mailforum.mail import msgid
    from mailforum.store import trace

    mail, kind, at = trace.mail_of_mailing(tx, mailing_id := msgid.mailing_of(message_id))
    begins = f"<notice.{mailing_id}.{int(at)}@" if kind == "notice" else f"<{kind}."
    return [mail] if mail and msgid.key(message_id).startswith(begins) else []


def _of_label(tx: Tx, list_name: str | None, label: str) -> str:
    from mailforum.store import posts, trace

    if not list_name:
        raise UsageError(f"several lists may have a post {label}; name one with --list LIST")
    mlist = find_list(tx, list_name)
    post = posts.by_label(tx, mlist.id, label)
    if post is None:
        raise UsageError(f"{mlist.address} has no post {label}")
    return _named(trace.mail_of_post(tx, post.id), f"post {label}")


def _named(mail: str, what: str) -> str:
    if not mail:
        raise UsageError(f"no mail is known that {what} was made of; it may be imported, or made by hand")
    return mail


def _of_life(tx: Tx, life: Life, whole: bool) -> Iterator[Line]:
    answered = [entry for entry in life.entries if entry.code]
    if answered:
        yield _received(answered[0])
    for entry in life.entries:
        yield _became(entry)
    if not life.entries:
        for post in life.posts:
            yield _line(life.mail, post.at, "post", post.list, f"{post.label}, {post.message_id}", post=post.label)
    for held_id, reason in life.held:
        yield _line(life.mail, _NOW, "waits", "a moderator", f"held {held_id}: {reason}", held=held_id)
    for shunt_id, reason in life.shunts:
        yield _line(life.mail, _NOW, "shunted", "the admin", f"kept aside as {shunt_id}: {reason}", shunt=shunt_id)
    for sending in life.sendings:
        yield from _sent(tx, life.mail, sending, whole)
    for one in life.returned:
        what = f"{one.kind}: {told(one.enhanced, one.diagnostic)}"
        yield _line(life.mail, one.at, "returned", one.address, what, kind=one.kind)


def _line(mail: str, at: float, event: str, who: str, what: str, **more: object) -> Line:
    return {"mail": mail, "at": at, "event": event, "who": who, "what": what, **more}


def _received(entry: Entry) -> Line:
    what = f"{entry.message_id or 'no Message-ID'}, {entry.size} bytes from {entry.peer or 'nowhere'}"
    more = {"message_id": entry.message_id, "size": entry.size, "peer": entry.peer}
    return _line(entry.mail, entry.at, "received", entry.mail_from or "<>", what, **more)


def _became(entry: Entry) -> Line:
    event, _, rest = entry.what.partition(" ")
    answer = f"told {entry.code} {entry.text}".strip() if entry.code else ""
    what = "; ".join(filter(None, (rest, answer)))
    return _line(entry.mail, entry.at, event.rstrip(":"), entry.rcpt, what, code=entry.code or None)


def _sent(tx: Tx, mail: str, sending: Sending, whole: bool) -> Iterator[Line]:
    """Yield when a mailing was queued, how many of it are in which state, and what was or is in trouble."""
    from mailforum.store import trace

    total = sum(count.deliveries for count in sending.counts.values()) + sending.to_come
    name = f"post {sending.post}" if sending.post else sending.template or sending.kind
    whole = whole or total <= FEW
    names = {"mailing": sending.id, "deliveries": total}
    what = f"{name} to {counted(total, 'recipient')} (mailing {sending.id})"
    yield _line(mail, sending.at, "queued", sending.list, what, **names)
    for state, count in sending.counts.items() if not whole else ():
        at = _NOW if count.last is None else count.last
        since = f", since {when(count.first)}" if count.first else ""
        what = f"{count.deliveries} of {total}{since}"
        yield _line(mail, at, state, sending.list, what, mailing=sending.id, deliveries=count.deliveries)
    if sending.to_come:
        what = f"{sending.to_come} of {total} are still to be queued"
        yield _line(mail, _NOW, "to come", sending.list, what, mailing=sending.id, deliveries=sending.to_come)
    for delivery in trace.deliveries(tx, sending.id, whole=whole):
        yield from _of_delivery(mail, delivery)


def _of_delivery(mail: str, delivery: Traced) -> Iterator[Line]:
    from mailforum.store.queue import PAUSED

    names: dict[str, object] = {"delivery": delivery.id}
    for failure in delivery.failures:
        yield _line(mail, failure.at, "tried", delivery.rcpt, told(failure.enhanced, failure.reply), **names)
    if delivery.done_at is None:
        due = "paused" if delivery.due_at >= PAUSED else when(delivery.due_at)
        yield _line(mail, _NOW, delivery.state, delivery.rcpt, f"delivery {delivery.id}, next attempt {due}", **names)
    else:
        said = told(delivery.enhanced, delivery.reply)
        what = f"delivery {delivery.id}, after {counted(delivery.attempts, 'attempt')}: {said}"
        yield _line(mail, delivery.done_at, delivery.state, delivery.rcpt, what, **names, reply=delivery.reply)
