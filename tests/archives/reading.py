"""What the tests of the readers share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mailforum.archives import tree
from mailforum.archives.source import Mail, Meter, Reading

AT = 1420115400.0
FROM_ = b"From ada@example.org Thu Jan  1 12:30:00 2015\n"


def mail(number: int, body: str = "Hello") -> bytes:
    """A mail as it stands in a file."""
    return (
        f"From: Ada <ada@example.org>\nTo: pmo@lists.example.org\nSubject: Mail {number}\n"
        f"Date: Thu, 01 Jan 2015 12:{number % 60:02}:00 +0000\nMessage-ID: <{number}@example.org>\n\n{body} {number}\n"
    ).encode()


def mbox(numbers: Iterable[int]) -> bytes:
    """A mailbox with these mails."""
    return b"".join(FROM_ + mail(number) + b"\n" for number in numbers)


def read(*places: Path, how: Reading = Reading()) -> list[Mail]:  # noqa: B008  it never changes
    """Read archives as the command does."""
    sources = [str(place) for place in places]
    tree.check(sources, how)
    return list(tree.mails(sources, how, Meter()))


def numbers(mails: Iterable[Mail]) -> list[int]:
    """The numbers of the mails that would be imported; none may be bad."""
    found = [one for one in mails if not one.left_out]
    assert not [one for one in found if one.fault]
    return [int(one.raw.partition(b"\nSubject: Mail ")[2].partition(b"\n")[0]) for one in found]
