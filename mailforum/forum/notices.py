"""Short texts to one person: welcome, confirm, held, help. Queued here, worded in templates/.

Mail that proves nothing about its sender is answered only so often: anybody can write anybody's
address into From, and must not be able to bury them in our answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailforum.forum.site import Incoming, Site
from mailforum.mail import address, origin
from mailforum.model import Kind, MailingList
from mailforum.store import intake, lists, queue
from mailforum.store.database import Tx

NO_LIST, WHOLE_SITE = 0, -1  # what answers are counted under, beside lists
DAY, HOUR = 86400.0, 3600.0
PROVED = "proved"
OWNERS = "owners"  # what their notices are counted under; no address is spelt like that


def send(
    tx: Tx,
    template: str,
    to: str,
    now: float,
    *,
    mlist: MailingList | None,
    reply_to: str = "",
    values: Mapping[str, object] | None = None,
    mail_from: str = "",
    member_id: int | None = None,
) -> int:
    """Queue the text `template` to `to`; return its mailing. Its envelope sender is null, so that nothing
    answers it, but for one that tests whether mail comes back.

    `values` are the template's; they must be plain JSON.
    """
    list_id = mlist.id if mlist else None
    mailing = queue.add_mailing(
        tx,
        Kind.NOTICE,
        list_id=list_id,
        mail_from=mail_from,
        now=now,
        template=template,
        values=values,
        reply_to=reply_to,
    )
    queue.address_to(tx, mailing, to, now, member_id)
    return mailing


def answer(
    tx: Tx, mail: Incoming, template: str, *, about: MailingList | None = None, once: bool = False, **values: object
) -> bool:
    """Answer the sender of `mail` with `template`, unless they had their share today; say if sent.

    `about` is the list that a mail to the site's own address names. `once`: not twice on one day.
    """
    mlist = about or mail.route.mlist
    if not may_answer(tx, mail, mlist, mail.sender, once=template if once else ""):
        return False
    send(tx, template, mail.sender, mail.now, mlist=mlist, values=values)
    return True


def may_answer(tx: Tx, mail: Incoming, mlist: MailingList | None, to: str, *, once: str = "") -> bool:
    """Count one more answer to `to` today; False if it would be too many, or nobody can be meant.

    Who is known to the list has their share from it, and twice that from all lists together; a stranger
    has a much smaller one. `once` names what nobody gets twice on one day.
    """
    key, list_id = address.key(to), mlist.id if mlist else NO_LIST
    if not to or not address.domain_of(to):
        return False
    if once and intake.count_answer(tx, list_id, f"{once} {key}", mail.now) > 1:
        return False
    if not is_known(tx, mlist, to, mail.now):
        return _may_answer_stranger(tx, mail, key)
    of_list = intake.count_answer(tx, list_id, key, mail.now)
    of_site = intake.count_answer(tx, WHOLE_SITE, key, mail.now)
    return of_list <= mail.site.answers_per_day and of_site <= 2 * mail.site.answers_per_day


def is_known(tx: Tx, mlist: MailingList | None, to: str, now: float) -> bool:
    """Say whether `to` is on the list (None: on any), or has answered a question of ours within a day."""
    key = address.key(to)
    if lists.member(tx, mlist.id, key) if mlist else lists.memberships(tx, key):
        return True
    proved_at = intake.seen_at(tx, PROVED, key.encode("utf-8", "replace"))
    return proved_at is not None and proved_at > now - DAY


def remember_proof(tx: Tx, to: str, now: float) -> None:
    """Note that `to` has answered a question that was mailed there."""
    intake.see_again(tx, PROVED, address.key(to).encode("utf-8", "replace"), now, within=0)


def _may_answer_stranger(tx: Tx, mail: Incoming, key: str) -> bool:
    """Whoever wrote that mail, it may be a victim who is answered; and one network may name many."""
    site, net = mail.site, origin.network(mail.msg, mail.envelope.peer)
    most = min(site.answers_to_strangers, site.answers_per_day)
    if intake.count_answer(tx, WHOLE_SITE, f"stranger {key}", mail.now) > most:
        return False
    if not net or not site.strangers_per_hour:
        return True
    return intake.pace(tx, "strangers", net.encode(), mail.now, most=site.strangers_per_hour, seconds=HOUR)


def tell_owners(tx: Tx, site: Site, mlist: MailingList, template: str, now: float, **values: object) -> None:
    """Queue the text `template` to those in charge of the list, or to the site's admin if nobody is.

    A flood of forged mail must not become one to them: after so many in a day they hear no more.
    """
    if intake.count_answer(tx, mlist.id, OWNERS, now) > site.owner_notices_per_day:
        return
    addresses = [member.address for member in lists.in_charge(tx, mlist.id)] or [site.admin]
    for to in filter(None, addresses):
        send(tx, template, to, now, mlist=mlist, values=values)
