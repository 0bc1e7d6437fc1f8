"""A PostgreSQL that can be stopped, killed and started again, and that can be reached by TCP.

with failing() as server:
    server.end("KILL")
    server.begin()
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.support import postgres
from tests.support.postgres import OWNER, PATIENCE, Cluster

# A server that is still there ends when these words come, or its tests are gone: as `end` asks, or at once.
_GUARD = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & read how; kill -${how:-QUIT} $!; wait'

# How it may end: clients are sent away; at once, to be recovered at the next start; as by a crash.
Signal = Literal["INT", "QUIT", "KILL"]


class Failing(Cluster):
    """A cluster of its own. `inside` are words that run a command where it is to live, as root."""

    def __init__(self, programs: Path, inside: Sequence[str] = (), address: str = "") -> None:
        self._inside, self._address = inside, address
        super().__init__(programs)

    def _init(self) -> None:
        super()._init()
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")

    def _start(self) -> subprocess.Popen[bytes]:
        settings = {**postgres._SETTINGS, "listen_addresses": self._address}
        server = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        server += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = ["sh", "-c", _GUARD, "sh", self.folder / "log", *server]
        who = self._who
        if self._inside:
            command = [*self._inside, f"--setuid={who['user']}", f"--setgid={who['group']}", *command]
            who = {}
        return subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **who)

    def end(self, how: Signal) -> None:
        """End it; returns when it is gone."""
        self._admin.close()
        memory = self._memory()
        self._guard.communicate(f"{how}\n".encode(), timeout=PATIENCE)
        while _attached(memory):  # by those that a killed server leaves; they notice by themselves
            time.sleep(0.005)

    def _memory(self) -> str:
        """Which shared memory tells a server whether somebody of the one before is left."""
        return (self.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]

    def begin(self) -> None:
        """Start it again; returns when it answers."""
        self._guard = self._start()
        self._admin = self._connected()

    def tcp(self, database: str) -> str:
        """Where a database is, by TCP."""
        return f"postgresql://{OWNER}@{self._address}/{database}"

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the one who may do everything."""
        cursor = self._admin.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def cut(self) -> None:
        """End every connection of a mailforum."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'mailforum'")

    def own(self, folder: Path) -> None:
        """Give a folder to whoever runs the server."""
        if self._who:
            os.chown(folder, self._who["user"], self._who["group"])

    def stop(self) -> None:
        """End it for good."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _attached(memory: str) -> bool:
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return any(row[1] == memory and row[6] != "0" for row in rows)


@contextmanager
def failing(inside: Sequence[str] = (), address: str = "") -> Iterator[Failing]:
    """Have such a server; it is gone afterwards."""
    postgres.skip_if_missing()
    found = postgres.programs()
    assert found
    server = Failing(found, inside, address)
    try:
        yield server
    finally:
        server.stop()
