"""The table that is printed: one row for each thing measured, beside what it is to be measured against."""

from __future__ import annotations

from dataclasses import dataclass

WIDTHS = (62, 22, 10, 78)
TITLES = ("what", "measured", "CPU each", "beside it, in the same run", "reach")


@dataclass(frozen=True)
class Goal:
    """What a row is to reach, in words, and whether it has."""

    text: str
    reached: bool


@dataclass(frozen=True)
class Row:
    """One line. `each` is the CPU time of the whole server for one unit, in microseconds."""

    name: str
    value: str
    each: float | None = None
    beside: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()


def at_least(value: float, wanted: float, unit: str = "/s") -> Goal:
    """A goal that more is better for."""
    return Goal(f"at least {wanted:,g}{unit}", value >= wanted)


def at_most(value: float, wanted: float, unit: str) -> Goal:
    """A goal that less is better for."""
    return Goal(f"at most {wanted:,g}{unit}", value <= wanted)


def share(rate: float, limit: float, of: str) -> str:
    """Say how much `rate` is of a limit of this machine; "" where that could not be measured."""
    return f"{rate / limit:.2f} of {of} {limit:,.0f}/s" if limit else ""


def show(row: Row) -> None:
    """Print one line of the table; it may be pasted into a page."""
    each = f"{row.each:,.0f} µs" if row.each is not None else ""
    goals = "; ".join(f"{goal.text}: {'yes' if goal.reached else 'NO'}" for goal in row.goals)
    _line(row.name, row.value, each, "; ".join(filter(None, row.beside)), goals)


def head() -> None:
    """Print the first lines of the table."""
    _line(*TITLES)
    _line("---", "---:", "---:", "---", "---")


def _line(*cells: str) -> None:
    padded = [cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)]
    columns(*padded, *cells[len(WIDTHS) :])


def columns(*cells: str) -> None:
    """Print one line of any table."""
    print(f"| {' | '.join(cells)} |", flush=True)
