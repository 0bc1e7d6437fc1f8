"""`mailforum rethread`: the threads of a list are worked out anew."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailforum.cli.common import Commands, add_list, counted, emit, find_list, note, progress, run_core, with_json
from mailforum.cli.corrections import by, with_who

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.rethread import Change, Spot


def add(commands: Commands) -> None:
    """Add the command `rethread`."""
    parser = commands.add_parser(
        "rethread",
        help="work out the threads of a list anew",
        description="Read all posts of a list again, put each where the rules say, and print those that stand "
        "elsewhere now. What was split, merged and renamed stays so. Usually there is nothing to do, unless "
        "an option or mailforum itself has changed.",
    )
    add_list(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only say what would")
    with_who(parser)
    with_json(parser)
    parser.set_defaults(run=rethread)


def rethread(args: argparse.Namespace) -> None:
    """Work out the threads of a list anew, and print which posts stand elsewhere."""
    from mailforum.forum.corrections import spot_words

    changes = run_core(args, lambda core: _rethread(core, args))
    if args.json:
        emit(args, [_row(change) for change in changes], ())
    elif changes:
        rows = [{"post": each.label, "was": spot_words(each.old), "is": spot_words(each.new)} for each in changes]
        emit(args, rows, ("post", "was", "is"))
    note(_summary(changes, args.dry_run))


async def _rethread(core: Core, args: argparse.Namespace) -> list[Change]:
    from mailforum.forum import corrections

    mlist = await core.db.read(lambda tx: find_list(tx, args.list))
    with progress("posts") as advance:
        return await corrections.rethread(core.db, mlist, by(args, core), advance, dry_run=args.dry_run)


def _summary(changes: Sequence[Change], dry_run: bool) -> str:
    """Say how many posts stand elsewhere, and in which way."""
    if not changes:
        return "every post stands where it should"
    moved = sum(each.old.thread != each.new.thread for each in changes)
    hung = sum(each.old.thread == each.new.thread and each.old.parent != each.new.parent for each in changes)
    rest = len(changes) - moved - hung
    counts = [(moved, "in another thread"), (hung, "below another post of its thread"), (rest, "only found otherwise")]
    ways = ", ".join(f"{count} {how}" for count, how in counts if count)
    return f"{counted(len(changes), 'post')} {'would change' if dry_run else 'changed'}: {ways}"


def _row(change: Change) -> dict[str, object]:
    return {"id": change.label, "old": _values(change.old), "new": _values(change.new)}


def _values(spot: Spot) -> dict[str, object]:
    return {"thread": spot.thread or None, "answers": spot.parent or None, "how": spot.how.label or None}
