"""What is wrong with old mails and was made good, and what they are written in: for those who move an archive."""

from __future__ import annotations

from collections.abc import Sequence

from mailforum.mail import mime
from mailforum.mail.message import Message
from mailforum.mail.mime import Part

_TEXTS = ("text/plain", "text/html")


def flaws(msg: Message, parts: Sequence[Part], charset: str) -> tuple[str, ...]:
    """Return what had to be made good to read a mail: of its header, its parts and its `charset` (see there)."""
    found = (
        ("no Message-ID", not msg.message_id),
        ("no readable Date", msg.date is None),
        ("broken MIME", any(_broken(part) for part in parts)),
        ("guessed charset", charset.startswith("guessed")),
    )
    return tuple(name for name, is_so in found if is_so)


def charset(msg: Message, parts: Sequence[Part]) -> str:
    """Return the charset of the text that is read first (see mime.charset); "" where there is none."""
    text = next((part for part in parts if part.content_type in _TEXTS and not part.is_attachment), None)
    return mime.charset(msg, text) if text else ""


def _broken(part: Part) -> bool:
    return part.content_type.startswith("multipart/") and part.boundary != mime.parameter(part, "boundary")
