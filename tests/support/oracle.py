"""The rule of threads, as forum/threads.py has it in words, written down once more without a thought for speed.

What is found by subject (rule 5) is left out: no newcomer here is lonely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailforum.forum.newcomer import Newcomer
from mailforum.mail.evidence import Named
from mailforum.model import How


@dataclass
class Tree:
    """What the rule makes of posts, by their position: parents, how these were found, and threads."""

    parents: list[int | None]
    hows: list[How]
    threads: set[frozenset[int]]


def by_the_rule(posts: Sequence[Newcomer], cut: Sequence[int] = (), put: Mapping[int, int] | None = None) -> Tree:
    """Return the tree of `posts`, given in the order of arrival. `cut` and `put` are decisions of moderators."""
    return _Oracle(posts, set(cut), dict(put or {})).tree()


class _Oracle:
    def __init__(self, posts: Sequence[Newcomer], cut: set[int], put: dict[int, int]) -> None:
        self.posts, self.cut, self.put = posts, cut, put
        self.owners: dict[str, int] = {}
        for number, post in enumerate(posts):
            for name in post.owned:
                self.owners.setdefault(name, number)
        everyone = range(len(posts))
        self.wishes = {number: self.wish(number) for number in everyone}
        self.parents = {number: parent for number, (parent, _) in self.wishes.items()}
        self.hows = {number: how for number, (_, how) in self.wishes.items()}
        self.tied_by = {number: self.ghosts(number) for number in everyone if self.is_tied(number)}
        self.claims = [
            (self.rank(number), self.wishes[number][0], ghosts)
            for number, ghosts in self.tied_by.items()
            if self.wishes[number][0] is not None
        ]
        self.groups = self.grouped([n for n in self.tied_by if self.wishes[n][0] is None and self.tied_by[n]])

    def rank(self, number: int) -> tuple[str, int]:
        return self.posts[number].message_id, number

    def nearest(self, number: int) -> tuple[int | None, int]:
        """The post that is named, and at which position."""
        for position, one in enumerate(self.posts[number].names):
            if one.name in self.owners:
                return self.owners[one.name], position
        return None, len(self.posts[number].names)

    def ghosts(self, number: int) -> list[Named]:
        _, position = self.nearest(number)
        return [one for one in self.posts[number].names[:position] if one.how not in (How.TEXT, How.THREAD_INDEX)]

    def is_apart(self, number: int) -> bool:
        post, (named, _) = self.posts[number], self.nearest(number)
        if named is None or not post.fresh:
            return False
        other = self.posts[named].base
        return other != "" and post.base not in other and other not in post.base

    def is_tied(self, number: int) -> bool:
        return number in self.put or not (number in self.cut or self.is_apart(number))

    def wish(self, number: int) -> tuple[int | None, How]:
        if number in self.put:
            return self.put[number], How.MODERATOR
        named, position = self.nearest(number)
        if named is None or number in self.cut or self.is_apart(number):
            return None, How.NONE
        return named, self.posts[number].names[position].how

    def grouped(self, orphans: list[int]) -> list[set[int]]:
        groups = [({number}, {one.name for one in self.tied_by[number]}) for number in orphans]
        joined = True
        while joined:
            joined = False
            for one in groups:
                for other in groups:
                    if one is not other and one[1] & other[1] and not joined:
                        one[0].update(other[0])
                        one[1].update(other[1])
                        groups.remove(other)
                        joined = True
                if joined:
                    break
        return [group for group, _ in groups]

    def way_up(self, number: int) -> list[int]:
        way = [number]
        while (parent := self.parents[way[-1]]) is not None and parent not in way:
            way.append(parent)
        return way

    def tree(self) -> Tree:
        self.cut_circles()
        chosen = [self.choose(group) for group in self.groups]
        self.part_circles(chosen)
        for group, claim in zip(self.groups, chosen, strict=True):
            if claim:
                self.hang(group, claim)
        everyone = range(len(self.posts))
        hows = [self.hows[number] if self.parents[number] is not None else How.NONE for number in everyone]
        return Tree([self.parents[number] for number in everyone], hows, self.threads())

    def cut_circles(self) -> None:
        circles = set()
        for start in self.parents:
            way = self.way_up(start)
            if self.parents[way[-1]] == start:
                circles.add(frozenset(way))
        for circle in circles:
            self.parents[min(circle, key=self.rank)] = None

    def choose(self, group: set[int]) -> tuple[tuple[str, int], int, list[Named]] | None:
        names = {one.name for number in group for one in self.tied_by[number]}
        for claim in sorted(self.claims, key=lambda claim: claim[0]):
            _, under, ghosts = claim
            if names & {one.name for one in ghosts} and not group & {self.way_up(under)[-1]}:
                return claim
        return None

    def part_circles(self, chosen: list) -> None:
        def above(number: int) -> int | None:
            if chosen[number] is None:
                return None
            root = self.way_up(chosen[number][1])[-1]
            return next((other for other, group in enumerate(self.groups) if root in group), None)

        circles = set()
        for start in range(len(self.groups)):
            way = [start]
            while (at := above(way[-1])) is not None and at not in way:
                way.append(at)
            if at == start:
                circles.add(frozenset(way))
        firsts = [min(circle, key=lambda number: min(map(self.rank, self.groups[number]))) for circle in circles]
        for number in firsts:
            chosen[number] = None

    def hang(self, group: set[int], claim: tuple[tuple[str, int], int, list[Named]]) -> None:
        _, under, ghosts = claim
        claimed = {one.name for one in ghosts}
        for number in group:
            hows = [one.how for one in self.tied_by[number] if one.name in claimed]
            self.parents[number], self.hows[number] = under, (hows or [self.posts[number].names[0].how])[0]

    def threads(self) -> set[frozenset[int]]:
        threads = [{number} for number in self.parents]
        pairs = [(number, parent) for number, parent in self.parents.items() if parent is not None]
        pairs += [(min(group), number) for group in self.groups for number in group]
        for one, other in pairs:
            first = next(thread for thread in threads if one in thread)
            second = next(thread for thread in threads if other in thread)
            if first is not second:
                first |= second
                threads.remove(second)
        return {frozenset(thread) for thread in threads}
