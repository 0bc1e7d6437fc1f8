"""Mail to the people in charge: passed on as it is, with loops kept out."""

from __future__ import annotations

from mailforum.errors import Refused
from mailforum.forum.site import Incoming
from mailforum.mail import headers
from mailforum.model import Kind, Outcome
from mailforum.store import lists, queue
from mailforum.store.database import Tx


def forward(tx: Tx, mail: Incoming) -> Outcome:
    """Queue the mail to the list's owners and moderators, or to the site's admin.

    Its envelope sender is null: a report that an owner's mailbox is full must not come back here.
    """
    mlist = mail.route.mlist
    if mail.route.rcpt.lower() in mail.msg.get_all(headers.LOOP) or headers.looping(mail.msg, ()):
        raise Refused("This mail has been here before.", "loop", enhanced="5.4.6")
    addresses = [member.address for member in lists.in_charge(tx, mlist.id)] if mlist else []
    addresses = addresses or [to for to in (mail.site.admin,) if to]
    if not addresses:
        raise Refused("Nobody reads this address yet.", "no owner and no [site] admin", enhanced="5.2.1")
    list_id = mlist.id if mlist else None
    mailing = queue.add_mailing(
        tx, Kind.FORWARD, list_id=list_id, mail_from="", now=mail.now, template=mail.route.rcpt, raw=mail.raw
    )
    for to in addresses:
        queue.address_to(tx, mailing, to, mail.now)
    return mail.done(f"forwarded to {len(addresses)}")
