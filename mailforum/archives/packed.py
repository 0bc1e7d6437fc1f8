"""Files as they come: packed or not, and archives of files such as those of Google Takeout.

Everything is read as a stream; nothing is unpacked onto the disk. Packings lie within each other, as in
`.tar.gz`, and a mailbox in an archive may be packed once more.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from mailforum.archives import boxes, recognise
from mailforum.archives.source import (
    BROKEN,
    NO_MAIL,
    Mail,
    Meter,
    Reading,
    broken_off,
    fault_of_ours,
    open_metered,
    peek,
    why,
)
from mailforum.errors import UsageError

_DEPTH = 4  # packings within each other
_Packed: TypeAlias = "gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile"
_READABLE: dict[str, Callable[[BinaryIO], _Packed]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_FOREIGN = ("zstd", "compress", "7-Zip", "RAR", "lzip")


class _Unpacking(io.RawIOBase):
    """A packed file, unpacked a piece at a time: where it is broken, what is before that is not lost."""

    def __init__(self, file: _Packed) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class Unknown(UsageError):
    """A file is no archive that can be read. The text says why, in one sentence."""


def mails(path: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of a file among others; one that is no archive is left out; never raises."""
    try:
        yield from named(path, how, meter)
    except Unknown as unknown:
        yield Mail(str(unknown), b"", left_out=NO_MAIL)
    except OSError as error:
        yield Mail(str(path), b"", fault=why(error))
    except Exception as error:  # one file takes no other with it
        yield Mail(str(path), b"", fault=fault_of_ours(error))


def named(path: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of a file, which may be a FIFO. Raises Unknown and OSError before the first."""
    with open_metered(path, meter) as file:
        yield from stream(file, str(path), how)


def check(path: Path, how: Reading) -> None:
    """Look at the beginning of a file. Raises Unknown and OSError."""
    with open_metered(path, Meter()) as file:
        try:
            _known(file, str(path), how)
        except BROKEN as error:
            raise Unknown(f"{path}: {why(error)}") from error


def stream(file: BinaryIO, where: str, how: Reading, *, within: bool = False) -> Iterator[Mail]:
    """Yield the mails of a stream that can be peeked into. Raises Unknown before the first.

    `within` an archive, other archives are not opened: there are some that contain themselves.
    """
    try:
        file, kind = _known(file, where, how, within=within)
    except BROKEN as error:
        yield Mail(where, b"", fault=why(error))
        return
    if kind == "tar":
        yield from _of_tar(file, where, how)
    elif kind == "zip":
        yield from _of_zip(file, where, how)
    elif kind != "empty":
        yield from boxes.mails(file, where, kind, how)


def _known(file: BinaryIO, where: str, how: Reading, *, within: bool = False) -> tuple[BinaryIO, str]:
    """Return the stream as it is below its packings, and what it is. Raises Unknown."""
    file, kind = _unpacked(file)
    if kind in _FOREIGN:
        raise Unknown(f"{where} is packed with {kind}; unpack it, or pipe it: `… | mailforum import LIST -`")
    if kind in ("tar", "zip") and within:
        raise Unknown(f"{where} is an archive within another; unpack it, and import it by itself")
    if kind == "zip" and not file.seekable():
        raise Unknown(f"{where} is a zip file, whose table stands at its end: give it as a file")
    if how.format in recognise.FILES and kind not in ("tar", "zip", "empty"):
        kind = how.format
    if not kind:
        raise Unknown(f"{where} begins with {_shown(peek(file, 40))}: this is no mail; if it is, --format says what")
    return file, kind


def _unpacked(file: BinaryIO) -> tuple[BinaryIO, str]:
    for _ in range(_DEPTH):
        if peek(file, len(BOM_UTF8)) == BOM_UTF8:  # programs on Windows begin texts with it
            file.read(len(BOM_UTF8))
        kind = recognise.of_file(peek(file, recognise.HEAD))
        if kind not in _READABLE:
            return file, kind
        file = cast(BinaryIO, io.BufferedReader(_Unpacking(_READABLE[kind](file)), 64 * 1024))
    return file, ""


def _shown(head: bytes) -> str:
    return repr(head.decode("ascii", "replace"))[:60]


def _of_tar(file: BinaryIO, where: str, how: Reading) -> Iterator[Mail]:
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would grow with each
                inner = tar.extractfile(member) if member.isfile() else None
                if inner:
                    yield from _member(cast(BinaryIO, inner), f"{where}/{member.name}", how)
    except BROKEN as error:
        yield Mail(where, b"", fault=broken_off(error))


def _of_zip(file: BinaryIO, where: str, how: Reading) -> Iterator[Mail]:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield from _zipped(archive, member, where, how)
    except BROKEN as error:
        yield Mail(where, b"", fault=why(error))


def _zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, how: Reading) -> Iterator[Mail]:
    place = f"{where}/{member.filename}"
    try:
        with archive.open(member) as inner:
            yield from _member(cast(BinaryIO, io.BufferedReader(inner, 64 * 1024)), place, how)
    except (*BROKEN, RuntimeError) as error:  # RuntimeError: it has a password
        yield Mail(place, b"", fault=why(error))


def _member(inner: BinaryIO, where: str, how: Reading) -> Iterator[Mail]:
    try:
        yield from stream(inner, where, how, within=True)
    except Unknown as unknown:
        yield Mail(str(unknown), b"", left_out=NO_MAIL)


def beginning(path: Path) -> bytes:
    """Return how a file begins once it is unpacked; b"" for what cannot be read."""
    try:
        with open_metered(path, Meter()) as file:
            return peek(_unpacked(file)[0], recognise.HEAD)
    except BROKEN:
        return b""
