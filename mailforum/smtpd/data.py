"""Mail data: where it ends, and where its bytes are kept until then."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from mailforum.errors import Deferred, Refused
from mailforum.mail.message import line_ends, normalise

_END = b"\r\n.\r\n"
_TAIL = len(_END) - 1  # bytes that may be the beginning of the end


class MailData:
    """Takes a mail's bytes as they come and finds its end: CRLF.CRLF and nothing else.

    Memory is bounded by `memory` and one chunk: whoever feeds it calls `spill` when it is `full`, which
    puts what has come into a file without a name in `folder`. A mail of more than `limit` bytes, or one
    that is `discard`ed for another reason, is read and not kept.
    """

    def __init__(self, limit: int, memory: int, folder: Path) -> None:
        # The CRLF behind "DATA" is the one before a first line: an empty mail is just ".CRLF".
        self._kept = bytearray(b"\r\n")
        self._limit, self._memory, self._folder = limit, memory, folder
        self._file: IO[bytes] | None = None
        self._verdict: Refused | Deferred | None = None
        self.received = 0
        self.space = 0  # how much of the disk is reserved for it (`Shared.reserve`)

    @property
    def kept(self) -> int:
        """How many bytes are held in memory."""
        return len(self._kept)

    @property
    def full(self) -> bool:
        """Whether it is time for `spill`."""
        return len(self._kept) > self._memory

    @property
    def spilled(self) -> bool:
        """Whether a part of the mail is in a file."""
        return self._file is not None

    def feed(self, chunk: bytes | bytearray) -> bytes | None:
        """Take a chunk. None: there is more to come; otherwise the bytes that stand behind the end."""
        self.received += len(chunk)
        start = max(0, len(self._kept) - _TAIL)
        self._kept += chunk
        end = self._kept.find(_END, start)
        rest = None
        if end >= 0:
            rest = bytes(self._kept[end + len(_END) :])
            del self._kept[end + 2 :]
            self.received -= len(rest) + len(_END) - 2
        if self._verdict or self.received > self._limit + (_TAIL if end < 0 else 0):
            self.discard(Refused("The mail is too large", code=552, enhanced="5.3.4"))
        return rest

    def discard(self, verdict: Refused | Deferred) -> None:
        """Keep nothing of this mail from now on; `content` will raise the first verdict."""
        self._verdict = self._verdict or verdict
        self.close()
        del self._kept[:-_TAIL]

    def spill(self) -> None:
        """Move what is in memory to the file, but for the last line or a few bytes. Raises Deferred 452."""
        if self._verdict is None:
            self._write(self._cut())

    def _cut(self) -> int:
        """Say where to cut: before a line end, so that its dot stays with it, or within a very long line."""
        line_end = self._kept.rfind(b"\r\n", len(self._kept) // 2)
        if line_end > 0:
            return line_end
        # What may become a line end stays together, unless there is nothing else.
        return len(self._kept[:-_TAIL].rstrip(b"\r\0")) or len(self._kept) - _TAIL

    def _write(self, end: int) -> None:
        piece = line_ends(bytes(self._kept[:end]).replace(b"\r\n.", b"\r\n"))
        try:
            if self._file is None:
                piece = piece[2:]  # the CRLF behind "DATA"
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  see close
            self._file.write(piece)
        except OSError as error:
            raise Deferred("There is no room for your mail just now", str(error), code=452, enhanced="4.3.1") from error
        del self._kept[:end]

    def content(self) -> bytes:
        """Return the mail, once: dots taken off, without NUL, every line ended by CRLF.

        Raises the verdict of a mail that was not kept, and Deferred as `spill`.
        """
        if self._verdict:
            raise self._verdict
        if self._file is None:
            return normalise(bytes(self._kept).replace(b"\r\n.", b"\r\n")[2:])
        self._write(len(self._kept))  # it ends with CRLF
        self._file.seek(0)
        raw = self._file.read()
        self.close()
        return raw

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()
            self._file = None
