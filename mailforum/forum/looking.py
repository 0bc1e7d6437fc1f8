"""What is read from a mail of an archive before it is stored: all that needs no database.

That is most of the work of an import, so a process of its own does it where there is a second core, for
one batch while the batch before is being stored. Mails go to it through a pipe, and what was found comes back through
another; it ends when its pipe does, so it never outlives the import, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias, cast

from mailforum.errors import Refused
from mailforum.forum import posts, search
from mailforum.mail import flaws, mime
from mailforum.mail.evidence import Evidence
from mailforum.mail.message import Message, read
from mailforum.model import MailingList
from mailforum.store.search import Words

ALONE = 400  # mails for which no process is started: it takes as long as these


class Look(NamedTuple):
    """What was found in a mail: the posts that it names, what of it can be searched, the charset of its text, and
    what had to be made good. `read` is what a Message reads of its own header when it is asked."""

    evidence: Evidence
    words: Words
    charset: str
    flaws: tuple[str, ...]
    read: Mapping[str, object]


class Unreadable(NamedTuple):
    """Why a mail cannot be a post."""

    reason: str


_READ = ("author", "subject", "date")
Found: TypeAlias = "list[Look | Unreadable]"


def fault(error: Exception) -> str:
    """Say that we are to blame."""
    return "A fault of ours: " + "".join(traceback.format_exception_only(error)).strip()


def look(mlist: MailingList, msg: Message, raw: bytes) -> Look | Unreadable:
    """Read a mail, whose normalised bytes are `raw`, as a post of `mlist`; never raises."""
    try:
        parts = mime.parts(msg)
        charset = flaws.charset(msg, parts)
        words = search.words_of(raw, msg, parts)
        wrong = flaws.flaws(msg, parts, charset)
        return Look(
            posts.evidence_of(mlist, msg, raw), words, charset, wrong, {name: getattr(msg, name) for name in _READ}
        )
    except Refused as refused:
        return Unreadable(refused.text)
    except Exception as error:
        return Unreadable(fault(error))


class Looker:
    """Looks at one batch of mails after the other: `ask`, and later `answer`. To be closed."""

    def __init__(self, mlist: MailingList, cores: int, alone: int = ALONE) -> None:
        self._mlist, self._left = mlist, alone
        self._helped = cores > 1
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: Sequence[tuple[Message, bytes]] = ()
        self._under_way = False
        self.peak = 0  # the most memory that the process has used, in bytes, once it has ended

    def ask(self, mails: Sequence[tuple[Message, bytes]]) -> None:
        """Have mails looked at: each a message, and its normalised bytes."""
        self._asked = mails
        self._left -= len(mails)
        if self._helped and self._left < 0 and mails:
            with self._if_it_fails():
                self._process = self._process or _start(self._mlist)
                pickle.dump([raw for _, raw in mails], cast(IO[bytes], self._process.stdin), -1)
                cast(IO[bytes], self._process.stdin).flush()
                self._under_way = True

    def answer(self) -> Found:
        """Return what was found in the mails that were asked about, in their order."""
        found: Found = []
        if self._under_way and self._process:
            with self._if_it_fails():
                found = pickle.load(cast(IO[bytes], self._process.stdout))  # noqa: S301  we have written it
        self._under_way = False
        return found or [look(self._mlist, msg, raw) for msg, raw in self._asked]

    @contextlib.contextmanager
    def _if_it_fails(self):  # type: ignore[no-untyped-def]
        """Go on without the process if it was killed, as by a machine that has no memory left."""
        try:
            yield
        except (OSError, EOFError, pickle.UnpicklingError):
            self.close()
            self._helped = False

    def close(self) -> None:
        """End the process."""
        if self._process:
            self.peak = _peak_of(self._process.pid)
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start(mlist: MailingList) -> subprocess.Popen[bytes]:
    # Not with -m: what comes back would then be of the module __main__.
    command = [sys.executable, "-c", f"from {__name__} import main; main()"]
    process = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the import
    )
    pickle.dump(mlist, cast(IO[bytes], process.stdin), -1)
    return process


def _peak_of(pid: int) -> int:
    """Return the most memory that a process has used since it was started, in bytes; 0 where nobody says."""
    # What the system says of processes that have ended includes what ours had when it started them.
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def main() -> None:
    """Be the process: read a list, then batches of mails, and write what was found in each."""
    with contextlib.suppress(EOFError, BrokenPipeError), os.fdopen(os.dup(1), "wb") as out:
        mlist = pickle.load(sys.stdin.buffer)  # noqa: S301  the import has written it
        while True:
            raws = pickle.load(sys.stdin.buffer)  # noqa: S301
            pickle.dump([look(mlist, read(raw), raw) for raw in raws], out, -1)
            out.flush()
