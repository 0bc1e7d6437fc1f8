"""What the forum needs to know of the site, and of one mail that has come in for one address."""

from __future__ import annotations

from dataclasses import dataclass

from mailforum.mail.message import Message
from mailforum.mail.token import Signer
from mailforum.model import Envelope, MailingList, Outcome, Route


@dataclass(frozen=True, slots=True)
class Site:
    """The part of the configuration that decisions rest on."""

    domain: str
    admin: str
    signer: Signer
    special_domains: bool = False
    answers_per_day: int = 20
    answers_to_strangers: int = 5
    strangers_per_hour: int = 20
    same_text: float = 86400.0
    answers_per_ten_minutes: int = 60
    owner_notices_per_day: int = 50
    storm: int = 10
    confirm_seconds: float = 3 * 86400
    max_size: int = 25 * 1024**2

    @property
    def address(self) -> str:
        """The site's own address; commands sent to it name the list they are about."""
        return f"mailforum@{self.domain}"


@dataclass(frozen=True, slots=True)
class Incoming:
    """One mail for one of its recipients, at the time `now`."""

    site: Site
    envelope: Envelope
    route: Route
    msg: Message
    raw: bytes
    now: float

    @property
    def mlist(self) -> MailingList:
        """The list that the address leads to; only for routes that have one."""
        assert self.route.mlist is not None
        return self.route.mlist

    @property
    def sender(self) -> str:
        """Who wrote it, as it says itself: the address in From, or the envelope's."""
        return self.msg.author.address if self.msg.author else self.envelope.mail_from

    def done(self, what: str, text: str = "Thank you.") -> Outcome:
        """Say that the mail was taken and what was made of it."""
        return Outcome(self.route.rcpt, 250, "2.0.0", text, what)
