"""Disks that are small, full or read-only, for root; others skip the tests that need them, and say so."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A file system of its own, which can be filled to the last byte and emptied again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all room there is."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (64 * 1024, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size) == size:
                        pass

    def empty(self) -> None:
        """Give back what was taken."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a file system of `size` (such as 8m) on the new folder `folder`."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can make a disk that is full")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"NOT TESTED: no disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def read_only(*files: Path) -> Iterator[None]:
    """Make files read-only even for those who have them open and for root, as a failing disk does."""
    try:
        done = subprocess.run(["chattr", "+i", *map(str, files)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: there is no chattr here")
    try:
        if done.returncode:
            pytest.skip(f"NOT TESTED: files cannot be made read-only here: {done.stderr.decode().strip()}")
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, files)], capture_output=True, check=False)


def damage(database: Path, table: str, *, emptied: bool = False) -> None:
    """Overwrite the first page of a table or an index, as a failing disk does. Nobody may have the file open.

    With `emptied` what is there then is an index without entries.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write((b"\x0a\0\0\0\0" + size.to_bytes(2, "big")).ljust(size, b"\0") if emptied else b"\xa5" * size)
