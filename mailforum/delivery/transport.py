"""The way out: what a transport is given, and what it answers.

The worker hands out jobs through `take` and hears of each job's end through `settle`. A transport
decides nothing about retry times; it only says, for each recipient, SENT, DEFERRED or FAILED.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from mailforum.errors import Deferred
from mailforum.model import State, Status


class Content:
    """What all mails of a mailing have in common, from some header field on to the end, with CRLF line ends.

    What a connection has to know of it is found out once, however many recipients there are, and all
    of them are sent the same bytes from the same place: a mail of 25 MiB is in memory once.
    """

    __slots__ = ("ascii", "clean", "data", "wire")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ascii = data.isascii()
        # Line ends that are bare: whoever takes one for a line end finds dots where we saw none (SMTP smuggling).
        self.clean = data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")
        self.wire = _stuffed(data)


def _stuffed(data: bytes) -> tuple[bytes, bytes]:
    """Write a mail as DATA wants it (RFC 5321 section 4.5.2): dots at line starts doubled, one at the end."""
    if b"\r\n." in data:
        data = data.replace(b"\r\n.", b"\r\n..")
    if data.startswith(b"."):
        data = b"." + data
    return data, b".\r\n" if data.endswith(b"\r\n") or not data else b"\r\n.\r\n"


class Job(NamedTuple):
    """One mail to one or more recipients: `own`, the fields of this mail alone, and then `content`.

    `ids` are the ids of the deliveries, in the order of `rcpts`. `mail_from` is empty for the null
    sender. `smtputf8` says that the header fields need RFC 6531; an address that is not ASCII needs it
    by itself.
    """

    mail_from: str
    rcpts: tuple[str, ...]
    ids: tuple[int, ...]
    content: Content
    own: bytes = b""
    smtputf8: bool = False

    @property
    def size(self) -> int:
        """How many bytes the mail has."""
        return len(self.own) + len(self.content.data)

    @property
    def ascii(self) -> bool:
        """Whether there are no 8-bit characters in it."""
        return self.content.ascii and self.own.isascii()


Take = Callable[[bool], Awaitable[Job | None]]
"""`take(True)` waits for the next job, None: there are no more; it is written down that the job may be
on its way. `take(False)` answers at once, None: nothing just now."""

Settle = Callable[[Job, tuple[Status, ...], Job | None], Awaitable[None]]
"""Marks how a job ended, one status a recipient, and that the next one, which `take(False)` gave, may be
on its way; returns when both are durable."""


class RelayDown(Deferred):
    """No connection could be had, or it broke before any recipient had an answer."""

    code = 421
    enhanced = "4.4.2"


class NoSession(RelayDown):
    """No connection could be had, or none on which mail may be sent."""


class Transport(Protocol):
    """A way to the next hop."""

    async def run(self, take: Take, settle: Settle) -> None:
        """Take and settle jobs, one after the other, until `take(True)` returns None.

        Whatever `settle` raises comes out at once, and nothing more is sent.
        Raises RelayDown after the job in hand was settled as DEFERRED, or NoSession when it was not offered to
        anybody, and has not been settled.
        """
        ...


def bad_address(address: str) -> Status | None:
    """Return the failure of an address that could smuggle a line into a dialogue or a header."""
    if address.isprintable():
        return None
    return Status(State.FAILED, "5.1.3", "the address contains control characters")
