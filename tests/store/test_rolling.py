"""One version of the program after the other on the same schema, without stopping."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mailforum import config
from mailforum.app import Service
from mailforum.clock import SystemClock
from mailforum.errors import ConfigError
from mailforum.hosting import Host
from mailforum.store import schema
from mailforum.store.hosts import living
from mailforum.store.lock import alone
from mailforum.store.opening import bring_up_to_date, file_of, is_server, missing, open_database
from mailforum.store.postgres.session import connect
from mailforum.store.schema import Schema, Step, steps
from tests.support.postgres import database_url
from tests.support.sink import Sink
from tests.support.site import DOMAIN, _send, run_cli, write_config

N = steps()[-1].number
OLDEST = max(step.runs_with for step in steps())  # the oldest program that runs on the schema of today


def later(*texts: str) -> tuple[Step, ...]:
    """Return steps that come after those of today."""
    return tuple(schema.step(f"{N + 1 + at:04}_later.sql", text) for at, text in enumerate(texts))


ADDS = f"-- runs with: {OLDEST}\nCREATE TABLE extra (id BIGINT);"
TAKES = f"-- finishes: {N + 1}\nDROP TABLE extra;"
_BUSY = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
CHANGES = "CREATE TABLE other (id BIGINT);"


def dialect(store: str) -> str:
    return "postgres" if is_server(store) else "sqlite"


async def opened(store: str, *more: Step, served: bool = False) -> None:
    """Open and close a database as a program does that knows more steps than this one."""
    await (await open_database(store, known=(*steps(dialect(store)), *more), served=served)).close()


def tables(store: str) -> set[str]:
    """Say which of the tables of later steps there are."""
    if is_server(store):
        with contextlib.closing(connect(store)) as session:
            found = session.simple("SELECT table_name FROM information_schema.tables")
            names = {found.get_value(row, 0).decode() for row in range(found.ntuples)}
    else:
        with contextlib.closing(sqlite3.connect(file_of(store))) as connection:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    return names & {"extra", "other"}


def host(store: str, knows: int) -> None:
    """Have a host live that knows so many steps."""
    with contextlib.closing(connect(store, knows=knows)) as session:
        session.simple(
            "INSERT INTO host (name, roles, version, keys, started_at, seen_at) "
            "SELECT 'a', 'all', '', '', now, now FROM (SELECT extract(epoch FROM clock_timestamp()) AS now) AS clock"
        )


@pytest.mark.parametrize(
    ("texts", "found", "oldest", "taken"),
    [
        ((ADDS, TAKES), N, None, 2),
        ((ADDS, TAKES), N, N, 1),  # an older one runs on what is added, not without what is taken
        ((ADDS, TAKES), N + 1, N + 1, 1),
        ((ADDS, TAKES), N + 1, N, 0),
        ((ADDS, ADDS.replace(f": {OLDEST}", f": {N + 1}")), N, N, None),  # two versions at once
        ((CHANGES,), N, N, None),
        ((CHANGES,), N, None, 1),
        ((), N, N, 0),
    ],
)
def test_a_step_is_taken_when_every_program_that_runs_can_live_with_it(
    texts: Sequence[str], found: int, oldest: int | None, taken: int | None
) -> None:
    todo = schema.missing((*steps(), *later(*texts)), Schema(found, N))
    if taken is None:
        with pytest.raises(ConfigError, match="an older mailforum is running"):
            schema.possible(todo, oldest)
    else:
        assert len(schema.possible(todo, oldest)) == taken


def test_every_step_says_something_that_can_be(tmp_path: Path) -> None:
    for each in ("sqlite", "postgres"):
        known = steps(each)
        assert [step.number for step in known] == list(range(known[0].number, N + 1))
    with pytest.raises(ValueError, match="comes before"):
        schema.step("0013_x.sql", "-- runs with: 13\n")


async def test_an_older_program_goes_on_with_what_was_only_added(store: str) -> None:
    await opened(store, *later(ADDS))
    await opened(store)
    assert tables(store) == {"extra"}
    await opened(store, *later(ADDS, TAKES))
    with pytest.raises(ConfigError, match="newer mailforum"):
        await opened(store)
    assert tables(store) == set()


async def test_what_an_older_program_needs_stays_until_it_stops(store: str, tmp_path: Path) -> None:
    await opened(store)
    with contextlib.ExitStack() as running:
        if is_server(store):
            host(store, N)
        else:
            running.enter_context(alone(file_of(store)))
        await opened(store, *later(ADDS, TAKES))
        await opened(store, *later(ADDS, TAKES))
        assert tables(store) == {"extra"}
        with pytest.raises(ConfigError, match="an older mailforum is running"):
            await opened(store, *later(ADDS, CHANGES))
        assert tables(store) == {"extra"}
        await opened(store)
    if is_server(store):
        with contextlib.closing(connect(store)) as session:
            session.simple("UPDATE host SET seen_at = seen_at - 60")  # it is dead
    await opened(store, *later(ADDS, TAKES))
    assert tables(store) == set()


async def test_many_that_start_at_once_take_each_step_once(store: str) -> None:
    await asyncio.gather(*(opened(store, *later(ADDS, CHANGES)) for _ in range(5)))
    assert tables(store) == {"extra", "other"}


async def test_an_admin_sees_what_waits_and_can_have_it_done_all_the_same(store: str) -> None:
    await opened(store)
    with contextlib.ExitStack() as running:
        if is_server(store):
            host(store, N)
        else:
            running.enter_context(alone(file_of(store)))
        known = (*steps(dialect(store)), *later(ADDS, TAKES))
        assert missing(store, known=known) == known[-2:]
        assert bring_up_to_date(store, known=known) == known[-1:] == missing(store, known=known)
        assert bring_up_to_date(store, known=known, finish=True) == ()
    assert tables(store) == set()


def test_many_that_find_nothing_make_it_once() -> None:
    with database_url(empty=True) as url, ThreadPoolExecutor(5) as pool:
        assert list(pool.map(bring_up_to_date, [url] * 5)) == [()] * 5
        assert missing(url) == ()


def test_the_command_shows_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    words = ["--config", str(write_config(tmp_path, "maildir:out")), "store", "migrate"]
    shown = run_cli([*words, "--dry-run"]).out.splitlines()
    assert (len(shown), shown[-1].split()[1:4]) == (N + 1, ["to", "be", "done"])
    assert not (tmp_path / "mailforum.db").exists()
    assert {line.split()[1] for line in run_cli(words).out.splitlines()[1:]} == {"done"}
    assert run_cli([*words, "--json"]).out == ""


async def test_hosts_are_upgraded_one_after_the_other_while_mail_flows(tmp_path: Path) -> None:
    newer = (*steps("postgres"), *later(ADDS, TAKES))
    sent: list[int] = []
    with database_url() as url:
        async with Sink() as sink, AsyncExitStack() as running:
            files = [config_of(tmp_path / name, sink.url, url) for name in ("a", "b", "c")]
            old = await running.enter_async_context(AsyncExitStack())
            hosts = [await old.enter_async_context(Service(config.load(file, {}))) for file in files[:2]]
            for words in (("list", "create", "pmo"), ("member", "add", "pmo", "--no-welcome", "ada@example.org")):
                assert (await asyncio.to_thread(run_cli, ["--config", str(files[0]), *words])).code == 0
            hosts.append(await running.enter_async_context(Service(config.load(files[2], {}), known=newer)))
            assert tables(url) == {"extra"}
            for host in hosts * 2:
                await post(host, sent)
            await hosts[2].core.db.tidy()
            assert tables(url) == {"extra"}, "older hosts run"
            await old.aclose()
            await hosts[2].core.db.tidy()
            assert tables(url) == set()
            await post(hosts[2], sent)
            with pytest.raises(ConfigError, match="newer mailforum"):
                async with Service(config.load(files[0], {})):
                    pass
            await sink.wait(len(sent))
        found = [re.findall(rb"^Message-ID: <(\d+)@", mail.data, re.MULTILINE) for mail in sink.mails]
    assert sorted(found) == sorted([str(number).encode()] for number in sent)


def config_of(folder: Path, relay: str, url: str) -> Path:
    folder.mkdir()
    return write_config(folder, relay, store_url=f'"{url}"', web_health="[]")


async def post(host: Service, sent: list[int]) -> None:
    """Send a mail to a host, and note its number."""
    number = len(sent) + 1
    mail = f"From: ada@example.org\r\nSubject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\nText {number}\r\n"
    assert host.server
    where = host.server.addresses[0].host, host.server.addresses[0].port
    answer = await asyncio.to_thread(_send, where, "ada@example.org", [f"pmo@{DOMAIN}"], mail.encode())
    assert answer.startswith("250"), answer
    sent.append(number)


async def test_a_host_that_comes_after_a_step_that_it_does_not_know_is_none(tmp_path: Path) -> None:
    with database_url() as url:
        database = await open_database(url)  # and then the others finish
        try:
            bring_up_to_date(url, known=(*steps("postgres"), *later(CHANGES)))
            with pytest.raises(ConfigError, match="newer mailforum"):
                async with Host(database, SystemClock(), "late", ["all"]):
                    pass
            assert await database.read(living) == []
        finally:
            await database.close()


async def test_a_step_that_fails_is_named_and_leaves_nothing(store: str) -> None:
    await opened(store)
    bad = later(f"{ADDS}\nINSERT INTO extra (id) VALUES (nothing_of_that_name);")
    for again in (
        opened(store, *bad),
        asyncio.to_thread(bring_up_to_date, store, known=(*steps(dialect(store)), *bad)),
    ):
        with pytest.raises(ConfigError, match=f"step {N + 1:04}_later of the schema failed .*nothing_of_that_name"):
            await again
    assert tables(store) == set()
    await opened(store)


async def test_a_step_that_was_in_the_way_of_others_is_tried_again() -> None:
    step = later(
        f"-- runs with: {OLDEST}\nALTER TABLE list ADD COLUMN x BIGINT; ALTER TABLE member ADD COLUMN x BIGINT;"
    )
    with database_url() as url, contextlib.closing(connect(url)) as other:
        other.simple(f"ALTER DATABASE {url.split('?')[0].rpartition('/')[2]} SET deadlock_timeout = '20ms'")
        other.simple("BEGIN; SET LOCAL deadlock_timeout = '1min'; SELECT count(*) FROM member")
        taking = asyncio.create_task(asyncio.to_thread(bring_up_to_date, url, known=(*steps("postgres"), *step)))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with contextlib.closing(connect(url)) as third:
            while third.simple(waiting).get_value(0, 0) == b"0":
                await asyncio.sleep(0.002)
        await asyncio.to_thread(other.simple, "SELECT count(*) FROM list")
        other.simple("COMMIT")
        assert await taking == ()


_KILLED = """
import sys
from mailforum.store.schema import step, steps
from mailforum.store.opening import bring_up_to_date
bring_up_to_date(sys.argv[1], known=(*steps("postgres"), step(sys.argv[2], sys.argv[3])))
"""


async def test_a_kill_in_the_midst_of_a_long_step_leaves_nothing_and_holds_nobody_up() -> None:
    name, step = f"{N + 1:04}_later.sql", f"{ADDS} SELECT pg_sleep(60);"
    with database_url() as url, contextlib.closing(connect(url)) as session:
        killed = subprocess.Popen([sys.executable, "-c", _KILLED, url, name, step])
        while session.simple(f"{_BUSY} AND wait_event = 'PgSleep'").get_value(0, 0) == b"0":
            await asyncio.sleep(0.01)
        killed.kill()
        killed.wait()
        begun = time.monotonic()
        await opened(url, *later(CHANGES))
        assert tables(url) == {"other"}
        assert time.monotonic() - begun < 10
