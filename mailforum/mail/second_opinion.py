"""What flufl.bounce makes of a bounce that our own readers do not know: the one door to it.

It knows many old forms, and takes some ordinary mail for bounces. So it is asked last, only about what
a mail system has sent to a bounce address, and what it says counts little. It may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from email import message_from_bytes

from mailforum.errors import Refused
from mailforum.mail import address, odd
from mailforum.mail.message import Message
from mailforum.mail.report import Report, ReportedRecipient

MAX_BYTES = 64 * 1024
MAX_RECIPIENTS = 50


def find(msg: Message, raw: bytes, mail_from: str) -> Report | None:
    """Return what flufl.bounce reads in a mail; None if that is nothing, or it is not installed."""
    if not odd.may_be_one(msg, mail_from):
        return None
    try:
        from flufl.bounce import all_failures
    except ImportError:
        return None
    try:
        late, failed = all_failures(message_from_bytes(raw[:MAX_BYTES]))
    except Exception:  # its readers do raise, each in its own way; an opinion is not worth a mail
        return None
    recipients = tuple(_recipients(failed, "failed") or _recipients(late, "delayed"))[:MAX_RECIPIENTS]
    if not recipients:
        return None
    return Report("delivery" if recipients[0].action == "failed" else "delayed", recipients)


def _recipients(found: Iterable[bytes], action: str) -> list[ReportedRecipient]:
    recipients = []
    for one in sorted(found):
        try:
            recipients.append(ReportedRecipient(address.envelope(one.decode("ascii", "replace")), action, "", ""))
        except Refused:
            continue
    return recipients
