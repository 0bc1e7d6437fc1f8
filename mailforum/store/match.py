"""A search, and how each database is asked for it.

Both are asked with tokens (mail/fold.py), all of which are quoted: no word is a command. They do not have the same
means, so `asked` returns parameters for both; a statement takes those that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

# What stands in `files` beside the names of files; no word can be that.
EACH = "\ue000"
WITH_FILE = "\ue001"
LIST = "\ue002"  # and its id; in PostgreSQL only

LONGEST = 500  # characters of a token that PostgreSQL compares: it takes 2,046 bytes
# There, words of these fields stand in the index a second time, with a mark before them.
_MARKS = {"": "", "subject": "\ue010", "author": "\ue011"}


class Term(NamedTuple):
    """Tokens that must stand one behind the other, in one field or in any; with `prefix` the last may go on."""

    tokens: tuple[str, ...]
    prefix: bool = False
    field: Literal["", "subject", "author"] = ""


_FILE = Term((WITH_FILE,))

Group = tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: one of each group in `every`, and none of `none`.

    `since` and `until` are days since 1970, both included; `threads` are numbers of threads, any of them.
    """

    every: tuple[Group, ...] = ()
    none: tuple[Term, ...] = ()
    since: int | None = None
    until: int | None = None
    threads: tuple[int, ...] = ()
    attachment: bool | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """What must be there: one of each."""
        return (*self.every, (_FILE,)) if self.attachment else self.every

    @property
    def without(self) -> tuple[Term, ...]:
        """What must not be there."""
        return (*self.none, _FILE) if self.attachment is False else self.none


def asked(every: Sequence[Group], none: Sequence[Term] = (), list_id: int = 0) -> dict[str, object]:
    """Return the parameters of a statement that looks for one of each group and none of `none`, on a list (0: on any).

    `match` is for FTS5. For PostgreSQL, `words` is what its index answers; where phrases have to be looked for in
    what that finds, `exact` is the whole search, and `every_text` and `none_text` are the same for posts of which
    the index cannot know where all their words stand.
    """
    return {"match": _fts5(every, none), **_tsquery(every, none, list_id)}


def _fts5(every: Iterable[Group], none: Sequence[Term]) -> str:
    groups = (" OR ".join(map(_quoted, group)) for group in every)
    text = " AND ".join(f"({group})" for group in groups) or f'"{EACH}"'
    return f"({text}) NOT ({' OR '.join(map(_quoted, none))})" if none else text


def _quoted(term: Term) -> str:
    field = f"{term.field} : " if term.field else ""
    return f'{field}"{" ".join(term.tokens)}"{" *" if term.prefix else ""}'


def _tsquery(every: Sequence[Group], none: Sequence[Term], list_id: int) -> dict[str, object]:
    groups = [*every, (Term((f"{LIST}{list_id}",)),)] if list_id else every
    phrases = any(len(term.tokens) > 1 for group in (*every, none) for term in group)
    single = [term for term in none if len(term.tokens) == 1]
    return {
        "words": _boolean(groups, single, " & "),
        "exact": _boolean(every, none, " <-> ") if phrases else None,
        "every_text": json.dumps([list(map(_text, group)) for group in every]),
        "none_text": json.dumps(list(map(_text, none))),
    }


def _boolean(every: Iterable[Group], none: Iterable[Term], between: str) -> str:
    groups = [" | ".join(lexemes(term, between) for term in group) for group in every] or [f"'{EACH}'"]
    return " & ".join([*(f"({group})" for group in groups), *(f"!{lexemes(term, between)}" for term in none)])


def lexemes(term: Term, between: str = " <-> ") -> str:
    """Return a term as PostgreSQL's tsquery has it."""
    found = [f"'{_MARKS[term.field]}{token[:LONGEST]}'" for token in term.tokens]
    return f"({between.join(found)}{':*' if term.prefix else ''})"


def _text(term: Term) -> str:
    """Return what stands in a text of words with blanks around each of them."""
    words = " ".join(_MARKS[term.field] + token for token in term.tokens)
    return f" {words}{'' if term.prefix else ' '}"
