"""`mailforum member`: who is on a list."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    add_list,
    complete_assignment,
    completes,
    emit,
    find_list,
    list_addresses,
    note,
    progress,
    read,
    run_core,
    safe,
    show,
    when,
    with_json,
    write,
)
from mailforum.errors import Refused, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.roster import Entry
    from mailforum.model import MailingList, Member
    from mailforum.store.database import Tx

ROLES = ("member", "moderator", "owner")
MODES = ("each", "digest", "none")
BATCH = 500  # members added in one transaction, so that mail that comes in meanwhile need not wait
COLUMNS = ("address", "name", "role", "mode", "status")


def add(commands: Commands) -> None:
    """Add the command `member`."""
    verbs = commands.add_parser("member", help="who is on a list").add_subparsers(metavar="VERB", required=True)
    _add_changes(verbs)
    _add_listings(verbs)
    load = verbs.add_parser("import", help="add many, from CSV with a header or one address a line")
    add_list(load)
    load.add_argument("file", metavar="FILE", help="- for standard input")
    load.add_argument("--dry-run", action="store_true", help="only say what would be done")
    load.add_argument("--welcome", action="store_true", help="send each the welcome")
    _add_role_and_mode(load)
    load.set_defaults(run=import_members)
    export = verbs.add_parser("export", help="all members as CSV, to standard output")
    add_list(export)
    export.set_defaults(run=export_members)


def _add_changes(verbs: Commands) -> None:
    new = verbs.add_parser("add", help="add members")
    add_list(new)
    new.add_argument("addresses", metavar="ADDRESS", nargs="+", help="bob@example.org, or 'Bob <bob@example.org>'")
    new.add_argument("--no-welcome", action="store_true", help="send no welcome")
    _add_role_and_mode(new)
    new.set_defaults(run=add_members)
    remove = verbs.add_parser("remove", help="take members off a list")
    add_list(remove)
    remove.add_argument("addresses", metavar="ADDRESS", nargs="+")
    remove.set_defaults(run=remove_members)
    change = verbs.add_parser("set", help="change role, mode, status, name or own_posts of a member")
    add_list(change)
    change.add_argument("address", metavar="ADDRESS")
    assignments = change.add_argument("assignments", metavar="KEY=VALUE", nargs="+", help="for example mode=digest")
    completes(assignments, _complete_setting)
    change.set_defaults(run=set_member)


def _add_listings(verbs: Commands) -> None:
    ls = verbs.add_parser("ls", help="the members of a list")
    add_list(ls)
    ls.add_argument("--role", choices=ROLES, help="only these")
    ls.add_argument("--mode", choices=MODES, help="only these")
    with_json(ls)
    ls.set_defaults(run=list_members)
    one = verbs.add_parser("show", help="one member, on one list or on all")
    completes(one.add_argument("list", metavar="LIST", nargs="?", help="without it: all lists"), list_addresses)
    one.add_argument("address", metavar="ADDRESS")
    with_json(one)
    one.set_defaults(run=show_member)


def _add_role_and_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=ROLES, default="member", help="what they may do")
    parser.add_argument("--mode", choices=MODES, default="each", help="how they read the list")


def add_members(args: argparse.Namespace) -> int:
    """Add each address and say what became of it; 1 if one of them cannot be a member."""
    from mailforum.forum import roster

    entries = [roster.person(text) for text in args.addresses]

    def add_all(core: Core, tx: Tx) -> list[str]:
        mlist = find_list(tx, args.list)
        return [_add(core, tx, mlist, entry, args, welcome=not args.no_welcome) for entry in entries]

    results = write(args, add_all)
    for entry, problem in zip(entries, results, strict=True):
        if problem in ("", ALREADY):
            print(f"{safe(entry.address)} {problem or 'added'}")
        else:
            note(f"{safe(entry.address)}: {problem}")
    return int(any(problem not in ("", ALREADY) for problem in results))


ALREADY = "is a member already"


def _add(core: Core, tx: Tx, mlist: MailingList, entry: Entry, args: argparse.Namespace, *, welcome: bool) -> str:
    """Add one person; return "", or why not."""
    from mailforum.forum import members
    from mailforum.model import Mode, Role

    if entry.error:
        return entry.error
    try:
        to = members.subscriber(tx, entry.address, core.site)
    except Refused as refused:
        return refused.text
    member = members.add(
        tx,
        mlist,
        to,
        core.clock.now(),
        name=entry.name,
        role=entry.role or Role(args.role),
        mode=entry.mode or Mode(args.mode),
        welcome=welcome,
    )
    return "" if member else ALREADY


def remove_members(args: argparse.Namespace) -> int:
    """Take each address off the list; 1 if one of them is not on it."""
    from mailforum.mail import address
    from mailforum.store import lists

    def remove(core: Core, tx: Tx) -> tuple[MailingList, list[bool]]:
        mlist = find_list(tx, args.list)
        found = [lists.member(tx, mlist.id, address.key(text)) for text in args.addresses]
        for member in filter(None, found):
            lists.remove_member(tx, member.id)
        return mlist, [member is not None for member in found]

    mlist, removed = write(args, remove)
    for text, done in zip(args.addresses, removed, strict=True):
        if done:
            print(f"{safe(text)} removed")
        else:
            note(f"{safe(text)} is no member of {mlist.address}")
    return int(not all(removed))


def set_member(args: argparse.Namespace) -> None:
    """Change what a member has."""
    from mailforum.forum import admin

    def change(core: Core, tx: Tx) -> Member:
        member = admin.find_member(tx, find_list(tx, args.list), args.address)
        return admin.change_member(tx, member, args.assignments)

    print(f"changed {safe(write(args, change).address)}")


def _complete_setting(prefix: str, **_: object) -> list[str]:
    from mailforum.forum import admin

    return complete_assignment(prefix, {option.name: option.words for option in admin.MEMBER_OPTIONS.values()})


def _row(member: Member) -> dict[str, object]:
    return {
        "address": member.address,
        "name": member.name,
        "role": member.role.value,
        "mode": member.mode.value,
        "status": member.status.value,
        "own_posts": member.own_posts,
        "joined": when(member.joined_at),
    }


def list_members(args: argparse.Namespace) -> None:
    """Print the members of a list."""
    from mailforum.store import lists

    found = read(args, lambda core, tx: lists.members(tx, find_list(tx, args.list).id))
    rows = [_row(member) for member in found if args.role in (None, member.role) and args.mode in (None, member.mode)]
    emit(args, rows, COLUMNS)


def show_member(args: argparse.Namespace) -> None:
    """Print a member, once for each list."""
    from mailforum.forum import admin
    from mailforum.mail import address
    from mailforum.store import lists

    def find(core: Core, tx: Tx) -> list[tuple[str, Member]]:
        if args.list is None:
            return lists.memberships(tx, address.key(args.address))
        mlist = find_list(tx, args.list)
        return [(mlist.address, admin.find_member(tx, mlist, args.address))]

    found = read(args, find)
    if not found:
        raise UsageError(f"{args.address} is on no list")
    for list_address, member in found:
        show(args, {"list": list_address, **_row(member)})


def import_members(args: argparse.Namespace) -> int:
    """Add everybody in a file, some hundred a transaction; 1 if some lines could not be used."""
    from mailforum.forum import roster

    data = sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
    entries = list(roster.read(data))
    results = run_core(args, lambda core: _import(core, args, entries))
    for entry, problem in zip(entries, results, strict=True):
        if problem not in ("", ALREADY):
            note(f"{args.file}, line {entry.line}: {safe(entry.address)}{': ' if entry.address else ''}{problem}")
    kinds = Counter("added" if not result else "already" if result == ALREADY else "bad" for result in results)
    verb = "would be added" if args.dry_run else "added"
    print(f"{kinds['added']} {verb}, {kinds['already']} members already, {kinds['bad']} lines not usable")
    return int(kinds["bad"] > 0)


async def _import(core: Core, args: argparse.Namespace, entries: Sequence[Entry]) -> list[str]:
    """Return for each entry "", or why it was not added."""
    mlist = await core.db.read(lambda tx: find_list(tx, args.list))
    seen: set[str] = set()

    def one(tx: Tx, entry: Entry) -> str:
        if args.dry_run:
            return _try(core, tx, mlist, entry, seen)
        return _add(core, tx, mlist, entry, args, welcome=args.welcome)

    def some(batch: Sequence[Entry], tx: Tx) -> list[str]:
        return [one(tx, entry) for entry in batch]

    results: list[str] = []
    do = core.db.read if args.dry_run else core.db.write
    with progress(f"importing into {mlist.address}") as advance:
        for start in range(0, len(entries), BATCH):
            results += await do(partial(some, entries[start : start + BATCH]))
            advance(len(results), len(entries))
    return results


def _try(core: Core, tx: Tx, mlist: MailingList, entry: Entry, seen: set[str]) -> str:
    """Say what `_add` would, changing nothing; `seen` has the keys of those before."""
    from mailforum.forum import members
    from mailforum.mail import address
    from mailforum.store import lists

    if entry.error:
        return entry.error
    try:
        key = address.key(members.subscriber(tx, entry.address, core.site))
    except Refused as refused:
        return refused.text
    if key in seen or lists.member(tx, mlist.id, key):
        return ALREADY
    seen.add(key)
    return ""


def export_members(args: argparse.Namespace) -> None:
    """Print the members as CSV that `import` reads."""
    import csv

    from mailforum.store import lists

    found = read(args, lambda core, tx: lists.members(tx, find_list(tx, args.list).id))
    writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(member) for member in found)
