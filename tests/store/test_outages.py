"""What may happen to a PostgreSQL server, and that we come through it: told as 451 or 452, nothing done twice, and
everything as before when it is over, without a start of ours."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from mailforum.store import intake
from mailforum.store.database import Database, Tx, Unit
from mailforum.store.opening import open_database
from mailforum.store.trouble import Unavailable
from tests.support.disk import SmallDisk, small_disk
from tests.support.failing import Failing, Signal, failing
from tests.support.forward import Way


@pytest.fixture(scope="module")
def server() -> Iterator[Failing]:
    with failing() as server:
        yield server


@pytest.fixture
def url(server: Failing) -> str:
    return server.url(server.create())


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    db = await open_database(url)
    try:
        yield db
    finally:
        await db.close()


def see(name: bytes) -> Unit[bool]:
    return lambda tx: intake.see(tx, "pmo", name, 1.0)


def count(tx: Tx) -> int:
    row = tx.one("intake.seen_count")
    assert row is not None
    return int(row["n"])


def unavailable(kind: str, code: int = 451) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, Unavailable) and (error.kind, error.code) == (kind, code)


async def until_written(db: Database, unit: Unit[bool]) -> bool:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(Unavailable):
                return await db.write(unit)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["INT", "QUIT"])
async def test_a_server_that_was_restarted_while_nothing_happened_is_noticed_by_nobody(
    server: Failing, url: str, how: Signal
) -> None:
    async with opened(url) as db:
        for scope in (None, (), (1,), (2,)):
            await db.write(see(b"before"), scope)
        assert await db.read(count) == await db.peek(count) == await db.claim(count) == 1
        server.end(how)
        server.begin()
        for number, scope in enumerate((None, (), (1,), (2,))):
            assert await db.write(see(b"after %d" % number), scope)
        assert await db.read(count) == await db.peek(count) == await db.claim(count) == 5


async def test_while_the_server_is_away_everything_is_451_and_then_as_before(
    server: Failing, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mailforum")
    async with opened(url) as db:
        await db.write(see(b"a"))
        assert await db.lead("digests")
        server.end("QUIT")
        for attempt in (
            db.write(see(b"b")),
            db.write(see(b"b"), (1,)),
            db.read(count),
            db.peek(count),
            db.claim(count),
        ):
            with pytest.raises(Unavailable, check=unavailable("GONE")):
                await attempt
        assert not await db.lead("digests")
        server.begin()
        assert await db.write(see(b"b")) and await db.read(count) == 2 and await db.lead("digests")
    said = [line for line in caplog.messages if "event=database_" in line]
    assert sum("database_trouble" in line for line in said) == 2, said  # it could not be read, nor written
    assert sum("database_well" in line for line in said) == 2, said


async def test_a_unit_whose_connection_is_cut_is_run_again_and_counts_once(server: Failing, url: str) -> None:
    runs = 0

    def cut(tx: Tx) -> bool:
        nonlocal runs
        runs += 1
        intake.see(tx, "pmo", b"gone", 1.0)
        if runs == 1:
            server.cut()
        return intake.see(tx, "pmo", b"cut", 1.0)

    async with opened(url) as db:
        await db.write(see(b"a"))
        assert await db.write(cut)
        assert (runs, await db.read(count)) == (2, 3)


async def test_units_of_a_shared_commit_that_were_done_alone_are_not_done_again(server: Failing, url: str) -> None:
    runs: list[str] = []

    def first(tx: Tx) -> bool:
        runs.append("first")
        return intake.see(tx, "pmo", b"first", 1.0)

    def bad(tx: Tx) -> None:
        raise KeyError("mine")

    def cut(tx: Tx) -> bool:
        runs.append("cut")
        if runs.count("cut") == 1:
            server.cut()
        return intake.see(tx, "pmo", b"cut", 1.0)

    async with opened(url) as db:
        await db.write(see(b"a"))
        results = await asyncio.gather(db.write(first), db.write(bad), db.write(cut), return_exceptions=True)
    assert (results[0], results[2], str(results[1])) == (True, True, "'mine'")
    assert runs == ["first", "first", "cut", "cut"]


class LosingCommit(Way):
    """A way that ends with a COMMIT that the server does not hear (`unheard`), or its answer; so many `times`."""

    def __init__(self, url: str, *, unheard: bool) -> None:
        super().__init__(url)
        self.times = 0
        self._unheard = unheard

    def hears(self, said: bytes) -> bool:
        return not (self._unheard and self._ends_with(said))

    def passes(self, answer: bytes) -> bool:
        return self._unheard or not self._ends_with(answer)

    def _ends_with(self, data: bytes) -> bool:
        ends = b"COMMIT\0" in data and self.times > 0
        self.times -= ends
        return ends


@pytest.mark.parametrize("unheard", [False, True])
async def test_a_commit_of_which_nobody_knows_is_451_and_not_repeated(url: str, unheard: bool) -> None:
    runs = 0

    def once(tx: Tx) -> bool:
        nonlocal runs
        runs += 1
        return intake.see(tx, "pmo", b"once", 1.0)

    async with opened(url) as there:
        way = LosingCommit(url, unheard=unheard)
        await way.open()
        async with opened(way.url) as db:
            await db.write(see(b"a"))
            way.times = 1
            with pytest.raises(Unavailable, check=unavailable("GONE")):
                await db.write(once)
            assert runs == 1
            assert await there.read(count) == (1 if unheard else 2)
            assert await db.write(once) == unheard  # its sender comes again
        await way.cut()


async def test_a_server_with_no_room_for_our_connections_is_451(server: Failing, url: str) -> None:
    server.sql("CREATE ROLE guest LOGIN")
    server.sql("ALTER DATABASE " + url.rpartition("@/")[2].partition("?")[0] + " OWNER TO guest")
    async with opened(url.replace("mailforum@", "guest@")) as db:
        await db.write(see(b"a"))
        server.sql("ALTER ROLE guest CONNECTION LIMIT 0")
        with pytest.raises(Unavailable, check=unavailable("GONE"), match="later") as raised:
            await db.read(count)
        assert "too many connections" in raised.value.reason
        server.sql("ALTER ROLE guest CONNECTION LIMIT -1")
        assert await db.read(count) == 1


async def test_a_server_that_is_read_only_now_is_451_until_it_is_not(server: Failing, url: str) -> None:
    name = url.rpartition("@/")[2].partition("?")[0]
    async with opened(url) as db:
        await db.write(see(b"a"))
        server.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        server.cut()
        with pytest.raises(Unavailable, check=unavailable("GONE")) as raised:
            await db.write(see(b"b"))
        assert "read-only" in raised.value.reason
        server.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert await until_written(db, see(b"b"))


@pytest.fixture
def disk(server: Failing) -> Iterator[SmallDisk]:
    with small_disk(server.folder / "disk", "16m") as disk:  # where whoever runs the server gets at it
        yield disk


async def test_a_full_disk_is_452_and_takes_no_mail_until_there_is_room(server: Failing, disk: SmallDisk) -> None:
    space = disk.folder / "space"
    space.mkdir()
    server.own(space)
    server.sql(f"CREATE TABLESPACE small LOCATION '{space}'")
    name = server.create()
    server.sql(f"ALTER DATABASE {name} SET TABLESPACE small")

    def large(name: bytes) -> Unit[int]:
        return lambda tx: intake.shunt(
            tx, digest=name, mail_from="", rcpts=(), reason="", raw=bytes(2 * 1024**2), now=0.0
        )

    async with opened(server.url(name)) as db:
        await db.write(large(b"a"))
        assert db.has_room(0)
        disk.fill()
        with pytest.raises(Unavailable, check=unavailable("FULL", 452)):
            await db.write(large(b"b"))
        assert not db.has_room(0)
        disk.empty()
        await db.write(large(b"b"))
        assert db.has_room(0)
    server.drop(name)
    server.sql("DROP TABLESPACE small")
