"""From a host and a port to a session: connect, greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass, field
from typing import Literal

from mailforum.delivery.transport import NoSession, RelayDown
from mailforum.delivery.wire import Reply, Wire

Features = dict[str, str]
"""What EHLO announced: names in upper case, and their parameters."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail goes, and how we speak there. Times are in seconds.

    `trust` is what certificates are checked against with tls = "required"; None: what the system trusts.
    """

    host: str
    port: int
    lmtp: bool = False
    helo: str = "localhost"
    tls: Literal["off", "opportunistic", "required"] = "opportunistic"
    user: str = ""
    password: str = field(default="", repr=False)
    connect_timeout: float = 30
    command_timeout: float = 300
    data_timeout: float = 600
    trust: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A connection on which mail may be sent, and what the server said it can do."""

    wire: Wire
    features: Features

    @property
    def pipelining(self) -> bool:
        """Whether commands may be sent in groups (RFC 2920)."""
        return "PIPELINING" in self.features

    @property
    def size(self) -> int:
        """The largest mail it takes, in bytes (RFC 1870); 0: it did not say."""
        words = self.features.get("SIZE", "").split()
        return int(words[0]) if words and words[0].isdecimal() and len(words[0]) < 20 else 0


class _TlsBroken(RelayDown):
    """STARTTLS was offered, and there was no TLS."""

    enhanced = "4.7.5"


async def connect(relay: Relay) -> Session:
    """Open a session; NoSession if there is none to be had.

    With tls = "opportunistic", broken TLS is tried no further: a new connection goes on without.
    """
    try:
        return await _connect(relay)
    except RelayDown as down:
        raise NoSession(down.text, enhanced=down.enhanced) from down


async def _connect(relay: Relay) -> Session:
    try:
        return await _open(relay, secure=relay.tls != "off")
    except _TlsBroken:
        if relay.tls == "required":
            raise
        return await _open(relay, secure=False)


async def _open(relay: Relay, *, secure: bool) -> Session:
    wire = Wire()
    try:
        await _dial(wire, relay)
        features = await _hello(wire, relay)
        encrypted = await _start_tls(wire, relay, features) if secure else None
        if relay.user:
            await _login(wire, relay, features, bool(encrypted))
    except BaseException as error:
        wire.fail(error if isinstance(error, RelayDown) else RelayDown("given up"))
        raise
    return Session(wire, encrypted or features)


async def _dial(wire: Wire, relay: Relay) -> None:
    loop = asyncio.get_running_loop()
    place = f"{relay.host}:{relay.port}"
    try:
        async with asyncio.timeout(relay.connect_timeout):
            await loop.create_connection(lambda: wire, relay.host, relay.port)
    except TimeoutError as error:
        text = f"{place} did not answer within {relay.connect_timeout:g} seconds"
        raise RelayDown(text, enhanced="4.4.1") from error
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA cannot write
        raise RelayDown(f"no connection to {place}: {error}", enhanced="4.4.1") from error


async def _ask(wire: Wire, relay: Relay, command: str = "") -> Reply:
    """Send a command, if there is one, and return its reply; RelayDown if none comes."""
    if command:
        await wire.send((command.encode() + b"\r\n",), relay.command_timeout)
    replies = await wire.replies(1, relay.command_timeout)
    if wire.failure or not replies:
        raise wire.failure or RelayDown("no answer")
    return replies[0]


def _refused(reply: Reply, what: str) -> RelayDown:
    return RelayDown(f"{what}: {reply.text}", enhanced="4" + reply.enhanced[1:])


async def _hello(wire: Wire, relay: Relay) -> Features:
    greeting = await _ask(wire, relay)
    if greeting.code != 220:
        raise _refused(greeting, "the relay takes no mail")
    return await _ehlo(wire, relay)


async def _ehlo(wire: Wire, relay: Relay) -> Features:
    """Introduce ourselves; return the features by name, in upper case, with their parameters."""
    reply = await _ask(wire, relay, f"{'LHLO' if relay.lmtp else 'EHLO'} {relay.helo}")
    if reply.code >= 500 and not relay.lmtp:  # RFC 5321 section 3.2: a server that only knows HELO
        reply = await _ask(wire, relay, f"HELO {relay.helo}")
        reply = Reply(reply.code, reply.lines[:1])
    if not reply.ok:
        raise _refused(reply, "the relay refused our greeting")
    pairs = (line.decode("latin-1").partition(" ") for line in reply.lines[1:])
    return {name.strip().upper(): value.strip() for name, _, value in pairs}


async def _start_tls(wire: Wire, relay: Relay, offered: Features) -> Features | None:
    """Turn TLS on where it is offered; return the features then announced, None: no TLS.

    RelayDown if TLS is required and cannot be had, _TlsBroken if it was offered and does not work.
    """
    reply = None
    if "STARTTLS" in offered:
        try:
            reply = await _ask(wire, relay, "STARTTLS")
            if reply.code == 220:
                return await _secure(wire, relay)
        except (OSError, RelayDown) as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "text", "") or error
            raise _TlsBroken(f"TLS with the relay failed: {reason}") from error
    if relay.tls == "required":
        text = f"the relay refused TLS: {reply.text}" if reply else "the relay offers no TLS"
        raise RelayDown(text, enhanced="4.7.5")
    return None


async def _secure(wire: Wire, relay: Relay) -> Features:
    await wire.start_tls(_context(relay), relay.host, relay.connect_timeout)
    # RFC 3207 section 4.2: what was announced in plain text does not count. In TLS 1.3 a server
    # that is not content with the handshake closes only now.
    return await _ehlo(wire, relay)


def _context(relay: Relay) -> ssl.SSLContext:
    if relay.tls == "required":
        return relay.trust or ssl.create_default_context()
    # RFC 7435: against listeners only. Checking would be in vain: whoever can show a wrong
    # certificate can also take STARTTLS out of the answer to EHLO.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _login(wire: Wire, relay: Relay, features: Features, encrypted: bool) -> None:
    """AUTH PLAIN or LOGIN (RFC 4954). A login that fails is our own fault: the mail waits."""
    if not (encrypted or wire.loopback):
        raise RelayDown("no TLS with the relay, so the password was not sent", enhanced="4.7.11")
    offered = features.get("AUTH", "").upper().split()
    if "PLAIN" in offered:
        reply = await _ask(wire, relay, "AUTH PLAIN " + _base64(f"\0{relay.user}\0{relay.password}"))
    elif "LOGIN" in offered:
        reply = await _ask(wire, relay, "AUTH LOGIN")
        for answer in (relay.user, relay.password):
            if reply.code == 334:
                reply = await _ask(wire, relay, _base64(answer))
    else:
        raise RelayDown("the relay offers neither AUTH PLAIN nor AUTH LOGIN", enhanced="4.7.0")
    if reply.code != 235:
        raise _refused(reply, "the relay refused our login")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
