"""Subjects: reply markers of many languages, the list's prefix, and what is left without both."""

import re
import unicodedata
from typing import NamedTuple

from mailforum.mail import words
from mailforum.mail.message import Header, field

# What mail programs put in front of the subject of a reply; never what they put before a forwarded
# mail (Fwd, WG, TR, RV, Enc, VL, VB, PD, 转发): that one starts something new. "Ref:" is missing: people
# write it before numbers, and so is the Latin "HA:" of old Russian programs, for a cluster.
REPLY_MARKERS: dict[str, tuple[str, ...]] = {
    "en, la": ("Re",),
    "de": ("Aw", "Antw", "Antwort"),
    "nl": ("Antw", "Antwoord"),
    "da, no, sv, is": ("Sv", "Svar"),
    "fi, et": ("Vs", "Vast"),
    "fr": ("Réf", "Rép", "Ré", "Réponse"),
    "it": ("Rif", "Ris"),
    "es, pt": ("Res", "Resp"),
    "ro": ("Răsp",),
    "pl, cs, sk": ("Odp",),
    "hr, sl": ("Odg",),
    "sr": ("Одг",),
    "hu": ("Vá", "Vál", "Válasz"),
    "lt": ("Ats",),
    "lv, cy": ("Atb",),
    "tr": ("Ynt",),
    "id, ms": ("Bls", "Balas"),
    "el": ("Απ", "Σχετ"),
    "ru, bg": ("Отв", "Ответ", "Отг", "На"),
    "uk": ("Відп", "Відповідь"),
    "zh": ("回复", "回覆", "答复", "答覆"),
    "ja": ("返信",),
    "ko": ("답장", "회신"),
    "vi": ("Trả lời",),
    "th": ("ตอบ", "ตอบกลับ"),
    "he": ("תגובה", "תשובה", "השב"),
    "ar": ("رد",),
    "fa": ("پاسخ",),
}
# Only as Outlook writes them, in Italian and Vietnamese: in small letters they are the beginning of a sentence.
CAPITAL_MARKERS = ("R", "TL")
MAX_SUBJECT = 1000
MAX_BASE = 600  # characters by which subjects are told apart: an index of PostgreSQL takes 2,700 bytes
MAX_LINE = 76  # octets of a line with encoded words; RFC 2047 section 2
MAX_FIELD_LINE = 998  # RFC 5322 section 2.1.1

MAX_TAG = 40  # characters in brackets that may be the name of a list, or [PATCH v2 3/7]

_WORDS = sorted({word for row in REPLY_MARKERS.values() for word in row}, key=len, reverse=True)
# `Re:`, `RE : `, `Re[2]:`, `Re(3):`, `Re^4:`, `Re*5:`, `Antw.:`, `回复：` (full-width colon).
_MARKER = rf"(?:(?:{'|'.join(_WORDS)})|(?-i:{'|'.join(CAPITAL_MARKERS)}))\.?\s?(?:[\[(^*]\d{{1,3}}[\])]?\s?)?[:：﹕︰]"
_MARKERS = re.compile(rf"\s*+(?>(?:{_MARKER}\s*+)*)", re.IGNORECASE)
_TAG = re.compile(rf"\[[^\[\]]{{1,{MAX_TAG}}}\]")
# What the subject was before, in brackets at its end; long subjects lose the closing one.
_WAS = re.compile(
    r"[(\[{]\s*+(?:was|war|vorher|fr[uü]her|était|fue|era|voorheen|tidigare|bylo|было)\b[:\s]++"
    r"((?>(?:[^()\[\]{}]++|[\[(][^()\[\]{}]*+[\])])+))[)\]}]?+\s*+\Z",
    re.IGNORECASE,
)
_FORWARDED = re.compile(r"\s*+\(fwd\)\s*+\Z", re.IGNORECASE)
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


class Topic(NamedTuple):
    """What a subject is about, for comparing only: folded, so that what people see as the same is the same.

    `was` is what it was about before, "" where it does not say; `marked` says that it is that of a reply.
    """

    base: str
    was: str
    marked: bool


def topic(subject: str, prefix: str = "") -> Topic:
    """Take a decoded subject apart; its first 1,000 characters are looked at. Linear.

    Reply markers and the list's `prefix` go, wherever they stand before the words; other tags such as
    `[PATCH 2/3]` stay, each once. So do `Fwd:` and the like; a `(fwd)` at the end goes, and `(was: …)`.
    """
    text = _folded(subject[:MAX_SUBJECT])
    was = _WAS.search(text)
    head, marked = _bare(text[: was.start()] if was else text, _folded(prefix))
    return Topic(head, _bare(was[1], _folded(prefix))[0] if was else "", marked)


def _folded(text: str) -> str:
    """Return text on one line, compatible characters made equal, but with its capitals."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).split())


def _bare(text: str, prefix: str) -> tuple[str, bool]:
    """Return text without markers and prefix, case-folded, and whether a marker was there."""
    tags: list[str] = []
    marked, rest, prefix = False, text, prefix.casefold()
    while True:
        end = _markers_end(rest)
        marked, rest = marked or bool(rest[:end].strip()), rest[end:].lstrip()
        tag = _TAG.match(rest)
        if prefix and rest[: len(prefix)].casefold() == prefix:
            rest = rest[len(prefix) :]
        elif tag:
            tags += [one for one in [tag[0].casefold()] if one not in tags]
            rest = rest[tag.end() :]
        else:
            break
    base = " ".join([*tags, _FORWARDED.sub("", rest).casefold()])
    return base.strip()[:MAX_BASE].rstrip(), marked


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
