"""Where a demo lives: a folder that is its own, and ports that nobody else has."""

from __future__ import annotations

import errno
import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailforum import config, manual
from mailforum.errors import UsageError
from mailforum.options import Config

HOST = "127.0.0.1"
CONFIG = "mailforum.toml"
OUTBOX = "outbox"
LOG = "mailforum.log"

_MARKER = ".mailforum-demo"
_DATABASE = "mailforum.db"
_LOCK = f"{_DATABASE}.lock"  # held by whoever serves that database
_BESIDE = ("-wal", "-shm", ".served", ".reserve")
_OURS = (CONFIG, OUTBOX, LOG, "secret.key", _DATABASE, *(_DATABASE + end for end in _BESIDE), _LOCK)
_NAMES = ("demo", *(f"demo-{number}" for number in range(2, 10)))
_PORTS = 100  # how many are tried


@contextmanager
def claimed(named: str | None) -> Iterator[Path]:
    """Give the folder `named`, or the first of ./demo, ./demo-2, … that can be had, empty of old demos.

    It is ours until the end of the `with`. Raises UsageError for a folder that holds anything but a
    demo, or a demo that is running.
    """
    problems = []
    for path in [Path(named)] if named else map(Path, _NAMES):
        problem = _problem(path)
        if not problem:
            with _prepared(path):
                yield path
            return
        problems.append(problem)
    raise UsageError(f"{problems[0]}; name another folder with --dir")


def _problem(path: Path) -> str:
    """Say why the folder cannot be used; "" if it can."""
    if not path.exists() and not path.is_symlink():
        return ""
    if not path.is_dir():
        return f"{path} is no folder"
    if not (path / _MARKER).is_file():
        return f"{path} holds something other than a demo" if any(path.iterdir()) else ""
    if not (_is_unlocked(path / _MARKER) and _is_unlocked(path / _LOCK)):
        return f"a demo is running in {path}"
    return ""


def _is_unlocked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


@contextmanager
def _prepared(path: Path) -> Iterator[None]:
    """Make the folder, mark and hold it, and take away what an earlier demo has made there."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / _MARKER).open("w") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        marker.write("`mailforum demo` made this folder, and makes it anew each time.\n")
        marker.flush()
        for name in _OURS:
            _remove(path / name)
        yield


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_config(folder: Path, domain: str, wanted_port: int) -> Config:
    """Write the demo's configuration, with ports that are free, and read it.

    The environment is left out: a relay named there must not get the demo's mail.
    """
    smtp, web = free_port(wanted_port), free_port(0)
    text = manual.sample(
        {
            ("site", "domain"): f'"{domain}"',
            ("site", "special_domains"): "true",
            ("store", "reserve"): '"0"',
            ("smtp", "listen"): f'["{HOST}:{smtp}"]',
            ("delivery", "relay"): f'"maildir:{OUTBOX}"',
            ("web", "listen"): f'["{HOST}:{web}"]',
            ("web", "url"): f'"http://{HOST}:{web}"',
        }
    )
    path = folder / CONFIG
    path.write_text(text, encoding="utf-8")
    return config.load(path, environ={})


def free_port(wanted: int) -> int:
    """Return `wanted` or the next port that nobody listens on; 0 means any. Raises UsageError."""
    for port in range(wanted, min(wanted + _PORTS, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise UsageError(f"cannot listen on {HOST}:{port}: {error.strerror}") from error
            return int(probe.getsockname()[1])
    raise UsageError(f"no port is free from {wanted} on; name another with --port")
