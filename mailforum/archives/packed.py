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
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from mailforum.archives import boxes, recognise
from mailforum.archives.source import BROKEN, NO_MAIL, Mail, Meter, Reading, metered, open_metered, peek, why
from mailforum.errors import UsageError

_DEPTH = 4  # packings within each other
_READABLE = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}
_FOREIGN = ("zstd", "compress", "7-Zip", "RAR")


class Unknown(UsageError):
    """A file is no archive that can be read. The text says why, in one sentence."""


def mails(path: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of a file among others; one that is no archive is left out; never raises."""
    try:
        with open_metered(path, meter) as file:
            yield from stream(file, str(path), how)
    except Unknown as unknown:
        yield Mail(f"{path}: {unknown}", b"", left_out=NO_MAIL)
    except BROKEN as error:
        yield Mail(str(path), b"", fault=why(error))


def named(path: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Open a file that somebody has named, which may be a FIFO. Raises Unknown and OSError at once."""
    file = open_metered(path, meter)
    return _closing(file, opened(file, str(path), how))


def standard_input(file: io.RawIOBase, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Open standard input, a stream that cannot go back. Raises Unknown at once."""
    return opened(metered(file, meter), "standard input", how)


def _closing(file: io.BufferedReader, mails: Iterator[Mail]) -> Iterator[Mail]:
    with closing(file):
        yield from mails


def opened(file: BinaryIO, where: str, how: Reading) -> Iterator[Mail]:
    """Return the mails of a stream, of which the beginning is looked at now. Raises Unknown."""
    found = stream(file, where, how)
    first = next(found, None)
    return iter(()) if first is None else _again(first, found)


def _again(first: Mail, rest: Iterator[Mail]) -> Iterator[Mail]:
    yield first
    yield from rest


def stream(file: BinaryIO, where: str, how: Reading) -> Iterator[Mail]:
    """Yield the mails of a stream that can be peeked into. Raises Unknown before the first; OSError."""
    file, kind = _unpacked(file)
    said = how.format if how.format in recognise.FILES else ""
    if kind == "tar":
        yield from _of_tar(file, where, how)
    elif kind == "zip":
        yield from _of_zip(file, where, how)
    elif kind in _FOREIGN:
        raise Unknown(f"{where} is packed with {kind}; unpack it, or pipe it: `… | mailforum import LIST -`")
    elif not kind and not said:
        raise Unknown(f"{where} begins with {_shown(peek(file, 40))}: this is no mail; if it is, --format says what")
    elif kind != "empty":
        yield from boxes.mails(file, where, said or kind, how)


def _unpacked(file: BinaryIO) -> tuple[BinaryIO, str]:
    for _ in range(_DEPTH):
        kind = recognise.of_file(peek(file, recognise.HEAD))
        if kind not in _READABLE:
            return file, kind
        file = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, _READABLE[kind](file)), 64 * 1024))
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
        yield Mail(where, b"", fault=f"From here on: {why(error)}")


def _of_zip(file: BinaryIO, where: str, how: Reading) -> Iterator[Mail]:
    if not file.seekable():
        raise Unknown(f"{where} is a zip file, whose table stands at its end: give it as a file")
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
    """Yield the mails of a file within an archive; archives in it are not opened."""
    try:
        yield from stream(inner, where, how)
    except Unknown as unknown:
        yield Mail(str(unknown), b"", left_out=NO_MAIL)


def beginning(path: Path) -> bytes:
    """Return how a file begins once it is unpacked; b"" for what cannot be read."""
    try:
        with open_metered(path, Meter()) as file:
            return peek(_unpacked(file)[0], recognise.HEAD)
    except BROKEN:
        return b""
