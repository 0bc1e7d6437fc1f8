"""Many mails in one file, one JSON object a line: a post, all that is known of it, and its bytes.

What each field means is on docs/json-lines.md. Only `raw` (or `raw_base64`) and `received` are read
again: everything else follows from these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec
from msgspec import UNSET, UnsetType

from mailforum.errors import Refused
from mailforum.mail import body, mbox, message, msgid
from mailforum.mail.body import Body
from mailforum.mail.message import Message
from mailforum.model import Post

LIMIT = 3 * mbox.LIMIT  # bytes of a line: a mail in base64, and its text


class Attachment(msgspec.Struct):
    """A file that came with a mail; `size` is that of the file, in bytes."""

    filename: str
    type: str
    size: int


class Line(msgspec.Struct):
    """One line as it is written; the names are those of `mailforum post show --json`."""

    id: str
    thread: int
    parent: str | None
    how: str | None
    message_id: str
    sender: str = msgspec.field(name="from")
    name: str
    date: datetime
    received: datetime
    subject: str
    size: int
    references: tuple[str, ...]
    headers: list[tuple[str, str]]
    text: str
    attachments: list[Attachment]
    raw: str | UnsetType = UNSET
    raw_base64: bytes | UnsetType = UNSET


class _Kept(msgspec.Struct):
    """What is read of a line."""

    raw: str | None = None
    raw_base64: bytes | None = None
    received: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that was read: the mail, when it was received in seconds since the epoch, if that is known,
    the line's number, and why there is no mail in it, or ""."""

    raw: bytes
    received: float | None
    number: int
    fault: str = ""


def write(stream: BinaryIO, post: Post, raw: bytes) -> int:
    """Append a post to a file; return how many bytes that took. `raw` is its mail."""
    return stream.write(msgspec.json.encode(_line(post, raw)) + b"\n")


def _line(post: Post, raw: bytes) -> Line:
    msg, readable = _read(raw)
    line = Line(
        id=post.label,
        thread=post.thread,
        parent=post.parent,
        how=post.how.label or None,
        message_id=post.message_id,
        sender=post.from_address,
        name=post.from_name,
        date=datetime.fromtimestamp(post.date, UTC),
        received=datetime.fromtimestamp(post.received_at, UTC),
        subject=post.subject,
        size=len(raw),
        references=_references(msg),
        headers=[(header.name, header.value) for header in msg.headers],
        text=readable.text,
        attachments=[Attachment(file.filename, file.content_type, file.size) for file in readable.attachments],
    )
    try:
        line.raw = raw.decode("utf-8")
    except UnicodeDecodeError:
        line.raw_base64 = raw
    return line


def _read(raw: bytes) -> tuple[Message, Body]:
    """Read a mail as far as it can be: what it has of it is there as bytes all the same."""
    msg = Message((), raw)
    try:
        msg = message.read(raw)
        return msg, body.read(msg)
    except Refused:
        return msg, Body("", ())


def _references(msg: Message) -> tuple[str, ...]:
    answered, above = " ".join(msg.get_all("In-Reply-To")), " ".join(msg.get_all("References"))
    return msgid.references(answered, above, own=msg.message_id)


def read(stream: BinaryIO, limit: int = LIMIT) -> Iterator[Entry]:
    """Yield the mails of a file, one at a time. Lines that hold none have a `fault`; empty ones are passed over."""
    number, whole = 0, True
    while line := stream.readline(limit):
        begins, whole = whole, line.endswith(b"\n")
        number += begins
        if begins and len(line) == limit and not whole:
            yield Entry(b"", None, number, "It is too large.")
        elif begins and line.strip():
            yield _entry(line, number)


def _entry(line: bytes, number: int) -> Entry:
    try:
        kept = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Entry(b"", None, number, f"It is no line of an export: {error}.")
    raw = kept.raw_base64 if kept.raw is None else kept.raw.encode("utf-8", "replace")
    if raw is None:
        return Entry(b"", None, number, "It has neither `raw` nor `raw_base64`.")
    return Entry(raw, _seconds(kept.received), number)


def _seconds(time: datetime | None) -> float | None:
    """Return a time in seconds since the epoch; one that names no zone is in UTC."""
    return None if time is None else (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


_DECODER = msgspec.json.Decoder(_Kept)
