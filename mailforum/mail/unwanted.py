"""Mails of a mailbox that its owner had thrown away, or never sent: what mail programs write into them says so."""

from __future__ import annotations

import re

from mailforum.mail import words

_HEAD = 16 * 1024  # bytes of a mail that are looked at
_FIELDS = (b"x-gmail-labels:", b"x-status:", b"x-mozilla-status:")
_STATE = re.compile(rb"\n(x-gmail-labels|x-status|x-mozilla-status):([^\n]*+(?>(?:\n[ \t][^\n]*+)*))")
_EXPUNGED = 0x0008  # of X-Mozilla-Status; the file has not been compacted since
_LABELS = {
    "deleted": "trash bin papierkorb corbeille papelera cestino prullenbak lixeira kosz корзина ごみ箱 papperskorgen",
    "draft": "draft drafts entwürfe brouillons borradores bozze concepten rascunhos черновики 下書き utkast",
    "spam": "spam junk",
}
_REASONS = {label: reason for reason, labels in _LABELS.items() for label in labels.split()}


def reason(raw: bytes) -> str:
    """Return why a mail of a mailbox is not to be kept: "deleted", "draft", "spam"; "" if it is."""
    head = raw[:_HEAD].lower()
    if not any(field in head for field in _FIELDS):
        return ""
    head = b"\n" + head.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    found = (_meant(match[1], match[2].decode("latin-1").strip()) for match in _STATE.finditer(head))
    return next((why for why in found if why), "")


def _meant(field: bytes, value: str) -> str:
    if field == b"x-status":  # Pine, mutt, dovecot
        return "deleted" if "d" in value else ""
    if field == b"x-mozilla-status":
        return "deleted" if re.fullmatch("[0-9a-f]{4}", value) and int(value, 16) & _EXPUNGED else ""
    labels = words.decode(value.replace("\n", "")).lower().split(",")
    return next((_REASONS[label.strip(' "')] for label in labels if label.strip(' "') in _REASONS), "")
