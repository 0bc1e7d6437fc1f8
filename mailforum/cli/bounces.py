"""`mailforum bounce`: members whose mail comes back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mailforum.cli.common import Commands, add_list, emit, find_list, read, safe, show, when, with_json, write

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import Failing, MailingList, Member
    from mailforum.store.bounces import Report
    from mailforum.store.database import Tx

SHOWN = 10  # failures of one member


def add(commands: Commands) -> None:
    """Add the command `bounce`."""
    verbs = commands.add_parser("bounce", help="members whose mail comes back").add_subparsers(
        metavar="VERB", required=True
    )
    ls = verbs.add_parser("ls", help="who it is on a list, the worst first, and what their servers said")
    add_list(ls)
    with_json(ls)
    ls.set_defaults(run=list_failing)
    one = verbs.add_parser("show", help="one member, and the last failures of their mail")
    with_json(one)
    one.set_defaults(run=show_failing)
    clear = verbs.add_parser("clear", help="forget all of it, and send them mail again")
    clear.set_defaults(run=clear_failing)
    for verb in (one, clear):
        add_list(verb)
        verb.add_argument("address", metavar="ADDRESS")


def _row(mlist: MailingList, address: str, failing: Failing, now: float) -> dict[str, object]:
    from mailforum.forum import scoring

    return {
        "address": address,
        "state": failing.state,
        "points": scoring.points(failing, now, mlist.settings),
        "limit": mlist.settings.bounce_limit,
        "last": when(failing.at),
        "status": failing.enhanced,
        "reply": failing.reply,
    }


def list_failing(args: argparse.Namespace) -> None:
    """Print the members of a list whose mail has come back."""
    from mailforum.store import bounces

    def find(core: Core, tx: Tx) -> list[dict[str, object]]:
        mlist, now = find_list(tx, args.list), core.clock.now()
        return [_row(mlist, address, failing, now) for address, failing in bounces.of_list(tx, mlist.id)]

    emit(args, read(args, find), ("address", "state", "points", "last", "reply"))


def show_failing(args: argparse.Namespace) -> None:
    """Print how it stands with one member's mail."""
    from mailforum.forum import admin
    from mailforum.model import Failing
    from mailforum.store import bounces

    def find(core: Core, tx: Tx) -> tuple[dict[str, object], Member, list[Report]]:
        mlist = find_list(tx, args.list)
        member = admin.find_member(tx, mlist, args.address)
        failing = bounces.failing(tx, member.id) or Failing(member.id, mlist.id, state="none")
        row = _row(mlist, member.address, failing, core.clock.now())
        return row, member, bounces.of_member(tx, mlist.id, member.id, SHOWN)

    row, member, reports = read(args, find)
    row["member"] = member.status.value
    if row["state"] == "none":
        row["last"] = None
    failures = [{"at": when(one.at), "kind": one.kind, "status": one.enhanced, "reply": one.reply} for one in reports]
    if args.json:
        show(args, row | {"failures": failures})
        return
    show(args, row)
    if failures:
        print()
        emit(args, failures, ("at", "kind", "status", "reply"))


def clear_failing(args: argparse.Namespace) -> None:
    """Start again with a member."""
    from mailforum.forum import admin, members

    def clear(core: Core, tx: Tx) -> Member:
        return members.reactivate(tx, admin.find_member(tx, find_list(tx, args.list), args.address))

    member = write(args, clear)
    print(f"{safe(member.address)} starts again; status {member.status.value}")
