"""Words as they are compared in a search: `Größe`, `GROSSE` and `ｇｒｏｓｓｅ` are one word.

Case, accents, width and ligatures are gone. Scripts that write no blanks between words, and Hangul, whose
words end in particles, are cut into pairs: `日本語` is `日本 本語 語`, where the last one is for those who
ask for a single character. What is asked and what is kept go through the same functions.

A token is a run of ASCII letters and digits and of all other characters that are left; whatever else is
ASCII stands between tokens (that is the tokenizer `ascii` of SQLite's FTS5).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from operator import add
from typing import NamedTuple

# Accents; Hebrew and Arabic points, which hardly anybody writes; tatweel; soft hyphens, joiners and variation
# selectors. Not the signs of Indic scripts and of Thai, which are letters, nor the dots of kana.
_DROPPED = re.compile(
    "[\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640"
    "\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u200d"
    "\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]+"
)
# Letters that Unicode does not take apart, and Persian and Arabic spellings of one letter.
_PLAIN = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ı": "i"}
    | {"ŋ": "n", "ƒ": "f", "ɨ": "i", "ƶ": "z", "ə": "e", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ە": "ه"}
)
# Thai, Lao, Burmese, Khmer, kana, Han and Hangul.
_PAIRED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_RUN = re.compile(f"[{_PAIRED}]+")
_LAST_RUN = re.compile(f"(?<![{_PAIRED}])[{_PAIRED}]++(?=[^0-9a-z\x80-\U0010ffff]*+\\Z)")
_TOKEN = re.compile("[0-9a-z\x80-\U0010ffff]+")


class Phrase(NamedTuple):
    """Tokens that stand one behind the other. With `prefix` the last one may go on."""

    tokens: tuple[str, ...]
    prefix: bool = False


def fold(text: str) -> str:
    """Return `text` as tokens with other ASCII characters between them. Linear; never raises."""
    return _by_line(text, lambda line: _RUN.sub(_pairs, _plain(line)))


def plain(text: str) -> str:
    """Return `text` without case and accents, not cut into pairs; what is no letter or digit is a blank or ASCII."""
    return _by_line(text, _plain)


def _by_line(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the lines that are not ASCII: in many a text only a few are, and the others cost little."""
    if text.isascii():
        return text.lower()
    return "\n".join(line.lower() if line.isascii() else change(line) for line in text.split("\n"))


def _plain(line: str) -> str:
    return _to_change().sub(lambda match: _changed(match[0]), unicodedata.normalize("NFKC", line).casefold())


@cache
def _to_change() -> re.Pattern[str]:
    """What `_changed` is needed for, as many letters are what they are: all that is no letter or digit, and
    those among the alphabets that lose something."""
    letters = "".join(char for char in map(chr, range(0x80, 0x2000)) if char.isalnum() and _changed(char) != char)
    return re.compile(rf"[^\w\x00-\x7f]|[{letters}]")


@lru_cache(maxsize=8192)
def _changed(char: str) -> str:
    """Return a character of lower case without its accents. The signs of Indic scripts stand within words and
    are no letters to Python; they stay."""
    text = _DROPPED.sub("", unicodedata.normalize("NFKD", char)).translate(_PLAIN)
    if _DROPPED.match(char) or char.isalnum():
        return unicodedata.normalize("NFC", text)
    return char if unicodedata.category(char).startswith("M") else " "


def _pairs(match: re.Match[str]) -> str:
    run = match[0]
    return f" {' '.join(map(add, run, run[1:]))} {run[-1]} "


def is_paired(token: str) -> bool:
    """Say whether there is anything in a token that is cut into pairs."""
    return bool(_RUN.search(token))


def tokens(folded: str) -> list[str]:
    """Return the tokens of what `fold` has returned."""
    return _TOKEN.findall(folded)


def phrase(text: str) -> Phrase:
    """Return what is to be looked for where somebody asks for `text`; no tokens if it has no letter or digit.

    Behind the last pair anything may follow, as nothing says where a word ends: `日本` is found in `日本語`.
    """
    found = tuple(tokens(fold(text)))
    last = None if text.isascii() else _LAST_RUN.search(plain(text))
    if last is None:
        return Phrase(found)
    return Phrase(found, prefix=True) if len(last[0]) == 1 else Phrase(found[:-1])
