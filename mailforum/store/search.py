"""The full-text index: it keeps tokens and no text.

In SQLite it is FTS5, in PostgreSQL a tsvector for each post, made of our tokens alone (docs/decisions/0015 and 0020).

An entry's number says of which list and of which day its post is: so what is asked of one list, or of some
months, is one stretch of the index, and it is read from the newest on. That bounds every search: of a word
that a million posts have, the newest are looked at, and no others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mailforum.store.database import Row, Tx
from mailforum.store.match import EACH as EACH
from mailforum.store.match import WITH_FILE as WITH_FILE
from mailforum.store.match import Query as Query
from mailforum.store.match import Term as Term
from mailforum.store.match import asked, lexemes

DAY = 2**13  # entries of one day; if there are more posts, they count for the next
LIST = 2**30  # entries of a list: 131,072 days
WINDOW = 4000  # posts that are ranked: the newest of those found
COMMON = 50_000  # a word that more posts have tells them apart so little that it is not counted
SOME = 100  # posts that a step deals with
FAR = 60 * DAY
MERGE = 4  # FTS5's own
# A search has to look at more parts then, and what is put in is written less often. From 16 on FTS5 merges all at
# once, which is up to the whole index, and everybody who writes would wait.
MERGE_LATE = 8

_BETWEEN = re.compile("[^0-9a-z\x80-\U0010ffff]+")


class Words(NamedTuple):
    """What is to be found of a post, as tokens (mail/fold.py)."""

    subject: str
    author: str
    text: str
    files: str


class Ranked(NamedTuple):
    """Entries, the best first. `more`: there are others, all of them older."""

    entries: Sequence[int]
    more: bool


def expect(tx: Tx, post_id: int) -> None:
    """Write down that a post is to be put into the index."""
    tx.put("search.expect", post_id=post_id)


def waiting(tx: Tx, limit: int, size: int) -> list[int]:
    """Return posts (ids) that are to be put in, the newest first: at most `limit`, and about `size` bytes."""
    ids: list[int] = []
    for row in tx.all("search.waiting", limit=limit):
        size -= row["size"]
        if ids and size < 0:
            break
        ids.append(row["post_id"])
    return ids


def is_waiting(tx: Tx) -> bool:
    """Say whether any post is still to be put in."""
    return tx.one("search.any_waiting") is not None


def count_waiting(tx: Tx) -> int:
    """Return how many posts are still to be put in."""
    row = tx.one("search.count_waiting")
    assert row is not None
    return int(row["n"])


def hold(tx: Tx) -> str:
    """Have nobody else change the index, but for posts that are to wait, until this transaction ends; return by
    which rules its tokens were made. To be called before anything is read that a change depends on."""
    row = tx.one("search.hold")
    return row["rules"] if row else ""


def add(tx: Tx, words: Mapping[int, Words]) -> int:
    """Put posts (ids) in, those of them that wait for it; return how many. The index is held (`hold`)."""
    rows = tx.all("search.still_waiting", ids=json.dumps(list(words)))  # in order: FTS5 is fast then
    for row, entry in _placed(tx, rows):
        fields = words[row["id"]]._asdict()
        tx.put("search.add", entry=entry, **{name: _BETWEEN.sub(" ", text).strip() for name, text in fields.items()})
        tx.put("search.mark", entry=entry, post_id=row["id"])
    return len(rows)


def merge_from(tx: Tx, parts: int) -> None:
    """Have parts of the index be merged when so many are of one size: MERGE, or while much comes in MERGE_LATE."""
    tx.run("search.merge_from", parts=parts)


def _placed(tx: Tx, rows: Iterable[Row]) -> Iterator[tuple[Row, int]]:
    """Yield posts, in the order of lists and dates, each with its entry; to be marked before the next is asked for."""
    before, entry = None, 0
    for row in rows:
        of = row["list_id"], int(row["date"] // 86400)
        entry += 1
        if of != before or entry >= _entry(*of) + DAY:
            entry = _free(tx, *of)
        before = of
        yield row, entry


def _free(tx: Tx, list_id: int, day: int) -> int:
    while True:
        first = _entry(list_id, day)
        row = tx.one("search.last", first=first, last=first + DAY - 1)
        assert row is not None
        entry = first if row["entry"] is None else row["entry"] + 1
        if entry < first + DAY:
            return int(entry)
        day += 1


def _entry(list_id: int, day: int) -> int:
    return list_id * LIST + max(0, min(day, LIST // DAY - 1)) * DAY


def indexed(tx: Tx, ids: Iterable[int]) -> list[int]:
    """Return those of some posts that are in the index."""
    return [row["post_id"] for row in tx.all("search.entries", ids=json.dumps(list(ids)))]


def indexed_of_list(tx: Tx, list_id: int) -> list[int]:
    """Return some posts of a list that are in the index."""
    first = _entry(list_id, 0)
    return [row["post_id"] for row in tx.all("search.entries_of_list", first=first, last=first + LIST - 1, limit=SOME)]


def knows_words(tx: Tx) -> bool:
    """Say whether a post can be taken out without saying which its words are. FTS5 does not know them."""
    row = tx.one("search.knows_words")
    assert row is not None
    return bool(row["known"])


def remove(tx: Tx, words: Mapping[int, Words | None]) -> None:
    """Take posts out. `words` are the very same that were put in, or None where the index `knows_words`."""
    for row in tx.all("search.entries", ids=json.dumps(list(words))):
        found = words[row["post_id"]]
        tx.run("search.remove", entry=row["entry"], **(found._asdict() if found else {}))
        tx.run("search.unexpect", post_id=row["post_id"])


def rules(tx: Tx) -> str:
    """Return by which rules the tokens in the index were made."""
    row = tx.one("search.rules")
    return row["rules"] if row else ""


def set_rules(tx: Tx, rules: str) -> None:
    """Write down by which rules the tokens in the index are made."""
    tx.run("search.set_rules", rules=rules)


def start_anew(tx: Tx, rules: str) -> None:
    """Empty the index; all posts are to be put in, by other rules."""
    hold(tx)
    for query in ("expect_none", "expect_all", "clear"):
        tx.run(f"search.{query}")
    set_rules(tx, rules)


def find(tx: Tx, list_id: int, query: Query, threads: Sequence[int] | None = None, *, newest: bool = False) -> Ranked:
    """Return the entries of what is found on a list, the best first, or the `newest`.

    `threads`: the ids of those that `query.threads` names. bm25, with a word of the subject or the author's
    name before one of the text; what is equally good, or cannot be told apart, stands by date, the newest first.
    """
    first, last = _stretch(list_id, query)
    words = asked(query.groups, query.without, list_id) if query.groups or query.without else {}
    if threads is not None:
        found = list(_among(tx, words, first, last, json.dumps(list(threads))))
    else:
        found = _entries(tx, "newest" if words else "newest_of_all", first=first, last=last, **words)
    ranked = Ranked(found[:WINDOW], more=len(found) > WINDOW)
    scores = {} if newest else _scores(tx, query, ranked)
    return ranked._replace(entries=sorted(ranked.entries, key=lambda entry: (scores.get(entry, 0.0), -entry)))


def _stretch(list_id: int, query: Query) -> tuple[int, int]:
    since = 0 if query.since is None else query.since
    if query.until is None:
        return _entry(list_id, since), _entry(list_id + 1, 0) - 1
    return _entry(list_id, since), _entry(list_id, query.until) + DAY - 1


def _entries(tx: Tx, name: str, **params: object) -> list[int]:
    return [row["entry"] for row in tx.all(f"search.{name}", limit=WINDOW + 1, **params)]


def _among(tx: Tx, words: dict[str, object], first: int, last: int, threads: str) -> Iterator[int]:
    """Yield what is found in some threads. Their posts are close together, mostly: each stretch on its own."""
    own = [row["entry"] for row in tx.all("search.of_threads", threads=threads) if first <= row["entry"] <= last]
    if not words:
        yield from own
        return
    start = 0
    for end in range(1, len(own) + 1):
        if end == len(own) or own[end - 1] - own[end] > FAR:
            stretch = {"first": own[end - 1], "last": own[start]}
            yield from _entries(tx, "newest_of_threads", threads=threads, **words, **stretch)
            start = end


def _scores(tx: Tx, query: Query, found: Ranked) -> dict[int, float]:
    """Return how well each entry fits, less being better; nothing where no word tells them apart."""
    entries = found.entries
    if len(entries) < 2:
        return {}
    counts = {term: _rarest(tx, term) for group in query.every for term in group}
    telling = [group for group in query.every if all(counts[term] <= COMMON for term in group)]
    if not telling and not found.more:
        telling = [group for group in query.every if any(term.prefix for term in group)]
    if not telling:
        return {}
    posts = {term: count if count <= COMMON else len(entries) for term, count in counts.items()}
    terms = [[lexemes(term), posts[term]] for group in telling for term in group]
    stretch = {"first": min(entries), "last": max(entries), "limit": 4 * WINDOW}
    which = {"entries": json.dumps(entries), "terms": json.dumps(terms)}
    return {row["entry"]: row["score"] for row in tx.all("search.scores", **asked(telling), **stretch, **which)}


def _rarest(tx: Tx, term: Term) -> int:
    """Return how many posts have the rarest of a term's tokens: if that is more than COMMON, counting it is neither
    worth while nor fast.

    The beginning of a word is not counted: FTS5 reads all that begins so, each time.
    """
    whole = term.tokens[: -1 if term.prefix else None]
    return min((_count(tx, Term((token,), field=term.field)) for token in whole), default=COMMON + 1)


def _count(tx: Tx, term: Term) -> int:
    row = tx.one("search.posts_with", **asked([(term,)]), limit=COMMON + 1)
    assert row is not None
    return int(row["n"])


def posts(tx: Tx, entries: Sequence[int]) -> list[int]:
    """Return the posts (ids) of entries, in their order."""
    rows = {row["entry"]: row["post_id"] for row in tx.all("search.posts", entries=json.dumps(list(entries)))}
    return [rows[entry] for entry in entries if entry in rows]
