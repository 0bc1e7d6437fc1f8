"""Files and Maildirs that appear only when they are whole and on disk, whatever happens on the way.

They grow beside their place, under their name with `.mailforum-part` behind it. What is left there by a
run that was killed, the next one writes over.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mailforum.errors import UsageError

_MAILDIR = ("cur", "new", "tmp")
_BUFFER = 256 * 1024


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when all has gone well; a pipe or a device is written to as it is.

    Raises UsageError where there is a file already, unless `force` says to replace it, or a folder; and OSError.
    """
    path = _place(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; with a slash behind its name, a Maildir is written there")
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    _may_replace(path, path.exists(), force)
    part = _part(path)
    with _claimed(part, os.O_WRONLY | os.O_CREAT) as descriptor:
        os.ftruncate(descriptor, 0)
        with open(descriptor, "wb", _BUFFER, closefd=False) as file:
            yield file
        os.fsync(descriptor)
        part.replace(path)
        _sync(path.parent)


@contextmanager
def new_maildir(path: Path, *, force: bool) -> Iterator[Path]:
    """Make a Maildir that takes the place of `path` when all has gone well; yields the folder to write into.

    Raises UsageError where there is something already, unless `force` says to replace it and it is a Maildir
    and nothing else; and OSError.
    """
    path = _place(path)
    if path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - set(_MAILDIR)):
        raise UsageError(f"{path} is not a Maildir and nothing else; it is not replaced")
    _may_replace(path, path.is_dir() and any(path.iterdir()), force)
    part = _part(path)
    part.mkdir(mode=0o700, exist_ok=True)
    with _claimed(part, os.O_RDONLY | os.O_DIRECTORY):
        for name in _MAILDIR:
            shutil.rmtree(part / name, ignore_errors=True)
            (part / name).mkdir(mode=0o700)
        yield part
        os.sync()  # once for all of them: an fsync for each of a million files takes hours
        _put_in_place(part, path)
        _sync(path.parent)


def _put_in_place(part: Path, path: Path) -> None:
    """Rename a folder; the one that has the name goes only when the new one has it."""
    if not path.exists():
        part.replace(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
    path.replace(old)
    try:
        part.replace(path)
    except OSError:
        old.replace(path)
        raise
    shutil.rmtree(old)


def _place(path: Path) -> Path:
    """Return where `path` leads to. Raises UsageError if there cannot be anything."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")
    return path


def _may_replace(path: Path, taken: bool, force: bool) -> None:
    if taken and not force:
        raise UsageError(f"{path} is there already; --force replaces it")


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".mailforum-part")


@contextmanager
def _claimed(part: Path, flags: int) -> Iterator[int]:
    """Open what is to grow, for this process alone; when something goes wrong, it is removed.

    Raises UsageError if somebody else is at it. Errors of writing get its name.
    """
    descriptor = os.open(part, flags, 0o600)
    try:
        _lock(descriptor, part)
        try:
            yield descriptor
        except BaseException as error:
            if isinstance(error, OSError):
                error.filename = error.filename or str(part)
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int, part: Path) -> None:
    busy = UsageError(f"{part} is being written by somebody else")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), part.stat()):
            raise busy  # they have just put it into its place
    except (BlockingIOError, FileNotFoundError):
        raise busy from None


def _sync(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
