"""A network of our own: namespaces joined by two bridges, whose cables can be pulled.

Nothing of it has a name outside. The process that plays is the first of namespaces of its own (`enter`), for
processes, mounts and the network; each host is a further network namespace that a sleeping child keeps. When the
first process is gone, whatever it died of, the kernel ends all others, and takes the bridges, cables and
addresses away.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("ip", "unshare", "nsenter")
INNER, OUTER = "10.77.1", "10.77.2"  # to the database; to those who send mail, and to whom it is sent
STAGE = 254  # the last number of the stage's own addresses
_INSIDE = "MAILFORUM_TEST_STAGE"


def missing() -> str:
    """Return why there can be no such network here; "" if there can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    gone = [program for program in NEEDED if not shutil.which(program)]
    if gone:
        return f"{', '.join(gone)} not installed (iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "name", "b", "type", "bridge"], capture_output=True
    )
    return tried.stderr.decode().strip()


def command(words: Sequence[str]) -> list[str]:
    """Return the command that runs `words` as the first process of namespaces of its own."""
    alone = ["unshare", "--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    return [*alone, "--", "env", f"{_INSIDE}=1", *words]


def enter() -> None:
    """Start this program again inside, if it is not there: replaces this process."""
    if not os.environ.get(_INSIDE):
        words = command([sys.executable, *sys.orig_argv[1:]])
        os.execvp(words[0], words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Place:
    """A host: a network namespace, with a cable to each bridge."""

    name: str
    number: int  # the last of its addresses
    pid: int  # of who keeps the namespace

    @property
    def inside(self) -> tuple[str, ...]:
        """The words before a command that make it run there."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    @property
    def inner(self) -> str:
        """Its address among hosts and database."""
        return f"{INNER}.{self.number}"

    @property
    def outer(self) -> str:
        """Its address for mail."""
        return f"{OUTER}.{self.number}"

    def plug(self, side: str, *, into: bool) -> None:
        """Put the cable to `side` (INNER or OUTER) into the bridge, or pull it."""
        _ip("link", "set", _cable(self.number, side), "up" if into else "down")


def _cable(number: int, side: str) -> str:
    return f"p{number}{'io'[side == OUTER]}"


@contextmanager
def network(names: Sequence[str]) -> Iterator[list[Place]]:
    """Make bridges and hosts, numbered from 11; they are gone afterwards."""
    assert os.environ.get(_INSIDE), "not on a network of our own"
    _ip("link", "set", "lo", "up")
    for side in (INNER, OUTER):
        _ip("link", "add", "name", _bridge(side), "type", "bridge")
        _ip("addr", "add", f"{side}.{STAGE}/24", "dev", _bridge(side))
        _ip("link", "set", _bridge(side), "up")
    keepers = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) for _ in names]
    try:
        yield [_place(name, 11 + at, keeper.pid) for at, (name, keeper) in enumerate(zip(names, keepers, strict=True))]
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.wait()
        for side in (INNER, OUTER):
            _ip("link", "del", _bridge(side))


def _bridge(side: str) -> str:
    return f"b{'io'[side == OUTER]}"


def _place(name: str, number: int, pid: int) -> Place:
    own, its = (Path(f"/proc/{who}/ns/net") for who in ("self", pid))
    while own.readlink() == its.readlink():  # not there yet
        os.sched_yield()
    place = Place(name, number, pid)
    subprocess.run([*place.inside, "ip", "link", "set", "lo", "up"], check=True)
    for side in (INNER, OUTER):
        outside, inside = _cable(number, side), f"eth{'io'[side == OUTER]}"
        _ip("link", "add", "name", outside, "type", "veth", "peer", "name", inside, "netns", str(pid))
        _ip("link", "set", outside, "master", _bridge(side), "up")
        subprocess.run([*place.inside, "ip", "addr", "add", f"{side}.{number}/24", "dev", inside], check=True)
        subprocess.run([*place.inside, "ip", "link", "set", inside, "up"], check=True)
    return place


async def reached(host: str, port: int, seconds: float = 1.0) -> bool:
    """Say whether somebody answers there."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
