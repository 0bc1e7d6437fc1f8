"""How much two ways to part an archive into threads are alike. Mails are known by their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forest:
    """The threads of an archive as somebody sees them: the thread of each mail, and its parent if it has one."""

    name: str
    threads: Mapping[int, Hashable]
    parents: Mapping[int, int | None]

    def without_copies(self, first: Mapping[int, int]) -> Forest:
        """Return it with one mail for all that have one Message-ID: `first` leads from copies to the number kept.

        What counts is where the earliest of them in this forest is, but for those below another copy.
        """
        threads: dict[int, Hashable] = {}
        parents: dict[int, int | None] = {}
        for number, thread in self.threads.items():
            kept, above = first.get(number, number), self.parents[number]
            above = None if above is None else first.get(above, above)
            if kept not in threads and above != kept:
                threads[kept], parents[kept] = thread, above
        return Forest(self.name, threads, parents)


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two forests side by side.

    Of all pairs of mails that one has in one thread: `precision` is the share of our pairs that the other has
    too, `recall` the share of the other's that we have. `parents` is the share of mails with the same parent.
    """

    mails: int
    precision: float
    recall: float
    parents: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def likeness(ours: Forest, theirs: Forest, numbers: Iterable[int]) -> Likeness:
    """Compare the forests by those of `numbers` that both have."""
    common = [number for number in numbers if number in ours.threads and number in theirs.threads]
    pairs_ours = _pairs(Counter(ours.threads[number] for number in common))
    pairs_theirs = _pairs(Counter(theirs.threads[number] for number in common))
    both = _pairs(Counter((ours.threads[number], theirs.threads[number]) for number in common))
    same = sum(ours.parents[number] == theirs.parents[number] for number in common)
    return Likeness(len(common), _share(both, pairs_ours), _share(both, pairs_theirs), _share(same, len(common)))


def _pairs(sizes: Counter[Hashable]) -> int:
    return sum(size * (size - 1) // 2 for size in sizes.values())


def _share(part: int, whole: int) -> float:
    """Nothing said is nothing wrong: 1 of nothing."""
    return part / whole if whole else 1.0
