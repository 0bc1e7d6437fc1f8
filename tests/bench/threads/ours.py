"""The threads that mailforum makes: an archive is imported with its own command line, and looked at in the database."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.bench.place import NOWHERE, given_options
from tests.bench.threads.likeness import Forest
from tests.bench.threads.others import file_name
from tests.support.site import DOMAIN, write_config


@dataclass(frozen=True, slots=True)
class Stored:
    """A post as it stands in the database; its number is its place in the order of arrival."""

    number: int
    fingerprint: bytes
    thread: int
    parent: int | None
    received: float


class Site:
    """A mailforum in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        options = {"smtp_max_connections_per_client": "100", **given_options}
        self.folder, self.config = folder, write_config(folder, NOWHERE, **options)
        self.database = folder / "mailforum.db"

    def command(self, *words: str) -> list[str]:
        """Return the command line `mailforum WORDS` for this site."""
        return [sys.executable, "-m", "mailforum", "--config", str(self.config), *words]

    def run(self, *words: str) -> str:
        """Run `mailforum WORDS`; return what it said. Raises CalledProcessError, with that, when it fails."""
        return subprocess.run(self.command(*words), stdout=subprocess.PIPE, text=True, check=True).stdout

    def address(self, name: str) -> str:
        """Return the address of a list."""
        return f"{name}@{DOMAIN}"

    def take_in(self, name: str, sources: Iterable[Path]) -> None:
        """Make a list, and import mailboxes into it, one after the other."""
        self.run("list", "create", name)
        for source in sources:
            self.run("import", name, str(source))

    def posts(self, name: str) -> list[Stored]:
        """Return the posts of a list in the order in which they came."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT id, fingerprint, thread_id, parent_id, received_at {_OF_LIST}", (name,)
            ).fetchall()
        number = {row[0]: at for at, row in enumerate(rows)}
        return [Stored(number[row[0]], row[1], row[2], number.get(row[3]), row[4]) for row in rows]

    def mails(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of all posts of a list in the order in which they came."""
        with self._reading() as db:
            for (raw,) in db.execute(f"SELECT (SELECT raw FROM body WHERE post_id = post.id) {_OF_LIST}", (name,)):
                yield raw

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            yield connection


_OF_LIST = "FROM post WHERE list_id = (SELECT id FROM list WHERE address LIKE ? || '@%') ORDER BY id"


def forest(name: str, posts: Iterable[Stored], number: dict[bytes, int]) -> Forest:
    """Return the threads of posts, each under the number that `number` gives for its fingerprint."""
    known = {post.number: number[post.fingerprint] for post in posts}
    threads: dict[int, Hashable] = {known[post.number]: post.thread for post in posts}
    parents = {known[post.number]: None if post.parent is None else known[post.parent] for post in posts}
    return Forest(name, threads, parents)


def write_maildir(folder: Path, mails: Iterable[tuple[bytes, float]]) -> Path:
    """Write mails into a Maildir, named after their place in it, each as old as the second value says."""
    _empty(folder)
    for number, (raw, received) in enumerate(mails):
        path = folder / "cur" / file_name(number)
        path.write_bytes(raw)
        os.utime(path, (received, received))
    return folder


def _empty(folder: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)


def shuffled(maildir: Path, folder: Path, seed: int) -> Path:
    """Link the mails of a Maildir into another one, under names that put them into a random order."""
    paths = sorted((maildir / "cur").iterdir())
    Random(seed).shuffle(paths)
    _empty(folder)
    for number, path in enumerate(paths):
        os.link(path, folder / "cur" / file_name(number))
    return folder
