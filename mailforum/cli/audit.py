"""`mailforum audit`: who has changed what, and when."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from mailforum.cli.common import Commands, completes, find_list, list_addresses, run_core, shown, when, with_json
from mailforum.cli.listing import during, print_pages, with_bounds

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.store.audit import Change
    from mailforum.units import Period

PAGE = 500  # rows that are read at once


def add(commands: Commands) -> None:
    """Add the command `audit`."""
    parser = commands.add_parser(
        "audit",
        help="who has repaired which threads, and when",
        description="Print the changes that were made by hand, the oldest first: by whom, of what, how it was "
        "before and after. What is about a list stays when the list is deleted.",
    )
    completes(parser.add_argument("list", metavar="LIST", nargs="?", default="", help="of one list"), list_addresses)
    with_bounds(parser)
    with_json(parser)
    parser.set_defaults(run=show_changes)


def show_changes(args: argparse.Namespace) -> None:
    """Print the changes that were made by hand."""

    async def run(core: Core) -> None:
        pages = _pages(core, args.list.strip().lower(), during(args, core.clock.now()))
        row = _row if args.json else _shown_row
        await print_pages(args, pages, row, ("at", "who", "list", "what", "target", "change"))

    run_core(args, run)


async def _pages(core: Core, name: str, period: Period) -> AsyncGenerator[list[Change], None]:
    from mailforum.store import audit
    from mailforum.units import EVER

    if name and not await core.db.read(lambda tx: audit.page(tx, name, EVER, 0, 1)):
        await core.db.read(lambda tx: find_list(tx, name))  # it is not one that was deleted, so its name may be wrong
    after = 0
    while page := await core.db.read(lambda tx, after=after: audit.page(tx, name, period, after, PAGE)):  # type: ignore[misc]
        yield page
        after = page[-1].id


def _row(change: Change) -> dict[str, object]:
    return {
        "at": when(change.at),
        "who": change.who,
        "list": change.list,
        "what": change.what,
        "target": change.target,
        "before": change.before,
        "after": change.after,
    }


def _shown_row(change: Change) -> dict[str, object]:
    return _row(change) | {"change": f"{_words(change.before)} → {_words(change.after)}"}


def _words(values: Mapping[str, object]) -> str:
    return " ".join(f"{name}={shown(value)}" for name, value in values.items())
