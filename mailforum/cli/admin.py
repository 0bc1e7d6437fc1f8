"""`mailforum list` and `mailforum held`: lists, and the posts that wait for a moderator."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    add_list,
    complete_assignment,
    completes,
    counted,
    emit,
    find_list,
    load_config,
    note,
    read,
    run_core,
    safe,
    show,
    shown,
    when,
    with_json,
    write,
)
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import Held, MailingList, Post
    from mailforum.store.database import Tx

PRESETS = ("discussion", "announce", "private")  # forum/admin.py has what they mean; a test compares


def add(commands: Commands) -> None:
    """Add the commands `list` and `held`."""
    _add_list_commands(commands.add_parser("list", help="create, show and change lists"))
    _add_held_commands(commands.add_parser("held", help="posts that wait for a moderator"))


def _add_list_commands(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    create = verbs.add_parser("create", help="create a list")
    create.add_argument("address", metavar="ADDRESS", help="its address, or its name in the site's domain")
    create.add_argument("--title", metavar="T", default="", help="what people call it")
    create.add_argument("--preset", choices=PRESETS, default="discussion", help="what to start from")
    create.set_defaults(run=create_list)
    ls = verbs.add_parser("ls", help="all lists")
    with_json(ls)
    ls.set_defaults(run=list_lists)
    one = verbs.add_parser("show", help="one list with all its options")
    add_list(one)
    with_json(one)
    one.set_defaults(run=show_list)
    change = verbs.add_parser("set", help="change options of a list")
    add_list(change)
    assignments = change.add_argument("assignments", metavar="KEY=VALUE", nargs="+", help="for example footer=on")
    completes(assignments, _complete_option)
    change.set_defaults(run=set_list)
    delete = verbs.add_parser("delete", help="delete a list with its members and posts")
    add_list(delete)
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(run=delete_list)


def _add_held_commands(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    ls = verbs.add_parser("ls", help="what waits")
    add_list(ls, nargs="?")
    with_json(ls)
    ls.set_defaults(run=list_held)
    one = verbs.add_parser("show", help="one held post, to be read")
    with_json(one)
    one.set_defaults(run=show_held)
    approve = verbs.add_parser("approve", help="let it onto the list")
    approve.set_defaults(run=approve_held)
    reject = verbs.add_parser("reject", help="send it back, with a reason")
    reject.add_argument("--reason", metavar="T", default="", help="what its author is told")
    reject.set_defaults(run=reject_held)
    discard = verbs.add_parser("discard", help="throw it away without a word")
    discard.set_defaults(run=discard_held)
    for verb in (one, approve, reject, discard):
        verb.add_argument("id", metavar="ID", type=int, help="its number in `held ls`")


def create_list(args: argparse.Namespace) -> None:
    """Create a list and say how to go on."""
    from mailforum.forum import admin

    def create(core: Core, tx: Tx) -> admin.Created:
        return admin.create(tx, core.site, args.address, args.title, args.preset, core.clock.now())

    created = write(args, create)
    print(f"created {created.mlist.address}")
    for warning in created.warnings:
        note(f"warning: {warning}")


def list_lists(args: argparse.Namespace) -> None:
    """Print all lists with what they hold."""
    from mailforum.store import lists

    def rows(core: Core, tx: Tx) -> list[dict[str, object]]:
        return [{"address": each.address, "title": each.title, **lists.counts(tx, each.id)} for each in lists.every(tx)]

    emit(args, read(args, rows), ("address", "title", "members", "posts", "threads", "held"))


def show_list(args: argparse.Namespace) -> None:
    """Print a list's options with their help."""
    import msgspec

    from mailforum.forum import admin
    from mailforum.store import lists

    mlist, counts = read(args, lambda core, tx: ((found := find_list(tx, args.list)), lists.counts(tx, found.id)))
    about = {"address": mlist.address, **counts, "created": when(mlist.created_at)}
    values = {"title": mlist.title, **msgspec.to_builtins(mlist.settings)}
    if args.json:
        show(args, about | values)
        return
    show(args, about)
    for option in admin.options():
        print(f"\n{option.name} = {safe(shown(values[option.name]))}".rstrip())
        print(textwrap.fill(f"{option.help} ({option.takes}).", 78, initial_indent="    ", subsequent_indent="    "))


def set_list(args: argparse.Namespace) -> None:
    """Change options and print what they are now."""
    from mailforum.forum import admin

    def change(core: Core, tx: Tx) -> tuple[MailingList, MailingList]:
        before = find_list(tx, args.list)
        return before, admin.change(tx, before, args.assignments)

    before, after = write(args, change)
    print(f"changed {after.address}" if before != after else f"{after.address} was so already")
    if after.settings.language != before.settings.language:
        _check_language(args, after.settings.language)


def _check_language(args: argparse.Namespace, language: str) -> None:
    from mailforum.delivery.render import package_folder

    own = load_config(args).path(load_config(args).site.templates)
    if not any((folder / language).is_dir() for folder in (own, package_folder())):
        note(f"warning: there are no texts in `{language}`, so English ones are sent; put yours into {own / language}")


def delete_list(args: argparse.Namespace) -> None:
    """Delete a list; on a terminal ask first."""
    from mailforum.forum import search
    from mailforum.store import lists

    mlist, counts = read(args, lambda core, tx: ((found := find_list(tx, args.list)), lists.counts(tx, found.id)))
    what = f"{mlist.address} with {counted(counts['members'], 'member')} and {counted(counts['posts'], 'post')}"
    if not args.yes and sys.stdin.isatty() and not _agreed(f"Delete {what}? [y/N] "):
        raise UsageError("nothing was deleted")

    def delete_rest(tx: Tx) -> None:
        while search.forget_some(tx, mlist.id):
            pass
        lists.delete(tx, mlist.id)

    async def delete(core: Core) -> None:
        while await core.db.write(lambda tx: search.forget_some(tx, mlist.id) or lists.delete_some(tx, mlist.id)):
            pass  # mail for other lists may come between the steps
        await core.db.write(delete_rest)

    run_core(args, delete)
    print(f"deleted {what}")


def _agreed(question: str) -> bool:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _complete_option(prefix: str, **_: object) -> list[str]:
    """The Tab key: option names, and behind `=` the words that an option takes."""
    from mailforum.forum import admin

    return complete_assignment(prefix, {option.name: option.words for option in admin.options()})


def list_held(args: argparse.Namespace) -> None:
    """Print the posts that wait, of one list or of all."""
    from mailforum.store import intake, lists

    def rows(core: Core, tx: Tx) -> list[dict[str, object]]:
        addresses = {mlist.id: mlist.address for mlist in lists.every(tx)}
        list_id = find_list(tx, args.list).id if args.list else 0
        return [_held_row(held, addresses[held.list_id]) for held in intake.held(tx, list_id)]

    emit(args, read(args, rows), ("id", "list", "received", "from", "subject", "reason"))


def _held_row(held: Held, list_address: str) -> dict[str, object]:
    return {
        "id": held.id,
        "list": list_address,
        "received": when(held.received_at),
        "from": held.from_address,
        "subject": held.subject,
        "reason": held.reason,
        "message_id": held.message_id,
        "size": held.size,
    }


def show_held(args: argparse.Namespace) -> None:
    """Print a held post as a moderator reads it."""
    from mailforum.cli.posts import print_body, readable
    from mailforum.store import intake, lists

    def row(core: Core, tx: Tx) -> tuple[dict[str, object], bytes]:
        held = intake.held_by_id(tx, args.id)
        mlist = lists.by_id(tx, held.list_id) if held else None
        if held is None or mlist is None:
            raise UsageError(f"there is no held post {args.id} (any more)")
        return _held_row(held, mlist.address), intake.held_raw(tx, held.id)

    about, raw = read(args, row)
    body = readable(raw)
    if args.json:
        show(args, about | {"text": body.text})
        return
    show(args, about)
    print_body(body)


def approve_held(args: argparse.Namespace) -> None:
    """Post what was held."""
    from mailforum.forum import moderation

    def approve(core: Core, tx: Tx) -> Post:
        return moderation.approve(tx, args.id, core.clock.now())

    post = write(args, approve)
    print(f"approved: #{post.label} {safe(post.subject)}")


def reject_held(args: argparse.Namespace) -> None:
    """Refuse what was held, and tell its author."""
    from mailforum.forum import moderation

    def reject(core: Core, tx: Tx) -> Held:
        return moderation.reject(tx, args.id, args.reason, core.clock.now())

    held = write(args, reject)
    print(f"rejected: {safe(held.subject)}")


def discard_held(args: argparse.Namespace) -> None:
    """Throw away what was held."""
    from mailforum.forum import moderation

    held = write(args, lambda core, tx: moderation.discard(tx, args.id, core.clock.now()))
    print(f"discarded: {safe(held.subject)}")
