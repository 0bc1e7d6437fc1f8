"""Reports that mail did not arrive: read, and written down under the address they are about."""

from __future__ import annotations

from mailforum.forum.site import Incoming
from mailforum.mail import address, report
from mailforum.model import Outcome
from mailforum.store import intake
from mailforum.store.database import Tx

DIAGNOSTIC = 500


def note(tx: Tx, mail: Incoming) -> Outcome:
    """Write down each recipient the report names. The return path (VERP) outweighs what it says itself."""
    verp = address.unverp(mail.route.detail) if mail.route.detail else None
    found = report.read(mail.msg)
    recipients = found.recipients if found else ()
    for recipient in recipients:
        intake.bounced(
            tx,
            mail.mlist.id,
            verp or recipient.address,
            action=recipient.action,
            enhanced=recipient.status,
            diagnostic=recipient.diagnostic[:DIAGNOSTIC],
            now=mail.now,
        )
    if verp and not recipients:
        subject = mail.msg.text("Subject")[:DIAGNOSTIC]
        intake.bounced(tx, mail.mlist.id, verp, action="unknown", enhanced="", diagnostic=subject, now=mail.now)
    return mail.done(f"bounce for {verp or 'unknown'}")
