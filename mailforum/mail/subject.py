"""Subjects: reply markers of many languages, the list's prefix, and what is left without both."""

import re

from mailforum.mail import words
from mailforum.mail.message import Header, field

# What mail programs put in front of the subject of a reply; never what they put before a forwarded
# mail (Fwd, WG, TR, RV, Enc, VL, VB, PD, 转发): that one starts something new.
REPLY_MARKERS: dict[str, tuple[str, ...]] = {
    "en, la": ("Re",),
    "de": ("Aw", "Antw", "Antwort"),
    "nl": ("Antw", "Antwoord"),
    "da, no, sv, is": ("Sv", "Svar"),
    "fi": ("Vs",),
    "fr": ("Réf", "Ref", "Rép", "Ré"),
    "it": ("R", "Rif"),
    "pt": ("Res",),
    "pl, cs, sk": ("Odp",),
    "hr, sl": ("Odg",),
    "hu": ("Vá", "Vál"),
    "lt": ("Ats",),
    "lv, cy": ("Atb",),
    "tr": ("Ynt",),
    "id": ("Bls",),
    "el": ("Απ", "Σχετ"),
    "ru, bg": ("Отв", "Ответ", "Отг"),
    "uk": ("Відп", "Відповідь"),
    "zh": ("回复", "回覆", "答复", "答覆"),
    "ja": ("返信",),
    "ko": ("답장", "회신"),
    "vi": ("Trả lời", "TL"),
    "he": ("תגובה", "השב"),
    "ar": ("رد",),
}
MAX_SUBJECT = 1000
MAX_LINE = 76  # octets of a line with encoded words; RFC 2047 section 2
MAX_FIELD_LINE = 998  # RFC 5322 section 2.1.1

_WORDS = sorted({word for row in REPLY_MARKERS.values() for word in row}, key=len, reverse=True)
# `Re:`, `RE : `, `Re[2]:`, `Re(3):`, `Re^4:`, `回复：` (full-width colon).
_MARKER = rf"(?:{'|'.join(_WORDS)})\s?(?:[\[(^]\d{{1,3}}[\])]?\s?)?[:：]"
_MARKERS = re.compile(rf"\s*+(?:{_MARKER}\s*+)*+", re.IGNORECASE)
# Of folding and blanks before the value, as in the raw field.
_NAME = re.compile(rb"[^:]*+:[ \t\r\n]*+")


def split(subject: str) -> tuple[str, str]:
    """Cut a decoded subject into its leading reply markers (as they are, with blanks) and the rest."""
    end = _markers_end(subject)
    return subject[:end], subject[end:]


def _markers_end(text: str) -> int:
    match = _MARKERS.match(text)
    return match.end() if match else 0


def is_reply(subject: str) -> bool:
    """Say whether a decoded subject begins with a reply marker."""
    return bool(split(subject)[0].strip())


def base(subject: str, prefix: str = "") -> str:
    """Return a decoded subject without reply markers and the list's prefix, in any order and number.

    Blanks are collapsed; 1,000 characters at most. `Fwd:` stays.
    """
    rest, before = " ".join(subject[:MAX_SUBJECT].split()), None
    while rest != before:
        before = rest
        rest = split(rest)[1]
        if prefix and rest.lower().startswith(prefix.strip().lower()):
            rest = rest[len(prefix.strip()) :].lstrip()
    return rest


def prefix_subject(header: Header | None, prefix: str) -> Header:
    """Return the Subject field with `prefix` in it once, behind any leading reply markers.

    Where the prefix already stands, also within encoded words, the field is returned as it is.
    An ASCII field keeps its bytes around the prefix, encoded words and folding too; one that has
    to be written anew is encoded as UTF-8 (RFC 2047). `header` is None for mail without a subject.
    """
    prefix = prefix.strip()
    if header is None:
        return field("Subject", prefix)
    shown = words.shown(header.value, len(header.value))
    if prefix.lower() in shown.lower():
        return header
    markers, rest = split(shown)
    kept = _inserted(header.raw, prefix, markers) if rest else b""
    if kept:
        return Header(header.name, kept)
    return field(header.name, " ".join(f"{markers} {prefix} {rest}".split()))


def _inserted(raw: bytes, prefix: str, markers: str) -> bytes:
    """Put `prefix` between the bytes of an ASCII field behind `markers`; b"" where that cannot be."""
    name = _NAME.match(raw)
    if name is None or not (raw.isascii() and prefix.isascii()):
        return b""
    at = _markers_end(raw[name.end() :].decode("ascii"))
    start = name.end() + at
    if raw[name.end() : start].decode("ascii").split() != markers.split():
        return b""  # the other markers are within encoded words
    head = raw[:start] if raw[start - 1 : start] in (b" ", b"\t") else raw[:start] + b" "
    lines = (head + prefix.encode("ascii") + b" " + raw[start:]).split(b"\r\n")
    if max(map(len, lines)) <= MAX_LINE:
        return b"\r\n".join(lines)
    kept = head + prefix.encode("ascii") + b"\r\n " + raw[start:]
    return kept if max(map(len, kept.split(b"\r\n"))) <= MAX_FIELD_LINE else b""
