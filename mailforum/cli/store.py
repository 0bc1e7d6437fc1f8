"""`mailforum store`: the database itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mailforum.cli.common import Commands, emit, load_config, note, progress, with_json, write
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.store.move.moving import Arrived
    from mailforum.store.schema import Step


def add(commands: Commands) -> None:
    """Add the command `store`."""
    verbs = commands.add_parser("store", help="the database itself").add_subparsers(metavar="VERB", required=True)
    migrate = verbs.add_parser("migrate", help="bring the schema up to date, as the next start would")
    migrate.add_argument("--dry-run", action="store_true", help="only show what is still to be done")
    migrate.add_argument(
        "--finish", action="store_true", help="do also what an older mailforum cannot live with, even if one runs"
    )
    with_json(migrate)
    migrate.set_defaults(run=bring_up_to_date)
    copy = verbs.add_parser("copy", help="move a site from one database to another; stopped, it goes on where it was")
    copy.add_argument("source", metavar="FROM", help="sqlite:FILE or postgresql://…; is closed, unless it is a backup")
    copy.add_argument("target", metavar="TO", help="the same; a new file, or an empty database")
    copy.add_argument(
        "--while-served", action="store_true", help="a rehearsal: FROM goes on, what it does meanwhile is missing in TO"
    )
    with_json(copy)
    copy.set_defaults(run=copy_database)
    again = verbs.add_parser("reopen", help="have a database served again that was moved")
    again.add_argument("url", metavar="URL", nargs="?", help="sqlite:FILE or postgresql://… (else the site's own)")
    again.set_defaults(run=reopen)
    restored = verbs.add_parser(
        "restored", help="say that it was put back to an earlier state: the next start is careful"
    )
    restored.set_defaults(run=mark_restored)


def bring_up_to_date(args: argparse.Namespace) -> None:
    """Take the steps of the schema that can be taken; print each that was missing."""
    from mailforum.store import opening

    database = load_config(args).database
    todo = opening.missing(database)
    left = todo if args.dry_run else opening.bring_up_to_date(database, finish=args.finish)
    emit(args, [_row(step, step not in left, args.dry_run) for step in todo], ("step", "state", "older_programs"))
    if left and not args.dry_run:
        note("what waits is done when no older mailforum runs; --finish does it now")


def copy_database(args: argparse.Namespace) -> int:
    """Move everything from one database to another; print each table. 1 if one is not the same."""
    import time

    from mailforum.store.move.between import copy
    from mailforum.units import DatabaseUrl

    source, target = _url(args.source), _url(args.target)
    with progress("rows copied") as advance:
        moved = copy(source, target, advance, rehearsed_at=time.time() if args.while_served else None)
    emit(args, [_arrived(each, args.json) for each in moved.arrived], ("table", "rows", "bytes", "checksum", "same"))
    for place in moved.changed:
        note(f"a text with a NUL, which PostgreSQL cannot hold, has U+FFFD in its place: {place}")
    for delivery in moved.uncertain:
        note(f"delivery {delivery} was on its way when {DatabaseUrl(args.source)} ended, and may be sent twice")
    for fault in moved.faults():
        note(fault)
    if moved.faults():
        note("the copy is not whole, and stays closed")
    elif args.while_served:
        note("this was a rehearsal: what has come in meanwhile is missing, and what waits in the copy is paused")
    return int(bool(moved.faults()))


def reopen(args: argparse.Namespace) -> None:
    """Open a database again that was moved."""
    from mailforum.store.move.between import reopen

    opened = reopen(_url(args.url) if args.url else load_config(args).database)
    print("it can be served again; see that nobody serves the other" if opened else "it is open")


def mark_restored(args: argparse.Namespace) -> None:
    """Have the next start take the database for a copy that was put back."""
    from mailforum.store import fence

    write(args, lambda core, tx: fence.mark(tx, core.clock.now()))
    print("the next start pauses what waits: it may have been sent already")


def _url(text: str) -> str:
    """Read the URL of a database. Raises UsageError."""
    from mailforum.units import DatabaseUrl

    try:
        return DatabaseUrl.parse(text).connecting()
    except ValueError as error:
        raise UsageError(str(error)) from None


def _arrived(each: Arrived, json: bool) -> dict[str, object]:
    same = each.read == each.there
    return {
        "table": each.table,
        "rows": each.read.rows,
        "bytes": each.read.size,
        "checksum": each.read.text,
        "same": same if json else ("no", "yes")[same],
    }


def _row(step: Step, done: bool, dry_run: bool) -> dict[str, object]:
    waiting = "waits for older ones to stop" if step.finishes and not dry_run else "to be done"
    last = step.runs_with == step.number or step.finishes
    return {
        "step": step.name,
        "state": "done" if done else waiting,
        "older_programs": "have to be stopped before" if last else "go on",
        "runs_with": step.runs_with,
    }
