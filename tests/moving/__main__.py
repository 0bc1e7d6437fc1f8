from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg

import tests.moving
from mailforum.store import schema
from mailforum.store.move.tables import Table, tables
from tests.moving import site
from tests.support.disk import SmallDisk, small_disk
from tests.support.failing import Failing, failing
from tests.support.site import running_site, write_config

ROOM = "3g"  # of the disk, which is filled now and then
FAULTS = ("the command was killed", "the server was killed", "the server was restarted", "the disk was full")
TABLES = tables(schema.steps())
LEFT_OUT = {"indexed"}  # of one database alone, in part


def command(*words: str) -> list[str]:
    """Return a command line of ours."""
    return [sys.executable, "-m", "mailforum", *words]


class Mishaps:
    """Moves a site again and again, each time with one mishap, until there were enough of them."""

    def __init__(self, server: Failing, disk: SmallDisk, longest: float, seed: int) -> None:
        """`longest`: seconds until something happens, at most."""
        self._server, self._disk, self._longest = server, disk, longest
        self._random = random.Random(seed)
        self.said: Counter[str] = Counter()

    def move(self, source: str, target: str, times: int) -> None:
        """Have it go wrong so often, then let it end."""
        for number in range(times):
            fault = FAULTS[number % len(FAULTS)]
            if self._once(source, target, fault) == 0:
                self.said["whole before there were enough"] += 1
                return
            self.said[fault] += 1
        done = subprocess.run(command("store", "copy", source, target), capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "is whole" in done.stderr, done

    def _once(self, source: str, target: str, fault: str) -> int:
        """Begin, let something happen, and wait for the end; return the exit status."""
        with tempfile.TemporaryFile("w+") as said:
            running = subprocess.Popen(command("store", "copy", source, target), stdout=said, stderr=said)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(self._random.uniform(0.3, self._longest))
            self._happen(fault, running)
            status = running.wait(300)
            said.seek(0)
            text = said.read()
        if fault != FAULTS[0] and status:
            assert "Traceback" not in text, text
            self.said[f"  said: {text.strip().splitlines()[-1]}"] += 1
        return status

    def _happen(self, fault: str, running: subprocess.Popen[bytes]) -> None:
        if fault == "the command was killed":
            running.kill()
        elif fault == "the disk was full":
            self._disk.fill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(60)
            self._disk.empty()
            running.kill()
        else:
            self._server.end("KILL" if fault == "the server was killed" else "INT")
            time.sleep(0.2)
            self._server.begin()


Rows = Iterator[tuple[object, ...]]


def rows_of_file(path: Path, table: Table) -> Rows:
    """Yield the rows of a table."""
    with closing(sqlite3.connect(path)) as connection:
        yield from connection.execute(_select(table, ""))


def rows_of_server(url: str, table: Table) -> Rows:
    """Yield the rows of a table as SQLite has them."""
    with psycopg.connect(url) as connection, connection.cursor(name="rows") as cursor:
        cursor.itersize = 500
        for row in cursor.execute(_select(table, "::text" if table.name == "list" else "")):
            yield tuple(int(value) if isinstance(value, bool) else value for value in row)


def _select(table: Table, cast: str) -> str:
    columns = [f"{name}{cast}" if name == "settings" else name for name in table.columns]
    order = ", ".join(table.key) or "1"
    return f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {order}"


def differences(one: Rows, other: Rows, *, nul: bool = False) -> int:
    """Count the rows of one table that differ; `nul`: the other cannot have a NUL in a text."""
    before: Counter[int] = Counter(hash(_without_nul(row) if nul else row) for row in one)
    before.subtract(hash(row) for row in other)
    return sum(map(abs, before.values()))


def _without_nul(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row)


def compared(path: Path, url: str, *, nul: bool) -> None:
    """See that a file and a server have the same rows; `nul` is as for `differences`."""
    for table in TABLES:
        if table.name not in LEFT_OUT:
            found = differences(rows_of_file(path, table), rows_of_server(url, table), nul=nul)
            assert not found, f"{table.name}: {found} rows differ"


async def served(folder: Path, url: str, posts: int) -> None:
    """Serve the site, take mail in, and see that all that waited is sent, once."""
    folder.mkdir()
    async with running_site(folder, store_url=f'"{url}"') as running:
        for number in range(20):
            headers = (
                f"From: m{10 + number}@example.org",
                f"Subject: Re: late {number}",
                f"Message-ID: <late{number}@x.example>",
                f"In-Reply-To: {site.name(posts - number)}",
            )
            mail = "\r\n".join([*headers, "", f"Text {number} of those that come late.", ""])
            answer = await running.send(f"m{10 + number}@example.org", [site.LIST], mail.encode())
            assert answer.startswith("250"), answer
        async with asyncio.timeout(300):
            while await running._busy():
                await asyncio.sleep(0.2)
        checked = (await running.cli("check", check=False)).out
        assert "error:   database" not in checked, checked
        got = Counter(rcpt for mail in running.sink.mails for rcpt in mail.rcpts)
        waited = {f"r{mailing}-{member}@example.org" for mailing in (1, 2) for member in range(1, 501)}
        assert {rcpt: got[rcpt] for rcpt in waited} == dict.fromkeys(waited, 1)
        assert not any(rcpt.startswith("r3-") for rcpt in got)
    with psycopg.connect(url) as connection:
        query = "SELECT count(*) FROM post AS p JOIN post AS q ON q.id = p.parent_id WHERE p.subject LIKE 'Re: late %'"
        assert connection.execute(query).fetchone() == (20,)


def refused(folder: Path, url: str) -> str:
    """See that a site that was moved is not served; return what is said."""
    folder.mkdir()
    file = write_config(folder, "maildir:out", store_url=f'"{url}"')
    done = subprocess.run(command("--config", str(file), "serve"), capture_output=True, text=True, check=False)
    assert done.returncode, done
    return done.stderr.strip().splitlines()[-1]


def play(folder: Path, posts: int, kills: int, seed: int) -> Counter[str]:
    """Do all of it; return what has happened. Raises AssertionError."""
    original, source, back = folder / "original.db", folder / "site.db", folder / "disk" / "back.db"
    site.make(original, posts, seed)
    with closing(sqlite3.connect(original)) as connection, closing(sqlite3.connect(source)) as copy:
        connection.backup(copy)
    with failing() as server, small_disk(folder / "disk", ROOM) as disk:
        place = disk.folder / "space"
        place.mkdir()
        for each in (folder, disk.folder):
            each.chmod(0o755)
        server.own(place)
        server.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.sql("CREATE DATABASE site TEMPLATE template0 TABLESPACE small")
        url, files = server.url("site"), [f"sqlite:{each}" for each in (source, back)]
        mishaps = Mishaps(server, disk, 0.4 + posts / 200_000, seed)
        mishaps.move(files[0], url, kills)
        compared(original, url, nul=True)
        asyncio.run(served(folder / "there", url, posts))
        print(refused(folder / "refused", files[0]))
        mishaps.move(url, files[1], kills)
        compared(back, url, nul=False)
        for table in (
            each for each in TABLES if each.name in ("body", "issue", "message_id")
        ):  # they are kept for good
            lost = set(rows_of_file(original, table)) - set(rows_of_file(back, table))
            assert not lost, f"{table.name}: {len(lost)} rows have gone"
        print(refused(folder / "refused there", url))
    return mishaps.said


def main() -> int:
    """Run from the command line; exit status 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=tests.moving.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=12, help="mishaps, each way (12)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    print("seed", args.seed)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        said = play(Path(folder), args.posts, args.kills, args.seed)
    for what, times in said.items():
        print(f"{times:>4}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
