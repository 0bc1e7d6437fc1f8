"""Which posts belong together, and who answers whom.

The rule is a function of the set of posts, of the list's options and of what moderators have decided. So the
tree cannot depend on the order in which posts arrive.

A post names others, nearest first (mail/evidence.py). A name that nobody has sent is a *ghost*. Names found in
the text are *weak*, and so are those made of a Thread-Index, as Exchange makes one up for mail from elsewhere: they
count only if they are those of posts.

1. The parent is the nearest post that is named.
2. Of each ghost that it names nearer than that, a post says: this one, too, hangs below my parent. That is a *claim*.
3. A post all of whose names are ghosts is an *orphan*. Orphans with a ghost in common belong together, in a *group*.
   If there are claims on the ghosts of a group, all of it hangs where the first of them says: the one of the post
   with the smallest Message-ID, of those that do not lead back into the group. Of groups that hang below each other
   in a circle, the one with the smallest Message-ID loses its claim.
4. Of posts that name each other in a circle, the one with the smallest Message-ID has no parent.
5. A reply that names nobody may be found by its subject (forum/same_subject.py).
6. Where the list wants it, a post with a wholly new subject that quotes nothing has no parent by 1, and claims nothing.
7. What moderators decide (forum/decisions.py) comes before all of it: a post that was cut off has no parent and no
   ties; one that was put below another hangs there.

A thread is what is connected by parents and by groups. Two threads with real beginnings never become one because
somebody names both, or a ghost in both: that only moves orphans. They do when a ghost that is named turns out to
be real, or when a moderator says so. A thread is called after the earliest of its posts without a parent.

Of two posts with one name the first to arrive owns it; nothing else depends on the order. Thread numbers and labels,
once given, stay valid: a merged thread leads to the one with the lower number, and on from there with its posts.

Placing a post is a few lookups. Only if it has been waited for, or says something about a ghost that orphans name,
are other posts looked at: those that wait for it, and the groups concerned (forum/branches.py, forum/regroup.py).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mailforum.forum import branches, same_subject
from mailforum.forum.newcomer import Newcomer
from mailforum.mail.evidence import Named
from mailforum.model import How
from mailforum.store.database import Row, Tx

CHUNK = 500  # threads that are looked at together where all are


@dataclass(frozen=True, slots=True)
class Stance:
    """What the names of a post say: the post that is named (`row`, None for none) and where, and the ghosts
    nearer than that. `apart`: it stands apart from that post by its subject (rule 6)."""

    row: Row | None
    how: How
    missing: tuple[Named, ...]
    apart: bool

    @property
    def under(self) -> Row | None:
        """The post that it hangs below by this."""
        return None if self.apart else self.row


@dataclass(frozen=True, slots=True)
class Place:
    """Where a post goes; to be followed by `settle` once the post has an id. `stirs`: others may have to move;
    `known`: another post has its Message-ID."""

    thread_id: int
    label: str
    parent_id: int | None
    how: How
    claim_id: int | None
    stance: Stance
    opened: bool
    stirs: bool
    known: bool

    @property
    def values(self) -> dict[str, object]:
        """What the post's row says of it."""
        named = self.stance.row
        return {
            "thread_id": self.thread_id,
            "label": self.label,
            "parent_id": self.parent_id,
            "how": self.how,
            "claim_id": self.claim_id,
            "named_id": named["id"] if named else None,
            "named_how": self.stance.how,
            "apart": self.stance.apart,
        }


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a post hangs as far as can be seen from its neighbours: below `parent`, and in one of `threads`."""

    parent: int | None = None
    how: How = How.NONE
    claim: int | None = None
    threads: Collection[int] = ()
    stirs: bool = False


def place(tx: Tx, post: Newcomer, now: float) -> Place:
    """Find the parent and the thread of a new post, opening a thread if none is its own."""
    heard = heard_of(tx, post)
    stance = stand(post, heard)
    known = post.name in heard and heard[post.name]["id"] is not None
    spot = _spot(tx, post, stance, heard)
    awaited = [heard[name]["name"] for name in post.owned if name in heard and heard[name]["id"] is None]
    threads = set(spot.threads)
    if awaited and spot.parent is None:
        threads |= {row["thread_id"] for row in tx.all("thread.waiting_first", ghosts=json.dumps(awaited))}
    if threads:
        thread_id = min(threads)
        label = branches.next_label(tx, thread_id)
    else:
        thread_id, label = branches.begin(tx, post.list_id, now, post.subject, 1)
    return Place(thread_id, label, spot.parent, spot.how, spot.claim, stance, not threads, spot.stirs, known)


def heard_of(tx: Tx, post: Newcomer) -> dict[str, Row]:
    """Return what is known of the names in `post`: those of posts, and ghosts, which have no post."""
    return {row["msgid"]: row for row in tx.all("thread.heard_of", list_id=post.list_id, msgids=_names(post))}


def heard_ahead(tx: Tx, post: Newcomer) -> None:
    """Say that `place` will be asked for."""
    tx.ahead("thread.heard_of", list_id=post.list_id, msgids=_names(post))


def _names(post: Newcomer) -> str:
    return json.dumps([*post.references, *post.owned])


def stand(post: Newcomer, heard: Mapping[str, Row]) -> Stance:
    """Find the nearest post that is named (rules 1 and 6)."""
    own = post.owned
    names = [one for one in post.names if one.name not in own]
    for position, one in enumerate(names):
        row = heard.get(one.name)
        if row is not None and row["id"] is not None:
            return Stance(row, one.how, tuple(names[:position]), _is_apart(post.fresh, post.base, row["base"]))
    return Stance(None, How.NONE, tuple(names), False)


def _is_apart(fresh: bool, base: str, other: str) -> bool:
    return fresh and bool(other) and base not in other and other not in base


def _spot(tx: Tx, post: Newcomer, stance: Stance, heard: Mapping[str, Row]) -> _Spot:
    strong = [one for one in stance.missing if not one.how.is_weak]
    ghosts = [heard[one.name]["name"] for one in strong if one.name in heard]
    neighbours = tx.all("thread.neighbours", ghosts=json.dumps(ghosts)) if ghosts and not stance.apart else []
    orphans = [row for row in neighbours if row["thread_id"] is not None]
    if stance.under is not None:
        return _Spot(stance.under["id"], stance.how, None, [stance.under["thread_id"]], stirs=bool(orphans))
    if stance.row is None and strong:
        return _orphan_spot(tx, strong, heard, neighbours, orphans)
    parent = same_subject.find(tx, post) if post.lonely and stance.row is None else None
    if parent is None:
        return _Spot()
    row = tx.one("thread.of_post", id=parent)
    assert row is not None
    return _Spot(parent, How.SUBJECT, None, [row["thread_id"]])


def _orphan_spot(
    tx: Tx, strong: Sequence[Named], heard: Mapping[str, Row], neighbours: Sequence[Row], orphans: Sequence[Row]
) -> _Spot:
    """Return where an orphan hangs: with its group, which is for good if that is one and stays as it is (rule 3)."""
    if not orphans:
        return _Spot(stirs=any(row["claimed"] for row in neighbours))
    first = min(orphans, key=lambda row: int(row["thread_id"]))
    thread_id, parent, claim = spot = first["thread_id"], first["parent_id"], first["claim_id"]
    others = {(row["thread_id"], row["parent_id"], row["claim_id"]) for row in orphans} - {spot}
    stirs = (
        bool(others)
        or any(row["claimed"] for row in neighbours)
        or bool(tx.one("thread.knot", threads=json.dumps([thread_id])))
    )
    if parent is None:
        return _Spot(threads=[thread_id], stirs=stirs)
    claimed = ghosts_of(tx, [claim])
    hows = (one.how for one in strong if one.name in heard and heard[one.name]["name"] in claimed)
    return _Spot(parent, next(hows, strong[0].how), claim, [thread_id], stirs)


def settle(tx: Tx, post_id: int, post: Newcomer, place: Place, now: float) -> None:
    """Write down what a placed and stored post names, and move those that belong elsewhere because of it."""
    refer(tx, post.list_id, post_id, place.stance.missing)
    tx.many("thread.own", [{"list_id": post.list_id, "msgid": name, "post_id": post_id} for name in post.owned])
    itself = same_subject.Span(post.base, post.date, post.date)
    same_subject.review_ahead(tx, post.list_id, itself)
    waiting = {row["post_id"]: row for row in tx.all("thread.waiting", post_id=post_id)}  # the nearest is the last
    moved: set[int] = set()
    if waiting or place.stirs:
        tx.anew()
        ghosts = ghosts_of(tx, [post_id, *waiting])
        tell(tx, [Found(row, post_id, post.base) for row in waiting.values()])
        moved = branches.around(tx, post.list_id, [post_id, *waiting], ghosts, now)
    elif place.parent_id is None and not place.opened:
        branches.entitle(tx, place.thread_id)
    same_subject.review(tx, post.list_id, itself, moved, now)


def refer(tx: Tx, list_id: int, post_id: int, missing: Sequence[Named]) -> None:
    """Write down the ghosts that a post waits for."""
    if missing:
        names, hows = json.dumps([one.name for one in missing]), json.dumps([one.how for one in missing])
        tx.put("thread.hear_of", list_id=list_id, msgids=names)
        tx.put("thread.refer", list_id=list_id, post_id=post_id, msgids=names, hows=hows)


def ghosts_of(tx: Tx, posts: Iterable[int]) -> list[int]:
    """Return the ghosts that posts name (and that are not weak)."""
    return [row["ghost"] for row in tx.all("thread.ghosts_of", posts=json.dumps(list(posts)))]


class Found(NamedTuple):
    """A row of `reference`, and the post that has turned out to be meant by it, with its base subject."""

    row: Row
    named_id: int
    base: str


def tell(tx: Tx, found: Sequence[Found]) -> None:
    """Tell posts that ghosts of theirs are real. What they name farther than those counts no more."""
    rows = [
        {
            "post_id": row["post_id"],
            "named_id": named_id,
            "how": row["how"],
            "apart": _is_apart(bool(row["fresh"]), row["base"], base),
        }
        for row, named_id, base in found
    ]
    tx.many("thread.found", rows)
    tx.many("thread.forget", [{"post_id": row["post_id"], "position": row["position"]} for row, _, _ in found])


def stand_apart(tx: Tx, list_id: int) -> None:
    """Judge anew who stands apart from the post that is named (rule 6): its subject may be read otherwise now."""
    rows = ((row, _is_apart(True, row["base"], row["named_base"])) for row in tx.all("health.fresh", list_id=list_id))
    tx.many("thread.part", [{"id": row["id"], "apart": apart} for row, apart in rows if apart != bool(row["apart"])])


def regroup_all(tx: Tx, list_id: int, now: float) -> None:
    """Apply the rule anew to all posts of a list, as if they had just arrived."""
    late = {row["post_id"]: row for row in tx.all("health.found_late", list_id=list_id)}  # the nearest is the last
    tell(tx, [Found(row, row["named_id"], row["named_base"]) for row in late.values()])
    for some in list(chunks(tx, list_id)):
        regroup(tx, list_id, some, now)


def chunks(tx: Tx, list_id: int) -> Iterator[list[int]]:
    """Yield the ids of all threads of a list, some at a time."""
    threads = sorted(row["thread_id"] for row in tx.all("health.threads", list_id=list_id))
    yield from (threads[start : start + CHUNK] for start in range(0, len(threads), CHUNK))


def regroup(tx: Tx, list_id: int, some: Sequence[int], now: float) -> None:
    """Apply the rule anew to all posts of some threads."""
    same_subject.review(tx, list_id, None, {*some, *branches.whole(tx, list_id, some, now)}, now)


def open_for(tx: Tx, list_id: int, post_id: int, title: str, now: float) -> None:
    """Give a post that has lost its thread one of its own."""
    thread_id, _ = branches.begin(tx, list_id, now, title)
    tx.run("thread.move", posts=json.dumps([post_id]), thread_id=thread_id)
    tx.run("thread.hang", id=post_id, parent_id=None, how=How.NONE, claim_id=None, knot=False)
