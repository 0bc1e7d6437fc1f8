"""Reports about our mail: delivery status (RFC 3464, internationalised RFC 6533) and complaints (RFC 5965).

`read` takes these standard forms only; `find` also what programs write in their own words (odd.py).

What a report says proves nothing, anyone can write one. Whom it is about is decided by the VERP
address it came to; this is for the rest: how it went, and why.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from mailforum.errors import Refused
from mailforum.mail import failure, message, mime, odd, words
from mailforum.mail.address import envelope
from mailforum.mail.message import Message

MAX_RECIPIENTS = 1000
MAX_REPORT = 256 * 1024  # bytes of a part that are read
MAX_DIAGNOSTIC = 500

Kind = Literal["delivery", "delayed", "delivered", "abuse", "other"]
Fields = list[tuple[str, str]]

_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_FEEDBACK_TYPES = ("message/feedback-report",)
_RETURNED_TYPES = ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")
_COMPLAINTS = ("abuse", "fraud", "opt-out", "opt-out-list", "miscategorized")
_ACTION_OF_CLASS = {"2": "delivered", "4": "delayed", "5": "failed"}
_FEEDBACK = re.compile(rb"feedback-report", re.IGNORECASE)
_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_FOLD = re.compile(r"\n[ \t]++(?=[^\n])")
_UNITEXT = re.compile(r"\\x\{(0*(?:10|[0-9A-F])?[0-9A-F]{1,4})\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What a report says of one recipient.

    `address` is the one we sent to where the report knows it, else the final one, else "". `action` is
    failed, delayed, delivered, relayed or expanded, or for a complaint its type; `status` an RFC 3463
    code or ""; `diagnostic` the other server's words on one line.
    """

    address: str
    action: str
    status: str
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report, by its worst news: `delivery` has a recipient that failed (or names none), `delayed` is
    still being tried, `delivered` is good news, `abuse` a complaint, `other` some other feedback.

    `returned` is the mail reported on, its first 256 KiB, or its header, when it came along;
    `return_path` what a complaint says was its envelope sender.
    """

    kind: Kind
    recipients: tuple[ReportedRecipient, ...]
    returned: Message | None = None
    return_path: str = ""


def read(msg: Message) -> Report | None:
    """Read a delivery or feedback report; None for mail that is none, or only quotes one.

    Raises Refused (550 5.6.0) as `mime.parts` does.
    """
    parts = mime.parts(msg)
    top = [part for part in parts if part.depth <= parts[0].depth + 1]
    for types, make in ((_FEEDBACK_TYPES, _feedback), (_STATUS_TYPES, _delivery)):
        for part in top:
            if part.content_type in types:
                return make(_text(msg, part), _returned(msg, top))
    return None


def find(msg: Message, mail_from: str) -> Report | None:
    """Read a report of any form; None for mail that is none. `mail_from` is the envelope sender.

    A standard report that names nobody is completed by its words. Raises Refused as `read`.
    """
    found = read(msg) or _old_complaint(msg)
    if found and not _says_little(found):
        return found
    said = odd.read(msg, mail_from)
    if said is None:
        return found
    if found and found.recipients:
        return replace(found, recipients=tuple(_completed(one, said.text) for one in found.recipients))
    action = "delayed" if said.delayed else "failed"
    code = failure.CODE.search(said.text)
    status, text = code[1] if code else "", words.clean(said.text, MAX_DIAGNOSTIC)
    recipients = tuple(ReportedRecipient(one, action, status, text) for one in said.recipients or ("",))
    return Report("delayed" if said.delayed else "delivery", recipients, found.returned if found else _attached(msg))


def _says_little(found: Report) -> bool:
    """Say whether a standard report leaves it to its words to tell who it is about, or why."""
    vague = all(one.status[1:] in ("", ".0.0") and not one.diagnostic for one in found.recipients)
    return vague and found.kind in ("delivery", "delayed")


def _completed(one: ReportedRecipient, text: str) -> ReportedRecipient:
    return replace(one, diagnostic=one.diagnostic or words.clean(text, MAX_DIAGNOSTIC))


def complaint(msg: Message) -> Report | None:
    """Read a complaint (RFC 5965, or Microsoft's own form); None for any other mail. Raises Refused as `read`."""
    found = read(msg) or _old_complaint(msg)
    return found if found and found.kind == "abuse" else None


def may_complain(msg: Message) -> bool:
    """Say at a glance whether `complaint` may find one: where this is False, it does not."""
    form = msg.get("Content-Type").encode("utf-8", "replace")
    return _is_old_complaint(msg) or bool(_FEEDBACK.search(form) or _FEEDBACK.search(msg.body))


def _attached(msg: Message) -> Message | None:
    return _returned(msg, [part for part in mime.parts(msg) if part.depth <= 1])


def _old_complaint(msg: Message) -> Report | None:
    """Microsoft's complaints are the mail itself, attached under this subject."""
    returned = _attached(msg) if _is_old_complaint(msg) else None
    return Report("abuse", (), returned) if returned else None


def _is_old_complaint(msg: Message) -> bool:
    return msg.subject.lower().startswith("complaint about message from")


def _text(msg: Message, part: mime.Part) -> str:
    return words.to_text(mime.decode(msg, part, MAX_REPORT), "utf-8").replace("\r", "")


def _returned(msg: Message, parts: list[mime.Part]) -> Message | None:
    for part in parts:
        if part.content_type in _RETURNED_TYPES:
            try:
                return message.parse(mime.decode(msg, part, MAX_REPORT))
            except Refused:
                return None
    return None


def _delivery(text: str, returned: Message | None) -> Report:
    groups = (dict(reversed(group)) for group in _groups(text))  # of a field given twice the first counts
    named = (group for group in groups if "final-recipient" in group or "original-recipient" in group)
    recipients = tuple(_recipient(group) for group in islice(named, MAX_RECIPIENTS))
    return Report(_worst({one.action for one in recipients}), recipients, returned)


def _worst(actions: set[str]) -> Kind:
    if "failed" in actions or not actions:
        return "delivery"
    return "delayed" if "delayed" in actions else "delivered"


def _recipient(group: dict[str, str]) -> ReportedRecipient:
    address = _address(group.get("original-recipient", "")) or _address(group.get("final-recipient", ""))
    found = _STATUS.search(group.get("status", ""))
    status = found[1] if found else ""
    action = words.clean(group.get("action", "").lower().partition("(")[0], 20)
    if action not in ("failed", "delayed", "delivered", "relayed", "expanded"):
        action = _ACTION_OF_CLASS.get(status[:1], "failed")
    diagnostic = group.get("diagnostic-code", "")
    return ReportedRecipient(
        address, action, status, words.clean(diagnostic.partition(";")[2] or diagnostic, MAX_DIAGNOSTIC)
    )


def _feedback(text: str, returned: Message | None) -> Report:
    fields = [field for group in _groups(text) for field in group]
    kind = words.clean(dict(reversed(fields)).get("feedback-type", "").lower(), 20)
    names = ("original-rcpt-to", "removal-recipient")
    found = dict.fromkeys(_address(value) for name, value in fields if name in names)
    recipients = tuple(ReportedRecipient(one, kind, "", "") for one in islice(found, MAX_RECIPIENTS) if one)
    sender = next((_address(value) for name, value in fields if name == "original-mail-from"), "")
    return Report("abuse" if kind in _COMPLAINTS else "other", recipients, returned, sender)


def _groups(text: str) -> Iterator[Fields]:
    """Yield the groups of fields that empty lines part: lower-case names and unfolded values."""
    group: Fields = []
    for line in _FOLD.sub(" ", text).split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            group.append((name.strip().lower(), value.strip()))
        elif not line.strip():
            yield group
            group = []
    yield group


def _address(value: str) -> str:
    """Return the address of `rfc822; bob@example.org` or of the same without a type, "" if it is none."""
    kind, colon, rest = value.partition(";")
    text = rest if colon else value
    if kind.strip().lower() == "utf-8":
        text = _UNITEXT.sub(lambda match: chr(int(match[1], 16)), text)  # RFC 6533 section 3
    try:
        return envelope(text.strip())
    except Refused:
        return ""
