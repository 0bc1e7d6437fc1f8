"""How fast a search is in a large archive, whatever is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import accumulate
from pathlib import Path
from random import Random

from mailforum.forum import query, search
from mailforum.forum.search import Found
from mailforum.model import MailingList
from mailforum.store import lists
from mailforum.store.database import Database
from mailforum.store.sqlite import open_sqlite
from tests.bench import archives
from tests.bench.table import Row, at_most

FIRST, LAST = 1_000_000_000.0, 1_700_000_000.0  # seconds since the epoch, between which the mails were written
VOCABULARY, AUTHORS = 60_000, 500
ROUNDS = 5

_SYLLABLES = [consonant + vowel for consonant in ("", *"bdfghklmnprstvwz") for vowel in "aeiou"]
_JAPANESE = "会議は来週の月曜日です。予算と計画について話し合いましょう。資料を送ります。東京で猫を見ました。"


def wordy(count: int, seed: int = 1) -> Iterator[tuple[bytes, float]]:
    """Yield mails whose words are as often and as rare as those of people, every tenth also with Japanese text.

    The same word, `everywhere`, is in all of them.
    """
    random, words = Random(seed), vocabulary()
    weights = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))
    for number in range(count):
        at = FIRST + (LAST - FIRST) * number / count
        author = random.randrange(AUTHORS)
        text = random.choices(words, cum_weights=weights, k=random.randrange(30, 200))
        lines = [" ".join(text[start : start + 12]) for start in range(0, len(text), 12)]
        if number % 10 == 0:
            lines.append("".join(random.choices(_JAPANESE, k=60)) + _JAPANESE[: random.randrange(20)])
        head = (
            f"From: {words[author].title()} {words[-author - 1].title()} <author{author}@example.org>\r\n"
            f"Subject: {' '.join(text[:4])}\r\nMessage-ID: <{number}@example.org>\r\n"
            f"Date: {format_datetime(datetime.fromtimestamp(at, UTC))}\r\n"
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        )
        yield (head + "\r\n".join([*lines, "everywhere", ""])).encode(), at


def vocabulary() -> list[str]:
    """Return words, the most frequent first."""
    random = Random(0)
    found = {"".join(random.choices(_SYLLABLES, k=random.randrange(1, 5))): None for _ in range(VOCABULARY * 8)}
    return list(found)[:VOCABULARY]


def questions() -> dict[str, str]:
    """Return what is asked, each with a name."""
    words = vocabulary()
    often, rare = words[20], words[30_000]
    return {
        "a rare word": rare,
        "a common word": often,
        "a word that every post has": "everywhere",
        "three common words": f"everywhere {often} {words[30]}",
        "a common and a rare word": f"everywhere {rare}",
        "a common word, an author, since 2020": f"{often} author:author7 since:2020",
        "every word of one old year": "everywhere since:2003 until:2003",
        "one of two common words, without a third": f"{often} OR {words[30]} -{words[40]}",
        "a phrase of common words": f'"{often} {words[21]}"',
        "the beginning of words": f"{rare[:4]}*",
        "Japanese, two characters": "予算",
        "Japanese, one character": "猫",
        "in a subject, with a file": f"subject:{often} has:attachment",
    }


def searched(folder: Path, count: int) -> list[Row]:
    """Import an archive, and ask it all kinds of things."""
    row, site = archives.imported(folder, count, wordy(count), f"{count:,} wordy mails")
    return [row, asyncio.run(_asked(site.database, count))]


async def _asked(path: Path, count: int) -> Row:
    db = await open_sqlite(path)
    try:
        (mlist,) = await db.read(lists.every)
        taken = {name: await _ask(db, mlist, text) for name, text in questions().items()}
    finally:
        await db.close()
    slowest = max(taken, key=lambda name: taken[name][0])
    beside = [f"{name}: {ms:.1f} ms, {found.total}{'+' if found.more else ''}" for name, (ms, found) in taken.items()]
    worst = taken[slowest][0]
    return Row(
        f"search in an archive of {count:,}, the slowest of {len(taken)} kinds",
        f"{worst:.0f} ms ({slowest})",
        None,
        tuple(beside),
        (at_most(worst, 50, " ms"),),
    )


async def _ask(db: Database, mlist: MailingList, text: str) -> tuple[float, Found]:
    """Return the milliseconds that a page of twenty takes, with its snippets: the middle of five times."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = await db.read(lambda tx: search.find(tx, mlist, query.parse(text), 20))
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)[ROUNDS // 2], found
