"""Which process this is, so that whoever runs on the same machine can say for certain that it has ended.

A number of a process says little: the kernel gives it to others, and each container counts from 1. So the
machine's boot and the namespaces of the process go with it, and when it was started. Where one of them is not
known, or another machine or container asks, nothing is certain, and it may live.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_GONE = {b"Z", b"X"}  # killed, and perhaps still listed: it does nothing any more


class Process(NamedTuple):
    """A process: the hash of where its number means something, the number, and when it was started (in clock ticks
    since the machine was)."""

    where: str
    number: str
    started: str


def this() -> Process | None:
    """Return which process we are; None where the system does not say."""
    try:
        if str((_PROC / "self").readlink()) != str(os.getpid()):  # a /proc of another container
            return None
        spaces = [str((_PROC / "self/ns/pid").readlink())]
        if (clock := _PROC / "self/ns/time").is_symlink():  # since Linux 5.6
            spaces.append(str(clock.readlink()))
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        _, started = _state(os.getpid())
    except (OSError, ValueError):
        return None
    where = hashlib.sha256("\0".join([boot, *spaces]).encode()).hexdigest()[:16] if boot else ""
    return Process(where, str(os.getpid()), started) if where else None


def has_ended(one: Process, here: Process | None) -> bool:
    """Say whether it is certain that `one` does not run any more; `here` is who asks (`this`)."""
    if here is None or one.where != here.where or not one.number.isdecimal():
        return False
    try:
        os.kill(int(one.number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is another user's
        pass
    try:
        state, started = _state(int(one.number))
    except (OSError, ValueError):
        return False
    return state in _GONE or started != one.started


def _state(number: int) -> tuple[bytes, str]:
    """Return how a process is, a letter, and when it was started (proc(5)). The name before may contain anything."""
    fields = (_PROC / f"{number}/stat").read_bytes().rpartition(b")")[2].split()
    if len(fields) < 20:
        raise ValueError("this is no /proc/PID/stat")
    return fields[0], fields[19].decode("ascii")
