"""Who a client is, and how often it may do something."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable

from mailforum.clock import Clock

_KNOWN = 10_000  # clients remembered; of a scan from more addresses the oldest are forgotten first
_EPSILON = 1e-6


class Networks:
    """Some networks, IPv4 and IPv6."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    def __contains__(self, peer: str) -> bool:
        """Say whether an address is in one of them."""
        if not self._networks:
            return False
        address = _address(peer)
        return any(address in network for network in self._networks)


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(peer.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


class Clients:
    """Says who is counted for an address. `trusted` are networks whose clients are not counted at all."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = Networks(trusted)

    def name(self, peer: str) -> str:
        """Return an IPv4 address, or the /64 of an IPv6 one; "" for who is trusted."""
        if peer in self._trusted:
            return ""
        address = _address(peer)
        return str(address) if address.version == 4 else address.exploded[:19]


class Rate:
    """A token bucket for each client: `per_minute` at once, and as many again in every minute; 0 is no limit.

    What is kept of a client is one number, the time at which its bucket will be full again. Where several hosts
    count together (together.py), also what was `spent` since they have last done so.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._cost = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.spent: Counter[str] | None = None

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._full_at)

    def take(self, client: str) -> bool:
        """Take one token; False: there is none. The client "" may do anything."""
        if not client or not self._cost:
            return True
        now = self._clock.monotonic()
        full_at = max(now, self._full_at.pop(client, now)) + self._cost
        fits = full_at <= now + 60 + _EPSILON
        self._keep(client, full_at if fits else full_at - self._cost)
        if fits and self.spent is not None:
            self.spent[client] += 1
        return fits

    def _keep(self, client: str, full_at: float) -> None:
        self._full_at[client] = full_at
        if len(self._full_at) > _KNOWN:
            self._full_at.popitem(last=False)

    def seconds(self, tokens: int) -> float:
        """Return how long it takes for so many tokens to come back."""
        return tokens * self._cost

    def learn(self, client: str, seconds: float) -> None:
        """Hear in how many seconds a client's bucket is full again, without what was `spent` here meanwhile."""
        more = self.seconds(self.spent[client]) if self.spent else 0.0
        self._keep(client, self._clock.monotonic() + max(0.0, seconds) + more)
