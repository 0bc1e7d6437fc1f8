"""Full-text search: what of a post can be found, when it is put into the index, and how it is found.

A post waits for the index from the transaction on that stores it (store/search.py `expect`), and is put in
soon after, outside the way in: nobody waits for it, and a kill loses nothing. An import puts each batch in
itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mailforum.errors import Refused
from mailforum.mail import body, fold, message, snippet
from mailforum.mail import subject as subjects
from mailforum.mail.fold import Phrase
from mailforum.mail.message import Message
from mailforum.mail.mime import Part
from mailforum.mail.snippet import Snippet
from mailforum.model import MailingList, Post
from mailforum.store import posts, search, upkeep
from mailforum.store.database import Database, Tx
from mailforum.store.match import EACH, WITH_FILE, Query
from mailforum.store.search import Words

# To be raised whenever `words_of` returns something else for any mail: the index is then made anew, as what is in
# it can only be taken out with the very same tokens. Unicode's tables come with Python.
RULES = f"1 {unicodedata.unidata_version}"
NONE = Words("", "", "", EACH)
MAX_READ = 2 * 1024**2  # bytes of a post that are read: the names of files behind them are not found
MAX_TEXT = 200_000  # characters of a post that can be found
STEP_BYTES = 512 * 1024  # nobody waits for the words of posts, but others wait until they are written
_SHOWN = 512 * 1024  # bytes of a post in which a snippet is looked for
_SHORT = 10  # lines: a longer signature is none
_WHOLE_QUOTES = 1_000_000

_FORWARD = re.compile(r"\s*+\[?(?:fwd?|wg|tr|rv|enc|vl|vb|pd|i|转发|轉寄|転送)\s?[:：]", re.IGNORECASE)
_SEALED = re.compile(r"multipart/encrypted|application/(?:x-)?pkcs7-mime", re.IGNORECASE)
# base64 and uuencoded files that stand in the text itself.
_NOISE = re.compile(r"^(?:[A-Za-z0-9+/=]{60,}+|M[ -`]{60})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Hit:
    """A post that was found, and the part of its text that says why."""

    post: Post
    snippet: Snippet


@dataclass(frozen=True, slots=True)
class Found:
    """Some of what was found, the best first, of `total`. `more`: there are older ones, which were not ranked."""

    hits: tuple[Hit, ...]
    total: int
    more: bool


def words_of(raw: bytes, msg: Message | None = None, parts: tuple[Part, ...] | None = None) -> Words:
    """Return what of a mail is to be found: a function of its first bytes alone. Never raises: a mail on which the
    reader fails can still be found by its subject. `msg` and `parts` are those of `raw` where they are known.

    What it quotes is found where it was written, so the quotes of an answer are left out. Nothing is said of
    what is encrypted but its subject and author.
    """
    if len(raw) <= MAX_READ and msg:
        return _words(msg, parts)
    try:
        return _words(message.parse(raw[:MAX_READ]), None)
    except Refused:
        return NONE


def _words(msg: Message, parts: tuple[Part, ...] | None) -> Words:
    try:
        found = _body(msg, parts)
        text, files = _own(msg, found.text[:MAX_TEXT]), [attached.filename for attached in found.attachments]
        flags = [EACH, *([WITH_FILE] if files else [])]
    except Exception:
        text, files, flags = "", [], [EACH]
    author = f"{msg.author.name} {msg.author.address}" if msg.author else msg.text("From")
    return Words(
        fold.fold(subjects.base(msg.subject)),
        fold.fold(author),
        fold.fold(_NOISE.sub("", text)),
        " ".join([*map(fold.fold, files), *flags]),
    )


def _body(msg: Message, parts: tuple[Part, ...] | None = None) -> body.Body:
    if _SEALED.match(msg.get("Content-Type")):
        return body.Body("", ())
    return body.read(msg, parts)


def _own(msg: Message, text: str) -> str:
    """Return what its author wrote: without what an answer quotes, and without the signature."""
    answers = (msg.get("In-Reply-To") or msg.get("References") or subjects.is_reply(msg.subject)) and not (
        _FORWARD.match(msg.subject)
    )
    blocks = body.fold_quotes(text, keep=0 if answers else _WHOLE_QUOTES)
    lines = [block.lines for block in blocks if _is_own(block, quotes=not answers)]
    return "\n".join("\n".join(each) for each in lines)


def _is_own(block: body.Block, *, quotes: bool) -> bool:
    if block.kind == "signature":
        return len(block.lines) > _SHORT
    return quotes or block.kind == "text"


async def index_some(db: Database) -> int:
    """Put the next posts that wait into the index; return how many. The newest are first."""
    if not await db.peek(search.is_waiting):
        return 0
    found = await db.read(_next_words)
    return await db.tend(found.add)


async def catch_up(db: Database, most: int) -> int:
    """Put posts that wait into the index if there are no more than `most`; return how many wait then."""
    waiting = await db.read(search.count_waiting)
    while 0 < waiting <= most and await index_some(db):
        waiting = await db.read(search.count_waiting)
    return waiting


def start_anew(tx: Tx) -> int:
    """Empty the index and have it made anew; return how many posts are to be put in."""
    search.start_anew(tx, RULES)
    return search.count_waiting(tx)


class _Next(NamedTuple):
    """The words of the next posts, worked out where no writer waits for it; texts were forgotten up to `forgotten`."""

    words: dict[int, Words]
    forgotten: int

    def add(self, tx: Tx) -> int:
        """Put them in, unless a text may have been forgotten meanwhile; return how many."""
        search.hold(tx)
        return add(tx, self.words) if upkeep.forgotten(tx) == self.forgotten else 0


def _next_words(tx: Tx) -> _Next:
    return _Next(_words_of(tx, search.waiting(tx, search.SOME, STEP_BYTES)), upkeep.forgotten(tx))


def _words_of(tx: Tx, ids: Iterable[int]) -> dict[int, Words]:
    return {post_id: _words_of_post(tx, post_id) for post_id in ids}


def _words_of_post(tx: Tx, post_id: int) -> Words:
    try:
        return words_of(posts.head(tx, post_id, MAX_READ + 1))
    except LookupError:  # its bytes are lost; `check --repair` deals with that
        return NONE


def add(tx: Tx, found: Mapping[int, Words]) -> int:
    """Put posts (ids) into the index; return how many. None if other rules made it: they wait until it is made anew."""
    if search.hold(tx) not in ("", RULES):
        return 0
    search.set_rules(tx, RULES)
    return search.add(tx, found)


def is_old(tx: Tx) -> bool:
    """Say whether the index was made by other rules than ours."""
    return search.rules(tx) not in ("", RULES)


def is_behind(tx: Tx) -> bool:
    """Say whether it was made by older rules than ours, as by a host that has not been upgraded yet."""
    return is_old(tx) and _version(search.rules(tx)) < _version(RULES)


def _version(rules: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", rules)]


def renew(tx: Tx) -> bool:
    """Have the index made anew if it was made by other rules than ours; say whether that was so."""
    old = search.hold(tx) not in ("", RULES)
    if old:
        search.start_anew(tx, RULES)
    return old


def forget(tx: Tx, ids: Iterable[int]) -> None:
    """Take posts (ids) out of the index before their text changes, or they go."""
    if search.knows_words(tx):
        search.hold(tx)
        search.remove(tx, dict.fromkeys(search.indexed(tx, ids)))
    else:
        renew(tx)
        search.remove(tx, _words_of(tx, search.indexed(tx, ids)))


def forget_some(tx: Tx, list_id: int) -> bool:
    """Take some posts of a list out of the index; say whether there were any."""
    ids = search.indexed_of_list(tx, list_id)
    forget(tx, ids)
    return bool(ids)


def find(tx: Tx, mlist: MailingList, query: Query, limit: int, skip: int = 0, *, newest: bool = False) -> Found:
    """Return what is found on a list, `limit` posts behind the first `skip`; the best first, or the newest."""
    threads = _threads(tx, mlist, query) if query.threads else None
    entries, more = search.find(tx, mlist.id, query, threads, newest=newest)
    ids = search.posts(tx, entries[skip : skip + limit])
    phrases = [Phrase(term.tokens, term.prefix) for group in query.every for term in group if not term.field]
    hits = (_hit(tx, post_id, phrases) for post_id in ids)
    return Found(tuple(filter(None, hits)), len(entries), more)


def _threads(tx: Tx, mlist: MailingList, query: Query) -> list[int]:
    found = map(partial(posts.thread_by_number, tx, mlist.id), query.threads)
    return [thread.id for thread in found if thread]


def _hit(tx: Tx, post_id: int, phrases: list[Phrase]) -> Hit | None:
    post = posts.by_id(tx, post_id)
    if post is None:
        return None
    try:
        msg = message.parse(posts.head(tx, post_id, _SHOWN))
        return Hit(post, snippet.make(_own(msg, _body(msg).text), phrases))
    except (Refused, LookupError):
        return Hit(post, Snippet(""))
