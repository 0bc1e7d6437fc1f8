"""What is PostgreSQL's own: types, statements in a pipeline, locks between hosts, and hearing of one another."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from mailforum.errors import ConfigError, Deferred
from mailforum.model import Kind
from mailforum.store import intake, queue
from mailforum.store.database import Database, Tx, Unit
from mailforum.store.opening import open_database
from mailforum.store.postgres.lane import Lane
from mailforum.store.postgres.session import Met, Session, connect
from mailforum.store.postgres.statements import AT_ONCE, LARGE, Statements
from mailforum.store.postgres.tx import PostgresTx
from mailforum.store.trouble import Unavailable
from tests.support.postgres import cluster, database_url


@pytest.fixture
def url() -> Iterator[str]:
    with database_url() as url:
        yield url


@pytest.fixture
async def hosts(url: str) -> AsyncIterator[tuple[Database, Database]]:
    one, two = await open_database(url), await open_database(url)
    yield one, two
    await one.close()
    await two.close()


@pytest.fixture(scope="module")
def empty() -> Iterator[Session]:
    with database_url() as url, contextlib.closing(connect(url)) as session:
        yield session


@pytest.fixture
def session(empty: Session) -> Iterator[Session]:
    yield empty
    empty.rollback()


def see(name: bytes) -> Unit[bool]:
    return lambda tx: intake.see(tx, "pmo", name, 1.0)


def seen(tx: Tx) -> int:
    row = tx.one("intake.seen_count")
    assert row is not None
    return int(row["n"])


async def test_ids_that_are_asked_for_ahead_come_in_order_also_when_more_rows_are_made(
    hosts: tuple[Database, ...],
) -> None:
    one, two = hosts

    def three(tx: Tx) -> list[int]:
        return [queue.add_mailing(tx, Kind.NOTICE, list_id=None, mail_from="", now=1.0) for _ in range(3)]

    first = await one.write(three, lists=[1])
    second = await two.write(three, lists=[1])
    assert first + second == sorted({*first, *second})
    there = await one.read(lambda tx: [queue.mailing(tx, mailing_id) is not None for mailing_id in first + second])
    assert there == [True] * 6


async def test_an_id_of_a_unit_that_failed_is_not_given_again(hosts: tuple[Database, ...]) -> None:
    made: list[int] = []

    def fail(tx: Tx) -> None:
        made.append(queue.add_mailing(tx, Kind.NOTICE, list_id=None, mail_from="", now=1.0))
        raise ValueError

    with pytest.raises(ValueError):
        await hosts[0].write(fail, lists=[1])
    made.append(
        await hosts[0].write(
            lambda tx: queue.add_mailing(tx, Kind.NOTICE, list_id=None, mail_from="", now=1.0), lists=[1]
        )
    )
    assert len(set(made)) == len(made) >= 2


# -- Statements


def one(statements: Statements, query: str, **params: object) -> object:
    call, result = statements.run(query, params)
    return next(call.rows(result))["x"]


@pytest.mark.parametrize("value", [2**62, -1, 0.1, float("inf"), "ü%s\n", b"\0\xff", True, False, None])
def test_values_come_back_as_they_went(session: Session, value: object) -> None:
    kind = {int: "int8", float: "float8", str: "text", bytes: "bytea", bool: "bool"}.get(type(value), "text")
    found = one(session.statements, f"SELECT %(x)s::{kind} AS x", x=value)
    assert found == value and type(found) is type(value)


def test_a_value_after_none_is_not_taken_for_what_none_was(session: Session) -> None:
    query = "SELECT coalesce(%(x)s, 7) AS x"  # PostgreSQL takes a None there for a 4-byte number
    assert one(session.statements, query, x=None) == 7
    assert one(session.statements, query, x=2**40) == 2**40
    assert one(session.statements, query, x=None) == 7


def test_sums_are_numbers_and_not_decimals(session: Session) -> None:
    total = one(session.statements, "SELECT sum(n) AS x FROM generate_series(1::bigint, 3) AS n")
    assert total == 6 and type(total) is int
    mean = one(session.statements, "SELECT avg(n) AS x FROM generate_series(1::bigint, 2) AS n")
    assert mean == 1.5 and type(mean) is float


def test_what_is_put_is_done_in_order_and_its_fault_is_heard_of_by_the_next(session: Session) -> None:
    session.simple("CREATE TEMPORARY TABLE t (x bigint PRIMARY KEY)")
    put = "INSERT INTO t (x) VALUES (%(x)s)"
    session.begin(())
    for x in range(2 * AT_ONCE + 1):
        session.statements.put(put, {"x": x})
    assert one(session.statements, "SELECT count(*) AS x FROM t") == 2 * AT_ONCE + 1
    session.statements.put(put, {"x": 1})
    session.statements.put(put, {"x": -1})
    with pytest.raises(psycopg.errors.UniqueViolation):
        one(session.statements, "SELECT 1 AS x")
    session.rollback()
    assert one(session.statements, "SELECT count(*) AS x FROM t") == 0


def test_what_was_asked_ahead_is_answered_as_it_was_then(session: Session) -> None:
    session.simple("CREATE TEMPORARY TABLE u (x bigint)")
    count = "SELECT count(*) + %(more)s AS x FROM u"
    statements = session.statements
    statements.ask(count, {"more": 0})
    statements.ask(count, {"more": 10})
    statements.put("INSERT INTO u (x) VALUES (%(x)s)", {"x": 1})
    assert one(statements, "SELECT 5 AS x") == 5
    assert [one(statements, count, more=more) for more in (10, 0, 0)] == [10, 0, 1]
    statements.ask(count, {"more": 0})
    assert one(statements, count, more=0) == 1 and not statements.under_way
    statements.ask(count, {"more": 0})
    session.begin(())
    statements.put("INSERT INTO u (x) VALUES (%(x)s)", {"x": 1})
    assert one(statements, count, more=0) == 2


@pytest.mark.parametrize("size", [50, 4000, 200_000])
def test_who_is_stopped_in_the_midst_of_what_is_put_is_cut_off_by_the_server(url: str, size: int) -> None:
    with contextlib.closing(connect(url)) as session, psycopg.connect(url, autocommit=True) as other:
        session.simple("SET idle_in_transaction_session_timeout = 100")
        session.begin(None)
        for number in range(2_000_000 // (size + 200) or 1):
            session.statements.put("SELECT length(%(text)s), %(number)s", {"text": "x" * size, "number": number})
        lives = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        until = time.monotonic() + 5
        while other.execute(lives, [session.pgconn.backend_pid]).fetchone():
            assert time.monotonic() < until
            time.sleep(0.02)


async def test_what_a_unit_has_asked_ahead_is_not_the_answer_to_another(hosts: tuple[Database, Database]) -> None:
    db, asked = hosts[0], {"rcpt": "pmo", "digest": b"m"}

    def asks(tx: Tx) -> None:
        tx.ahead("intake.seen_at", **asked)
        tx.one("intake.seen_count")

    units = (asks, see(b"m"), lambda tx: tx.one("intake.seen_at", **asked))
    found = await asyncio.gather(*[db.write(unit, (1,)) for unit in units])  # they share a transaction
    assert found == [None, True, {"at": 1.0}]


def test_a_commit_of_what_was_put_in_vain_fails(session: Session) -> None:
    session.begin(())
    session.statements.put("SELECT 1 / %(x)s", {"x": 0})
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.commit()
    assert not session.ending


def test_an_error_that_somebody_has_caught_is_no_commit(session: Session) -> None:
    session.begin(())
    with contextlib.suppress(psycopg.Error):
        session.simple("SELECT 1 / 0")
    with pytest.raises(psycopg.Error):
        session.commit()


async def test_a_table_that_has_changed_since_a_statement_was_prepared_disturbs_nobody(
    url: str, hosts: tuple[Database, Database]
) -> None:
    db, _ = hosts
    query = "SELECT * FROM seen"

    def rows(tx: Tx) -> int:
        assert isinstance(tx, PostgresTx)
        return len(PostgresTx(tx._session, {"all": query}).all("all"))

    for scope in (None, (1,)):
        await db.write(see(b"a"), scope)
        assert await db.write(rows, scope) == await db.read(rows) == await db.peek(rows) == 1
        with psycopg.connect(url) as other:
            other.execute(f"ALTER TABLE seen ADD COLUMN more_{scope is None} TEXT")
        assert await db.write(rows, scope) == await db.read(rows) == await db.peek(rows) == 1


def connection(tx: Tx) -> int:
    assert isinstance(tx, PostgresTx)
    return tx._session.pgconn.backend_pid


@pytest.mark.parametrize("put", [False, True])
async def test_a_unit_that_asks_for_nothing_does_not_notice_that_its_connection_was_lost_before(
    url: str, hosts: tuple[Database, Database], put: bool
) -> None:
    one, _ = hosts

    def unit(tx: Tx) -> None:
        if put:
            tx.put("queue.take_off", flying='{"1": [2]}')

    await one.write(unit, ())
    with psycopg.connect(url, autocommit=True) as admin:
        ours = "pid <> pg_backend_pid() AND datname = current_database()"
        admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {ours}")
    await one.write(unit, ())


async def test_a_connection_that_has_carried_a_large_mail_does_not_keep_the_room_for_it(
    hosts: tuple[Database, Database],
) -> None:
    db, _ = hosts
    mail = b"x" * (LARGE + 1)

    def shunt(tx: Tx) -> int:
        return intake.shunt(tx, digest=b"a", mail_from="", rcpts=(), reason="", raw=mail, now=0.0)

    before = await db.write(connection)
    assert await db.write(connection) == before
    shunted = await db.write(shunt)
    assert await db.write(connection) != before
    before = await db.peek(connection)
    assert await db.peek(lambda tx: intake.shunt_raw(tx, shunted)) == mail
    assert await db.peek(connection) != before


# -- Locks


def add_one(tx: Tx) -> None:
    """Decide by what was read: that of two who do so at the same time one is lost shows in the sum."""
    found = intake.seen_at(tx, "sum", b"") or 0.0
    tx.run("intake.unsee", rcpt="sum", digest=b"")
    tx.run("intake.see", rcpt="sum", digest=b"", now=found + 1)


@pytest.mark.parametrize("scope", [None, (1,), (2, 1)])
async def test_what_two_hosts_decide_about_the_same_is_decided_one_after_the_other(
    hosts: tuple[Database, Database], scope: tuple[int, ...] | None
) -> None:
    scopes = [scope, (1,) if scope else None]
    await asyncio.gather(*[db.write(add_one, scopes[n % 2]) for n in range(30) for db in hosts])
    assert await hosts[0].read(lambda tx: intake.seen_at(tx, "sum", b"")) == 60


async def test_of_other_lists_is_decided_meanwhile_and_of_the_site_afterwards(hosts: tuple[Database, Database]) -> None:
    one, two = hosts
    begun, go_on = threading.Event(), threading.Event()

    def slow(tx: Tx) -> str:
        begun.set()
        assert go_on.wait(20)
        return "slow"

    first = asyncio.create_task(one.write(slow, (1,)))
    await asyncio.to_thread(begun.wait)
    assert await two.write(see(b"a"), (2,)) and await two.write(see(b"b"), ())
    same = asyncio.create_task(two.write(lambda tx: "same", (1, 3)))
    site = asyncio.create_task(one.write(lambda tx: "site"))
    done, _ = await asyncio.wait([first, same, site], timeout=0.1)
    assert not done
    go_on.set()
    assert await asyncio.gather(first, same, site) == ["slow", "same", "site"]


async def test_what_is_written_does_not_wait_for_upkeep(hosts: tuple[Database, Database]) -> None:
    under_way, marked = threading.Event(), threading.Event()

    def fill_the_index(tx: Tx) -> bool:
        under_way.set()
        return marked.wait(10)

    tending = asyncio.create_task(hosts[0].tend(fill_the_index))
    await asyncio.to_thread(under_way.wait)
    assert await hosts[0].write(see(b"mark"), ())
    marked.set()
    assert await tending


async def test_who_waits_too_long_for_another_host_is_told_so(url: str) -> None:
    one, two = await open_database(url), await open_database(url, patience=0.2)
    begun, go_on = threading.Event(), threading.Event()
    first = asyncio.create_task(one.write(lambda tx: begun.set() or go_on.wait(20), (1,)))  # type: ignore[func-returns-value]
    await asyncio.to_thread(begun.wait)
    with pytest.raises(Unavailable) as raised:
        await two.write(see(b"a"), (1,))
    assert (raised.value.kind, raised.value.code) == ("BUSY", 451)
    go_on.set()
    await first
    await one.close()
    await two.close()


async def test_two_who_wait_for_each_other_are_both_done(hosts: tuple[Database, Database]) -> None:
    meeting = threading.Barrier(2)
    runs: list[bytes] = []

    def both(first: bytes, second: bytes) -> Unit[None]:
        def unit(tx: Tx) -> None:
            runs.append(first)
            intake.see(tx, "pmo", first, 1.0)
            if len(runs) <= 2:
                meeting.wait(20)
            intake.see(tx, "pmo", second, 1.0)

        return unit

    await asyncio.gather(hosts[0].write(both(b"a", b"b"), ()), hosts[1].write(both(b"b", b"a"), ()))
    assert len(runs) == 3
    assert await hosts[0].read(seen) == 2


# -- Several hosts


async def heard_by(db: Database) -> asyncio.Event:
    heard = asyncio.Event()
    db.on_commit(heard.set)
    await asyncio.wait_for(heard.wait(), 10)  # that it listens now
    heard.clear()
    return heard


async def test_a_host_hears_of_what_another_has_committed(hosts: tuple[Database, Database]) -> None:
    one, two = hosts
    heard = await heard_by(two)
    await one.write(see(b"a"))
    await asyncio.wait_for(heard.wait(), 10)


async def test_a_host_that_could_not_listen_for_a_while_hears_again(url: str, hosts: tuple[Database, Database]) -> None:
    one, two = hosts
    heard = await heard_by(two)
    with psycopg.connect(url) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await asyncio.wait_for(heard.wait(), 10)  # it looks when it listens again
    heard.clear()
    await one.write(see(b"a"))
    await asyncio.wait_for(heard.wait(), 10)


async def test_what_nobody_decides_about_is_nobodys_news(hosts: tuple[Database, Database]) -> None:
    one, two = hosts
    heard = await heard_by(two)
    await one.write(see(b"a"), ())
    await asyncio.sleep(0.1)
    assert not heard.is_set()


async def test_one_host_leads_and_another_when_it_has_gone(url: str) -> None:
    one, two = await open_database(url), await open_database(url)
    assert await one.lead("digests") and await one.lead("digests") and not await two.lead("digests")
    assert await two.lead("expiry")
    await one.close()
    async with asyncio.timeout(10):
        while not await two.lead("digests"):  # the server needs a moment to notice
            await asyncio.sleep(0.01)
    await two.close()


async def test_who_leads_and_stands_still_leads_no_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailforum.store.postgres.session.LEADS", 200)
    one, two = await open_database(url), await open_database(url)
    assert await one.lead("digests")
    async with asyncio.timeout(10):
        while not await two.lead("digests"):
            await asyncio.sleep(0.02)
    assert not await one.lead("digests")
    await one.close()
    await two.close()


async def test_a_database_in_another_encoding_is_refused() -> None:
    with database_url() as url:
        server = cluster()
        assert server
        libc = "LOCALE_PROVIDER libc" if server._admin.info.server_version >= 150000 else ""
        server._admin.execute(f"CREATE DATABASE odd ENCODING 'SQL_ASCII' LOCALE 'C' {libc} TEMPLATE template0")
        try:
            with pytest.raises(ConfigError, match="UTF8"):
                await open_database(server.url("odd"))
        finally:
            server.drop("odd")
        assert url


async def test_a_pooler_that_gives_each_transaction_another_connection_is_named(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        connection.execute("CREATE SCHEMA pooled")
        connection.execute("CREATE FUNCTION pooled.pg_backend_pid() RETURNS INT LANGUAGE sql AS 'SELECT 1'")
        for path, named in (("public", False), ("public, pooled, pg_catalog", True)):
            connection.execute(f'ALTER DATABASE "{name}" SET search_path = {path}')
            caplog.clear()
            await (await open_database(url)).close()
            assert ("pool_mode" in caplog.text) is named


async def test_a_url_that_cannot_be_read_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"\[store\] url"):
        await open_database("postgresql://host/name?nonsense=1")


async def test_a_server_that_is_not_there_is_deferred() -> None:
    with pytest.raises(Deferred):
        await open_database("postgresql:///name?host=/nowhere")


async def test_a_connection_is_torn_while_it_is_set_up(url: str) -> None:
    waits = threading.Event()

    def opened(*, met: Met) -> Session:
        def silent(session: Session) -> None:
            met(session)
            waits.set()
            session.simple("SELECT pg_sleep(60)")

        return connect(url, met=silent)

    lane = Lane(opened, "silent")
    work = asyncio.create_task(lane.work(lambda session: None))
    await asyncio.to_thread(waits.wait)
    lane.tear()
    with pytest.raises(psycopg.OperationalError):
        await work
    await lane.close()
