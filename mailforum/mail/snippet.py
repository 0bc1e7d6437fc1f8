"""A line or two of a text around what somebody has looked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mailforum.mail import fold
from mailforum.mail.fold import Phrase

WIDTH = 200  # characters
_BEFORE = 60  # how many of them stand before the first hit, at most
_LOOKED_AT = 100_000  # characters of a text
_LINE = 1000  # longer ones are looked at in pieces
# A word with the marks of Indic scripts, which are no letters to Python, but without the punctuation of others.
_WORD = re.compile(r"[^\W_]++(?:[^\w\x00-\xbf\u2000-\u303f\uff00-\uffef]++[^\W_]*+)*+")


class Snippet(NamedTuple):
    """Text on one line, and the places in it (start, end) of what was looked for."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def make(text: str, phrases: Iterable[Phrase]) -> Snippet:
    """Return that part of `text` in which most of the words of `phrases` stand; its beginning if none does."""
    wanted = _Wanted(phrases)
    lines = [part for line in text[:_LOOKED_AT].split("\n") for part in _pieces(" ".join(line.split()))]
    at = _best(lines, wanted)
    shown = " ".join(_enough(lines[at:]))
    first = next(wanted.marks(shown), (0, 0))[0]
    start = _start(shown, first) if first > _BEFORE else 0
    cut = shown[start : start + WIDTH]
    if start + WIDTH < len(shown):
        cut = cut.rpartition(" ")[0] or cut
    before, after = "… " * (start > 0 or at > 0), " …" * (start + len(cut) < len(shown))
    whole = before + cut.strip() + after
    return Snippet(whole, tuple(wanted.marks(whole)))


def _pieces(line: str) -> Iterator[str]:
    """Yield a line, a long one in pieces; each begins with the end of the last, so that no word is cut in all."""
    return (line[max(0, at - _BEFORE) : at + _LINE] for at in range(0, len(line), _LINE))


def _enough(lines: list[str]) -> Iterator[str]:
    """Yield as many lines as can be shown of; behind a piece of a long line none."""
    room = WIDTH + _BEFORE
    for line in lines:
        yield line
        room -= len(line)
        if room < 0:
            return


def _start(text: str, at: int) -> int:
    """Return where to begin, so that what stands at `at` has a few words before it, and more where few follow."""
    at = min(at, max(_BEFORE, len(text) - WIDTH + _BEFORE))
    blank = text.find(" ", at - _BEFORE, at)
    return blank + 1 if blank >= 0 else at


def _best(lines: list[str], wanted: _Wanted) -> int:
    best, most = 0, 0
    for at, line in enumerate(lines):
        found = wanted.count(line)
        if found > most:
            best, most = at, found
            if most == wanted.size:
                break
    return best


class _Wanted:
    """What is looked for: whole words, beginnings of words, and what may stand anywhere in a word."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self.words: set[str] = set()
        self.starts: set[str] = set()
        self.within: set[str] = set()
        for tokens, prefix in phrases:
            for number, token in enumerate(tokens, 1):
                start = prefix and number == len(tokens)
                kind = self.within if fold.is_paired(token) else self.starts if start else self.words
                kind.add(token)
        self.size = len(self.words) + len(self.starts) + len(self.within)
        self._starts = tuple(self.starts)

    def count(self, line: str) -> int:
        """Return how many different ones stand in a line."""
        tokens = set(fold.tokens(fold.fold(line)))
        found = len(tokens & self.words)
        found += sum(any(token.startswith(start) for token in tokens) for start in self.starts)
        return found + sum(any(token.startswith(pair) for token in tokens) for pair in self.within)

    def marks(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where they stand in a text, in order."""
        for match in _WORD.finditer(text):
            word = fold.plain(match[0])
            if word in self.words or word.startswith(self._starts):
                yield match.span()
            elif fold.is_paired(word):
                yield from self._inside(word, match)

    def _inside(self, word: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
        """Yield the places within a word of a script that has no blanks; all of it where it was folded otherwise."""
        sought = self.within | self.words
        hits = [(at, at + len(each)) for each in sought for at in range(len(word)) if word.startswith(each, at)]
        if hits and len(word) != len(match[0]):
            yield match.span()
            return
        start = end = -1
        for first, last in sorted(hits):
            if first > end >= 0:
                yield match.start() + start, match.start() + end
            start, end = (first if first > end or end < 0 else start), max(end, last)
        if end >= 0:
            yield match.start() + start, match.start() + end
