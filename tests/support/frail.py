"""A PostgreSQL that a test stops, starts and cuts off; for all others there is the one of support/postgres.py."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import postgres

PATIENCE = 30.0


class Frail(postgres.Cluster):
    """A server that can be stopped and started again."""

    def __init__(self) -> None:
        postgres.skip_if_missing()
        found = postgres.programs()
        assert found
        super().__init__(found)
        self._again: subprocess.Popen[bytes] | None = None

    def halt(self, how: signal.Signals) -> None:
        """Stop it: SIGINT asks it to throw everybody out, SIGQUIT lets it go like a crash."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, how)
        if self._again:
            self._again.wait(PATIENCE)
        self._until(lambda: not (self.folder / f".s.PGSQL.{5432}").exists() and not _lives(pid))

    def go_on(self, **settings: str) -> None:
        """Start it again."""
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._again = subprocess.Popen(
            [*self._command(), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **self._who
        )
        self._admin = self._connected()

    def _command(self) -> list[str | Path]:
        plain = ("listen_addresses=", "fsync=off")
        words = [word for setting in plain for word in ("-c", setting)]
        return [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *words]

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

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        if self._again and self._again.poll() is None:
            self._admin.close()
            self.halt(signal.SIGQUIT)
        super().stop()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Cut:
    """A socket before a server's, which is closed on both sides when a word is said, or an answer to it is given.

    `unheard`: the server does not hear the word; else its answer is what is lost.
    """

    def __init__(self, server: Path, folder: Path, word: bytes, *, unheard: bool) -> None:
        self.times = 1
        self._server, self._word, self._unheard = str(server / ".s.PGSQL.5432"), word, unheard
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            heard = threading.Event()
            threading.Thread(target=self._pass, args=(client, server, heard), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client, heard), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket, heard: threading.Event) -> None:
        while data := _received(client):
            if self._word in data and self.times:
                self.times -= 1
                if self._unheard:
                    break
                heard.set()
            server.sendall(data)
        _close(client, server)

    def _back(self, server: socket.socket, client: socket.socket, heard: threading.Event) -> None:
        while data := _received(server):
            if heard.is_set():
                break
            client.sendall(data)
        _close(client, server)

    def close(self) -> None:
        """Take no more connections."""
        _close(self._listener)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _close(*connections: socket.socket) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
