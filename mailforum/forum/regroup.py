"""The rule of threads (forum/threads.py), applied to a set of posts: who hangs below whom.

Pure: `Node` in, the same with parents out. The set may be all posts of some threads, or only those whose places
may change; what lies between these is known by `up`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from mailforum.model import How

T = TypeVar("T")
# From any post to the nearest one that is in the set: itself, or one above it; None if there is none.
Up = Callable[[int], int | None]


class Tie(NamedTuple):
    """A ghost that a post names, and where it does."""

    ghost: int
    how: How


class Claim(NamedTuple):
    """What a post says about a ghost that it names nearer than its parent: to hang below that. In order of rank."""

    message_id: str
    post_id: int
    under: int


@dataclass(slots=True)
class Node:
    """A post. `under` is the post that it names, or that a moderator has put it under; None if there is none.

    One with `ties` and without `under` is an orphan. `subject_of` is what it hangs below by its subject. The rest
    is what the rule makes of it: its parent, and for an orphan the first of its group and the claim that counts.
    A `knot` is what a circle keeps from where it belongs.
    """

    id: int
    message_id: str
    under: int | None = None
    under_how: How = How.NONE
    ties: Sequence[Tie] = ()
    subject_of: int | None = None
    parent: int | None = None
    how: How = How.NONE
    group: int = 0
    claim: int | None = None
    knot: bool = False

    @property
    def rank(self) -> tuple[str, int]:
        """Which post gives way where one has to: the first."""
        return self.message_id, self.id

    @property
    def is_orphan(self) -> bool:
        """Whether all posts that it names are missing."""
        return self.under is None and bool(self.ties)

    def hang(self, parent: int | None, how: How = How.NONE) -> None:
        """Give it a parent, or none."""
        self.parent, self.how = parent, how


@dataclass(slots=True)
class _Group:
    """Orphans that belong together, and the claim that says where they hang."""

    members: Sequence[Node]
    claim: Claim | None = None


def solve(nodes: Mapping[int, Node], claims: Mapping[int, Collection[Claim]], up: Up) -> None:
    """Work out the places of `nodes`; `claims` are all those on the ghosts of the orphans among them."""
    for node in nodes.values():
        node.hang(node.under, node.under_how)
        node.group, node.claim, node.knot = node.id, None, False
    _cut_circles(nodes, up)
    groups = [_Group(members) for members in _groups(nodes.values())]
    for group in groups:
        _choose(group, claims, nodes, up)
    _part_circles(groups, nodes, up)
    for group in groups:
        _place(group, claims)
    for node in nodes.values():
        if node.subject_of is not None and node.parent is None and _root(node.subject_of, nodes, up) != node.id:
            node.hang(node.subject_of, How.SUBJECT)


def _cut_circles(nodes: Mapping[int, Node], up: Up) -> None:
    """Take the parent from the first post of each circle (rule 4)."""

    def above(post_id: int) -> int | None:
        parent = nodes[post_id].parent
        return None if parent is None else up(parent)

    for circle in _circles(nodes, above):
        first = min((nodes[post_id] for post_id in circle), key=lambda node: node.rank)
        first.hang(None)
        first.knot = True


def _circles(items: Iterable[int], step: Callable[[int], int | None]) -> Iterator[list[int]]:
    """Yield the circles that one gets into by taking `step` again and again."""
    done: set[int] = set()
    for start in items:
        path: dict[int, int] = {}
        at: int | None = start
        while at is not None and at not in done and at not in path:
            path[at] = len(path)
            at = step(at)
        done.update(path)
        if at is not None and at in path:
            yield list(path)[path[at] :]


def _groups(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """Put the orphans together that are tied to the same ghosts, directly or not (rule 3)."""
    tied: dict[int, list[Node]] = {}
    orphans = [node for node in nodes if node.is_orphan]
    for node in orphans:
        for tie in node.ties:
            tied.setdefault(tie.ghost, []).append(node)
    seen: set[int] = set()
    for first in orphans:
        waiting, group = [first], []
        while waiting:
            node = waiting.pop()
            if node.id not in seen:
                seen.add(node.id)
                group.append(node)
                waiting += [other for tie in node.ties for other in tied.pop(tie.ghost, ())]
        if group:
            yield group


def _choose(group: _Group, claims: Mapping[int, Collection[Claim]], nodes: Mapping[int, Node], up: Up) -> None:
    """Find the first claim on a group that does not lead back into it."""
    members = {node.id for node in group.members}
    ghosts = {tie.ghost for node in group.members for tie in node.ties}
    found = sorted({claim for ghost in ghosts for claim in claims.get(ghost, ())})
    group.claim = next((claim for claim in found if _root(claim.under, nodes, up) not in members), None)
    for node in group.members:
        node.group = min(members)
        node.knot = bool(found) and group.claim != found[0]


def _root(post_id: int, nodes: Mapping[int, Node], up: Up) -> int | None:
    """Return the post of the set at which the way up ends; None if it ends outside."""
    at = up(post_id)
    while at is not None and (parent := nodes[at].parent) is not None:
        at = up(parent)
    return at


def _part_circles(groups: Sequence[_Group], nodes: Mapping[int, Node], up: Up) -> None:
    """Take the claim from the first of groups that hang below each other in a circle."""
    by_member = {node.id: number for number, group in enumerate(groups) for node in group.members}

    def above(number: int) -> int | None:
        claim = groups[number].claim
        root = _root(claim.under, nodes, up) if claim else None
        return None if root is None else by_member.get(root)

    for circle in list(_circles(range(len(groups)), above)):
        first = min((groups[number] for number in circle), key=lambda group: min(node.rank for node in group.members))
        first.claim = None
        for node in first.members:
            node.knot = True


def _place(group: _Group, claims: Mapping[int, Collection[Claim]]) -> None:
    if group.claim is None:
        return
    for node in group.members:
        claimed = (tie.how for tie in node.ties if group.claim in claims.get(tie.ghost, ()))
        node.hang(group.claim.under, next(claimed, node.ties[0].how))
        node.claim = group.claim.post_id
