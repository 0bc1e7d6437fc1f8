"""How many replies without threading headers are found by their subject, and how many of them in the right thread.

    python -m tests.bench.subjects [ARCHIVE ...] [--mails N] [--rounds N]

ARCHIVE is an mbox file or a folder of mails (Maildir, MH, .eml). What its mails themselves say in References and
the like is taken for the truth. Without one, archives of N mails are made up, another one each round, of which the
truth is known (tests/support/talk.py says what they are a model of). Replies are mails that answer another one under
a subject that is marked as that of a reply.

In each round a tenth of the replies are stripped of all that names another mail, and everything is imported; then a
thousand replies are taken out of their threads one at a time. The precision is the share of the right ones among those
that were joined to a thread, the recall their share of those that were stripped. Where the archive is made up, mails
that look like replies and answer nothing are watched too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mailforum.errors import Refused
from mailforum.forum import posts
from mailforum.mail import mbox
from mailforum.store.connection import connect
from mailforum.store.migrate import migrate
from mailforum.store.sqlite import SqliteTx, queries
from tests.bench.table import Row, at_least, head, show
from tests.support.stripped import Found, each_alone, measure, tenth, truth
from tests.support.talk import TROUBLED, Talk, discussion, patches

ALONE = 1000  # replies of an archive that are stripped one at a time


@dataclass(frozen=True)
class Archive:
    """Mails in the order of their arrival, the thread of each if it is known, and which only look like replies."""

    mails: Sequence[bytes]
    threads: Sequence[int] = ()
    strays: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Case:
    """An archive for each round, and the precision and the recall to be reached if there is such a goal."""

    name: str
    archives: Iterable[Archive]
    goals: tuple[float, float] | None = None


def made_up(mails: int, rounds: int) -> list[Case]:
    """Return archives of about so many mails, another one each round: large threads make single ones differ."""
    seeds = range(1, rounds + 1)
    poor = "discussion with poor subjects"
    return [
        Case("discussion", (_archive(discussion(mails, seed)) for seed in seeds), (0.995, 0.99)),
        Case("patches", (_archive(patches(mails, seed)) for seed in seeds), (0.97, 0.94)),
        Case(poor, (_archive(discussion(mails, seed, TROUBLED)) for seed in seeds)),
    ]


def _archive(talks: Sequence[Talk]) -> Archive:
    strays = frozenset(number for number, talk in enumerate(talks) if talk.strays)
    return Archive([talk.raw for talk in talks], [talk.thread for talk in talks], strays)


def read(path: Path) -> Archive:
    """Read a mailbox. What cannot be read as a mail is left out, and so is a mail that was there before."""
    found: dict[bytes, bytes] = {}
    for raw in _mails(path):
        try:
            msg, raw = posts.parse(raw)
        except Refused:
            continue
        if msg.headers:
            found.setdefault(msg.fingerprint, raw)
    return Archive(list(found.values()))


def _mails(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from (file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
    else:
        with path.open("rb") as file:
            yield from (entry.raw for entry in mbox.read(file))


def measured(case: Case, folder: Path) -> list[Row]:
    """Measure a case in a database in `folder`."""
    path = folder / "mailforum.db"
    migrate(path)
    some = alone = Found(0, 0, 0)
    with closing(connect(path)) as connection:
        tx = SqliteTx(connection, queries())
        for number, archive in enumerate(case.archives):
            stored, replies = truth(tx, archive.mails)
            threads, random = archive.threads or stored, Random(number)
            some += measure(tx, archive.mails, threads, tenth(replies, random), archive.strays)
            chosen = random.sample(replies, min(len(replies), ALONE))
            alone += each_alone(tx, archive.mails, threads, chosen)
    return [
        _row(f"{case.name}: a tenth of the replies stripped", case, some),
        _row(f"{case.name}: one reply alone stripped", case, alone),
    ]


def _row(name: str, case: Case, found: Found) -> Row:
    precision, recall = case.goals or (0.0, 0.0)
    goals = (at_least(found.precision, precision, " precision"), at_least(found.recall, recall, " recall"))
    counts = f"{found.stripped:,} stripped, {found.joined:,} joined, {found.right:,} of them rightly"
    value = f"{found.precision:.4f} / {found.recall:.4f}"
    return Row(name, value, None, (counts,), goals if case.goals else ())


def subjects(folder: Path, mails: int, rounds: int) -> list[Row]:
    """The rows of the table of all benches."""
    rows: list[Row] = []
    for case in made_up(mails, rounds):
        with tempfile.TemporaryDirectory(dir=folder) as own:
            rows += measured(case, Path(own))
    return rows


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE", help="a mailbox of your own")
    parser.add_argument("--mails", type=int, default=4000, help="how many are made up")
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    own = [Case(path.name, [read(path)] * args.rounds) for path in args.archives]
    head()
    for case in own or made_up(args.mails, args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for row in measured(case, Path(folder)):
                show(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
