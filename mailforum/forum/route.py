"""From an address to the list and the role it stands for (docs/addresses.md).

A real list name wins over a sub-address, and the longest list name over shorter ones: the list
`x-leave` keeps its mail although `x` exists. `-` and `+` both part a list from what follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailforum.errors import Refused
from mailforum.mail import address
from mailforum.model import Route, RouteRole
from mailforum.store import lists
from mailforum.store.database import Tx

ROLES = {
    "join": RouteRole.JOIN,
    "subscribe": RouteRole.JOIN,
    "leave": RouteRole.LEAVE,
    "unsubscribe": RouteRole.LEAVE,
    "confirm": RouteRole.CONFIRM,
    "request": RouteRole.REQUEST,
    "help": RouteRole.HELP,
    "info": RouteRole.INFO,
    "owner": RouteRole.OWNER,
    "bounces": RouteRole.BOUNCES,
}
SITE_NAMES = {"mailforum", "majordomo", "listserv", "sympa"}
RESERVED = SITE_NAMES | {"postmaster", "mailer-daemon", "abuse"}

_ROLE = re.compile(r"(?P<role>[a-z]+)(?P<digest>-digest)?(?:[+.](?P<detail>.+))?")
# What `+` parts is changed or lost on the way of some reports.
_BOUNCES = re.compile(r"bounces(?:[+.=_ -]|%2b)?(?P<detail>.+)")
_REPLY = re.compile(r"r\.(?P<token>[a-z2-7]+)")


def find(tx: Tx, rcpt: str, site_domain: str) -> Route:
    """Return what `rcpt` leads to. Raises Refused 550 5.1.1 when it is nothing of ours."""
    # RFC 5321 section 4.1.1.3: <Postmaster> needs no domain.
    plain = address.key(rcpt) if rcpt.startswith('"') else rcpt.lower()
    local, domain = address.local_of(plain) or plain, address.domain_of(plain) or site_domain
    named = lists.by_address(tx, f"{local}@{domain}") if plain == rcpt.lower() else None
    if named:
        return Route(rcpt, RouteRole.POST, named)
    tails = dict(_splits(local))
    for mlist in lists.among(tx, [f"{name}@{domain}" for name in tails]):
        role = _role(tails[mlist.name])
        # Reports may come with quotes that the return path did not need; nobody else needs them.
        if role is not None and (not rcpt.startswith('"') or role[0] is RouteRole.BOUNCES):
            return Route(rcpt, role[0], mlist, role[1])
    if local in RESERVED and (domain == site_domain or lists.serves(tx, domain)):
        return Route(rcpt, RouteRole.SITE if local in SITE_NAMES else RouteRole.POSTMASTER)
    raise Refused("There is no such list or address here.", f"unknown recipient {rcpt}", enhanced="5.1.1")


def _splits(local: str) -> Iterator[tuple[str, str]]:
    """Yield every (list name, rest) that the local part may stand for."""
    for match in re.finditer(r"[-+]", local):
        yield local[: match.start()], local[match.end() :]


def _role(tail: str) -> tuple[RouteRole, str] | None:
    """Read what follows the list's name; None if it means nothing."""
    reply = _REPLY.fullmatch(tail)
    if reply:
        return RouteRole.REPLY, reply["token"]
    bounces = _BOUNCES.fullmatch(tail)
    if bounces:
        return RouteRole.BOUNCES, bounces["detail"]
    match = _ROLE.fullmatch(tail)
    role = ROLES.get(match["role"]) if match else None
    if match is None or role is None or (match["digest"] and role not in (RouteRole.JOIN, RouteRole.LEAVE)):
        return None
    return role, match["detail"] or ("digest" if match["digest"] else "")
