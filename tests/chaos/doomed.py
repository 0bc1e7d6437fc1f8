"""`mailforum` that ends itself with SIGKILL at one moment of its work with the database.

    MOMENT='{"when": "before", "statement": "^COMMIT", "among": "INSERT INTO post"}' \
        python -m tests.chaos.doomed --config FILE serve

Everything else is the real thing: every statement goes through here on its way to SQLite, and the
moment is told by its text. Without MOMENT it is plain `mailforum`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

VARIABLE = "MOMENT"


@dataclass(frozen=True)
class Moment:
    """Before or after the `count`th `statement` (a pattern) of a transaction in which `among` was executed."""

    when: str
    statement: str
    among: str = ""
    count: int = 1

    def environ(self) -> dict[str, str]:
        """Return what the process has to find in its environment."""
        return {VARIABLE: json.dumps(asdict(self))}


class _Countdown:
    """Counts down to the moment, over all connections."""

    def __init__(self, moment: Moment) -> None:
        self.when, self.left = moment.when, moment.count
        self.statement, self.among = re.compile(moment.statement), re.compile(moment.among)

    def came(self, when: str, sql: str, transaction: list[str]) -> None:
        if when != self.when or not self.statement.search(sql):
            return
        if any(map(self.among.search, [*transaction, sql])):
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Doomed(sqlite3.Connection):
    """A connection that tells the countdown of every statement."""

    countdown: _Countdown
    transaction: list[str]

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        return self._watched(sql, partial(super().execute, sql, *parameters))

    def executemany(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        return self._watched(sql, partial(super().executemany, sql, *parameters))

    def _watched(self, sql: str, run: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        words = " ".join(sql.split())
        if words.startswith("BEGIN") or not hasattr(self, "transaction"):
            self.transaction = []
        self.countdown.came("before", words, self.transaction)
        cursor = run()
        self.transaction.append(words)
        self.countdown.came("after", words, self.transaction)
        return cursor


def doom(moment: Moment) -> None:
    """Have this process killed at `moment`."""
    Doomed.countdown = _Countdown(moment)
    sqlite3.connect = partial(sqlite3.connect, factory=Doomed)  # type: ignore[assignment]


def main() -> int:
    """Run mailforum, which will not come back."""
    if moment := os.environ.get(VARIABLE):
        doom(Moment(**json.loads(moment)))
    from mailforum.cli.main import main as mailforum

    return mailforum(sys.argv[1:]) or 0


if __name__ == "__main__":
    sys.exit(main())
