"""The whole life of a mail: what became of it, and each delivery that was made because of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailforum.store import intake, journal
from mailforum.store.database import Row, Tx
from mailforum.store.journal import Entry

PAGE = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to deliver that did not succeed."""

    at: float
    enhanced: str
    reply: str


@dataclass(frozen=True, slots=True)
class Traced:
    """A delivery. `attempts` counts all of them, `failures` are those that did not succeed."""

    id: int
    rcpt: str
    state: str
    attempts: int
    due_at: float
    done_at: float | None
    enhanced: str
    reply: str
    failures: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """How many deliveries of a mailing are in a state, and when the first and last came to their end."""

    deliveries: int
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class Sending:
    """A mailing: a post to its readers, or a notice. `to_come` members have no delivery of it yet."""

    id: int
    kind: str
    template: str
    at: float
    list: str
    post: str
    to_come: int
    counts: dict[str, Count]


@dataclass(frozen=True, slots=True)
class Stored:
    """A post that a mail became."""

    label: str
    list: str
    message_id: str
    subject: str
    at: float


@dataclass(frozen=True, slots=True)
class Returned:
    """A report that a mail did not arrive, or was not wanted."""

    at: float
    address: str
    kind: str
    enhanced: str
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Life:
    """A mail. `posts` are told where `entries` are no longer kept. `held` and `shunts` wait now: (id, reason)."""

    mail: str
    entries: tuple[Entry, ...]
    posts: tuple[Stored, ...]
    held: tuple[tuple[int, str], ...]
    shunts: tuple[tuple[int, str], ...]
    sendings: tuple[Sending, ...]
    returned: tuple[Returned, ...]


def mails_of(tx: Tx, message_id: str) -> list[str]:
    """Return the ids of the mails with that Message-ID (`<left@right>`), in order of time."""
    return [row["mail"] for row in tx.all("trace.mails_of_message_id", message_id=message_id) if row["mail"]]


def mail_of_mailing(tx: Tx, mailing_id: int) -> tuple[str, str, float]:
    """Return the id of the mail that a mailing was made because of, its kind, and when it was queued; empty if there
    is none."""
    row = tx.one("trace.mailing", id=mailing_id)
    return (row["mail"], row["kind"], row["at"]) if row else ("", "", 0.0)


def mail_of_delivery(tx: Tx, delivery_id: int) -> str:
    """Return the id of the mail that a delivery was made because of; "" if there is none."""
    row = tx.one("trace.mail_of_delivery", id=delivery_id)
    return str(row["mail"]) if row else ""


def mail_of_post(tx: Tx, post_id: int) -> str:
    """Return the id of the mail that a post was; "" if it has none."""
    row = tx.one("trace.mail_of_post", id=post_id)
    return str(row["mail"]) if row else ""


def life(tx: Tx, mail: str) -> Life | None:
    """Return what is known of a mail; None if that is nothing (any more)."""
    entries = tuple(journal.of_mail(tx, mail))
    posts = () if entries else tuple(_stored(row) for row in tx.all("trace.posts", mail=mail))
    found = Life(
        mail,
        entries=entries,
        posts=posts,
        held=tuple((held.id, held.reason) for held in intake.held(tx) if held.mail == mail),
        shunts=tuple((shunt.id, shunt.reason) for shunt in intake.shunts(tx) if shunt.mail == mail),
        sendings=tuple(_sending(tx, row) for row in tx.all("trace.mailings", mail=mail)),
        returned=_returned(tx, {each.message_id for each in entries} | {post.message_id for post in posts}),
    )
    return found if any((found.entries, found.posts, found.held, found.shunts, found.sendings)) else None


def _returned(tx: Tx, message_ids: set[str]) -> tuple[Returned, ...]:
    return tuple(
        Returned(row["at"], row["address"], row["kind"], row["enhanced"], row["diagnostic"])
        for message_id in message_ids
        for row in tx.all("trace.bounces", message_id=message_id)
    )


def _stored(row: Row) -> Stored:
    return Stored(row["label"], row["list"], row["message_id"], row["subject"], row["received_at"])


def _sending(tx: Tx, row: Row) -> Sending:
    counts = {
        each["state"]: Count(each["deliveries"], each["first"], each["last"])
        for each in tx.all("trace.counts", mailing_id=row["id"])
    }
    return Sending(
        id=row["id"],
        kind=row["kind"],
        template=row["template"],
        at=row["created_at"],
        list=row["list"] or "",
        post=row["post"] or "",
        to_come=row["to_come"],
        counts=counts,
    )


def deliveries(tx: Tx, mailing_id: int, *, whole: bool = False) -> Iterator[Traced]:
    """Yield the deliveries of a mailing that are in trouble or have been, or all of them."""
    after = 0
    while rows := tx.all("trace.deliveries", mailing_id=mailing_id, after=after, whole=whole, limit=PAGE):
        for row in rows:
            yield _traced(tx, row)
        after = rows[-1]["id"]


def _traced(tx: Tx, row: Row) -> Traced:
    failures = tx.all("trace.attempts", delivery_id=row["id"]) if row["attempts"] else []
    return Traced(
        id=row["id"],
        rcpt=row["rcpt"],
        state=row["state"],
        attempts=row["attempts"],
        due_at=row["due_at"],
        done_at=row["done_at"],
        enhanced=row["enhanced"],
        reply=row["reply"],
        failures=tuple(Attempt(each["at"], each["enhanced"], each["reply"]) for each in failures),
    )
