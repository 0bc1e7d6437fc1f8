"""Message ids: taken out of headers as mail programs really write them, cleaned, ordered, invented.

An id is kept with its brackets, without blanks: `<left@right>`. So the same id compares equal
wherever it was folded. What is *compared* is its `key`: relays and programs of many years have
changed the case of ids, and no two mails are told apart by it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from mailforum.mail import words

Name = TypeVar("Name")

MAX_ID = 250  # characters, brackets and all
MAX_VALUE = 20_000  # characters at the end of a header that are read: the last ids are the nearest

_CUT = 200  # where a header has that many characters, an id without its end was cut off, not badly written
_LEAST = 6  # characters of an id without "@": `<20040101.ABC>`, but not `<y>` or `<2004>`
_PROSE = 2  # words that make a sentence; one is a slip

_PLAIN = re.compile(r"(?>(?:\s*+<[^<>\s]++>)+)\s*+")
# Quoted pairs are not looked at: each open quote would then be scanned to the end of the value.
_PIECE = re.compile(
    r'<(?P<id>[^<>]*)>|(?P<name>"[^"]*+"\s*+(?=<))|"[^"]*+"|(?P<comment>\()|(?P<open><?)(?P<word>[^\s<>"(),;]+)(?P<shut>>?)|[\s),;]++|.',
    re.DOTALL,
)
_COMMENT_MARK = re.compile(r"[()]")
_OURS = re.compile(r"<(?:notice\.([0-9]{1,18})\.[0-9]{1,18}|digest\.[0-9]{1,18}\.([0-9]{1,18})\.[^@<>]++)@[^@<>]++>")
_LEFT_RIGHT = re.compile(r"[^@]++@[^@]++")
_BRACKETS = re.compile(r"<([^<>]*)>")
_BARE = re.compile(r"""[^\s<>"'(),;]++""")
# `Message from Al <al@example.org> of Monday <real@id>`: behind a word of the first kind stands an address.
_FROM = frozenset(["from", "by", "von", "de", "da", "fra", "från", "van", "od", "от"])
_OF = frozenset(
    ["of", "on", "at", "dated", "dated:", "sent", "id:", "message-id:", "vom", "am", "le", "du", "op", "den"]
)
_CAPITALS = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


class _Found(NamedTuple):
    """What a value holds: its ids in order, those in words' company apart, and how many words there are."""

    ids: list[str]
    spoken: list[str]
    words: int


def ids(text: str, *, every: bool = False) -> list[str]:
    """Return the message ids in a header's value, in order, each `<left@right>`; never raises; linear.

    Comments, quoted strings and words around the ids are tolerated, encoded words decoded. In a
    sentence such as `Message from "Al" <al@example.org> of Monday <real@id>` only the last id counts,
    and none behind a "from": those are addresses. In References, where people do not stand, `every`
    one but these counts. Ids without brackets count where they look like ids: `left@right` with a digit
    on the left, or alone, and no sentence around them. One that was cut off with the rest of a long
    value does not. Without "@" an id needs brackets and a digit.

    Of a value that is longer than 20,000 characters, its first id and those at its end are returned.
    """
    if not text:
        return []
    text = _readable(text)
    if _PLAIN.fullmatch(text):
        return list(_cleaned(_BRACKETS.findall(text)))
    found = _pieces(_without_halves(text))
    if found.words >= _PROSE:
        return found.spoken if every else found.spoken[-1:]
    return found.ids or [*_cleaned(_BRACKETS.findall(text))] or [*_cleaned(_bare(_BARE.findall(text)))]


def _readable(text: str) -> str:
    if len(text) > MAX_VALUE:
        text = text[: text.find(">", 0, MAX_ID) + 1] + text[-MAX_VALUE:].partition(" ")[2]
    return words.decode(text) if "=?" in text else text


def _without_halves(text: str) -> str:
    """Cut away the id that a long value ends in the middle of, and the end of one before its first."""
    opened, closed = text.find("<"), text.find(">")
    if 0 <= closed < opened:
        text = text[closed + 1 :]
    end = text.rfind("<")
    return text[:end] if len(text) >= _CUT and end > text.rfind(">") else text


def _pieces(text: str) -> _Found:
    found: list[str] = []
    spoken: list[str] = []
    number, from_whom, at = 0, False, 0
    while match := _PIECE.match(text, at):
        at = match.end()
        inner = match["word"] if match["open"] or match["shut"] else match["id"]
        if inner is not None:
            one = list(_cleaned([inner]))
            found += one
            spoken += [] if from_whom else one
            from_whom = False
        elif match["name"] and not number:
            from_whom, number = True, _PROSE  # `"Al Smith" <al@example.org> "Re: Budget"`
        elif match["comment"]:
            at = _comment_end(text, match.start())
        elif match["word"]:
            word = match["word"].lower()
            found += _cleaned(_bare([match["word"].strip("'"), ""]))
            number += "@" not in word and any(map(str.isalnum, word))
            from_whom = word in _FROM or (from_whom and word not in _OF)
    return _Found(found, spoken, number)


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for match in _COMMENT_MARK.finditer(text, start):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _bare(tokens: Sequence[str]) -> Iterator[str]:
    """Yield what looks like an id without its brackets, and less like an address; alone it may look like one."""
    for token in tokens:
        if _LEFT_RIGHT.fullmatch(token) and (len(tokens) == 1 or _has_digit(token.partition("@")[0])):
            yield token


def _has_digit(text: str) -> bool:
    return any(map(str.isdecimal, text))


def _cleaned(inner: Iterable[str]) -> Iterator[str]:
    """Yield the ids with blanks and control characters out, without those that are none."""
    for text in inner:
        one = "".join(text.split())
        if not one.isprintable():
            one = "".join(filter(str.isprintable, one))
        # The end is kept of one that is too long, so that cleaning it again changes nothing.
        one = one[2 - MAX_ID :]
        left, _, right = one.partition("@")
        readable = "=?" not in one or words.decode(one) == one
        if readable and ((left and right) or (len(one) >= _LEAST and _has_digit(one))):
            yield f"<{one}>"


def message_id(value: str) -> str:
    """Return the id of a Message-ID header, `<left@right>`, or "" when there is none.

    The first one counts, whatever stands behind it; without brackets it is taken as it is if it is one
    word with "@" or a digit.
    """
    if not value:
        return ""
    text = _readable(value)
    if _PLAIN.fullmatch(text):
        return next(_cleaned(_BRACKETS.findall(text)), "")
    inner = _BRACKETS.findall(text)
    tokens = _BARE.findall(text)
    return next(_cleaned(inner), "") or (next(_cleaned(tokens), "") if len(tokens) == 1 else "")


def key(one: str) -> str:
    """Return the form in which an id is compared: without capital letters, of ASCII ones."""
    return one.lower() if one.isascii() else one.translate(_CAPITALS)  # thirty times as fast


def references(in_reply_to: str, references: str, own: str = "", limit: int = 50) -> tuple[str, ...]:
    """Return the candidates for the parent, nearest first, without duplicates and without `own`.

    First In-Reply-To, then References from its last id to its first (RFC 5322 section 3.6.4).
    `limit` at most, as `nearest`.
    """
    nearest_first = [*reversed(ids(in_reply_to)), *reversed(ids(references, every=True))]
    return nearest([one for one in dict.fromkeys(nearest_first) if one != own], limit)


def nearest(names: Sequence[Name], limit: int) -> tuple[Name, ...]:
    """Return `limit` of the names, which stand nearest first: of many the farthest, the thread's beginning,
    and the nearest."""
    return tuple(names) if len(names) <= limit else (*names[: limit - 1], names[-1])


def invent(raw_hash: bytes, domain: str) -> str:
    """Return the id of a mail that came without one: the same mail gets the same id."""
    return f"<{raw_hash[:20].hex()}.mailforum@{domain}>"


# What we write ourselves is named after its mailing, and so found by its name.


def of_notice(mailing_id: int, at: float, domain: str) -> str:
    """Return the id of a notice, a mailing that was queued at that time (Unix seconds)."""
    return f"<notice.{mailing_id}.{int(at)}@{domain}>"


def of_digest(number: int, mailing_id: int, name: str, domain: str) -> str:
    """Return the id of the digest with that number of the list `name`."""
    return f"<digest.{number}.{mailing_id}.{name}@{domain}>"


def mailing_of(one: str) -> int:
    """Return the mailing that an id names which may be one of these; 0: it names none. Anybody can write such an id."""
    found = _OURS.fullmatch(key(one))
    return int(found[1] or found[2]) if found else 0
