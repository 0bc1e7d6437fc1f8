"""Hold processes to a share of a core, by Linux's control groups (cgroups 1 or 2).

A machine that has no cores to spare says nothing of whether a second host brings something. Hosts that may have a
fraction of a core each do: then they are what limits, and everybody else has room.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

QUOTA = 1000  # microseconds, the least that Linux allows: who has a lock when his share is used up keeps it meanwhile
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Controller:
    """The folder of all groups, and whether they are those of version 2."""

    root: Path
    unified: bool

    @contextlib.contextmanager
    def held(self, processes: Iterable[int], cores: float) -> Iterator[None]:
        """Let processes, and what they start, have no more than so many cores together until the block ends.

        OSError says that this is not allowed here.
        """
        group = self.root / f"mailforum-bench-{os.getpid()}-{next(_numbers)}"
        group.mkdir()
        try:
            for name, value in self._limit(cores):
                (group / name).write_text(value)
            _move(processes, group)
            yield
        finally:
            _move(map(int, (group / "cgroup.procs").read_text().split()), self.root)
            group.rmdir()

    def _limit(self, cores: float) -> Iterable[tuple[str, str]]:
        """Of the files of a group; `cores` is up to one."""
        period = round(QUOTA / cores)
        if self.unified:
            return [("cpu.max", f"{QUOTA} {period}")]
        return [("cpu.cfs_period_us", f"{period}"), ("cpu.cfs_quota_us", f"{QUOTA}")]


def _move(processes: Iterable[int], group: Path) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            (group / "cgroup.procs").write_text(f"{process}")


def controller(mounts: str) -> Controller | None:
    """Return where groups can have a share of the CPU, if anywhere; `mounts` is the text of /proc/mounts."""
    for line in mounts.splitlines():
        _, folder, kind, options, *_ = line.split()
        root = Path(folder)
        if kind == "cgroup" and "cpu" in options.split(","):
            return Controller(root, unified=False)
        if kind == "cgroup2" and "cpu" in (root / "cgroup.subtree_control").read_text().split():
            return Controller(root, unified=True)
    return None


def here() -> Controller | None:
    """Return this machine's controller, if it has one."""
    mounts = Path("/proc/mounts")
    return controller(mounts.read_text()) if mounts.exists() else None


def held(processes: Iterable[int], cores: float) -> contextlib.AbstractContextManager[None]:
    """Let processes have no more than so many cores until the block ends; 0: as many as there are."""
    found = here() if cores else None
    return found.held(processes, cores) if found else contextlib.nullcontext()


def missing() -> str:
    """Return what processes cannot be held for want of; "" if they can be."""
    found = here()
    if not found:
        return "needs Linux, and a cgroup with the controller `cpu`"
    try:
        with found.held((), 1):
            return ""
    except OSError as error:
        return f"needs to make cgroups in {found.root}, as root does: {error.strerror}"
