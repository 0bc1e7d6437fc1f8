"""What commands that may list very much share: the order, bounds, and output page by page."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, TypeVar

from mailforum.cli.common import Printer, find_list, period

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import MailingList
    from mailforum.units import Period

T = TypeVar("T")


def with_sort(parser: argparse.ArgumentParser, orders: Sequence[str], what: str) -> None:
    """Give a command `--sort`; the first of `orders` is the usual one."""
    parser.add_argument("--sort", choices=orders, default=orders[0], help=what)


def with_bounds(parser: argparse.ArgumentParser) -> None:
    """Give a command `--limit`, `--since` and `--until`."""
    parser.add_argument("--limit", metavar="N", type=_count, help="no more than N, the first in that order")
    parser.add_argument("--since", metavar="DATE", help="from that day on: 2026-01-31, 2026-01, or 7d (ago)")
    parser.add_argument("--until", metavar="DATE", help="up to that day, and with it")


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"`{text}` is no number of rows")
    return int(text)


def during(args: argparse.Namespace, now: float, zone: tzinfo = UTC) -> Period:
    """Return the period that --since and --until name, days being those of `zone`. Raises UsageError."""
    from mailforum.units import EVER, Period

    start = period(args.since, now, zone).start if args.since else EVER.start
    return Period(start, period(args.until, now, zone).end if args.until else EVER.end)


async def list_and_period(core: Core, args: argparse.Namespace) -> tuple[MailingList, Period]:
    """Return the list that a command names, and the period, in days of the list's own time zone. Raises UsageError."""
    from zoneinfo import ZoneInfo

    mlist = await core.db.read(lambda tx: find_list(tx, args.list))
    return mlist, during(args, core.clock.now(), ZoneInfo(mlist.settings.timezone))


async def print_pages(
    args: argparse.Namespace,
    pages: AsyncGenerator[list[T], None],
    row: Callable[[T], Mapping[str, object]],
    columns: Sequence[str],
) -> None:
    """Print what comes in pages, no more than --limit of it: a table of `columns`, or with --json whole rows."""
    printer, left, page = Printer(args, columns), args.limit, None
    async with aclosing(pages):
        async for page in pages:
            printer.print([row(each) for each in page[:left]])
            if left is not None and (left := left - len(page)) <= 0:
                return
    if page is None:
        printer.print(())  # the heading of an empty table
