"""The lock that only one server per database can have."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailforum.errors import ConfigError


@contextmanager
def alone(database: Path) -> Iterator[int]:
    """Hold the lock of a database file; yields its descriptor.

    Raises ConfigError if somebody has it, or it cannot be made.
    """
    try:
        file = _place(database).open("w")
    except OSError as error:
        raise ConfigError(f"[store] url: {database} cannot be used: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{database} is already being served by another mailforum") from error
        yield file.fileno()


def is_served(database: Path) -> bool:
    """Say whether somebody holds the lock."""
    try:
        with _place(database).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _place(database: Path) -> Path:
    path = database.resolve()  # whatever links lead to it
    return path.with_name(path.name + ".lock")
