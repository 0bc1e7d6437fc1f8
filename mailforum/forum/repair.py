"""What must never be in a database, and how it is put right: `mailforum check --repair`.

None of it can come about by mailforum alone. It is for what a failing disk, a hand at the database, or
a bug of ours has left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mailforum.forum import posts, search, threads
from mailforum.mail import address
from mailforum.store import health, lists
from mailforum.store import posts as post_rows
from mailforum.store import search as index
from mailforum.store.database import Tx
from mailforum.store.health import Found

ROUNDS = 10  # what is put right may bring something else to light
LOST = "The text of this post is lost."


@dataclass(frozen=True, slots=True)
class Rule:
    """What to look for, how to put it right, and how to say so. A `harmless` one passes by itself."""

    find: Callable[[Tx], list[Found]]
    mend: Callable[[Tx, Sequence[Found], float], None]
    done: str
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong; `done` says how it is put right."""

    what: str
    done: str
    harmless: bool


def find(tx: Tx) -> list[Problem]:
    """Return all that is wrong and can be put right."""
    return [_problem(found, rule) for rule in RULES for found in rule.find(tx)]


def mend(tx: Tx, now: float) -> list[Problem]:
    """Put right all that is wrong; return what was."""
    mended: list[Problem] = []
    for _ in range(ROUNDS):
        before = len(mended)
        for rule in RULES:
            if found := rule.find(tx):
                rule.mend(tx, found, now)
                mended += [_problem(each, rule) for each in found]
        if len(mended) == before:
            break
    return mended


def _problem(found: Found, rule: Rule) -> Problem:
    return Problem(found.what, rule.done, rule.harmless)


def _sql(name: str, done: str, *more: str, harmless: bool = False) -> Rule:
    """A rule all of which is SQL: health.NAME finds, health.mend_NAME and `more` put right."""

    def put_right(tx: Tx, found: Sequence[Found], now: float) -> None:
        for query in (f"mend_{name}", *more):
            health.mend(tx, query, (each.id for each in found), now)

    return Rule(lambda tx: health.found(tx, name), put_right, done, harmless)


def _dangling(tx: Tx) -> list[Found]:
    return [
        Found(0, f"{row['n']} rows of {row['table']} refer by {row['field']} to a {row['parent']} that is gone")
        for row in health.dangling(tx)
    ]


def _mend_dangling(tx: Tx, found: Sequence[Found], now: float) -> None:
    for row in health.dangling(tx):
        if (row["table"], row["field"]) == ("post", "thread_id"):
            for post in tx.all("health.gone_post_thread_id"):
                threads.open_for(tx, post["list_id"], post["id"], post["subject"], now)
        else:
            tx.run(f"health.gone_{row['table']}_{row['field']}")


def _write_tombstones(tx: Tx, found: Sequence[Found], now: float) -> None:
    for each in found:
        post = post_rows.by_id(tx, each.id)
        assert post is not None
        post_rows.add_body(tx, post.id, posts.tombstone(post, LOST))
    if index.indexed(tx, (each.id for each in found)):  # what is to be taken out is lost as well
        _make_index(tx, found, now)


def _make_index(tx: Tx, found: Sequence[Found], now: float) -> None:
    index.start_anew(tx, search.RULES)


def _rethread(tx: Tx, found: Sequence[Found], now: float) -> None:
    """Apply the rule of threads to all posts of the lists that `found` is about."""
    for list_id in {each.id for each in found}:
        threads.regroup_all(tx, list_id, now)


def _name_and_rethread(tx: Tx, found: Sequence[Found], now: float) -> None:
    health.mend(tx, "mend_nameless", (each.id for each in found), now)
    listed = [post_rows.by_id(tx, each.id) for each in found]
    _rethread(tx, [Found(post.list_id, "") for post in listed if post], now)


def _forget_and_rethread(tx: Tx, found: Sequence[Found], now: float) -> None:
    health.mend(tx, "mend_named_gone", {each.id for each in found}, now)
    _rethread(tx, found, now)


def _miskeyed(tx: Tx) -> list[Found]:
    """Members who would not be found by their address, and may so be members twice."""
    return [
        Found(row["id"], f"{row['address']} on {row['list_address']} is kept under another address")
        for row in tx.all("health.keys")
        if row["key"] != address.key(row["address"])
    ]


def _rekey(tx: Tx, found: Sequence[Found], now: float) -> None:
    """Keep each member under their own address; where that is taken, they are on the list already."""
    for each in found:
        member = lists.member_by_id(tx, each.id)
        assert member is not None
        key = address.key(member.address)
        if lists.member(tx, member.list_id, key):
            lists.remove_member(tx, member.id)
        else:
            tx.run("health.set_key", id=member.id, key=key)


# In the order in which they are put right.
RULES = (
    Rule(_dangling, _mend_dangling, "removed what cannot be without it, and cut the tie of the rest"),
    Rule(partial(health.found, query="bodiless"), _write_tombstones, "a note stands in its place"),
    _sql("misnamed", "the id is free again"),
    Rule(partial(health.found, query="nameless"), _name_and_rethread, "its message id leads to it again"),
    _sql("merged_twice", "leads to where that one went"),
    _sql("merged_with_posts", "it is a thread again"),
    Rule(partial(health.found, query="named_gone"), _forget_and_rethread, "it is forgotten"),
    Rule(partial(health.found, query="circular"), _rethread, "the list was threaded anew"),
    Rule(partial(health.found, query="astray"), _rethread, "the list was threaded anew"),
    _sql("empty_threads", "removed"),
    _sql("threads_behind", "set to the newest thread"),
    _sql("labels_behind", "set to the newest post"),
    _sql("issues_behind", "set to the newest digest"),
    _sql("digests_ahead", "set to the newest post"),
    Rule(_miskeyed, _rekey, "kept under their own; who was on the list twice is on it once"),
    _sql("contentless", "given up", "stop_fanning"),
    _sql("unfinished", "finished now"),
    _sql("forgotten", "it waits again"),
    _sql("memberless", "withdrawn", harmless=True),
    _sql("landed", "forgotten", harmless=True),
    _sql("unsearchable", "the server puts it in again"),
    Rule(health.index_faults, _make_index, "the server makes the index of full-text search anew"),
)
