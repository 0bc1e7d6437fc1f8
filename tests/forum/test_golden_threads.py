"""Golden trees: what real mail programs and old archives write, and the threads that a careful reader sees.

tests/golden/threads/NAME.txt holds mails between lines of %%, NAME.tree what they look like in whatever
order they arrive, each post with how its parent was found. Where two mails share an id the order does
count: then the tree file holds each possible drawing, with a line `or` between them.

A block may begin with `%set OPTION=VALUE`, for the list, and with `%under <id>`: the mail was written to our
reply address of that post. `{<%d@x> x 3}` stands for <0@x> <1@x> <2@x>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from mailforum.forum.order import tree
from mailforum.settings import ListSettings
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from mailforum.store.sqlite import SqliteTx
from tests.forum.test_threads import Forum, forum

GOLDEN = Path(__file__).parents[1] / "golden" / "threads"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.txt"))


class Golden(NamedTuple):
    """A mail of a golden file, and the post that our reply address names."""

    raw: bytes
    under: str


def _read(path: Path) -> tuple[dict[str, str], list[Golden]]:
    """Return the list's settings and the mails."""
    settings: dict[str, str] = {}
    mails = []
    for block in path.read_text().split("\n%%\n"):
        told, mail = _directives(block)
        settings |= dict(line.partition("=")[::2] for word, line in told if word == "set")
        mails.append(Golden(mail.strip().encode() + b"\n", next((line for word, line in told if word == "under"), "")))
    return settings, mails


def _directives(block: str) -> tuple[list[tuple[str, str]], str]:
    told = []
    while block.startswith("%"):
        line, _, block = block.partition("\n")
        word, _, value = line[1:].partition(" ")
        told.append((word, value))
    return told, re.sub(r"\{(.*?) x (\d+)\}", lambda found: " ".join(found[1] % n for n in range(int(found[2]))), block)


def _drawn(played: Forum) -> str:
    """Draw the threads in the order of their first mails, under their subjects."""
    drawings = []
    for thread in rows.threads(played.tx, played.mlist.id):
        content = rows.of_thread(played.tx, thread.id)
        lines = [f"# {thread.subject}"]
        for depth, post in tree(content):
            how = f"  ({post.how.label})" if post.how else ""
            lines.append(f"{'  ' * (depth + 1)}{post.message_id} {post.from_name}: {post.subject}{how}")
        drawings.append((min(post.date for post in content), "\n".join(lines)))
    return "\n".join(drawing for _, drawing in sorted(drawings)) + "\n"


def _orders(mails: Sequence[Golden], shuffled: int) -> Iterator[Sequence[Golden]]:
    yield mails
    yield mails[::-1]
    for seed in range(shuffled):
        yield Random(seed).sample(mails, len(mails))


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_trees_forward_backward_and_shuffled(tx: Tx, name: str) -> None:
    settings, mails = _read(GOLDEN / f"{name}.txt")
    accepted = (GOLDEN / f"{name}.tree").read_text().split("or\n")
    drawn = []
    for order in _orders(mails, 10 if isinstance(tx, SqliteTx) else 0):  # all that differs is the SQL
        with forum(tx, msgspec.convert(settings, ListSettings, strict=False)) as played:
            for mail in order:
                played.store(mail.raw, mail.under)
            drawn.append(_drawn(played))
    assert set(drawn) == set(accepted) if isinstance(tx, SqliteTx) else set(drawn) <= set(accepted)
    assert drawn[0] == accepted[0]
