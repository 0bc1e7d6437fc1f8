"""`mailforum inject` and `mailforum shunt`: mail taken in without a socket, and mail kept aside."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    completes,
    emit,
    explain,
    list_addresses,
    note,
    read,
    run_core,
    safe,
    show,
    when,
    with_json,
    write,
)
from mailforum.cli.posts import print_body, readable, write_bytes
from mailforum.errors import Deferred, Refused, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import Outcome, Route, Shunted
    from mailforum.store.database import Tx

EX_TEMPFAIL = 75  # sysexits.h; mail servers keep the mail and try again


def add(commands: Commands) -> None:
    """Add the commands `inject` and `shunt`."""
    inject = commands.add_parser(
        "inject",
        help="take a mail in, as SMTP would",
        description="Takes a mail in, as SMTP would. Exits with 0 when it was taken for every recipient, "
        "75 when it may be later, and 1 when it was refused.",
    )
    inject.add_argument("--from", dest="mail_from", metavar="ADDRESS", help="envelope sender; '' is the null sender")
    to = inject.add_argument("--to", metavar="ADDRESS", action="append", nargs="+", required=True, help="recipients")
    completes(to, list_addresses)
    inject.add_argument("file", metavar="FILE", nargs="?", help="the mail; without it, or with -, standard input")
    inject.set_defaults(run=inject_mail)
    _add_shunt(commands.add_parser("shunt", help="mail kept aside, by a fault of ours or by an import"))


def _add_shunt(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    ls = verbs.add_parser("ls", help="what is kept")
    with_json(ls)
    ls.set_defaults(run=list_shunts)
    one = verbs.add_parser("show", help="one of them, to be read")
    one.add_argument("--raw", action="store_true", help="the mail as it came, byte by byte")
    with_json(one)
    one.set_defaults(run=show_shunt)
    retry = verbs.add_parser("retry", help="handle it again, or all of them")
    retry.add_argument("id", metavar="ID", type=int, nargs="?", help="its number in `shunt ls`")
    retry.set_defaults(run=retry_shunts)
    drop = verbs.add_parser("drop", help="throw it away")
    drop.set_defaults(run=drop_shunt)
    for verb in (one, drop):
        verb.add_argument("id", metavar="ID", type=int, help="its number in `shunt ls`")


def inject_mail(args: argparse.Namespace) -> int:
    """Take one mail in; print a line for each recipient."""
    rcpts, file = _recipients(args)
    raw = sys.stdin.buffer.read() if file in (None, "-") else Path(file or "").read_bytes()
    mail_from = _author(raw) if args.mail_from is None else args.mail_from
    try:
        outcomes = run_core(args, lambda core: take_in(core, mail_from, rcpts, raw))
    except Refused:
        raise
    except Exception as error:
        # Whatever goes wrong here is our fault: a mail server that pipes mail into us must keep it.
        note(explain(error))
        return EX_TEMPFAIL
    for outcome in outcomes:
        print(f"{safe(outcome.rcpt)}: {outcome.code} {outcome.enhanced} {safe(outcome.text)}")
    return _exit_code(outcomes)


def _recipients(args: argparse.Namespace) -> tuple[list[str], str | None]:
    """Return recipients and file: argparse takes a FILE behind `--to ADDRESS…` for one more address."""
    *first, last = args.to
    if args.file is None and len(last) > 1 and ("@" not in last[-1] or Path(last[-1]).is_file()):
        return [rcpt for group in first for rcpt in group] + last[:-1], last[-1]
    return [rcpt for group in args.to for rcpt in group], args.file


def _author(raw: bytes) -> str:
    """Without an envelope, who wrote a mail is who sent it."""
    from mailforum.forum import posts

    author = posts.parse(raw)[0].author
    return author.address if author else ""


def _exit_code(outcomes: list[Outcome]) -> int:
    if all(200 <= outcome.code < 300 for outcome in outcomes):
        return 0
    return EX_TEMPFAIL if any(400 <= outcome.code < 500 for outcome in outcomes) else 1


async def take_in(core: Core, mail_from: str, rcpts: list[str], raw: bytes) -> list[Outcome]:
    """Route and receive a mail as SMTP does; return one outcome for each recipient, in their order."""
    from mailforum.mail import address
    from mailforum.model import Envelope

    sender = address.envelope(mail_from)
    routes: dict[str, Route] = {}
    outcomes: dict[str, Outcome] = {}
    for rcpt in rcpts:
        try:
            routes[rcpt] = await core.intake.route(_envelope_rcpt(rcpt))
        except (Refused, Deferred) as error:
            outcomes[rcpt] = _outcome(rcpt, error)
    if routes:
        # As in LMTP each recipient has an answer of its own, so nobody needs to be told by mail.
        envelope = Envelope(sender, tuple(routes.values()), peer="inject", lmtp=True, id=core.ids.new())
        try:
            if len(raw) > core.site.max_size:
                raise Refused("The mail is too large", code=552, enhanced="5.3.4")
            outcomes |= zip(routes, await core.intake.receive(envelope, raw), strict=True)
        except (Refused, Deferred) as error:
            outcomes |= {rcpt: _outcome(rcpt, error) for rcpt in routes}
    return [outcomes[rcpt] for rcpt in rcpts]


def _envelope_rcpt(text: str) -> str:
    from mailforum.mail import address

    rcpt = address.envelope(text)
    if not rcpt:
        raise Refused("The address is missing", code=501, enhanced="5.1.3")
    return rcpt


def _outcome(rcpt: str, error: Refused | Deferred) -> Outcome:
    from mailforum.model import Outcome

    return Outcome(rcpt, error.code, error.enhanced, error.text, error.reason)


def _shunt_row(shunt: Shunted) -> dict[str, object]:
    return {
        "id": shunt.id,
        "at": when(shunt.at),
        "times": shunt.times,
        "mail_from": shunt.mail_from,
        "rcpts": list(shunt.rcpts),
        "reason": shunt.reason,
        "size": shunt.size,
    }


def list_shunts(args: argparse.Namespace) -> None:
    """Print what is kept aside."""
    from mailforum.store import intake

    found = read(args, lambda core, tx: intake.shunts(tx))
    rows = [_shunt_row(shunt) for shunt in found]
    if not args.json:
        rows = [row | {"rcpts": ", ".join(shunt.rcpts)} for row, shunt in zip(rows, found, strict=True)]
    emit(args, rows, ("id", "at", "times", "mail_from", "rcpts", "reason"))


def show_shunt(args: argparse.Namespace) -> None:
    """Print one mail that is kept aside."""
    from mailforum.store import intake

    shunt, raw = read(args, lambda core, tx: (_find(tx, args.id), intake.shunt_raw(tx, args.id)))
    if args.raw:
        write_bytes(raw)
        return
    show(args, _shunt_row(shunt))
    if not args.json:
        print_body(readable(raw))


def _find(tx: Tx, shunt_id: int) -> Shunted:
    from mailforum.store import intake

    shunt = intake.shunt_by_id(tx, shunt_id)
    if shunt is None:
        raise UsageError(f"nothing is kept aside as {shunt_id} (any more)")
    return shunt


def retry_shunts(args: argparse.Namespace) -> int:
    """Handle what is kept aside once more; 1 if some of it still cannot be."""
    return run_core(args, lambda core: _retry_all(core, args.id))


async def _retry_all(core: Core, shunt_id: int | None) -> int:
    from mailforum.store import intake

    waiting = await core.db.read(lambda tx: [_find(tx, shunt_id)] if shunt_id is not None else intake.shunts(tx))
    if not waiting:
        print("nothing is kept aside")
    return int(not all([await _retry(core, shunt) for shunt in waiting]))


async def _retry(core: Core, shunt: Shunted) -> bool:
    """Handle one mail; let go of it once it was taken or, by the rules, refused."""
    from mailforum.forum import archive
    from mailforum.store import intake

    raw = await core.db.read(lambda tx: intake.shunt_raw(tx, shunt.id))
    if report := await archive.again(core.db, shunt, raw, core.clock):
        print(f"{shunt.id} {safe(report.named[0].reason) if report.bad else 'is on its list now'}")
        return not report.bad
    outcomes = await take_in(core, shunt.mail_from, list(shunt.rcpts), raw)
    for outcome in outcomes:
        print(f"{shunt.id} {safe(outcome.rcpt)}: {outcome.code} {outcome.enhanced} {safe(outcome.text)}")
    taken = any(outcome.code < 300 for outcome in outcomes) and all(not 400 <= o.code < 500 for o in outcomes)
    if taken:
        await core.db.write(lambda tx: intake.unshunt(tx, shunt.id), ())
    return taken


def drop_shunt(args: argparse.Namespace) -> None:
    """Throw away what is kept aside."""
    from mailforum.store import intake

    if not write(args, lambda core, tx: intake.unshunt(tx, args.id)):
        raise UsageError(f"nothing is kept aside as {args.id} (any more)")
    print(f"dropped {args.id}")
