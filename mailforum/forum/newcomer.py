"""A post that is about to be put into its thread."""

from __future__ import annotations

from dataclasses import dataclass

from mailforum.mail import evidence, msgid
from mailforum.mail.evidence import Named


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What threading needs to know of a post that is to be placed.

    `names` are the posts it says it answers, nearest first, weak ones last. `index` is its own
    Thread-Index in hex, `base` its subject for comparing, and `was` the one it had before. A `lonely` one is a reply
    without strong names, which may be looked up by its subject; a `fresh` one begins a thread if its subject is new.
    """

    list_id: int
    message_id: str
    subject: str
    date: float
    names: tuple[Named, ...] = ()
    index: str = ""
    base: str = ""
    was: str = ""
    lonely: bool = False
    fresh: bool = False

    @property
    def name(self) -> str:
        """What others name it by: its Message-ID as it is compared."""
        return msgid.key(self.message_id)

    @property
    def owned(self) -> tuple[str, ...]:
        """All names of its own: that one, and its Thread-Index."""
        return (self.name, evidence.INDEX + self.index) if self.index else (self.name,)

    @property
    def references(self) -> tuple[str, ...]:
        return tuple(named.name for named in self.names)

    @property
    def values(self) -> dict[str, object]:
        """What the post's row says of it."""
        return {
            "name": self.name,
            "message_id": self.message_id,
            "thread_index": self.index,
            "subject": self.subject,
            "date": self.date,
            "base": self.base,
            "was": self.was,
            "lonely": self.lonely,
            "fresh": self.fresh,
        }
