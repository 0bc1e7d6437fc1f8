"""Posts that wait for a moderator: held, approved, rejected or discarded."""

from __future__ import annotations

from mailforum.errors import UsageError
from mailforum.forum import notices, posts
from mailforum.forum.site import Incoming, Site
from mailforum.mail import body
from mailforum.model import Held, MailingList, Outcome, Post, Verdict
from mailforum.store import intake, journal, lists
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from mailforum.store.journal import Entry

EXCERPT = 1200
MOST_ROWS = 50
TOLD = "owners told of held posts"


def hold(tx: Tx, mail: Incoming, verdict: Verdict, under: str = "", *, once: bool = False) -> Outcome:
    """Keep the post, tell its author (`once` on a day) and those in charge. `under` is as for `posts.accept`."""
    subject = mail.msg.text("Subject")
    held_id = intake.hold(
        tx,
        mail.mlist.id,
        mail_from=mail.envelope.mail_from,
        from_address=mail.sender,
        subject=subject,
        message_id=mail.msg.message_id,
        reason=verdict.reason,
        under=under,
        raw=mail.raw,
        now=mail.now,
    )
    notices.answer(tx, mail, "notice/held", once=once, subject=subject, reason=verdict.text, held_id=held_id)
    if intake.see_again(tx, TOLD, mail.mlist.address.encode(), mail.now, within=notices.HOUR):
        notices.tell_owners(
            tx,
            mail.site,
            mail.mlist,
            "owner/held",
            mail.now,
            who=mail.sender,
            subject=subject,
            reason=verdict.text,
            held_id=held_id,
            excerpt=body.read(mail.msg).text[:EXCERPT],
        )
        told = _told(mail.mlist.id)
        if not intake.held_between(tx, mail.mlist.id, intake.reached(tx, told), held_id):  # of those they still hear
            intake.reach(tx, told, held_id, mail.now)
    return mail.done(f"held {held_id}: {verdict.reason}", verdict.text)


def untold(tx: Tx, now: float) -> list[int]:
    """Return the lists with held posts of which those in charge shall hear now: an hour after the last time.

    Which they have not heard of their ids say: hosts' clocks do not agree so well.
    """
    found = []
    for list_id, newest in intake.held_by_list(tx).items():
        mlist = lists.by_id(tx, list_id)
        told_at = intake.seen_at(tx, TOLD, mlist.address.encode()) if mlist else None
        if newest > intake.reached(tx, _told(list_id)) and (told_at is None or told_at <= now - notices.HOUR):
            found.append(list_id)
    return found


def tell_what_waits(tx: Tx, site: Site, list_id: int, now: float) -> None:
    """Tell those in charge, in one mail, what has been held since they last heard."""
    mlist = lists.by_id(tx, list_id)
    if mlist is None or list_id not in untold(tx, now):
        return
    new = _new(tx, list_id)
    intake.see_again(tx, TOLD, mlist.address.encode(), now, within=0)
    intake.reach(tx, _told(list_id), max(held.id for held in new), now)
    rows = [[held.id, held.from_address, held.subject] for held in new[:MOST_ROWS]]
    notices.tell_owners(tx, site, mlist, "owner/held-more", now, rows=rows, count=len(new))


def _told(list_id: int) -> str:
    """Under which name is noted up to which id those in charge have heard of held posts."""
    return f"{TOLD}, list {list_id}"


def _new(tx: Tx, list_id: int) -> list[Held]:
    """Return the held posts of which those in charge have not heard."""
    told = intake.reached(tx, _told(list_id))
    return [held for held in intake.held(tx, list_id) if held.id > told]


def approve(tx: Tx, held_id: int, now: float) -> Post:
    """Post what was held. Raises UsageError when it is not there (any more)."""
    held, mlist = _take(tx, held_id)
    raw = intake.held_raw(tx, held_id)
    intake.release(tx, held.id)
    msg, raw = posts.parse(raw)
    post = rows.by_id(tx, posts.accept(tx, mlist, msg, raw, now, held.under).id)
    assert post is not None
    _note(tx, held, mlist, f"approved as post {post.label}", now)
    return post


def reject(tx: Tx, held_id: int, reason: str, now: float) -> Held:
    """Refuse what was held and tell its author why. Raises UsageError when it is not there."""
    held, mlist = _take(tx, held_id)
    intake.release(tx, held.id)
    # A moderator has read the mail and answers it: that is not rationed as automatic answers are.
    if held.mail_from and held.from_address:
        notices.send(
            tx,
            "notice/rejected",
            held.from_address,
            now,
            mlist=mlist,
            values={"subject": held.subject, "reason": reason},
        )
    _note(tx, held, mlist, "rejected", now)
    return held


def discard(tx: Tx, held_id: int, now: float) -> Held:
    """Throw away what was held, without a word. Raises UsageError when it is not there."""
    held, mlist = _take(tx, held_id)
    intake.release(tx, held.id)
    _note(tx, held, mlist, "discarded", now)
    return held


def _note(tx: Tx, held: Held, mlist: MailingList, what: str, now: float) -> None:
    journal.add(
        tx,
        Entry(held.mail, now, mlist.address, f"{what} (held {held.id})", message_id=held.message_id, list_id=mlist.id),
    )


def _take(tx: Tx, held_id: int) -> tuple[Held, MailingList]:
    held = intake.held_by_id(tx, held_id)
    mlist = lists.by_id(tx, held.list_id) if held else None
    if held is None or mlist is None:
        raise UsageError(f"There is no held post {held_id} (any more).")
    tx.mail = held.mail
    return held, mlist
