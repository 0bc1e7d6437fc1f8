"""Outlook's Thread-Index: 22 bytes that name a conversation, and 5 more for each answer in a row
(MS-OXOMSG section 2.2.1.3). The index of a mail begins with that of the mail it answers.

An index is kept in hex, in small letters; "" stands for none.
"""

import base64
import binascii
import hashlib

from mailforum.mail import words

ROOT = 22  # bytes: 0x01, 5 of a FILETIME, 16 of a GUID
STEP = 5
MOST_STEPS = 30  # that we write; longer ones have come from Outlook only where a mail was made by a program
MOST_READ = 200  # that are read
_MAX_VALUE = 2 * (ROOT + STEP * MOST_READ)
_BEGIN = b"\x01"
_1601 = 11_644_473_600  # seconds from the beginning of FILETIME to that of Unix


def read(value: str) -> str:
    """Return the index in a Thread-Index field, "" where it is none.

    Folding, blanks and missing padding do no harm. It is none with other characters or another
    length, and where its GUID is one byte repeated: programs that fill it in write that.
    """
    if not value or len(value) > _MAX_VALUE:
        return ""
    letters = "".join(words.decode(value).split()).rstrip("=")
    try:
        data = base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    whole = ROOT <= len(data) <= ROOT + STEP * MOST_READ and (len(data) - ROOT) % STEP == 0
    return data.hex() if whole and data.startswith(_BEGIN) and len(set(data[6:ROOT])) > 1 else ""


def ancestors(index: str) -> list[str]:
    """Return the indices that `index` begins with, those of the mails before it, the nearest first."""
    return [index[:end] for end in range(len(index) - 2 * STEP, 2 * ROOT - 1, -2 * STEP)]


def root(message_id: str, date: float) -> str:
    """Return the index of a mail that begins a conversation; `date` in seconds since the epoch."""
    filetime = int((max(0.0, date) + _1601) * 10_000_000)
    guid = hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).digest()[:16]
    return (_BEGIN + filetime.to_bytes(8, "big")[:5] + guid).hex()


def answer(parent: str, message_id: str) -> str:
    """Return the index of a mail that answers the one with the index `parent`.

    At most 30 answers are told apart: then that of the parent makes room.
    """
    step = hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).digest()[:STEP]
    return parent[: 2 * (ROOT + STEP * (MOST_STEPS - 1))] + step.hex()


def value(index: str) -> str:
    """Return the index as it stands in a Thread-Index field: base64."""
    return base64.b64encode(bytes.fromhex(index)).decode("ascii")
