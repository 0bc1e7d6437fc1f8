"""`mailforum export`: the posts of a list become a mailbox, or a file for programs."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

from mailforum.cli.common import Commands, add_list, progress, run_core, show, with_json
from mailforum.cli.listing import list_and_period
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import MailingList, Post
    from mailforum.store.database import Tx

_NAMES = "NAME.mbox (mboxrd), NAME.jsonl (JSON Lines), either with .gz, or NAME/ with the slash (a Maildir)"
_OTHERS = frozenset(".7z .bz2 .csv .eml .html .json .pst .rar .tar .tgz .txt .xz .zip .zst".split())  # noqa: SIM905
FORMATS = ("mbox", "maildir", "jsonl")
_LEVEL = 6  # of gzip; the highest takes twice as long for a hundredth

Put: TypeAlias = "Callable[[Post, bytes], int]"  # writes a post; returns how many bytes that took


def add(commands: Commands) -> None:
    """Add `export`."""
    parser = commands.add_parser(
        "export",
        help="write the posts of a list to a mailbox or a file",
        description="Write all posts, or some of them, as they were taken in, in order of arrival. It works while the "
        "server runs. The file or folder appears when it is whole; `mailforum import` reads it again.",
    )
    add_list(parser)
    parser.add_argument(
        "file", metavar="FILE", help=f"what it becomes is said by its name: {_NAMES}; - is standard output"
    )
    parser.add_argument("--format", choices=FORMATS, help="instead of what the name says")
    parser.add_argument(
        "--thread", metavar="ID", action="append", default=[], help="only this thread, such as 48; may be repeated"
    )
    parser.add_argument(
        "--since",
        metavar="DATE",
        help="only posts dated since then: 2026-01-31, 2026-01, 2026, 2026-01-31T14:30 (list's time zone), or 7d (ago)",
    )
    parser.add_argument("--until", metavar="DATE", help="only posts dated before the end of that day, month or year")
    parser.add_argument("--force", action="store_true", help="replace the file or the Maildir if it is there")
    with_json(parser)
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> None:
    """Write the file or the folder, and say what is in it."""
    form = args.format or _format(args.file)
    with _opened(args.file, form, force=args.force) as put:
        posts, size = run_core(args, lambda core: _export(core, args, put))
    if args.file != "-":
        path = Path(args.file)
        size = path.stat().st_size if path.is_file() else size
        show(args, {"posts": posts, "file": args.file, "format": form, "bytes": size})


async def _export(core: Core, args: argparse.Namespace, put: Put) -> tuple[int, int]:
    from mailforum.forum import export
    from mailforum.model import Selection

    mlist, during = await list_and_period(core, args)
    chosen = await core.db.read(lambda tx: Selection(_threads(tx, mlist, args.thread), during))
    posts = size = 0
    # On standard output stands what others read, and they may have the terminal.
    with progress("posts") if args.file != "-" else nullcontext(lambda done, total: None) as advance:
        async for post, raw in export.give_out(core.db, mlist, chosen, advance):
            size += put(post, raw)
            posts += 1
    return posts, size


def _threads(tx: Tx, mlist: MailingList, ids: list[str]) -> tuple[int, ...]:
    from mailforum.cli.posts import find_thread

    return tuple(find_thread(tx, mlist.address, text)[1].id for text in ids)


def _format(name: str) -> str:
    """Return what a file of that name becomes. Raises UsageError for a name that says something else."""
    if name.endswith("/"):
        return "maildir"
    ending = Path(name.removesuffix(".gz")).suffix
    if ending.lower() in _OTHERS:
        raise UsageError(f"{ending} is nothing that can be written; it may be {_NAMES}, or any other with --format")
    return "jsonl" if ending == ".jsonl" else "mbox"


@contextmanager
def _opened(name: str, form: str, *, force: bool) -> Iterator[Put]:
    """Open what is to be written; yields what writes a post into it."""
    from mailforum.cli.whole import new_file, new_maildir

    if form == "maildir":
        if name == "-":
            raise UsageError("a Maildir is a folder; it cannot go to standard output")
        with new_maildir(Path(name), force=force) as folder:
            yield partial(_put_in_maildir, folder)
    elif name == "-":
        yield partial(_PUT[form], sys.stdout.buffer)
    else:
        with new_file(Path(name), force=force) as file, _packed(file, name.endswith(".gz")) as stream:
            yield partial(_PUT[form], stream)


@contextmanager
def _packed(file: BinaryIO, pack: bool) -> Iterator[BinaryIO]:
    if not pack:
        yield file
        return
    with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        yield cast(BinaryIO, packed)


def _put_in_mbox(stream: BinaryIO, post: Post, raw: bytes) -> int:
    from mailforum.mail import mbox

    return mbox.write(stream, raw, received=post.received_at)


def _put_in_jsonl(stream: BinaryIO, post: Post, raw: bytes) -> int:
    from mailforum.mail import jsonl

    return jsonl.write(stream, post, raw)


_PUT = {"mbox": _put_in_mbox, "jsonl": _put_in_jsonl}


def _put_in_maildir(folder: Path, post: Post, raw: bytes) -> int:
    """Write a mail with LF line ends, as is the custom there, marked as seen.

    Its name says when it was received, and what is in it: the same list always gives the same names.
    """
    text = raw.replace(b"\r\n", b"\n")
    received = int(post.received_at)
    path = folder / "cur" / f"{received}.{hashlib.sha256(text).hexdigest()[:24]}.mailforum:2,S"
    path.write_bytes(text)
    os.utime(path, (received, received))
    return len(text)
