"""The way out: what a transport is given, and what it answers.

The worker hands out jobs through `take` and hears of each job's end through `settle`. A transport
decides nothing about retry times; it only says, for each recipient, SENT, DEFERRED or FAILED.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from mailforum.errors import Deferred
from mailforum.model import State, Status


@dataclass(frozen=True, slots=True)
class Job:
    """One mail to one or more recipients.

    `ids` are the ids of the deliveries, in the order of `rcpts`. `data` is the whole mail with
    CRLF line ends, not dot-stuffed. `mail_from` is empty for the null sender. `smtputf8` says that
    the header fields need RFC 6531; an address that is not ASCII needs it by itself.
    """

    mail_from: str
    rcpts: tuple[str, ...]
    ids: tuple[int, ...]
    data: bytes
    smtputf8: bool = False


Take = Callable[[bool], Awaitable[Job | None]]
"""`take(True)` waits for the next job, None: there are no more. `take(False)` answers at once,
None: nothing just now."""

Settle = Callable[[Job, tuple[Status, ...]], Awaitable[None]]
"""Marks how a job ended, one status a recipient; returns when the mark is durable."""


class RelayDown(Deferred):
    """No connection could be had, or it broke before any recipient had an answer."""

    code = 421
    enhanced = "4.4.2"


class Transport(Protocol):
    """A way to the next hop."""

    async def run(self, take: Take, settle: Settle) -> None:
        """Take and settle jobs, one after the other, until `take(True)` returns None.

        Whatever `settle` raises comes out at once, and nothing more is sent.
        Raises RelayDown after the job in hand was settled as DEFERRED.
        """
        ...


def bad_address(address: str) -> Status | None:
    """Return the failure of an address that could smuggle a line into a dialogue or a header."""
    if address.isprintable():
        return None
    return Status(State.FAILED, "5.1.3", "the address contains control characters")
