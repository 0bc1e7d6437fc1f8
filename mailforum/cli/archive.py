"""`mailforum import`: an archive of old mails becomes posts of a list."""

from __future__ import annotations

import argparse
import gzip
import io
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mailforum.cli.common import Commands, add_list, find_list, progress, run_core, safe, show, when, with_json
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.archive import Mail, Report


def add(commands: Commands) -> None:
    """Add `import`."""
    parser = commands.add_parser(
        "import",
        help="take an archive of old mails into a list",
        description="Store and thread the mails of an mbox file (also .gz, - for standard input) or a Maildir. "
        "They are sent to nobody. What the list has already is left out, so it may be run again.",
    )
    add_list(parser)
    parser.add_argument("source", metavar="FILE.mbox|MAILDIR")
    parser.add_argument("--keep-quoted", action="store_true", help="leave lines `>From ` of the file as they are")
    with_json(parser)
    parser.set_defaults(run=run_import)


def run_import(args: argparse.Namespace) -> None:
    """Import, and say what has become of it."""
    started = time.monotonic()
    with ExitStack() as files:
        mails = _mails(files, args.source, unquote=not args.keep_quoted)
        report = run_core(args, lambda core: _import(core, args.list, mails))
    _tell(args, report, time.monotonic() - started)


async def _import(core: Core, name: str, mails: Iterator[Mail]) -> Report:
    from mailforum.forum import archive

    mlist = await core.db.read(lambda tx: find_list(tx, name))
    with progress("mails") as advance:
        return await archive.take_in(
            core.db, mlist, mails, core.clock, core.intake.room, lambda report: advance(report.mails)
        )


def _tell(args: argparse.Namespace, report: Report, seconds: float) -> None:
    row: dict[str, object] = {
        "imported": report.imported,
        "threads": report.threads,
        "duplicates": report.duplicates,
        "bad": report.bad,
        "first": None if report.first is None else when(report.first),
        "last": None if report.last is None else when(report.last),
        "seconds": round(seconds, 1),
        "rate": round(report.mails / max(seconds, 0.001)),
    }
    if args.json:
        row["problems"] = [{"where": bad.where, "reason": bad.reason} for bad in report.named]
    show(args, row)
    if not args.json:
        for bad in report.named:
            print(f"  {safe(bad.where)}: {safe(bad.reason)}")
        if report.bad > len(report.named):
            print(f"  and {report.bad - len(report.named)} more; `mailforum shunt` shows all that were kept aside")


def _mails(files: ExitStack, source: str, *, unquote: bool) -> Iterator[Mail]:
    """Open a mailbox, to be closed by `files`. Raises UsageError for what is none."""
    path = Path(source)
    if source == "-":
        return _of_mbox(_unpacked(files, cast(io.BufferedReader, sys.stdin.buffer)), unquote)
    if path.is_dir():
        folders = [path / name for name in ("new", "cur") if (path / name).is_dir()]
        if not folders:
            raise UsageError(f"{source} is a folder, but no Maildir: it has neither new/ nor cur/")
        return _of_maildir(folders)
    return _of_mbox(_unpacked(files, files.enter_context(path.open("rb"))), unquote)


def _unpacked(files: ExitStack, stream: io.BufferedReader) -> BinaryIO:
    if stream.peek(2).startswith(b"\x1f\x8b"):
        return cast(BinaryIO, files.enter_context(gzip.GzipFile(fileobj=stream)))
    return stream


def _of_mbox(stream: BinaryIO, unquote: bool) -> Iterator[Mail]:
    from mailforum.forum.archive import Mail
    from mailforum.mail import mbox

    number = 0
    try:
        for number, entry in enumerate(mbox.read(stream, unquote=unquote), 1):
            fault = "It is too large." if entry.cut else ""
            yield Mail(f"mail {number}, at byte {entry.offset}", entry.raw, entry.received, fault)
    except (EOFError, OSError, zlib.error) as error:
        yield Mail(f"behind mail {number}", b"", fault=f"The file cannot be read any further: {error}")


def _of_maildir(folders: list[Path]) -> Iterator[Mail]:
    """Yield the mails of a Maildir in the order they were delivered, which their names begin with."""
    from mailforum.forum.archive import Mail
    from mailforum.mail import mbox

    for path in sorted(_files(folders), key=_delivered):
        try:
            with path.open("rb") as file:
                raw = file.read(mbox.LIMIT + 1)
            fault = "It is too large." if len(raw) > mbox.LIMIT else ""
            yield Mail(str(path), raw, _delivered(path)[0] or path.stat().st_mtime, fault)
        except OSError as error:
            yield Mail(str(path), b"", fault=error.strerror or "It cannot be read.")


def _files(folders: list[Path]) -> Iterator[Path]:
    return (file for folder in folders for file in folder.iterdir() if file.is_file())


def _delivered(path: Path) -> tuple[int, str]:
    """Return when a mail was delivered, in seconds since the epoch or 0, and its name."""
    seconds = path.name.partition(".")[0]
    return int(seconds) if seconds.isdecimal() and len(seconds) <= 10 else 0, path.name
