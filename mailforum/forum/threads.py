"""Which posts belong together, and who answers whom.

The rule is a function of the set of posts, so it cannot depend on the order they arrive in:

1. A post names others, nearest first (In-Reply-To, then References backwards; mail/msgid.py).
2. Its parent is the nearest of these that is a post of the list. The names up to and including that
   one tie it to its thread (its `reach`); without a known one all of them do.
   A name that nobody has sent is a ghost: posts tied to the same ghost share a thread.
3. Should posts name each other in a circle, the one of them with the smallest Message-ID has no parent.

A thread is called after the earliest of its posts without a parent. Of two posts with one Message-ID
the first to arrive owns it; nothing else depends on the order.

Placing a new post looks only at its neighbours. When a post turns up that others have been waiting
for, or that joins threads, `_regroup` applies the rule anew to the threads it touches, and to these
only. Thread numbers and labels, once given, stay valid: a merged thread leads to the one it went into.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mailforum.forum.newcomer import Newcomer
from mailforum.mail import subject
from mailforum.model import How
from mailforum.store.database import Row, Tx


@dataclass(frozen=True, slots=True)
class Place:
    """Where a post goes; to be followed by `settle` once the post has an id."""

    thread_id: int
    label: str
    parent_id: int | None
    reach: int
    how: How
    touched: tuple[int, ...]
    opened: bool


def place(tx: Tx, post: Newcomer, now: float) -> Place:
    """Find the parent and the thread of a new post, opening a thread if none is its own."""
    heard = _heard_of(tx, post)
    known = {name: row for name, row in heard.items() if row["id"] is not None}
    taken = known.pop(post.name, None)  # the first mail with an id owns it
    reach = next((i + 1 for i, name in enumerate(post.references) if name in known), len(post.references))
    parent = known.get(post.references[reach - 1]) if reach else None
    awaiting = _tied_to(tx, post, [post.name]) if post.name in heard and not taken else set()
    # Whatever else is tied to the parent's name is in the parent's thread already.
    ghosts = [name for name in post.references[:reach] if name in heard and name not in known]
    threads = awaiting | _tied_to(tx, post, ghosts)
    if parent:
        threads.add(parent["thread_id"])
    found = parent["thread_id"] if parent else min(threads, default=0)
    thread_id, label = _next_label(tx, found) if found else _open(tx, post.list_id, now, post.subject, 1)
    how = post.names[reach - 1].how if parent else How.NONE
    touched = tuple(sorted(threads)) if awaiting or len(threads) > 1 else ()
    return Place(thread_id, label, parent["id"] if parent else None, reach, how, touched, opened=not found)


def _heard_of(tx: Tx, post: Newcomer) -> dict[str, Row]:
    """Return what is known of the names in `post`: those of posts, and ghosts, which have no post."""
    names = json.dumps([*post.references, post.name])
    return {row["msgid"]: row for row in tx.all("thread.heard_of", list_id=post.list_id, msgids=names)}


def _tied_to(tx: Tx, post: Newcomer, names: Sequence[str]) -> set[int]:
    """Return the threads with posts that are tied to one of `names`: one for each name at most (rule 2)."""
    if not names:
        return set()
    rows = tx.all("thread.tied_to", list_id=post.list_id, msgids=json.dumps(names))
    return {row["thread_id"] for row in rows if row["thread_id"] is not None}


def _next_label(tx: Tx, thread_id: int) -> tuple[int, str]:
    """Return the thread's id, and a label for one more post in it."""
    row = tx.one("thread.next_label", id=thread_id)
    assert row is not None
    return thread_id, f"{row['number']}.{row['label']}"


def _open(tx: Tx, list_id: int, now: float, title: str = "", label: int = 0) -> tuple[int, str]:
    """Open a thread in which `label` posts have their label; return its id and the last label."""
    row = tx.one("thread.next_number", list_id=list_id)
    assert row is not None
    number, title = row["number"], subject.base(title)
    thread_id = tx.insert("thread.add", list_id=list_id, number=number, subject=title, label=label, now=now)
    return thread_id, f"{number}.{label}"


def _name(tx: Tx, thread_id: int) -> None:
    """Give a thread the subject of its first post: the earliest of those without a parent."""
    row = tx.one("thread.first", id=thread_id)
    assert row is not None
    tx.run("thread.rename", id=thread_id, subject=subject.base(row["subject"]))


def settle(tx: Tx, post_id: int, post: Newcomer, place: Place, now: float) -> None:
    """Write down what a placed and stored post names, and mend the threads it has changed."""
    names = json.dumps(post.references)
    if post.references:
        tx.run("thread.hear_of", list_id=post.list_id, msgids=names)
        tx.run("thread.refer", list_id=post.list_id, post_id=post_id, msgids=names)
    tx.run("thread.own", list_id=post.list_id, msgid=post.name, post_id=post_id)
    if place.touched:
        _regroup(tx, post.list_id, {*place.touched, place.thread_id}, now)
    elif place.parent_id is None and not place.opened:
        _name(tx, place.thread_id)


def regroup_all(tx: Tx, list_id: int, now: float) -> None:
    """Apply the rule anew to all posts of a list, as if they had just arrived."""
    _regroup(tx, list_id, {row["thread_id"] for row in tx.all("health.threads", list_id=list_id)}, now)


def open_for(tx: Tx, list_id: int, post_id: int, title: str, now: float) -> None:
    """Give a post that has lost its thread one of its own."""
    thread_id, _ = _open(tx, list_id, now, title)
    tx.run("thread.move", id=post_id, thread_id=thread_id, parent_id=None, reach=0)


@dataclass(slots=True)
class _Node:
    """A post while its threads are worked out anew."""

    row: Row
    owned: int | None
    references: list[tuple[int, int | None]]
    parent: int | None = None
    reach: int = 0


def _regroup(tx: Tx, list_id: int, threads: set[int], now: float) -> None:
    """Apply the rule to all posts of `threads`, and write back what has changed."""
    nodes = _load(tx, threads)
    for node in nodes.values():
        _find_parent(node)
    _cut_circles(nodes)
    groups = [[nodes[post_id] for post_id in group] for group in _groups(nodes)]
    for thread_id in [_write_group(tx, list_id, group, threads, now) for group in groups]:
        _name(tx, thread_id)


def _load(tx: Tx, threads: set[int]) -> dict[int, _Node]:
    ids = json.dumps(sorted(threads))
    owned = {row["post_id"]: row["id"] for row in tx.all("thread.owned", threads=ids)}
    nodes = {row["id"]: _Node(row, owned.get(row["id"]), []) for row in tx.all("thread.members", threads=ids)}
    for row in tx.all("thread.references", threads=ids):
        nodes[row["post_id"]].references.append((row["message_id"], row["known"]))
    return nodes


def _find_parent(node: _Node) -> None:
    node.reach = len(node.references)
    for position, (_, known) in enumerate(node.references):
        if known is not None:
            node.parent, node.reach = known, position + 1
            return


def _cut_circles(nodes: dict[int, _Node]) -> None:
    """Take the parent from the post with the smallest Message-ID in each circle."""
    done: set[int] = set()
    for start in nodes:
        path: list[int] = []
        on_path: set[int] = set()
        at: int | None = start
        while at is not None and at not in done and at not in on_path:
            path.append(at)
            on_path.add(at)
            at = nodes[at].parent if at in nodes else None
        if at is not None and at in on_path:
            circle = path[path.index(at) :]
            nodes[min(circle, key=lambda post_id: nodes[post_id].row["message_id"])].parent = None
        done.update(path)


def _groups(nodes: dict[int, _Node]) -> list[list[int]]:
    """Part the posts into threads: those tied, directly or not, to the same names."""
    leader: dict[tuple[str, int], tuple[str, int]] = {}

    def find(item: tuple[str, int]) -> tuple[str, int]:
        root = item
        while leader.setdefault(root, root) != root:
            root = leader[root]
        while leader[item] != root:
            leader[item], item = root, leader[item]
        return root

    for post_id, node in nodes.items():
        names = [name for name, _ in node.references[: node.reach]]
        for name in [*names, *([node.owned] if node.owned is not None else [])]:
            leader[find(("name", name))] = find(("post", post_id))
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for post_id in nodes:
        groups[find(("post", post_id))].append(post_id)
    return sorted(groups.values(), key=lambda group: group[0])


def _write_group(tx: Tx, list_id: int, group: list[_Node], free: set[int], now: float) -> int:
    """Give a group its thread: of those its posts are in, the one with the lowest number not yet taken."""
    candidates = sorted({(node.row["number"], node.row["thread_id"]) for node in group})
    mine = [thread_id for _, thread_id in candidates if thread_id in free]
    thread_id = mine[0] if mine else _open(tx, list_id, now)[0]
    free.discard(thread_id)
    for node in group:
        _write_node(tx, node, thread_id)
    for other in mine[1:]:
        if not tx.all("thread.members", threads=json.dumps([other])):
            tx.run("thread.merge", id=other, into=thread_id)
            free.discard(other)
    return thread_id


def _write_node(tx: Tx, node: _Node, thread_id: int) -> None:
    row = node.row
    if (row["thread_id"], row["parent_id"], row["reach"]) != (thread_id, node.parent, node.reach):
        tx.run("thread.move", id=row["id"], thread_id=thread_id, parent_id=node.parent, reach=node.reach)
