"""`mailforum store`: the database itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mailforum.cli.common import Commands, emit, load_config, note, with_json

if TYPE_CHECKING:
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


def bring_up_to_date(args: argparse.Namespace) -> None:
    """Take the steps of the schema that can be taken; print each that was missing."""
    from mailforum.store import opening

    database = load_config(args).database
    todo = opening.missing(database)
    left = todo if args.dry_run else opening.bring_up_to_date(database, finish=args.finish)
    emit(args, [_row(step, step not in left, args.dry_run) for step in todo], ("step", "state", "older_programs"))
    if left and not args.dry_run:
        note("what waits is done when no older mailforum runs; --finish does it now")


def _row(step: Step, done: bool, dry_run: bool) -> dict[str, object]:
    waiting = "waits for older ones to stop" if step.finishes and not dry_run else "to be done"
    last = step.runs_with == step.number or step.finishes
    return {
        "step": step.name,
        "state": "done" if done else waiting,
        "older_programs": "have to be stopped before" if last else "go on",
        "runs_with": step.runs_with,
    }
