"""What a quoted text says about the mail it was taken from: Message-IDs, and the labels in our footers.

Weak evidence, for mails whose header says nothing. `Al <al@example.org> wrote` names no mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from mailforum.mail import body, msgid

MAX_TEXT = 64 * 1024  # characters that are looked at
MOST = 10  # ids, and as many labels
_NEAR = 3  # lines between a quote and the line that says whose it is, or between a label and our address

_MARKS = re.compile(r"[> \t]*+")
_HEADER = re.compile(r"\*?Message-ID[ \t]*+:\*?[ \t]*+<([^\s<>]++)>", re.IGNORECASE)
# `In article <…>, Al wrote:`, `Al wrote in message news:…`, and how others say it.
_KINDS = (
    "article|message|mail|post|posting|artikel|beitrag|newsbeitrag|nachricht|articolo|messaggio|artículo|mensaje"
    "|artikkel|artikkelissa|meddelande|melding|bericht|artigo|mensagem|сообщении|статье"
)
_ATTRIBUTION = re.compile(
    rf"\b(?:in|im|dans|en|nell'|i|em|w|в)\s*+(?>(?:(?:the|der|dem|le|l'|el|het)\s*+)?)(?>(?:(?:{_KINDS})\s++)?)"
    r"(?:<(?:news:)?([^\s<>@]++@[^\s<>]++)>|news:([^\s<>@]++@[^\s<>@,:;]++))",
    re.IGNORECASE,
)
_LABEL = re.compile(r"#(\d{1,9}\.\d{1,9})(?!\d|\.\d)")
_ENTRY = re.compile(rf"(?:^|·\s){_LABEL.pattern}(?=  |\s*\Z)")
_TELLS = re.compile(r"message-id|news:|@[^\s<>]*+>|#\d", re.IGNORECASE)


class Quoted(NamedTuple):
    """The ids and labels of quoted mails, nearest first: of what is quoted, before what that one quotes."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]


NOTHING = Quoted((), ())


class _Line(NamedTuple):
    """A line without its marks, and how deep in quotes it stands: 0 is what the author wrote."""

    depth: int
    text: str


def read(text: str, address: str = "", *, digest: bool = False) -> Quoted:
    """Return what `text` (lines ended by LF) names; its first 64 KiB are looked at. Never raises; linear.

    An id counts in the quoted header of a mail (`Message-ID: <…>`) and in the line above a quote
    (`In article <…>, Al wrote:`); a label such as `#48.3` where `address`, the list's, stands near it,
    as in our footers. In an answer to a `digest` of the list it also counts at an end of a line, if there
    is one only.
    """
    text = text[:MAX_TEXT]
    if not _TELLS.search(text):
        return NOTHING
    lines = list(_lines(text))
    named = sorted(_named(lines), key=lambda one: one[0])
    ids = (msgid.message_id(f"<{one}>") for _, one in named)
    labels = [*_footers(lines, address.lower()), *(_entry(lines) if digest else [])] if address else []
    return Quoted(_first(filter(None, ids)), _first(labels))


def _first(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(found), MOST))


def _lines(text: str) -> Iterator[_Line]:
    """Yield the lines of a text. What stands below "-----Original Message-----" is quoted without marks."""
    starts = [*body.unmarked_quotes(text), len(text) + 1]
    at = begun = 0
    for line in text.split("\n"):
        while starts[begun] <= at:
            begun += 1
        marks = _MARKS.match(line)
        assert marks is not None
        yield _Line(marks[0].count(">") + begun, line[marks.end() :])
        at += len(line) + 1


def _named(lines: list[_Line]) -> Iterator[tuple[int, str]]:
    """Yield ids, each with how many mails lie between: a header tells of the mail it stands in, the line
    above a quote of the one below."""
    for number, line in enumerate(lines):
        following = lines[number + 1 : number + 1 + _NEAR]
        both = " ".join([line.text, *(after.text for after in following[:1])])  # mail programs fold these too
        header = _HEADER.match(both)
        if header and line.depth:
            yield line.depth - 1, header[1]
        elif any(after.depth > line.depth for after in following):
            said = _ATTRIBUTION.search(both)
            if said:
                yield line.depth, said[1] or said[2].rstrip(".")


def _footers(lines: list[_Line], address: str) -> list[str]:
    """Return the labels that stand near the address of the list, those of the outer quotes first."""
    found = []
    for number, line in enumerate(lines):
        label = _LABEL.search(line.text) if line.depth else None
        if label and any(address in after.text.lower() for after in lines[number : number + _NEAR]):
            found.append((line.depth, label[1]))
    return [label for _, label in sorted(found, key=lambda one: one[0])]


def _entry(lines: list[_Line]) -> list[str]:
    """Return the label of the one post of a digest that is quoted; of several, nobody knows which is meant."""
    found = {label for line in lines if line.depth for label in _ENTRY.findall(line.text)}
    return list(found) if len(found) == 1 else []
