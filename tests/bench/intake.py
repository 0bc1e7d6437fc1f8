"""How fast posts are taken in: durable, threaded and fanned out before each 250.

The list has ten members, so each post writes ten deliveries. They are not sent: the relay is an
address where nobody listens, at which the worker knocks with one delivery every few seconds.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench import references
from tests.bench.place import AUTHOR, LIST, NOWHERE, Row, make_site, serving
from tests.bench.transport import sink

MEMBERS = 10
SENDERS = 8
SIZE = 3072


def taken_in(folder: Path, posts: int, *, sending: bool = False) -> Row:
    """Post `posts` times with eight senders at once; with `sending` what is queued leaves meanwhile."""
    if not references.tool("smtp-source"):
        return Row("intake", "needs Postfix's smtp-source")
    if not sending:
        return _taken_in(folder, posts, NOWHERE, "intake, 8 senders, list of 10, 3 KiB")
    with sink() as port:
        return _taken_in(folder, posts, f"smtp://127.0.0.1:{port}", "the same while it is sent on")


def _taken_in(folder: Path, posts: int, relay: str, name: str) -> Row:
    make_site(folder, relay, MEMBERS)
    with serving(folder) as server:
        used, started = server.cpu, time.monotonic()
        references.source(server.port, connections=SENDERS, mails=posts, size=SIZE, sender=AUTHOR, to=LIST)
        seconds = time.monotonic() - started
        used = server.cpu - used
        rows = server.ask("SELECT count(*) FROM delivery")
        assert rows == posts * MEMBERS, f"{rows} deliveries of {posts} posts"
        syncs = references.syncs(folder)
        return Row(
            name,
            f"{posts / seconds:,.0f} posts/s",
            each=used / posts * 1e6,
            ratio=posts / seconds / syncs,
            beside=f"{syncs:,.0f} fdatasync/s here",
        )
