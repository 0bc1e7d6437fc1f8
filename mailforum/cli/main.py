"""The command `mailforum`: one parser, made of what each module of this folder adds."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import cache

from mailforum import __version__
from mailforum.cli import (
    admin,
    archive,
    audit,
    bounces,
    check,
    demo,
    export,
    hosts,
    intake,
    members,
    operate,
    posts,
    queue,
    rethread,
    search,
    store,
    threads,
    trace,
)
from mailforum.cli.common import Parser, explain, note
from mailforum.errors import MailforumError

MODULES = (
    operate,
    check,
    hosts,
    store,
    demo,
    admin,
    members,
    threads,
    posts,
    rethread,
    search,
    archive,
    export,
    queue,
    trace,
    audit,
    bounces,
    intake,
)


@cache
def parser() -> Parser:
    """Return the parser of the whole command line; made once, it takes longer than most commands."""
    root = Parser(prog="mailforum", description="Mailing lists and their archive, in one process and one file.")
    root.add_argument("--version", action="version", version=f"mailforum {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for module in MODULES:
        module.add(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 not done (one line says why), 2 wrong usage."""
    _prepare_streams()
    root = parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(root)
    try:
        code = _obey(root, argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except (MailforumError, OSError) as error:
        note(explain(error))
        return 1
    return code


def _prepare_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _obey(root: Parser, argv: Sequence[str] | None) -> int:
    try:
        args = root.parse_args(argv)
    except SystemExit as done:  # argparse has said what is wrong, or shown its help
        return int(done.code or 0)
    return int(args.run(args) or 0)
