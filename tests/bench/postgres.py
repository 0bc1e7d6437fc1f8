"""Measure mailforum on PostgreSQL, as a table: `python -m tests.bench.postgres [--quick] [NAME ...]`.

The server (server.py) shares the cores with the hosts, the senders and the sinks, so beside each figure stands what
the same run makes on SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg

from mailforum.store.claims import BEGINNING, Claimant, Progress, take
from mailforum.store.database import Tx
from mailforum.store.opening import open_database
from mailforum.store.queue import Taken
from tests.bench import quota, references
from tests.bench.costs import costs
from tests.bench.place import AUTHOR, LIST, NOWHERE, SMALL_LIST, Serving, mail, make_site, processes, relay, serving
from tests.bench.server import Server
from tests.bench.server import running as postgres
from tests.bench.table import Row, at_least, at_most, head, share, show

MEMBERS, SENDERS, SIZE = 10, 8, 3072
HELD = 0.3  # of a core for each host: then two hosts leave enough to PostgreSQL, senders and relay on two cores


def taken_in(server: Server, folder: Path, posts: int) -> list[Row]:
    """Posts taken in for one list and for two, by one host and by two, with as many senders in all."""
    return [
        row
        for lists in ((LIST,), (LIST, SMALL_LIST))
        for row in _taken_in(server, folder / f"{len(lists)}", posts, lists)
    ]


def _taken_in(server: Server, folder: Path, posts: int, lists: tuple[str, ...]) -> list[Row]:
    folder.mkdir()
    alone, each = _intake(folder / "sqlite", "", posts, 1, lists)
    one, one_each = _intake(folder / "one", server.new(), posts, 1, lists)
    two, two_each = _intake(folder / "two", server.new(), posts, 2, lists)
    name = _posts_in(lists)
    beside = (share(one, alone, "SQLite"), f"there {each:,.0f} µs")
    return [
        Row(f"{name}, one host", f"{one:,.0f}/s", one_each, beside, (at_least(one, 500),)),
        Row(f"{name}, two hosts", f"{two:,.0f}/s", two_each, (share(two, one, "one host"),), (at_least(two, one),)),
    ]


def _posts_in(lists: tuple[str, ...]) -> str:
    return f"posts in: {SENDERS} senders, 3 KiB, {'a list' if len(lists) == 1 else 'two lists'} of {MEMBERS}"


def _intake(
    folder: Path, url: str, posts: int, hosts: int, lists: tuple[str, ...], cores: float = 0
) -> tuple[float, float]:
    """Return posts a second, and the microseconds of CPU of the hosts for each."""
    _make_site(folder, url, NOWHERE, MEMBERS)
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_host(folder, url, cores)) for _ in range(hosts)]
        parts = [(host, to) for host in running for to in lists]
        used, started = sum(one.cpu for one in running), time.monotonic()
        _at_once([partial(_send, host, to, posts // len(parts), SENDERS // len(parts)) for host, to in parts])
        seconds = time.monotonic() - started
        assert running[0].ask("SELECT count(*) FROM delivery") == posts * MEMBERS
        return posts / seconds, (sum(one.cpu for one in running) - used) / posts * 1e6


@contextlib.contextmanager
def _host(folder: Path, url: str, cores: float) -> Iterator[Serving]:
    with serving(folder, url) as host, quota.held(processes(host.process.pid), cores):
        yield host


def _send(host: Serving, to: str, posts: int, senders: int) -> None:
    references.source(host.port, connections=senders, mails=posts, size=SIZE, sender=AUTHOR, to=to)


def _at_once(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sent(server: Server, folder: Path, readers: int, posts: int) -> list[Row]:
    """One post to many, each a mail of their own: by SQLite, by one host and by two."""
    alone, each = _fanned_out(folder / "sqlite", "", readers, posts, 1)
    one, one_each = _fanned_out(folder / "one", server.new(), readers, posts, 1)
    two, two_each = _fanned_out(folder / "two", server.new(), readers, posts, 2)
    return [
        Row(
            f"fan-out to {readers:,}, personal, one host",
            f"{one:,.0f} deliveries/s",
            one_each,
            (share(one, alone, "SQLite"), f"there {each:,.0f} µs"),
            (at_least(100 * one / alone, 70, " % of SQLite"),),
        ),
        Row(
            "the same, two hosts",
            f"{two:,.0f} deliveries/s",
            two_each,
            (share(two, one, "one host"),),
            (at_least(two / one, 1.6, " times one"),),
        ),
    ]


def _fanned_out(folder: Path, url: str, readers: int, posts: int, hosts: int, cores: float = 0) -> tuple[float, float]:
    """Return deliveries a second, the best of `posts`, and the microseconds of CPU of the hosts for each."""
    with relay() as port, contextlib.ExitStack() as stack:
        _make_site(folder, url, f"smtp://127.0.0.1:{port}", readers)
        running = [stack.enter_context(_host(folder, url, cores)) for _ in range(hosts)]
        _, _, warm = running[0].post(mail("warm", 1024))
        running[0].until_sent(warm, readers)
        seconds, used = min(_run(running, readers, f"{number}") for number in range(posts))
    return readers / seconds, used / readers * 1e6


def _run(running: list[Serving], readers: int, name: str) -> tuple[float, float]:
    used = sum(one.cpu for one in running)
    answered, _, mailing = running[0].post(mail(name, SIZE))
    running[0].until_sent(mailing, readers)
    return running[0].last(mailing, readers) - answered, sum(one.cpu for one in running) - used


def _make_site(folder: Path, url: str, relay: str, members: int) -> None:
    folder.mkdir()
    make_site(folder, relay, members, **({"store_url": f'"{url}"'} if url else {}))


def held(server: Server, folder: Path, readers: int, posts: int, mails: int) -> list[Row]:
    """What a second host brings where it has a share of a core of its own, and PostgreSQL has room."""
    folders = (folder / f"{number}" for number in itertools.count())

    def sends(hosts: int) -> tuple[float, float]:
        return _fanned_out(next(folders), server.new(), readers, posts, hosts, HELD)

    def takes(lists: tuple[str, ...], hosts: int) -> tuple[float, float]:
        return _intake(next(folders), server.new(), mails, hosts, lists, HELD)

    rows = (
        (f"fan-out to {readers:,}, personal", sends, 1.6),
        (_posts_in((LIST,)), partial(takes, (LIST,)), 1),
        (_posts_in((LIST, SMALL_LIST)), partial(takes, (LIST, SMALL_LIST)), 1),
    )
    return [_compared(f"{name}, two hosts held to {HELD:g} core", run, wanted) for name, run, wanted in rows]


def _compared(name: str, run: Callable[[int], tuple[float, float]], wanted: float) -> Row:
    if missing := quota.missing():
        return Row(name, "not measured", beside=(missing,))
    (one, one_each), (two, each) = run(1), run(2)
    beside = (share(two, one, "one host held so"), f"there {one_each:,.0f} µs")
    return Row(name, f"{two:,.0f}/s", each, beside, (at_least(two / one, wanted, " times one"),))


def claimed(server: Server, folder: Path, rows: int) -> Row:
    """How long a claim of a hundred deliveries takes where so many wait."""
    url = server.new()
    waits = sorted(asyncio.run(_claims(url, rows, 200)))
    middle, late = 1000 * statistics.median(waits), 1000 * waits[-len(waits) // 100]
    name = f"claim of 100, with {rows:,} waiting"
    return Row(name, f"{middle:.1f} ms", None, (f"99 % within {late:.1f} ms",), (at_most(middle, 5, " ms"),))


async def _claims(url: str, rows: int, times: int) -> list[float]:
    database = await open_database(url)
    try:
        await asyncio.to_thread(_fill, url, rows)
        now, waits, progress, host = time.time(), [], BEGINNING, _register(url)
        who = Claimant(host, (host,), host)
        for _ in range(times):
            started = time.perf_counter()
            taken, progress = await database.claim(partial(_take, now=now, who=who, progress=progress))
            waits.append(time.perf_counter() - started)
            assert len(taken.due) >= 100
        return waits
    finally:
        await database.close()


def _take(tx: Tx, now: float, who: Claimant, progress: Progress) -> tuple[Taken, Progress]:
    return take(tx, now, who, 100, progress)


def _register(url: str) -> int:
    with psycopg.connect(url) as connection:
        insert = """INSERT INTO host (name, roles, version, keys, started_at, seen_at)
                    VALUES ('bench', 'deliver', '', '', 0, 1e12) RETURNING id"""
        found = connection.execute(insert).fetchone()
        assert found
        return int(found[0])


def _fill(url: str, rows: int) -> None:
    """Have `rows` deliveries wait, a thousand of each mailing."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO mailing (kind, template, data, reply_to, mail_from, created_at, mail)
               SELECT 'notice', '', '{}', '', '', n, '' FROM generate_series(1, %s) AS n""",
            (rows // 1000,),
        )
        connection.execute(
            """INSERT INTO delivery (mailing_id, rcpt, state, created_at, due_at)
               SELECT mailing.id, 'reader' || n || '@example.org', 'queued', created_at, created_at
               FROM mailing CROSS JOIN generate_series(1, 1000) AS n"""
        )
        connection.execute("VACUUM ANALYZE delivery")


def benches(quick: bool) -> dict[str, Callable[[Server, Path], Row | list[Row]]]:
    """Return everything that can be measured, by name."""
    return {
        "intake": partial(taken_in, posts=1000 if quick else 5000),
        "fanout": partial(sent, readers=2000 if quick else 10_000, posts=1 if quick else 3),
        "held": partial(held, readers=1000 if quick else 10_000, posts=1 if quick else 3, mails=200 if quick else 2000),
        "costs": partial(
            costs, readers=2000 if quick else 10_000, posts=1 if quick else 3, mails=200 if quick else 2000
        ),
        "claim": partial(claimed, rows=100_000 if quick else 10_000_000),
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure")
    parser.add_argument("--quick", action="store_true", help="do less of everything")
    args = parser.parse_args()
    with postgres() as server:
        head()
        for name, bench in benches(args.quick).items():
            if not args.names or name in args.names:
                _measure(bench, server)
    return 0


def _measure(bench: Callable[[Server, Path], Row | list[Row]], server: Server) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = bench(server, Path(folder))
    for row in found if isinstance(found, list) else [found]:
        show(row)


if __name__ == "__main__":
    sys.exit(main())
