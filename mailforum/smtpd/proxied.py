"""Who is behind a proxy: the header that HAProxy and its like put before what a client says.

Versions 1 and 2 of the PROXY protocol (haproxy.org, proxy-protocol.txt), read by aiosmtpd's parser
from our own inbox. Whether a peer may say such a thing is not decided here (`Shared.is_proxy`).
"""

from __future__ import annotations

import asyncio
import logging

from aiosmtpd.proxy_protocol import AF, PROTO, V2_CMD, ProxyData, get_proxy

from mailforum.smtpd.inbox import Inbox

_LINE = 107  # bytes of the longest header of version 1; one of version 2 counts its own, up to 64 KiB

# It warns of what we log ourselves, and without any handler that would go to standard error.
logging.getLogger("mail.debug").addHandler(logging.NullHandler())


class NoHeader(Exception):
    """What came is no PROXY header, or nothing came."""


class _Reader:
    """The three ways in which the parser reads. An inbox that ends raises Gone, which the parser takes for an error."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def read(self, n: int = _LINE) -> bytes:
        await self._inbox.at_least(1)
        return self._inbox.cut(n)

    async def readexactly(self, n: int = 1) -> bytes:
        await self._inbox.at_least(n)
        return self._inbox.cut(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        line = bytearray()
        while not line.endswith(separator) and len(line) < _LINE:
            line += await self.readexactly()
        return bytes(line)


async def client(inbox: Inbox, patience: float) -> str:
    """Read a header, which must come within `patience` seconds, and return the client's address.

    Returns "" where the proxy speaks for itself (LOCAL, UNKNOWN: a health check) or for what has no IP
    address; the connection is then the proxy's own. Raises NoHeader. What follows it stays in the inbox.
    """
    try:
        async with asyncio.timeout(patience):
            header = await get_proxy(_Reader(inbox))
    except TimeoutError:
        raise NoHeader("it did not come in time") from None
    except Exception as error:
        raise NoHeader(str(error) or "the connection ended") from None
    if not header.valid:
        raise NoHeader(header.error)
    return _source(header)


def _source(header: ProxyData) -> str:
    local = header.version == 2 and header.command == V2_CMD.LOCAL
    if local or header.protocol != PROTO.STREAM or header.family not in (AF.INET, AF.INET6):
        return ""
    return str(header.src_addr)
