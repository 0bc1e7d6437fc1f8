"""`mailforum import`: archives of old mails become posts of a list."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    add_list,
    counted,
    find_list,
    note,
    progress,
    run_core,
    safe,
    show,
    when,
    with_json,
)
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.archive import Report
    from mailforum.forum.looking import Looker

_FORMATS = "mbox mboxrd mboxo mboxcl mboxcl2 maildir mh eml public-inbox pipermail jsonl".split()  # noqa: SIM905
_SHOWN = 12  # charsets
_UNKNOWN = 5  # files


def add(commands: Commands) -> None:
    """Add `import`."""
    parser = commands.add_parser(
        "import",
        help="take archives of old mails into a list",
        description="Store and thread the mails of archives: mbox files of all kinds, Maildir, MH, folders of .eml, "
        "public-inbox, Pipermail's monthly texts, JSON Lines, whole trees of these, packed or not (.gz, .bz2, .xz, "
        ".tar, .zip); - is standard input. They are sent to nobody. What the list has already is left out, so it may "
        "be run again.",
    )
    add_list(parser)
    parser.add_argument("source", metavar="SOURCE", nargs="+", help="a file or a folder")
    parser.add_argument("--format", choices=_FORMATS, metavar="FORMAT", help=f"what they are: {', '.join(_FORMATS)}")
    parser.add_argument("--keep-quoted", action="store_true", help="leave lines `>From ` of an mbox as they are")
    parser.add_argument(
        "--charset", default="windows-1252", metavar="NAME", help="of Pipermail's texts that are not UTF-8"
    )
    with_json(parser)
    parser.set_defaults(run=run_import)


def run_import(args: argparse.Namespace) -> None:
    """Import, and say what has become of it."""
    from mailforum.archives.source import NO_MAIL

    started = time.monotonic()
    try:
        report, memory = run_core(args, lambda core: _import(core, args))
    except KeyboardInterrupt:
        note("stopped; what was imported stays, and the same command goes on with the rest")
        raise
    if not report.mails - report.left_out[NO_MAIL] and report.left_out[NO_MAIL]:
        seen = counted(report.left_out[NO_MAIL], "file")
        raise UsageError(f"there is no mail in {', '.join(args.source)}: {seen} looked at, of no kind that holds mails")
    _tell(args, report, time.monotonic() - started, memory)


async def _import(core: Core, args: argparse.Namespace) -> tuple[Report, int]:
    """Return what has become of the mails, and the MiB of memory that took."""
    from mailforum.archives import tree
    from mailforum.archives.source import Meter, Reading
    from mailforum.forum import archive
    from mailforum.forum.looking import Looker
    from mailforum.mail import words

    if not words.charset(args.charset):
        raise UsageError(f"{args.charset} is no charset that Python knows")
    mlist = await core.db.read(lambda tx: find_list(tx, args.list))
    how = Reading(args.format or "", not args.keep_quoted, args.charset, mlist.address)
    total, meter = tree.check(args.source, how), Meter()
    mails = tree.mails(args.source, how, meter)
    with progress("mails") as advance, closing(Looker(mlist, _cores())) as looker:
        report = await archive.take_in(
            core.db,
            mlist,
            mails,
            core.clock,
            core.intake.room,
            lambda report: advance(report.mails, share=meter.done / total if total else 0.0),
            looker,
        )
    return report, _peak(looker)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(args: argparse.Namespace, report: Report, seconds: float, memory: int) -> None:
    row: dict[str, object] = {
        "imported": report.imported,
        "threads": report.threads,
        "new_threads": report.opened,
        "duplicates": report.duplicates,
        "left_out": report.left_out.total(),
        "repaired": report.repaired.total(),
        "bad": report.bad,
        "ghosts": report.ghosts,
        "first": None if report.first is None else when(report.first),
        "last": None if report.last is None else when(report.last),
        "seconds": round(seconds, 1),
        "rate": round(report.mails / max(seconds, 0.001)),
        "memory_mib": memory,
    }
    kinds = {"left_out": report.left_out, "repaired": report.repaired, "charsets": report.charsets}
    if args.json:
        row |= {name: dict(found.most_common()) for name, found in kinds.items()}
        row["unknown"] = list(report.unknown)
        row["problems"] = [{"where": bad.where, "reason": bad.reason} for bad in report.named]
    show(args, row)
    if not args.json:
        for line in _details(report, kinds):
            print(line)


def _details(report: Report, kinds: dict[str, Counter[str]]) -> Iterator[str]:
    for name, found in kinds.items():
        if found:
            yield f"{name.replace('_', ' ')}:"
            yield from (f"  {safe(kind)}: {count}" for kind, count in found.most_common(_SHOWN))
            more = len(found) - _SHOWN
            yield from [f"  and {more} more"] if more > 0 else []
    if report.unknown:
        yield "no mail, such as:"
        yield from (f"  {safe(where)}" for where in report.unknown[:_UNKNOWN])
    if report.ghosts:
        yield "A ghost is a mail that others answer and that is not here; should it come, it finds its place."
    if report.bad:
        yield "bad, and not imported:"
        yield from (f"  {safe(bad.where)}: {safe(bad.reason)}" for bad in report.named)
    if report.bad > len(report.named):
        yield f"  and {report.bad - len(report.named)} more; `mailforum shunt` shows all that were kept aside"


def _peak(looker: Looker) -> int:
    """Return the most memory that we and the process that helped have used, in MiB."""
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return round((ours + looker.peak) / 1024**2)
