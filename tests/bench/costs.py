"""What a delivery and a post cost the hosts, PostgreSQL and its disk: for the arithmetic of docs/scaling.md."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import references
from tests.bench.place import AUTHOR, LIST, PATIENCE, Serving, asking, mail, make_site, relay, serving
from tests.bench.server import Server
from tests.bench.table import Row

MEMBERS, SENDERS, SIZE = 10, 8, 3072
_BEHIND = """SELECT (SELECT count(*) FROM post) - (SELECT count(*) FROM indexed)
                  + (SELECT count(*) FROM delivery WHERE done_at IS NULL)
                  + (SELECT count(*) FROM mailing WHERE fan_after < fan_last)"""


@dataclass(frozen=True)
class Used:
    """CPU of the host and of PostgreSQL in seconds, and bytes of WAL."""

    host: float
    database: float
    written: int

    def row(self, name: str, before: Used, times: int) -> Row:
        """Say what each of so many has taken since."""
        database = (self.database - before.database) / times * 1e6
        written = (self.written - before.written) / times / 1000
        beside = (f"PostgreSQL {database:,.0f} µs", f"WAL {written:,.2f} KB")
        return Row(f"costs of {name}", "", (self.host - before.host) / times * 1e6, beside)


def costs(server: Server, folder: Path, readers: int, posts: int, mails: int) -> list[Row]:
    """What each of these takes of one host and of the server; our own questions do not count."""

    numbers = itertools.count()

    def fan_out(host: Serving) -> None:
        for number in itertools.islice(numbers, posts):
            _, _, mailing = host.post(mail(f"{number}", 1024))
            host.until_sent(mailing, readers)

    def take_in(host: Serving) -> None:
        references.source(host.port, connections=SENDERS, mails=mails, size=SIZE, sender=AUTHOR, to=LIST)
        _until_done(host)

    def cost(name: str, members: int, personal: bool, run: Callable[[Serving], None], times: int) -> Row:
        with _site(folder / f"{members}{personal}", server.new(), members, personal) as host:
            run(host)  # what comes once, as a first page in the log after it is made, is over then
            before = _used(server, host)
            run(host)
            return _used(server, host).row(name, before, times)

    return [
        cost("a delivery, personal", readers, True, fan_out, readers * posts),
        cost("a delivery, 100 recipients a transaction", readers, False, fan_out, readers * posts),
        cost(f"a post of 3 KB to a list of {MEMBERS}: taken in, indexed, sent", MEMBERS, True, take_in, mails),
    ]


@contextlib.contextmanager
def _site(folder: Path, url: str, members: int, personal: bool) -> Iterator[Serving]:
    folder.mkdir()
    with relay() as port:
        make_site(
            folder, f"smtp://127.0.0.1:{port}", members, store_url=f'"{url}"', personal="true" if personal else "false"
        )
        with serving(folder, url) as host:
            yield host


def _used(server: Server, host: Serving) -> Used:
    assert isinstance(host.database, str)
    return Used(host.cpu, server.cpu - asking(host.database), server.written)


def _until_done(host: Serving) -> None:
    """Wait until all posts are in the index, and all deliveries are done."""
    end = time.monotonic() + PATIENCE
    while host.ask(_BEHIND):
        assert time.monotonic() < end, "the queue does not get empty"
        time.sleep(0.1)
