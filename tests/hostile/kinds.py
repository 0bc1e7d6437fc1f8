"""The kinds of nasty mails, by what becomes of them (docs/decisions/0007-broken-mail.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.mails import mail

TAKEN = "2"
UNREADABLE = "550 5.6.0"
TOO_LARGE = "552 5.3.4"
MB = 1_000_000
REPLY = b"Subject: Re: About %s"  # in a reply the intake looks for a word such as `unsubscribe`
SIZE = int(os.environ.get("HOSTILE_SIZE", 60_000))  # of bombs, in bytes; enough for quadratic time to be seen

Rows = Iterator[tuple[str, str, bytes]]


@dataclass(frozen=True)
class Nasty:
    """`data` is what is sent between 354 and the end of data, which is not part of it."""

    name: str
    answer: str
    data: bytes

    @property
    def taken(self) -> bool:
        """Whether the list takes it."""
        return self.answer == TAKEN


def make(name: str, body: bytes = b"Hello.\r\n", *fields: bytes, **own: bytes) -> bytes:
    return mail(body, *fields, b"X-Nasty: " + name.encode(), name=name, **own)


def taken(name: str, *content: bytes, **own: bytes) -> tuple[str, str, bytes]:
    """Make a mail that the list takes."""
    return name, TAKEN, make(name, *content, **own)


def unreadable(name: str, *content: bytes, **own: bytes) -> tuple[str, str, bytes]:
    """Make a mail that is refused because nobody could say who wrote it, or what."""
    return name, UNREADABLE, make(name, *content, **own)


def too_large(name: str, *content: bytes, **own: bytes) -> tuple[str, str, bytes]:
    """Make a mail whose header is refused."""
    return name, TOO_LARGE, make(name, *content, **own)


def many(unit: bytes) -> bytes:
    """Repeat `unit` until there is enough of it."""
    return unit * (SIZE // len(unit))
