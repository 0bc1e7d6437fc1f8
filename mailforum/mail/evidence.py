"""What a mail says about the posts that it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mailforum.mail import msgid, subject
from mailforum.mail.message import Message
from mailforum.model import How


class Named(NamedTuple):
    """A post that another one names: its Message-ID (`<left@right>`) or `ti:` and a Thread-Index in hex."""

    name: str
    how: How


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a mail says about the posts that it answers: `names`, nearest first, and its subject.

    `index` is its own Thread-Index in hex; `labels` are posts that it quotes a footer of. `base` and `was`
    are subjects for comparing, `marked` says that the subject is one of a reply.
    """

    index: str
    names: tuple[Named, ...]
    labels: tuple[str, ...]
    base: str
    was: str
    marked: bool
    quotes: bool


def read(msg: Message, own: str, *, prefix: str = "", under: str = "") -> Evidence:
    """Return what `msg`, whose Message-ID is `own`, says. `under` is what our reply address has named."""
    nearest = [Named(under, How.TOKEN)] if under else []
    nearest += [Named(one, How.IN_REPLY_TO) for one in reversed(msgid.ids(" ".join(msg.get_all("In-Reply-To"))))]
    nearest += [Named(one, How.REFERENCES) for one in reversed(msgid.ids(" ".join(msg.get_all("References"))))]
    names: dict[str, Named] = {}
    for named in nearest:
        if named.name != own:
            names.setdefault(named.name, named)
    base = subject.base(msg.subject, prefix).casefold()
    return Evidence("", tuple(names.values())[:50], (), base, "", subject.is_reply(msg.subject), True)
