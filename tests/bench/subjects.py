"""How many replies without threading headers are found by their subject, and how many of them in the right thread.

    python -m tests.bench.subjects [ARCHIVE ...] [--mails N] [--seed N] [--rounds N]

ARCHIVE is an mbox file or a folder of mails (Maildir, MH, .eml). What its mails themselves say in References and
the like is taken for the truth. Without one, archives of N mails are made up, of which the truth is known
(tests/support/talk.py says what they are a model of). In each round everything is imported with a tenth of the
replies stripped of all that names another mail; and in as many rounds more, each reply while the others of its
thread are as they were. A reply that is joined to a thread counts for the precision, one that is stripped for the recall;
where the archive is made up, so do mails that look like replies and answer nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from mailforum.errors import Refused
from mailforum.forum import posts
from mailforum.mail import mbox
from mailforum.store.connection import connect
from mailforum.store.database import Tx, load_queries
from mailforum.store.migrate import migrate
from mailforum.store.sqlite import SqliteTx
from tests.bench.table import Row, at_least, head, show
from tests.support.stripped import Found, each_alone, measure, tenth, truth
from tests.support.talk import TROUBLED, Talk, discussion, patches


@dataclass(frozen=True)
class Archive:
    """Mails in the order of their arrival, the thread of each if it is known, and what only looks like a reply.

    `goals` are the precision and the recall to be reached.
    """

    name: str
    mails: Sequence[bytes]
    threads: Sequence[int] = ()
    strays: frozenset[int] = frozenset()
    goals: tuple[float, float] | None = None


def made_up(mails: int, seed: int) -> list[Archive]:
    """Return archives of about so many mails."""
    return [
        _of(f"discussion, {mails:,} mails", discussion(mails, seed), (0.995, 0.99)),
        _of(f"patches, {mails:,} mails", patches(mails, seed), (0.97, 0.94)),
        _of(f"discussion with poor subjects, {mails:,} mails", discussion(mails, seed, TROUBLED), None),
    ]


def _of(name: str, talks: Sequence[Talk], goals: tuple[float, float] | None) -> Archive:
    strays = frozenset(number for number, talk in enumerate(talks) if talk.strays)
    return Archive(name, [talk.raw for talk in talks], [talk.thread for talk in talks], strays, goals)


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
    return Archive(path.name, list(found.values()))


def _mails(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from (file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
    else:
        with path.open("rb") as file:
            yield from (entry.raw for entry in mbox.read(file))


def measured(archive: Archive, folder: Path, seed: int, rounds: int) -> list[Row]:
    """Measure one archive in a database in `folder`."""
    path = folder / f"{abs(hash(archive.name))}.db"
    migrate(path)
    with closing(connect(path)) as connection:
        tx = SqliteTx(connection, load_queries())
        stored, replies = truth(tx, archive.mails)
        threads = archive.threads or stored
        random = Random(seed)
        some = [tenth(replies, random) for _ in range(rounds)]
        alone = islice(each_alone(replies, threads, random), rounds)
        return [
            _row(f"{archive.name}: a tenth of the replies stripped", archive, _found(tx, archive, threads, some)),
            _row(f"{archive.name}: one of each thread stripped", archive, _found(tx, archive, threads, alone)),
        ]


def _found(tx: Tx, archive: Archive, threads: Sequence[int], rounds: Iterable[set[int]]) -> Found:
    nothing = Found(0, 0, 0)
    return sum((measure(tx, archive.mails, threads, stripped, archive.strays) for stripped in rounds), nothing)


def _row(name: str, archive: Archive, found: Found) -> Row:
    precision, recall = archive.goals or (0.0, 0.0)
    goals = (at_least(found.precision, precision, " precision"), at_least(found.recall, recall, " recall"))
    counts = f"{found.stripped:,} stripped, {found.joined:,} joined, {found.right:,} of them rightly"
    value = f"{found.precision:.4f} / {found.recall:.4f}"
    return Row(name, value, None, (counts,), goals if archive.goals else ())


def subjects(folder: Path, mails: int) -> list[Row]:
    """The rows of the table of all benches."""
    return [row for archive in made_up(mails, 1) for row in measured(archive, folder, 1, 1)]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="*", type=Path, metavar="ARCHIVE", help="a mailbox of your own")
    parser.add_argument("--mails", type=int, default=5000, help="how many are made up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    archives = [read(path) for path in args.archives] or made_up(args.mails, args.seed)
    head()
    with tempfile.TemporaryDirectory() as folder:
        for archive in archives:
            for row in measured(archive, Path(folder), args.seed, args.rounds):
                show(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
