"""`mailforum export`: the posts of a list become a mailbox."""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mailforum.cli.common import Commands, add_list, find_list, progress, run_core, show, with_json
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.core import Core


def add(commands: Commands) -> None:
    """Add `export`."""
    parser = commands.add_parser(
        "export",
        help="write the posts of a list to a mailbox",
        description="Write all posts as they were taken in, in mboxrd format (also .gz, - for standard output).",
    )
    add_list(parser)
    parser.add_argument("file", metavar="FILE.mbox")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    with_json(parser)
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> None:
    """Write the file, which appears only when it is whole, and say what is in it."""
    if args.file == "-":
        run_core(args, lambda core: _export(core, args.list, sys.stdout.buffer))
        return
    path = Path(args.file)
    if path.exists() and not args.force:
        raise UsageError(f"{path} is there already; --force replaces it")
    with _replacing(path) as stream:
        count = run_core(args, lambda core: _export(core, args.list, stream))
    show(args, {"posts": count, "file": str(path), "bytes": path.stat().st_size})


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when all has gone well."""
    part = path.with_name(path.name + ".part")
    try:
        with ExitStack() as files:
            file: BinaryIO = files.enter_context(part.open("wb"))
            if path.suffix == ".gz":
                file = cast(BinaryIO, files.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0)))
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


async def _export(core: Core, name: str, stream: BinaryIO) -> int:
    from mailforum.forum import export
    from mailforum.mail import mbox

    mlist = await core.db.read(lambda tx: find_list(tx, name))
    count = 0
    with progress("posts") as advance:
        async for post, raw in export.give_out(core.db, mlist):
            mbox.write(stream, raw, sender=post.from_address, received=post.received_at)
            count += 1
            advance(count)
    return count
