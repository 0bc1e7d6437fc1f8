"""How the schema changes while several versions of the program run (docs/decisions/0019).

Each step is a numbered SQL file, and a program's number is that of the last step it knows. The comment that a
file begins with says who can live with it:

    -- runs with: 12     only adds something; programs from 12 on run on what it leaves
    -- finishes: 13      takes away what 13 has made needless; programs from 13 on run with it and without it

Without such a line, only programs that know the step run on what it leaves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from mailforum.errors import ConfigError
from mailforum.store.trouble import kind_of, said_by

RECORDED = 12  # the step that makes the table `migration`; what came before stands in no table


@dataclass(frozen=True, slots=True)
class Step:
    """A step: `runs_with` is the lowest number of a program that runs on what it leaves. One that `finishes`
    something can wait."""

    number: int
    name: str
    sql: str
    runs_with: int
    finishes: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database has: the number of the last step, and the lowest number of a program that runs on it."""

    number: int
    runs_with: int


def steps(dialect: str = "sqlite") -> tuple[Step, ...]:
    """Return all steps of a dialect, in order."""
    folder = resources.files("mailforum.store") / "sql" / dialect / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(step(file.name, file.read_text(encoding="utf-8")) for file in files)


def step(name: str, sql: str) -> Step:
    """Return the step that a file `0012_what_it_does.sql` is. Raises ValueError for one that says nonsense."""
    number = int(name.partition("_")[0])
    header = re.match(r"-- (runs with|finishes): (\d+)\n", sql)
    runs_with = int(header[2]) if header else number
    if header and runs_with >= number:
        raise ValueError(f"{name}: what it runs with comes before it")
    return Step(number, name.removesuffix(".sql"), sql, runs_with, bool(header and header[1] == "finishes"))


def missing(known: Sequence[Step], found: Schema) -> tuple[Step, ...]:
    """Return the steps that are still to be taken.

    Raises ConfigError when a newer mailforum has gone further than a program that knows these can follow.
    """
    newest = known[-1].number
    if found.runs_with > newest:
        raise ConfigError(
            f"the database was made by a newer mailforum (schema {found.number}, this one knows {newest}); "
            "please upgrade"
        )
    return tuple(each for each in known if each.number > found.number)


def possible(missing: Sequence[Step], oldest: int | None) -> tuple[Step, ...]:
    """Return the steps that can be taken while the oldest program that runs has that number (None: none runs).

    Raises ConfigError when another one is needed.
    """
    taken = 0
    while taken < len(missing) and (oldest is None or missing[taken].runs_with <= oldest):
        taken += 1
    if not all(each.finishes for each in missing[taken:]):
        raise ConfigError("an older mailforum is running; restart it, then try again")
    return tuple(missing[:taken])


def failed(step: Step, error: Exception) -> Exception:
    """Return what is to be said of a driver's error in a step, of which nothing was done."""
    if kind_of(error):
        return error
    return ConfigError(f"step {step.name} of the schema failed ({said_by(error)}); nothing of it was done")
