"""Disk full, database locked, read-only or damaged: mail is put off with 4yz, nothing is lost, nothing is
sent twice, and it all goes on by itself when the cause is gone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import smtplib
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.disk import SmallDisk, damage, read_only, small_disk
from tests.support.sink import Mail, Sink
from tests.support.site import Site, _send, free_port, run_cli, running_site, write_config

STORES = ["sqlite"]
POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <%d@example.org>\r\n\r\nHello, all.\r\n"
MEMBERS = ("m1@example.com", "m2@example.com", "m3@example.com")


async def make_list(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "set", "pmo", "posting=anyone")
    await site.cli("member", "add", "pmo", "--no-welcome", *MEMBERS)


async def post(site: Site, number: int) -> str:
    return await site.send("ada@example.org", ["pmo@lists.example.test"], POST % number)


async def post_within(site: Site, number: int, seconds: float) -> None:
    """Post as a sender does who tries again and again."""
    end = time.monotonic() + seconds
    while not (answer := await post(site, number)).startswith("250"):
        assert time.monotonic() < end, answer
        await asyncio.sleep(0.1)


def copies(sink: Sink) -> Counter[tuple[str, bytes]]:
    """How often each member was sent each post."""
    return Counter((rcpt, _msgid(mail)) for mail in sink.seen for rcpt in mail.rcpts)


def _msgid(mail: Mail) -> bytes:
    return next(line for line in mail.data.split(b"\r\n") if line.startswith(b"Message-ID:"))


def once_each(*numbers: int) -> Counter[tuple[str, bytes]]:
    return Counter((rcpt, b"Message-ID: <%d@example.org>" % number) for number in numbers for rcpt in MEMBERS)


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """A function that returns the lines of the log about an event so far."""
    caplog.set_level(logging.INFO, "mailforum")
    return lambda event: [line for line in caplog.messages if line.startswith(f"event={event} ")]


# -- B1 to B3: the disk is full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "12m") as disk:
        yield disk


async def test_a_full_disk_is_452_and_mail_flows_again_when_there_is_room(
    disk: SmallDisk, log: Callable[[str], list[str]]
) -> None:
    async with running_site(disk.folder, store_reserve='"1M"') as site:
        await make_list(site)
        assert (await post(site, 1)).startswith("250")
        await site.quiet()
        await site.service.core.db.tidy()
        await site.service.core.db.tidy()  # nothing is left in the log of the database that could be written over
        disk.fill()
        answers = [await post(site, number) for number in range(2, 7)]
        assert {answer.partition(" T")[0] for answer in answers} == {"452 4.3.1"}
        assert len(log("database_trouble")) == 1
        assert "The database cannot be written: the disk is full" in log("database_trouble")[0]
        disk.empty()
        for number in range(2, 7):
            await post_within(site, number, 5)
        await site.quiet()
        assert copies(site.sink) == once_each(*range(1, 7))
        assert len(log("database_well")) == 1


async def test_no_mail_is_taken_in_below_the_floor_while_what_was_taken_in_is_sent(disk: SmallDisk) -> None:
    held = asyncio.Event()

    async def wait(_: Mail) -> None:
        await held.wait()

    async with running_site(disk.folder, Sink(dot=wait), store_min_free='"4M"', store_reserve='"1M"') as site:
        await make_list(site)
        assert (await post(site, 1)).startswith("250")
        disk.fill()
        assert (await post(site, 2)).startswith("452 4.3.1")
        held.set()
        await site.quiet()
        disk.empty()
        await post_within(site, 2, 5)
        await site.quiet()
        assert copies(site.sink) == once_each(1, 2)


@pytest.mark.parametrize("reserve", ["1M", "0"])
async def test_what_was_sent_on_a_full_disk_is_sent_once(
    disk: SmallDisk, log: Callable[[str], list[str]], reserve: str
) -> None:
    held = asyncio.Event()

    async def wait(_: Mail) -> None:
        await held.wait()

    async with running_site(
        disk.folder, Sink(dot=wait), store_reserve=f'"{reserve}"', delivery_connections="1"
    ) as site:
        await make_list(site)
        assert (await post(site, 1)).startswith("250")
        await until(lambda: site.sink.seen)
        await site.service.core.db.tidy()
        await site.service.core.db.tidy()
        disk.fill()
        held.set()
        if reserve == "0":
            await until(lambda: log("database_trouble"))
            await asyncio.sleep(1.5)  # long enough for a second try
            assert len(site.sink.seen) == 1, "something was sent although what was sent could not be written down"
            disk.empty()
        await site.quiet()
        assert copies(site.sink) == once_each(1)
        assert log("database_trouble")
        assert log("database_well")


async def test_a_server_that_ended_on_a_full_disk_starts_on_it_and_sends_what_waits(disk: SmallDisk) -> None:
    async def refuse(_: Mail) -> str:
        return "451 4.3.0 not now"

    async with running_site(disk.folder, Sink(dot=refuse), store_reserve='"1M"') as site:
        await make_list(site)
        assert (await post(site, 1)).startswith("250")
        await until(lambda: len(site.sink.seen) == 3)
    disk.fill()
    async with running_site(disk.folder, store_reserve='"1M"') as site:
        assert (await post(site, 2)).startswith("452 4.3.1")
        await site.cli("queue", "retry", "--all")
        await site.quiet()
        assert copies(site.sink) == once_each(1)
        disk.empty()
        await post_within(site, 2, 5)


async def test_where_not_even_a_row_can_be_deleted_the_reserve_makes_room(disk: SmallDisk) -> None:
    from mailforum.errors import Deferred
    from mailforum.store import intake
    from mailforum.store.sqlite import open_sqlite

    database = await open_sqlite(disk.folder / "test.db", reserve=2**20)
    try:
        assert await database.write(lambda tx: [intake.see(tx, f"r{n}", b"d" * 500, 1.0) for n in range(200)])
        await database.tidy()
        await database.tidy()
        disk.fill()
        with pytest.raises(Deferred):
            await database.write(lambda tx: tx.run("upkeep.drop_seen", before=2.0, limit=1000))
        assert not database.has_room(0)
        await database.write(lambda tx: tx.run("upkeep.drop_seen", before=2.0, limit=1000))
        disk.empty()
        assert database.has_room(0)
        assert (disk.folder / "test.db.reserve").stat().st_blocks * 512 >= 2**20
    finally:
        await database.close()


# -- B4: another process has locked the database

_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


class Locker:
    """Another process that holds the lock of the database."""

    def __init__(self, path: Path) -> None:
        words = [sys.executable, "-c", _LOCK, str(path)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"locked\n"

    def unlock(self) -> None:
        self._process.communicate(b"\n", timeout=20)


async def test_a_lock_held_for_long_puts_mail_off_within_ten_seconds_and_stops_nothing_else(
    tmp_path: Path, log: Callable[[str], list[str]]
) -> None:
    hold = asyncio.Event()

    async def wait(_: Mail) -> None:
        await hold.wait()

    async with running_site(tmp_path, Sink(dot=wait), delivery_connections="1") as site:
        await make_list(site)
        assert (await post(site, 0)).startswith("250")
        await until(lambda: site.sink.seen)
        locker = await asyncio.to_thread(Locker, site.service.config.database)
        try:
            async with timed_loop() as longest:
                hold.set()
                first = asyncio.create_task(timed_post(site, 1))
                await asyncio.sleep(1)  # the others come while the first one waits already
                results = await asyncio.gather(first, *(timed_post(site, number) for number in range(2, 7)))
            assert {answer[:9] for answer, _ in results} == {"451 4.3.0"}
            assert max(seconds for _, seconds in results) < 13
            assert longest() < 3, "the event loop was blocked"
            assert len(site.sink.seen) == 1, "sent although what was sent before could not be written down"
            assert len(log("database_trouble")) == 1
            assert "another process has locked it" in log("database_trouble")[0]
        finally:
            await asyncio.to_thread(locker.unlock)
        for number in range(1, 7):
            await post_within(site, number, 5)
        await site.quiet()
        assert copies(site.sink) == once_each(*range(7))


async def timed_post(site: Site, number: int) -> tuple[str, float]:
    started = time.monotonic()
    return await post(site, number), time.monotonic() - started


@contextlib.asynccontextmanager
async def timed_loop() -> AsyncIterator[Callable[[], float]]:
    """Yield a function that says how long the event loop was kept from its work at the longest."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    try:
        yield lambda: longest
    finally:
        ticking.cancel()


# -- B5: the write-ahead log


async def test_a_long_reader_makes_the_log_of_the_database_grow_until_it_ends(tmp_path: Path) -> None:
    from mailforum.store import intake, sqlite
    from mailforum.store.sqlite import open_sqlite

    path, log = tmp_path / "test.db", tmp_path / "test.db-wal"
    database = await open_sqlite(path)
    written = 0

    async def write(mebibytes: int) -> None:
        nonlocal written
        for _ in range(mebibytes):
            written += 1
            digest, raw = b"%d" % written, bytes(2**20)
            values = {"digest": digest, "mail_from": "", "rcpts": (), "reason": "", "raw": raw, "now": 1.0}
            await database.write(lambda tx, values=values: intake.shunt(tx, **values))  # type: ignore[misc]

    try:
        await write(40)
        alone = log.stat().st_size
        assert alone < 2 * 16 * 2**20, "nobody reads, so the log is used again and again"
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM shunt").fetchone() == (40,)
        await write(60)
        assert await database.tidy() > sqlite.LARGE_LOG
        reader.execute("COMMIT")
        await write(1)
        assert await database.tidy() == 0
        assert log.stat().st_size == 0
        reader.close()
    finally:
        await database.close()


async def test_the_log_of_the_database_is_emptied_when_nothing_happens(tmp_path: Path) -> None:
    from mailforum.store import intake
    from mailforum.store.sqlite import open_sqlite

    database = await open_sqlite(tmp_path / "test.db")
    try:
        await database.write(lambda tx: intake.see(tx, "r", b"d", 1.0))
        await database.tidy()
        size = (tmp_path / "test.db-wal").stat().st_size
        assert size > 0, "something has been written since the last look"
        await database.tidy()
        assert (tmp_path / "test.db-wal").stat().st_size == 0
    finally:
        await database.close()


# -- B6 and B7: no more files, no log. Servers of their own, since a limit and standard error are a process's


@contextlib.contextmanager
def serving(folder: Path, stderr: IO[bytes] | int, before: str = "") -> Iterator[tuple[int, int]]:
    """Run a server after the Python code `before`; yield its port and its process id."""
    port = free_port()
    options = {"smtp_listen": f'["127.0.0.1:{port}"]', "smtp_lmtp": "[]", "web_listen": "[]"}
    config = ["--config", str(write_config(folder, "maildir:outbox", **options))]
    for words in (["list", "create", "pmo"], ["list", "set", "pmo", "posting=anyone"]):
        assert run_cli([*config, *words]).code == 0
    code = f"import sys\n{before}\nfrom mailforum.cli.main import main\nsys.exit(main({[*config, 'serve']}))"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr)
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"mailforum is ready")
        yield port, server.pid
        server.terminate()
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.communicate()


def post_to(port: int, seconds: float) -> None:
    """Post as a sender does who tries again and again."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = _send(("127.0.0.1", port), "ada@example.org", ["pmo@lists.example.test"], POST % 1)
        except (OSError, smtplib.SMTPException) as error:
            answer = str(error)
        if answer.startswith("250"):
            return
        assert time.monotonic() < end, answer
        time.sleep(0.1)


def cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="NOT TESTED: no /proc to read CPU time from")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_too_few_files_for_all_clients_cost_neither_the_processor_nor_the_server(tmp_path: Path, loop: str) -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (130, 130))"
    if loop == "asyncio":
        before += "; sys.modules['uvloop'] = None"
    with (tmp_path / "log").open("wb") as log, serving(tmp_path, log, before) as (port, pid):
        begun = time.monotonic()
        clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(200)]
        while time.monotonic() < begun + 30 and b"turned_away" not in (tmp_path / "log").read_bytes():
            time.sleep(0.05)
        used = cpu_seconds(pid)
        time.sleep(2)
        assert cpu_seconds(pid) - used < 0.5
        for client in clients:
            client.close()
        post_to(port, 5)
    lines = (tmp_path / "log").read_text()
    assert lines.count("event=few_files") == 1
    assert "Traceback" not in lines
    assert "CRITICAL" not in lines


async def test_what_asyncio_says_of_too_many_open_files_is_said_once(
    tmp_path: Path, log: Callable[[str], list[str]]
) -> None:
    async with running_site(tmp_path):
        loop = asyncio.get_running_loop()
        for _ in range(500):
            error = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
        assert len(log("not_accepting")) == 1


def test_a_server_that_may_open_nearly_no_files_does_not_start(tmp_path: Path) -> None:
    config = write_config(tmp_path, "maildir:outbox")
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))"
    code += f"; from mailforum.cli.main import main; sys.exit(main(['--config', {str(config)!r}, 'serve']))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1][:48]) == (
        1,
        "mailforum: only 60 open files are allowed (ulimi",
    )


def test_as_many_files_are_allowed_as_connections_may_need(tmp_path: Path) -> None:
    before = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 2000))"
    with (tmp_path / "log").open("wb") as log, serving(tmp_path, log, before) as (_, pid):
        limits = Path(f"/proc/{pid}/limits").read_text()
    (allowed,) = [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")]
    assert int(allowed) > 200
    assert "few_files" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("where", ["a full disk", "a pipe that nobody reads any more"])
def test_mail_flows_although_the_log_cannot_be_written(tmp_path: Path, where: str) -> None:
    reading, writing = os.pipe()
    if where == "a full disk":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    with serving(tmp_path, writing) as (port, _):
        os.close(reading)
        for _ in range(20):
            post_to(port, 0)
    os.close(writing)


# -- B8: read-only, damaged


async def test_a_database_that_turns_read_only_puts_mail_off_until_it_is_not(
    site: Site, log: Callable[[str], list[str]]
) -> None:
    await make_list(site)
    path = site.service.config.database
    with read_only(path, path.with_name(path.name + "-wal")):
        assert (await post(site, 1)).startswith("451 4.3.0")
        assert len(log("database_trouble")) == 1
    await post_within(site, 1, 5)
    await site.quiet()
    assert copies(site.sink) == once_each(1)
    assert log("database_well")


@pytest.mark.parametrize("what", ["body", "post_date", "member"])
async def test_a_damaged_page_is_never_a_250_and_check_names_it(
    tmp_path: Path, log: Callable[[str], list[str]], what: str
) -> None:
    async with running_site(tmp_path) as site:
        await make_list(site)
        assert (await post(site, 1)).startswith("250")
        await site.quiet()
    damage(tmp_path / "mailforum.db", what)
    async with running_site(tmp_path) as site:
        answers = [await post(site, number) for number in range(2, 5)]
        assert {answer[:9] for answer in answers} == {"451 4.3.0"}
        (trouble,) = [line for line in log("database_trouble") if "cannot be written" in line]
        assert "the file is damaged" in trouble
    answer = await asyncio.to_thread(run_cli, ["--config", str(tmp_path / "mailforum.toml"), "check"])
    assert answer.code == 1
    assert "error:   database: " in answer.out


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_server_that_may_not_write_says_so_and_does_not_start(tmp_path: Path, what: str) -> None:
    serve = [sys.executable, "-m", "mailforum", "--config", str(tmp_path / "mailforum.toml"), "serve"]
    (tmp_path / "data").mkdir()
    write_config(tmp_path, "maildir:outbox", store_url='"sqlite:data/mailforum.db"')
    subprocess.run([*serve[:-1], "list", "create", "pmo"], check=True, capture_output=True)
    with read_only(tmp_path / "data" / "mailforum.db" if what == "file" else tmp_path / "data"):
        done = subprocess.run(serve, capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("mailforum: ")
    assert "Traceback" not in done.stderr.decode()
    assert ("we may not write to it" if what == "file" else str(tmp_path / "data")) in last
