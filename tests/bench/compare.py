"""Compare the threads of an archive with those that notmuch, mu and Dovecot make of it.

    python -m tests.bench.compare [ARCHIVE ...] [--mails N] [--seed N] [--folder DIR]

ARCHIVE is anything that `mailforum import` reads, as an mbox file or a Maildir of your own; without one, an archive
of N mails is made up, of which the truth is known too. It is imported in its own order and shuffled. Of the
programs those are asked that are installed (Debian: notmuch, maildir-utils, dovecot-imapd); everything takes
place in a folder that is deleted at the end, and nothing else is read or written.

Two tables are printed: how much the threads are alike, and each difference by its kind. In the first, `precision`
is the share of our pairs of mails in one thread that the other has too, `recall` the share of the other's pairs
that we have, `parents` the share of mails with the same parent. Mails with one Message-ID count as one,
as they do for notmuch.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.table import Goal, Row, at_least, columns, head, show
from tests.bench.threads import differences, ours
from tests.bench.threads.differences import Archive, Differences
from tests.bench.threads.likeness import Forest, Likeness, likeness
from tests.bench.threads.others import dovecot, mu, notmuch
from tests.support.discussion import FLAVOURS, Told, discussion

F1, PARENTS = 0.998, 0.999
ORDERED, SHUFFLED = "in order", "shuffled"
OURS, TRUTH = "ours", "the truth"


@dataclass(frozen=True)
class Compared:
    """Our threads in one order of arrival beside those of somebody else."""

    order: str
    ours: Forest
    theirs: Forest
    likeness: Likeness


@dataclass(frozen=True)
class Comparison:
    """An archive, everything that was compared, and what is known of a mail, such as what is wrong with it."""

    archive: Archive
    compared: tuple[Compared, ...]
    note: Callable[[int], str]

    def differences(self, order: str = ORDERED) -> list[Differences]:
        """Explain what differs, for each program."""
        return [
            differences.explain(self.archive, one.ours, one.theirs, self.note)
            for one in self.compared
            if one.order == order
        ]


@contextlib.contextmanager
def workplace(parent: str | None) -> Iterator[Path]:
    """Make a folder that Dovecot can read too, which does not work for root; it is deleted at the end."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def compare(folder: Path, sources: Sequence[Path], seed: int) -> Comparison:
    """Import the mailboxes in both orders, and ask the other programs."""
    site, posts, maildir = _taken_in(folder, sources, seed)
    archive = differences.read(maildir)
    return Comparison(archive, tuple(_beside(_own(site, posts), _asked(maildir, folder), archive)), lambda number: "")


def compare_made_up(folder: Path, made_up: Iterable[Told], seed: int) -> Comparison:
    """Do the same with an archive of which the truth is known, which is then compared as well."""
    told: dict[bytes, Told] = {}
    source = ours.write_maildir(folder / "made", _noted(made_up, told))
    site, posts, maildir = _taken_in(folder, [source], seed)
    known = {post.number: told[_digest(raw)] for post, raw in zip(posts, site.mails("ordered"), strict=True)}
    number = {one.number: at for at, one in known.items()}
    truth = Forest(
        TRUTH,
        {at: one.thread for at, one in known.items()},
        {at: None if one.parent is None else number.get(one.parent) for at, one in known.items()},
    )
    archive = differences.read(maildir)
    others = [truth, *_asked(maildir, folder)]
    own = _own(site, posts)
    beside = [*_beside(own, others, archive), *_beside({other.name: other for other in others[1:]}, [truth], archive)]
    return Comparison(archive, tuple(beside), lambda at: "".join(f" [{flaw}]" for flaw in known[at].flaws))


def _noted(made_up: Iterable[Told], told: dict[bytes, Told]) -> Iterator[tuple[bytes, float]]:
    for one in made_up:
        told[_digest(one.raw)] = replace(one, raw=b"")
        yield one.raw, one.at.timestamp()


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def _taken_in(folder: Path, sources: Sequence[Path], seed: int) -> tuple[ours.Site, list[ours.Stored], Path]:
    """Import in order, write what was stored into a Maildir, and import that shuffled."""
    site = ours.Site(folder / "site")
    site.take_in("ordered", sources)
    posts = site.posts("ordered")
    times = (post.received for post in posts)
    maildir = ours.write_maildir(folder / "maildir", zip(site.mails("ordered"), times, strict=True))
    site.take_in("shuffled", [ours.shuffled(maildir, folder / "shuffled", seed)])
    return site, posts, maildir


def _own(site: ours.Site, posts: Sequence[ours.Stored]) -> dict[str, Forest]:
    number = {post.fingerprint: post.number for post in posts}
    again = site.posts("shuffled")
    return {ORDERED: ours.forest(OURS, posts, number), SHUFFLED: ours.forest(OURS, again, number)}


def _asked(maildir: Path, folder: Path) -> list[Forest]:
    found = []
    for program in (notmuch, mu, dovecot):
        own = folder / program.__name__
        own.mkdir(mode=0o755)
        found.append(program(maildir, own))
    return [Forest(one.name, dict(sorted(one.threads.items())), one.parents) for one in found if one]


def _beside(own: dict[str, Forest], others: list[Forest], archive: Archive) -> list[Compared]:
    pairs = [
        (order, mine.without_copies(archive.first), other.without_copies(archive.first))
        for other in others
        for order, mine in own.items()
    ]
    return [Compared(order, mine, other, likeness(mine, other, archive.numbers)) for order, mine, other in pairs]


def rows(comparison: Comparison, what: str = "an archive") -> list[Row]:
    """Return the comparison as rows of the table of `make bench`."""
    return [_row(one, what) for one in comparison.compared]


def _row(one: Compared, what: str) -> Row:
    like, own = one.likeness, one.ours.name == OURS
    sizes = f"{len(set(one.ours.threads.values())):,} threads, there {len(set(one.theirs.threads.values())):,}"
    beside = (sizes, f"precision {like.precision:.4f}, recall {like.recall:.4f}", f"parents {like.parents:.2%}")
    goals = (at_least(like.f1, F1, ""), Goal(f"parents at least {PARENTS:.1%}", like.parents >= PARENTS))
    wanted = goals if own and one.theirs.name != TRUTH else ()
    who = f"{one.order}: ours" if own else one.ours.name
    name = f"threads of {what}, {like.mails:,} mails, {who} beside {one.theirs.name}"
    return Row(name, f"F1 {like.f1:.4f}", None, beside, wanted)


def tell(comparison: Comparison) -> None:
    """Print both tables."""
    head()
    for row in rows(comparison):
        show(row)
    print()
    columns("against", "what", "kind", "how often", "for example")
    columns("---", "---", "---", "---:", "---")
    for difference in comparison.differences():
        for what, kind, count, examples in difference.rows():
            columns(difference.against, what, kind, count, examples)
    again = len(comparison.archive.first)
    print(f"\n{again} mails have a Message-ID that a mail before them had, and are taken for one with it.")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE", help="an mbox file, a Maildir and so on")
    parser.add_argument("--mails", type=int, default=5000, help="how many are made up where no archive is given")
    parser.add_argument("--seed", type=int, default=1, help="for the archive that is made up, and for the shuffling")
    parser.add_argument("--flavour", choices=FLAVOURS, default="common", help="what is wrong most often with these")
    parser.add_argument("--folder", help="where the work is done")
    args = parser.parse_args()
    with workplace(args.folder) as folder:
        if args.archives:
            tell(compare(folder, [path.resolve() for path in args.archives], args.seed))
        else:
            made_up = discussion(args.mails, args.seed, args.flavour)
            tell(compare_made_up(folder, made_up, args.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
