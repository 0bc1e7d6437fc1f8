"""What all connections of a server have in common: who is inside, and how much of everything is left."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mailforum import log
from mailforum.clock import Clock
from mailforum.options import Config
from mailforum.smtpd.data import MailData
from mailforum.smtpd.inbox import WINDOW
from mailforum.smtpd.rates import Clients, Networks, Rate


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that no site has had to change. Sizes in bytes, times in seconds."""

    line: int = 4096  # a command; RFC 5321 section 4.5.3.1.4 asks for 512, extensions for some more
    idle: float = 1.0  # who has been silent for that long has to make way when all places are taken
    grace: float = 60.0  # a mail may start slowly
    excess: int = 4  # times max_size a mail too large is read to its end
    handshake: float = 30.0
    header: float = 10.0  # a proxy sends its header with the first packet
    linger: float = 2.0


class Guest(Protocol):
    """A connection as it is seen from here (`protocol.Wire`)."""

    loop: asyncio.AbstractEventLoop
    peer: str
    client: str
    waiting: bool

    @property
    def silent_since(self) -> float:
        """Since when we wait for a command (the loop's time); never, when it is the client who waits."""
        ...

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What it runs in."""
        ...

    def is_between_mails(self) -> bool:
        """Say whether no mail is begun."""
        ...

    def dismiss(self, farewell: str) -> None:
        """End it."""
        ...


class Shared:
    """What all connections of a server have in common: its options, its certificate, who is inside."""

    def __init__(
        self,
        config: Config,
        hostname: str,
        tls: ssl.SSLContext | None,
        clock: Clock,
        limits: Limits,
        new_id: Callable[[], str],
    ) -> None:
        self.options = config.smtp
        self.new_id = new_id
        self.hostname = hostname
        self.tls = tls
        self.limits = limits
        self.folder = config.folder
        self.closing = False
        self.inside: set[Guest] = set()
        self.large = asyncio.Lock()
        self.clients = Clients(config.smtp.trusted)
        self.proxies = Networks(config.smtp.proxy_from)
        self.connections = Rate(config.limits.connections_per_minute, clock)
        self.mails = Rate(config.limits.mails_per_minute, clock)
        self.recipients = Rate(config.limits.recipients_per_minute, clock)
        self._at_once: Counter[str] = Counter()
        # A large mail must have a chance, whatever the option says.
        self._space = max(config.smtp.max_spool, config.smtp.max_size + WINDOW)

    @property
    def rates(self) -> dict[str, Rate]:
        """How often clients may do something, by what they do."""
        return {"connections": self.connections, "mails": self.mails, "recipients": self.recipients}

    def admit(self, guest: Guest) -> str:
        """Let a connection in; returns "", or why not."""
        if guest.client and self._at_once[guest.client] >= self.options.max_connections_per_client:
            return "Too many connections from your address"
        if not self.connections.take(guest.client):
            return "Too many connections a minute from your address"
        if len(self.inside) >= self.options.max_connections and not self._make_way():
            return "Too many connections"
        self.inside.add(guest)
        self._at_once[guest.client] += 1
        return ""

    def _make_way(self) -> bool:
        """Send away the stranger who has said nothing for longest, so that idle clients shut nobody out."""
        idle = min((guest for guest in self.inside if guest.client), key=lambda guest: guest.silent_since, default=None)
        if idle is None or idle.silent_since + self.limits.idle > idle.loop.time():
            return False
        log.event("turned_away", peer=idle.peer, reason="idle while all places were taken")
        idle.dismiss("421 4.7.0 Too many connections, and yours is idle; try again later")
        self.leave(idle)
        return True

    def leave(self, guest: Guest) -> None:
        """Forget a connection that `admit` let in; once more does no harm."""
        if guest in self.inside:
            self.inside.discard(guest)
            self._at_once[guest.client] -= 1
            if not self._at_once[guest.client]:
                del self._at_once[guest.client]

    def reserve(self, mail: MailData) -> bool:
        """Reserve space on disk for all that has come of a large mail; False: there is none."""
        more = mail.received - mail.space
        if more > self._space:
            return False
        self._space -= more
        mail.space += more
        return True

    def release(self, mail: MailData) -> None:
        """Let go of a mail, and of the space it took."""
        mail.close()
        self._space += mail.space
        mail.space = 0
