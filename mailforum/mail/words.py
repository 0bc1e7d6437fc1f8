"""Encoded words (RFC 2047), charsets, and text that is safe to show.

What is decoded here is only ever shown to people. Identity is never taken from it: addresses
and message ids are read from the undecoded value.
"""

import base64
import binascii
import re
from encodings.aliases import aliases

_ENCODED = re.compile(r"=\?([^?\s]{1,70})\?([bq])\?([^?]*+)(\?++)=", re.IGNORECASE | re.ASCII)
_HEX = re.compile(rb"=([0-9A-F]{2})", re.IGNORECASE)
# Controls, surrogates, and what turns the direction of writing: a name must not repaint the line it
# stands on. Joiners (U+200C, U+200D) stay: Persian and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# Text charsets only. The rest of Python's codecs unpack (zlib), swap (rot13), take quadratic time (idna,
# punycode), or turn ASCII into something else (utf-7); an unknown name would stay in a cache for ever.
_CHARSETS = frozenset(
    name
    for pair in aliases.items()
    for name in pair
    if pair[1] not in {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "utf_7"}
    and pair[1] not in {"uu_codec", "zlib_codec"}
)


def charset(name: str) -> str:
    """Return Python's name for the charset `name`, or "" when it is unknown or not for text."""
    low = re.sub(r"[^a-z0-9]+", "_", name[:40].lower()).strip("_")
    return low if low in _CHARSETS else ""


def to_text(data: bytes, declared: str = "") -> str:
    """Decode `data` by its declared charset, else as utf-8, else as windows-1252; never raises."""
    return read(data, declared)[0]


def read(data: bytes, declared: str = "") -> tuple[str, str]:
    """Do what `to_text` does; return the text, and the charset it was read in as Python calls it."""
    for name in (charset(declared), "utf-8"):
        try:
            if name:
                return data.decode(name), name
        except (UnicodeError, ValueError):
            continue
    return data.decode("windows-1252", "replace"), "windows_1252"


def decode(value: str) -> str:
    """Return a header's value with its encoded words decoded (RFC 2047); never raises; linear."""
    if "=?" not in value:
        return value
    out: list[str] = []
    run: list[bytes] = []
    declared, end = "", 0
    for match in _ENCODED.finditer(value):
        between = value[end : match.start()]
        name = match[1].partition("*")[0].lower()  # RFC 2231 section 5: charset*language
        # One charset's words are joined before decoding: many clients cut one within a character.
        if not run or between.strip() or name != declared:
            out.append(to_text(b"".join(run), declared))
            out.append(between if not run or between.strip() else "")
            run = []
        run.append(_payload(match[2], match[3] + match[4][1:]))
        declared, end = name, match.end()
    return "".join([*out, to_text(b"".join(run), declared), value[end:]])


def _payload(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return _HEX.sub(lambda match: binascii.unhexlify(match[1]), data.replace(b"_", b" "))
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return base64.b64decode(letters + b"=" * (-len(letters) % 4))


def clean(text: str, limit: int = 1000) -> str:
    """Return `text` as one line that is safe to show, at most `limit` characters.

    Line breaks and other blanks become one blank; control and bidirectional characters go.
    """
    return " ".join(_UNSAFE.sub("", text[: limit * 4]).split())[:limit].rstrip()


def shown(value: str, limit: int = 1000) -> str:
    """Return a header's value decoded and cleaned; never raises."""
    return clean(decode(value), limit)
