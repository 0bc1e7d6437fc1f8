"""`mailforum search` and `mailforum reindex`: full-text search on a list."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailforum.cli.common import (
    Commands,
    add_list,
    as_json,
    counted,
    find_list,
    note,
    progress,
    run_core,
    safe,
    when,
    with_json,
)
from mailforum.cli.posts import post_row
from mailforum.errors import Deferred, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.forum.search import Found, Hit
    from mailforum.store.match import Query

_PHRASE = re.compile(r"(-?(?:[A-Za-z]++:)?)(.*)", re.DOTALL)
AT_ONCE = 2000  # posts that a search puts into the index itself, where no server has done so


def add(commands: Commands) -> None:
    """Add `search` and `reindex`."""
    parser = commands.add_parser(
        "search",
        help="find posts by their words",
        description='Looks for words, "phrases", beginnings*, -without, one OR another; and for author:NAME, '
        "subject:WORD, since:2024-06, until:2024-06-15, thread:48, has:attachment. The best are first.",
    )
    # Without this `-draft` would be taken for an option; argparse knows such words only as negative numbers.
    parser._negative_number_matcher = re.compile(r"-[^-]")
    add_list(parser)
    parser.add_argument("words", metavar="WORD", nargs="+", help="what to look for")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many posts to show (20)")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="how many of the best to leave out")
    parser.add_argument("--newest", action="store_true", help="by date instead, the newest first")
    with_json(parser)
    parser.set_defaults(run=search)

    parser = commands.add_parser("reindex", help="make the index of full-text search anew, from all posts")
    parser.set_defaults(run=reindex)


def search(args: argparse.Namespace) -> None:
    """Print what is found, with the part of each text that says why."""
    from mailforum.forum import query

    if args.limit < 1 or args.skip < 0:
        raise UsageError("--limit is at least 1, and --skip at least 0")
    wanted = query.parse(_as_typed(args.words))
    found, waiting = run_core(args, lambda core: _search(core, args, wanted))
    for hit in found.hits:
        if args.json:
            print(as_json({**post_row(hit.post), "snippet": hit.snippet.text, "marks": hit.snippet.marks}))
        else:
            _print(hit)
    if not args.json:
        print(_summary(found, args.skip))
    if waiting:
        note(f"{counted(waiting, 'post')} cannot be found yet: the server is still putting them into the index")


def _as_typed(words: Sequence[str]) -> str:
    """Give phrases their quotes back, which the shell has taken: `author:"Ada Lovell" budget`. A single argument
    is the whole search."""
    if len(words) == 1:
        return words[0]
    return " ".join(_PHRASE.sub(r'\1"\2"', word) if " " in word and '"' not in word else word for word in words)


async def _search(core: Core, args: argparse.Namespace, wanted: Query) -> tuple[Found, int]:
    from mailforum.forum import search

    mlist = await core.db.read(lambda tx: find_list(tx, args.list))
    waiting = await _catch_up(core)
    found = await core.db.read(lambda tx: search.find(tx, mlist, wanted, args.limit, args.skip, newest=args.newest))
    return found, waiting


async def _catch_up(core: Core) -> int:
    """Put into the index what the server has not yet, or what came while none ran; return how many posts wait then."""
    from mailforum.forum import search
    from mailforum.store.search import count_waiting

    with contextlib.suppress(Deferred):  # what is in the index can be found all the same
        return await search.catch_up(core.db, AT_ONCE)
    return await core.db.read(count_waiting)


def _print(hit: Hit) -> None:
    post = hit.post
    author = post.from_name or post.from_address
    print(f"#{post.label}  {when(post.date)[:10]}  {safe(author)}: {safe(post.subject)}")
    if hit.snippet.text:
        print(f"    {_marked(hit)}")


def _marked(hit: Hit) -> str:
    """Return the snippet; on a terminal what was looked for is bold."""
    text = safe(hit.snippet.text)  # of the same length
    if not sys.stdout.isatty():
        return text
    for start, end in reversed(hit.snippet.marks):
        text = f"{text[:start]}\x1b[1m{text[start:end]}\x1b[0m{text[end:]}"
    return text


def _summary(found: Found, skip: int) -> str:
    total = f"{'more than ' if found.more else ''}{counted(found.total, 'post')}"
    if not found.hits:
        return f"nothing more, of {total}" if found.total else "nothing was found"
    first, last = skip + 1, skip + len(found.hits)
    return total if (first, last) == (1, found.total) else f"{first} to {last} of {total}"


def reindex(args: argparse.Namespace) -> None:
    """Make the index anew, beside a server if one runs."""
    print(f"{counted(run_core(args, _reindex), 'post')} can be found")


async def _reindex(core: Core) -> int:
    from mailforum.forum import search

    total = await core.db.write(search.start_anew)
    done = 0
    with progress("posts") as advance:
        while step := await search.index_some(core.db):
            done += step
            advance(done, total)
    return total
