"""What every reader of archives takes and gives."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mailforum.mail import mbox

# What Python's readers of files raise about files that are broken.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)
_ENOUGH = 8192  # bytes
NO_MAIL = "no mail"  # why a file among mails was left out


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail of an archive: its bytes, when its mailbox received it if that is known, and where it stands.

    `fault` says why it could not be read; `raw` is then not kept. `left_out` says why it is not to be
    imported though it could be, such as "deleted". `repaired` says what its reader had to repair.
    A `copy` is one that has lost something, so it is known again by its Message-ID alone. `local` is set
    where `received` may be in any time zone.
    """

    where: str
    raw: bytes
    received: float | None = None
    fault: str = ""
    left_out: str = ""
    repaired: tuple[str, ...] = ()
    copy: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Reading archives are to be read.

    `format` is a name of recognise.FORMATS, or "" where it shows. `unquote` takes the marks off lines
    `>From `. `charset` is for text that says nothing of it and is not UTF-8, where the archive has lost
    what the mail said. `to` is the address that such a mail was sent to, or "".
    """

    format: str = ""
    unquote: bool = True
    charset: str = "windows-1252"
    to: str = ""


@dataclass(slots=True)
class Meter:
    """Reading far reading has come, in bytes as they are on the disk."""

    done: int = 0


class _Metered(io.RawIOBase):
    """A file, of which is counted what is read."""

    def __init__(self, file: io.RawIOBase, meter: Meter) -> None:
        self._file, self._meter = file, meter

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as much as can be had at once, but from a pipe too enough to see what it is."""
        count = 0
        while count < min(len(buffer), _ENOUGH) and (more := self._file.readinto(memoryview(buffer)[count:])):
            count += more
        self._meter.done += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def metered(file: io.RawIOBase, meter: Meter) -> io.BufferedReader:
    """Return a file so that `meter` counts what is read of it."""
    return io.BufferedReader(_Metered(file, meter), 256 * 1024)


def open_metered(path: Path, meter: Meter) -> io.BufferedReader:
    """Open a file so that `meter` counts what is read of it. Raises OSError."""
    return metered(path.open("rb", buffering=0), meter)


def peek(stream: BinaryIO, size: int = 8192) -> bytes:
    """Return the beginning of a stream without taking it away: `size` bytes if it has them, and they are at hand."""
    return cast(io.BufferedReader, stream).peek(size)[:size]


def one_mail(stream: BinaryIO, where: str, received: float | None = None) -> Mail:
    """Read a stream that is one mail. Raises OSError."""
    raw = stream.read(mbox.LIMIT + 1)
    return Mail(where, raw, received, fault=too_large(len(raw) > mbox.LIMIT))


def too_large(is_so: bool) -> str:
    """Return the fault of a mail that is too large, if it is."""
    return f"It is larger than {mbox.LIMIT // 1024**2} MiB." if is_so else ""


def mail_of(path: Path, meter: Meter, received: float | None = None) -> Mail:
    """Read a file that is one mail; never raises."""
    try:
        with path.open("rb") as file:
            mail = one_mail(file, str(path), received)
    except OSError as error:
        return Mail(str(path), b"", fault=why(error))
    meter.done += len(mail.raw)
    return mail


def why(error: Exception) -> str:
    """Say why a file cannot be read."""
    return f"It cannot be read: {_said(error)}."


def _said(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rstrip(".") or type(error).__name__


def fault_of_ours(error: Exception) -> str:
    """Say that we are to blame."""
    return f"A fault of ours: {type(error).__name__}: {error}"


def broken_off(error: Exception) -> str:
    """Say why the rest of a file cannot be read."""
    return f"The file cannot be read any further: {_said(error)}."


def size_of(path: Path) -> int:
    """Return how many bytes a file or a folder has on the disk, as far as that can be seen; 0 for what is none."""
    if not path.is_dir():
        return path.stat().st_size if path.is_file() else 0
    return sum(_size(entry) for folder, _, _ in os.walk(path) for entry in _entries(folder))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_file()]
    except OSError:
        return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0
