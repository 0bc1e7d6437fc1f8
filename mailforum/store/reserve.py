"""Room that is kept for the end of work under way when the disk is full."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Reserve:
    """A file of `size` bytes beside the database that is given up when the disk is full.

    On a full disk nothing can be written any more, not even that a mail has been sent, or that a row
    is deleted: the log of the database has to grow for it. With the room of the file it can. While the
    file is gone no new mail is taken in, so the room serves what was taken in before.
    """

    def __init__(self, database: Path, size: int) -> None:
        self._path = database.with_name(database.name + ".reserve")
        self._size = size

    def whole(self, free: int, floor: int) -> bool:
        """Say whether the reserve is there; make it if that leaves enough of the bytes `free`.

        Enough is `floor`, and as much again as the reserve: or it would be given up at once.
        """
        return not self.missing() or (free - self._size >= max(floor, self._size) and self._make())

    def missing(self) -> int:
        """Return how many bytes of the reserve are not there."""
        return max(0, self._size - self._there())

    def _there(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _make(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """Give the room free."""
        if self._size:
            with contextlib.suppress(OSError):
                self._path.unlink()
