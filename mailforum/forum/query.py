"""What somebody asks the search for, in the words they type.

    budget "summer meeting" -draft         both, and not the third
    budget OR costs, meet*                 one of two; a word that begins so
    author:ada subject:"the budget"        in one field only
    since:2023-05 until:2024               days, months or years, the last one included
    thread:48 has:attachment

Whatever else is typed is words: nothing is an error but a date, a thread or a file that cannot be meant.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import replace
from datetime import date

from mailforum.errors import UsageError
from mailforum.mail import fold
from mailforum.store.match import Query, Term

MAX_LENGTH = 1000  # characters
MAX_TOKENS = 40
MIN_PREFIX = 3  # letters before a *; fewer begin too many words

_EPOCH = date(1970, 1, 1).toordinal()
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»＂", '"'))
_ITEM = re.compile(r'(-)?(?:([A-Za-z]++):)?(?:"([^"]*+)"?+(\*)?|([^\s"]++))')
_DATE = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?", re.ASCII)
_THREAD = re.compile(r"#?(\d{1,9})(?:\.\d{1,9})?", re.ASCII)


def parse(text: str) -> Query:
    """Read a query. Raises UsageError, with one sentence that says what cannot be meant; linear."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the search is too long: at most {MAX_LENGTH:,} characters")
    query, either = Query(), False
    for minus, field, quoted, star, bare in _ITEM.findall(text.translate(_QUOTES)):
        if not minus and bare in ("OR", "|"):
            either = True
            continue
        value = quoted or bare
        filtered = _FILTERS.get(field.lower()) if field else None
        query = filtered(query, value, bool(minus)) if filtered else _add(query, field, value + star, minus, either)
        either = False
    if query == Query():
        raise UsageError("say what to look for: words, author:NAME, subject:WORD, since:DATE, …")
    if sum(len(term.tokens) for group in (*query.every, query.none) for term in group) > MAX_TOKENS:
        raise UsageError(f"the search has too many words: at most {MAX_TOKENS}")
    return query


def _add(query: Query, field: str, value: str, minus: str, either: bool) -> Query:
    """Add a word or phrase; with `either` as the other choice beside the last one."""
    term = _term(field, value)
    if not term.tokens or value in ("AND", "&"):
        return query
    if minus:
        return replace(query, none=(*query.none, term))
    if either and query.every:
        return replace(query, every=(*query.every[:-1], (*query.every[-1], term)))
    return replace(query, every=(*query.every, (term,)))


def _term(field: str, value: str) -> Term:
    name = _FIELDS.get(field.lower(), "")
    if field and not name:
        value = f"{field}:{value}"  # http://… and the like
    tokens, prefix = fold.phrase(value)
    if value.endswith("*") and tokens and not prefix and not fold.is_paired(tokens[-1]):
        if len(tokens[-1]) < MIN_PREFIX:
            raise UsageError(f"`{value}` would find too much: at least {MIN_PREFIX} letters stand before a *")
        prefix = True
    return Term(tokens, prefix, name)  # type: ignore[arg-type]


def _since(query: Query, value: str, minus: bool) -> Query:
    day = _days("since", value, minus)[0]
    return replace(query, since=day if query.since is None else max(day, query.since))


def _until(query: Query, value: str, minus: bool) -> Query:
    day = _days("until", value, minus)[1]
    return replace(query, until=day if query.until is None else min(day, query.until))


def _days(field: str, value: str, minus: bool) -> tuple[int, int]:
    """Return the first and the last day of a day, a month or a year, counted from 1970."""
    found = _DATE.fullmatch(value)
    try:
        if minus or not found:
            raise ValueError
        year, month, day = (int(part) if part else 0 for part in found.groups())
        last = day or monthrange(year, month or 12)[1]
        first_day, last_day = date(year, month or 1, day or 1), date(year, month or 12, last)
    except ValueError:
        wanted = f"{field}: is followed by a date: 2024, 2024-06 or 2024-06-15"
        raise UsageError(f"`{'-' if minus else ''}{field}:{value}` cannot be meant; {wanted}") from None
    return first_day.toordinal() - _EPOCH, last_day.toordinal() - _EPOCH


def _thread(query: Query, value: str, minus: bool) -> Query:
    found = _THREAD.fullmatch(value)
    if minus or not found:
        raise UsageError(f"`{'-' if minus else ''}thread:{value}` cannot be meant; thread: is followed by its number")
    return replace(query, threads=(*query.threads, int(found[1])))


def _has(query: Query, value: str, minus: bool) -> Query:
    if fold.plain(value) not in ("attachment", "attachments"):
        raise UsageError(f"`has:{value}` cannot be meant; there is has:attachment")
    return replace(query, attachment=not minus)


_FIELDS = {"author": "author", "from": "author", "subject": "subject"}
_FILTERS: dict[str, Callable[[Query, str, bool], Query]] = {
    "since": _since,
    "until": _until,
    "thread": _thread,
    "has": _has,
}
