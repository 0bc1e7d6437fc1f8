"""Message ids: taken out of headers as mail programs really write them, cleaned, ordered, invented.

An id is kept with its brackets, without blanks: `<left@right>`. So the same id compares equal
wherever it was folded.
"""

import re

MAX_ID = 250  # characters, brackets and all
MAX_VALUE = 20_000  # characters of a header that are read, from its end: the last ids are the nearest

# Quoted pairs are not looked at: each open quote would then be scanned to the end of the value.
_PIECE = re.compile(r'<(?P<id>[^<>]*)>|"[^"]*"|(?P<comment>\()|(?P<word>[^\s<>"(),;]+)|.', re.DOTALL)
_COMMENT_MARK = re.compile(r"[()]")
_LEFT_RIGHT = re.compile(r"""[^\s<>"(),;@]+@[^\s<>"(),;@]+""")
_BRACKETS = re.compile(r"<([^<>]*)>")


def ids(text: str) -> list[str]:
    """Return the message ids in a header's value, in order, each `<left@right>`; never raises; linear.

    Comments, quoted strings and words around the ids are tolerated. Where there are words, as in
    `Message from "Al" <al@example.org> of Monday <real@id>`, only the last id counts: the others
    are addresses. A value that is one bare `left@right` is an id too. Of a value that is longer
    than 20,000 characters, the ids at its end are returned.
    """
    if not text:
        return []
    if len(text) > MAX_VALUE:
        text = text[text.find("<", len(text) - MAX_VALUE) :]
    found, prose = _outside_quotes(text)
    if not found:
        found = _cleaned(_BRACKETS.findall(text)) or _bare(text)
    return found[-1:] if prose else found


def _outside_quotes(text: str) -> tuple[list[str], bool]:
    """Return the bracketed ids outside quotes and comments, and whether words stand around them."""
    inner: list[str] = []
    prose, at = False, 0
    while match := _PIECE.match(text, at):
        at = match.end()
        if match["id"] is not None:
            inner.append(match["id"])
        elif match["comment"]:
            at = _comment_end(text, match.start())
        elif match["word"]:
            # `b@c> <d@e>` is no prose but References that were cut in the middle of an id.
            prose = prose or "@" not in match["word"]
    return _cleaned(inner), prose


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for match in _COMMENT_MARK.finditer(text, start):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _bare(text: str) -> list[str]:
    token = text.strip().strip('"<>')
    return _cleaned([token]) if _LEFT_RIGHT.fullmatch(token) else []


def _cleaned(inner: list[str]) -> list[str]:
    """Return the ids with blanks and control characters out, without those that are none."""
    found = []
    for text in inner:
        left_right = "".join(text.split())
        if not left_right.isprintable():
            left_right = "".join(filter(str.isprintable, left_right))
        # The end is kept of one that is too long, so that cleaning it again changes nothing.
        left_right = left_right[2 - MAX_ID :]
        left, at, right = left_right.partition("@")
        if left and at and right:
            found.append(f"<{left_right}>")
    return found


def message_id(value: str) -> str:
    """Return the id of a Message-ID header, `<left@right>`, or "" when there is none."""
    return next(iter(ids(value)), "")


def references(in_reply_to: str, references: str, own: str = "", limit: int = 50) -> tuple[str, ...]:
    """Return the candidates for the parent, nearest first, without duplicates and without `own`.

    First In-Reply-To, then References from its last id to its first (RFC 5322 section 3.6.4),
    `limit` at most: the oldest ones are left out.
    """
    nearest_first = [*reversed(ids(in_reply_to)), *reversed(ids(references))]
    return tuple(one for one in dict.fromkeys(nearest_first) if one != own)[:limit]


def invent(raw_hash: bytes, domain: str) -> str:
    """Return the id of a mail that came without one: the same mail gets the same id."""
    return f"<{raw_hash[:20].hex()}.mailforum@{domain}>"
