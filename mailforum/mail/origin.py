"""From which network a mail came to us or to the mail server in front of us."""

from __future__ import annotations

import ipaddress
import re

from mailforum.mail.message import Message

_MAX_FIELDS = 5  # the Received fields of our own servers stand on top
_MAX_VALUE = 1000
_CLIENT = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]{2,45})\]")
# Networks that only servers of ours are in; ipaddress' own `is_private` has the ones for documentation too.
_OURS = [
    ipaddress.ip_network(net)
    for net in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]


def network(msg: Message, peer: str) -> str:
    """Return the network (/24, or /64) of the client that brought the mail; "" if it comes from here.

    That is `peer`, or where that is a server of our own the client that its Received field names, and so
    on. What stands below the first client from outside can be forged and is not looked at.
    """
    clients = [peer, *(_client(value) for value in msg.get_all("Received")[:_MAX_FIELDS])]
    for client in clients:
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return ""
        if not any(address in net for net in _OURS):
            return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
    return ""


def _client(received: str) -> str:
    match = _CLIENT.search(received[:_MAX_VALUE])
    return match[1] if match else ""
