"""A post: stored, threaded and queued to every reader."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime, formataddr
from typing import NamedTuple

from mailforum.errors import Refused
from mailforum.forum import order, search, threads
from mailforum.forum.newcomer import Newcomer
from mailforum.mail import address, evidence, message, msgid, thread_index
from mailforum.mail.evidence import Evidence, Named
from mailforum.mail.message import Message
from mailforum.mail.token import Signer
from mailforum.model import How, Kind, MailingList, Mode, Post
from mailforum.store import posts, queue, upkeep
from mailforum.store import search as index
from mailforum.store.database import Tx

FORGOTTEN = "The text of this post is no longer kept."


class Stored(NamedTuple):
    """A post that has just been stored: its id, and its label such as `48.3`."""

    id: int
    label: str


def accept(
    tx: Tx,
    mlist: MailingList,
    msg: Message,
    raw: bytes,
    now: float,
    under: str = "",
    newcomer: Newcomer | None = None,
) -> Stored:
    """Store a post, thread it, and queue it to every reader.

    `under` is the name (`name_of`) of the post it answers where our own reply address has told us; `newcomer`
    what `ahead` has returned, if it was asked.
    """
    post = store(tx, mlist, msg, raw, now, under, mark=msg.fingerprint, newcomer=newcomer)
    author = address.key(msg.author.address) if msg.author else ""
    mailing = queue.add_mailing(
        tx, Kind.POST, list_id=mlist.id, ref_id=post.id, mail_from=mlist.sub("bounces"), now=now
    )
    # Where there is no digest (any more), who had chosen it gets every post: nobody is left without.
    modes = [Mode.EACH] if mlist.settings.digest else [Mode.EACH, Mode.DIGEST]
    queue.fan_out(tx, mailing, modes, author=author)
    return post


def store(
    tx: Tx,
    mlist: MailingList,
    msg: Message,
    raw: bytes,
    now: float,
    under: str = "",
    *,
    mark: bytes,
    imported: bool = False,
    found: Evidence | None = None,
    newcomer: Newcomer | None = None,
) -> Stored:
    """Store and thread a post without sending it to anyone. `mark` is its `fingerprint`, `found` and `newcomer` what
    `evidence_of` and `ahead` have returned, if they were asked.

    An `imported` one will not be in a digest either; `now` then is when its mailbox received it.
    """
    if newcomer is None:
        found = found or evidence_of(mlist, msg, raw, under)
        own, date = identity(msg, raw, mlist.domain), order.date(msg.date, now)
        newcomer = introduce(tx, mlist, found, own, msg.subject, date, imported=imported)
    place = threads.place(tx, newcomer, now)
    if not (imported or newcomer.index):
        newcomer = replace(newcomer, index=_index(tx, newcomer, place, mark))
    author = msg.author
    post_id = tx.insert(
        "post.add",
        list_id=mlist.id,
        **place.values,
        **newcomer.values,
        from_address=author.address if author else "",
        from_name=author.name if author else msg.text("From")[:200],
        received_at=now,
        size=len(raw),
        fingerprint=mark,
        imported=imported,
        mail=tx.mail,
    )
    posts.add_body(tx, post_id, raw)
    index.expect(tx, post_id)
    threads.settle(tx, post_id, newcomer, place, now)
    return Stored(post_id, place.label)


def ahead(tx: Tx, mlist: MailingList, msg: Message, raw: bytes, now: float, under: str = "") -> Newcomer:
    """Return what threading needs to know of a post that is likely to be accepted, and have the database asked what
    it will be asked about it."""
    found, own = evidence_of(mlist, msg, raw, under), identity(msg, raw, mlist.domain)
    newcomer = introduce(tx, mlist, found, own, msg.subject, order.date(msg.date, now), imported=False)
    threads.heard_ahead(tx, newcomer)
    return newcomer


def evidence_of(mlist: MailingList, msg: Message, raw: bytes, under: str = "") -> Evidence:
    """Return what a mail says about its place on a list; needs no database. `under` is as for `accept`."""
    own = identity(msg, raw, mlist.domain)
    return evidence.read(msg, own, prefix=mlist.settings.prefix, under=under, address=mlist.address)


def introduce(
    tx: Tx,
    mlist: MailingList,
    found: Evidence,
    own: str,
    subject: str,
    date: float,
    *,
    imported: bool,
    before: float = math.inf,
) -> Newcomer:
    """Return what threading needs to know of a mail with the Message-ID `own` in which that was `found`.

    The labels in its text become names of posts; those in an archive do not: they may be of another site.
    `before` is its id if it is a post already: what it names came before.
    """
    labelled = (posts.by_label(tx, mlist.id, label) for label in found.labels) if not imported else ()
    weak = [
        Named(msgid.key(name_of(tx, post)), How.TEXT) for post in labelled if post and (not before or post.id < before)
    ]
    all_names = sorted(dict.fromkeys((*weak, *found.names)), key=lambda one: one.how)
    names = tuple(one for one in all_names if one.name != msgid.key(own))
    only_weak = all(one.how.is_weak for one in names)
    return Newcomer(
        mlist.id,
        own,
        subject,
        date,
        names=names,
        index=found.index,
        base=found.base,
        was=found.was,
        lonely=only_weak and bool((found.base and found.marked) or found.was),
        fresh=mlist.settings.new_subject_new_thread and not (found.marked or found.quotes or found.was),
    )


def _index(tx: Tx, post: Newcomer, place: threads.Place, mark: bytes) -> str:
    """Return the Thread-Index that a post is sent with whose author's program wrote none: that of its parent
    and one answer more. A parent without one, from an archive, counts as if it had begun a conversation.
    Another mail with its Message-ID may be there: then `mark` tells them apart."""
    own = post.name + mark.hex() if place.known else post.name
    row = place.stance.row
    if row is None or row["id"] != place.parent_id:
        row = tx.one("post.index", id=place.parent_id) if place.parent_id else None
    if row is None:
        return thread_index.root(own, post.date)
    parent = row["thread_index"] or thread_index.root(msgid.key(row["message_id"]), row["date"])
    return thread_index.answer(parent, own)


def reply_token(signer: Signer, mlist: MailingList, post_id: int) -> str:
    """Return the token of the address that answers this post (`pmo+r.TOKEN@…`). It does not expire."""
    return signer.make("reply", post_id, mlist.address)


def named_by(tx: Tx, signer: Signer, mlist: MailingList, token: str) -> Post:
    """Return the post that a reply address names. Raises Refused 550 5.1.1 when it names none."""
    post = posts.by_id(tx, signer.peek(token) or 0)
    if post is None or post.list_id != mlist.id or not signer.check(token, "reply", post.id, mlist.address):
        raise Refused("This reply address is not valid.", "bad token", enhanced="5.1.1")
    return post


def name_of(tx: Tx, post: Post) -> str:
    """Return a name that leads to this post: its Message-ID, or its Thread-Index where another had that id before."""
    owner = posts.by_name(tx, post.list_id, msgid.key(post.message_id))
    row = tx.one("post.own_index", id=post.id) if owner and owner.id != post.id else None
    return row["name"] if row else post.message_id


def identity(msg: Message, raw: bytes, domain: str) -> str:
    """Return the mail's Message-ID, or one made from its bytes where it has none."""
    return msg.message_id or msgid.invent(hashlib.sha256(raw).digest(), domain)


def tombstone(post: Post, text: str) -> bytes:
    """Return a mail that stands for a post whose own text is not there any more; `text` says so."""
    known = post.from_address and post.from_address.isascii()  # formataddr takes no other
    sender = formataddr((post.from_name, post.from_address)) if known else post.from_name or "unknown"
    answers = [("In-Reply-To", post.parent)] if post.parent else []
    fields = [
        ("From", sender),
        ("Subject", post.subject),
        ("Date", format_datetime(datetime.fromtimestamp(post.date, UTC))),
        ("Message-ID", post.message_id),
        *answers,
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "8bit"),
    ]
    head = b"".join(message.field(name, value).raw for name, value in fields)
    return head + f"\r\n[{text}]\r\n".encode()


def forget_bodies(before: float) -> upkeep.Step:
    """Return the step (see store/upkeep.py) that puts notes in the place of texts received before `before`."""

    def step(_: int, tx: Tx) -> tuple[int | None, int]:
        ids = upkeep.old_posts(tx, before)
        search.forget(tx, ids)
        for post_id in ids:
            post = posts.by_id(tx, post_id)
            assert post is not None
            upkeep.replace_body(tx, post_id, tombstone(post, FORGOTTEN))
            index.expect(tx, post_id)
        return (ids[-1] if ids else None), len(ids)

    return step


def parse(raw: bytes) -> tuple[Message, bytes]:
    """Read a mail from anywhere: line ends made CRLF, then parsed. Raises Refused as `message.parse`."""
    raw = message.normalise(raw)
    return message.read(raw), raw
