"""`mailforum demo`: see it work in a minute, on this machine alone.

`__init__` the command · `folder` where it lives · `story` who sends what · `post_office` SMTP and the
Maildir as the members see them · `play` the show, step by step · `check` did it all arrive ·
`screen` how it looks · `stage` all of it together, and what ends it · `hints` what to try next
"""

from __future__ import annotations

import argparse

from mailforum.cli.common import Commands


def add(commands: Commands) -> None:
    """Add `demo`."""
    parser = commands.add_parser(
        "demo",
        help="show on this machine what mailforum does",
        description="Run a mailforum of its own in a folder of its own, play a discussion of five people by mail, "
        "and check that every mail arrived as it should. Nothing leaves this machine. Then it stays up, to be "
        "tried out, until Ctrl-C.",
    )
    parser.add_argument("--once", action="store_true", help="end after the show; exit code 1 if anything went wrong")
    parser.add_argument("--dir", metavar="DIR", help="the folder; an earlier demo there is replaced (else ./demo)")
    parser.add_argument("--port", metavar="N", type=_port, default=8025, help="SMTP port, or the next free one (8025)")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError("a port is a number up to 65535; 0 is any that is free")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Play the show; return 0 if everything arrived as it should, and 1 if not."""
    from mailforum.cli.demo import stage

    return stage.run(args)
