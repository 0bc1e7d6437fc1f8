"""Delivery into a Maildir: nothing leaves the machine, every recipient's copy is a file.

For trying out, for tests, and for programs that fetch mail from a folder. Files have LF line
ends, as is the custom in a Maildir.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path

from mailforum.delivery.transport import Job, RelayDown, Settle, Take, bad_address
from mailforum.model import State, Status

_BATCH = 64  # jobs that share a hop into the thread and an fsync of the folder
_BATCH_BYTES = 4 * 1024**2

_STORED = Status(State.SENT, "2.0.0", "250 2.0.0 kept in the folder")


class MaildirTransport:
    """Writes mail into `folder`, which is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, take: Take, settle: Settle) -> None:
        """Store what `take` gives; see `Transport.run`. Settles only what has reached the disk."""
        while job := await take(True):
            batch = await _batch(job, take)
            try:
                await asyncio.to_thread(self._store, batch)
            except OSError as error:
                down = self._down(error)
                await _settle_all(settle, [(job, _postponed(job, down)) for job in batch])
                raise down from error
            await _settle_all(settle, [(job, tuple(map(_outcome, job.rcpts))) for job in batch])

    def _store(self, batch: list[Job]) -> None:
        if not (self.folder / "cur").is_dir():
            self._make()
        for job in batch:
            body = (job.own + job.content.data).replace(b"\r\n", b"\n")
            for number, rcpt in zip(job.ids, job.rcpts, strict=True):
                if _outcome(rcpt) is _STORED:
                    self._write(number, _trace(job.mail_from, rcpt) + body)
        _sync(self.folder / "new")

    def _make(self) -> None:
        for name in ("tmp", "new", "cur"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(self.folder)
        _sync(self.folder.parent)

    def _write(self, number: int, content: bytes) -> None:
        """Write one file. The same delivery again has the same name, so it takes the place of the first.

        The digest keeps apart the deliveries of two databases, which both count from one.
        """
        name = f"{number:08d}.{hashlib.sha256(content).hexdigest()[:16]}.mailforum"
        draft = self.folder / "tmp" / name
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / "new" / name)

    def _down(self, error: OSError) -> RelayDown:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = f"{self.folder} cannot be written to: {error.strerror or error}"
        return RelayDown(text, enhanced="4.3.1" if full else "4.3.0")


async def _batch(first: Job, take: Take) -> list[Job]:
    """Return `first` and what else there is to be stored right now, within bounds."""
    batch, size = [first], first.size
    while len(batch) < _BATCH and size < _BATCH_BYTES and (job := await take(False)):
        batch.append(job)
        size += job.size
    return batch


async def _settle_all(settle: Settle, ended: list[tuple[Job, tuple[Status, ...]]]) -> None:
    """Settle at once, so that the marks can share a commit; raises the first error after all have ended."""
    ends = await asyncio.gather(*(settle(job, statuses, None) for job, statuses in ended), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


def _outcome(rcpt: str) -> Status:
    return bad_address(rcpt) or _STORED


def _postponed(job: Job, down: RelayDown) -> tuple[Status, ...]:
    return (Status(State.DEFERRED, down.enhanced, down.text),) * len(job.rcpts)


def _trace(mail_from: str, rcpt: str) -> bytes:
    """Write what RFC 5321 section 4.4 wants of a final delivery, and whom it was for."""
    mail_from = mail_from if bad_address(mail_from) is None else ""
    return f"Return-Path: <{mail_from}>\nDelivered-To: {rcpt}\n".encode()


def _sync(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
