"""Files that claim to be archives: whatever is in them, no reader raises, and no byte between mails is lost."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from typing import BinaryIO

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from mailforum.archives import packed
from mailforum.archives.source import Reading
from mailforum.mail import mbox

FROM_ = b"From ada@example.org Thu Jan  1 12:30:00 2015\n"
_LINES = [
    *(
        b"From me\n",
        b">From you\n",
        FROM_,
        FROM_.replace(b"ada@example.org", b"-"),
        b"\n",
        b"\r\n",
        b"text",
        b"From: a\n",
    ),
    *(b"Subject: 1\n", b"Content-Length: 9\n", b"Content-Length: 68\r\n", b"a", b"\0", b"\r", b"From ", b"> From x\n"),
    *(FROM_.replace(b"@", b" at "), b"From: ada at example.org (Ada)\n", b"X-Gmail-Labels: Spam\n"),
]
SOUP = st.lists(st.sampled_from(_LINES), max_size=30).map(b"".join)
FILES = st.one_of(st.binary(max_size=400), SOUP)
DIALECTS = st.sampled_from(["", *mbox.DIALECTS])


def check_whole(data: bytes, dialect: str) -> None:
    """Every byte of a mailbox is in a From_ line, in a mail, or an empty line between two mails."""
    if b"\n" not in data:  # its line ends are those of old Macs, and become others
        data = data.replace(b"\r", b"\n")
    entries = list(mbox.read(io.BytesIO(data), dialect=dialect, unquote=False))
    at = len(data) - len(data.lstrip(b"\r\n"))
    for entry in entries:
        assert entry.offset == at
        if data.startswith(b"From ", at):
            at = (data.find(b"\n", at) + 1) or len(data)
        assert data.startswith(entry.raw, at)
        at += len(entry.raw)
        between = data[at : next((other.offset for other in entries if other.offset >= at), len(data))]
        assert between in (b"", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n")
        at += len(between)
    assert at == len(data)


def check_pieces(data: bytes, dialect: str, piece: int) -> None:
    """How the bytes of a mailbox arrive makes no difference."""

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(piece)

    if b"\n" in data[:piece] or b"\r" not in data:
        assert list(mbox.read(Slow(data), dialect=dialect)) == list(mbox.read(io.BytesIO(data), dialect=dialect))


def check_any(data: bytes, cut: int) -> None:
    """A file of any kind is read to its end or to where it breaks off, or it is refused in one sentence."""
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress, _tar):
        file = io.BufferedReader(io.BytesIO(pack(data)[: cut or None]))  # type: ignore[arg-type]
        try:
            for mail in packed.stream(_of(file), "x", Reading(to="pmo@lists.example.org")):
                assert mail.where and not (mail.fault and mail.left_out)
        except packed.Unknown as unknown:
            assert "\n" not in str(unknown)


def _of(file: io.BufferedReader) -> BinaryIO:
    return file  # type: ignore[return-value]


def _tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("mbox")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def play(number: int, examples: int) -> None:
    """Try `examples` files, the same for the same seed."""
    options = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    @seed(number)
    @options
    @given(FILES, DIALECTS, st.integers(1, 60), st.integers(0, 300))
    def one(data: bytes, dialect: str, piece: int, cut: int) -> None:
        check_whole(data, dialect)
        check_pieces(data, dialect, piece)
        check_any(data, cut)

    one()
