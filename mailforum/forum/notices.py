"""Short texts to one person: welcome, confirm, held, help. Queued here, worded in templates/.

Mail that proves nothing about its sender is answered only so often: anybody can write anybody's
address into From, and must not be able to bury them in our answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailforum.forum.site import Incoming, Site
from mailforum.mail import address
from mailforum.model import Kind, MailingList
from mailforum.store import intake, lists, queue
from mailforum.store.database import Tx

NO_LIST, WHOLE_SITE = 0, -1  # what answers are counted under, beside lists
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
) -> None:
    """Queue the text `template` to `to`. Its envelope sender is null, so that nothing answers it.

    `values` are the template's; they must be plain JSON.
    """
    list_id = mlist.id if mlist else None
    mailing = queue.add_mailing(
        tx, Kind.NOTICE, list_id=list_id, mail_from="", now=now, template=template, values=values, reply_to=reply_to
    )
    queue.address_to(tx, mailing, to, now)


def answer(tx: Tx, mail: Incoming, template: str, *, about: MailingList | None = None, **values: object) -> bool:
    """Answer the sender of `mail` with `template`, unless they had their share today; say if sent.

    `about` is the list that a mail to the site's own address names.
    """
    mlist = about or mail.route.mlist
    if not may_answer(tx, mail.site, mlist, mail.sender, mail.now):
        return False
    send(tx, template, mail.sender, mail.now, mlist=mlist, values=values)
    return True


def may_answer(tx: Tx, site: Site, mlist: MailingList | None, to: str, now: float) -> bool:
    """Count one more answer to `to` today; False if it would be too many, or nobody can be meant.

    An address has its share for each list, and twice that for all of them together.
    """
    if not to or not address.domain_of(to):
        return False
    of_list = intake.count_answer(tx, mlist.id if mlist else NO_LIST, address.key(to), now)
    of_site = intake.count_answer(tx, WHOLE_SITE, address.key(to), now)
    return of_list <= site.answers_per_day and of_site <= 2 * site.answers_per_day


def tell_owners(tx: Tx, site: Site, mlist: MailingList, template: str, now: float, **values: object) -> None:
    """Queue the text `template` to those in charge of the list, or to the site's admin if nobody is.

    A flood of forged mail must not become one to them: after so many in a day they hear no more.
    """
    if intake.count_answer(tx, mlist.id, OWNERS, now) > site.owner_notices_per_day:
        return
    addresses = [member.address for member in lists.in_charge(tx, mlist.id)] or [site.admin]
    for to in filter(None, addresses):
        send(tx, template, to, now, mlist=mlist, values=values)
