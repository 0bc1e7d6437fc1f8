"""Return paths that name their recipient (VERP), with a mark that only we can make.

    pmo-bounces+bob=example.com=5f3a09c1@lists.example.org

Anybody can write a bounce to such an address, so one without a good mark proves nothing. The mark is
made of the list, the recipient and the half of a month: a good one says that we did write to them
lately. Eight digits are few, but a guess is a mail, and two thousand million of them are needed for one
that counts. It is made for every delivery, so it has to be cheap; relays that change case do it no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailforum.mail import address
from mailforum.mail.token import Signer

PERIOD = 15 * 86400.0  # seconds
PERIODS = 3  # how many are good, this one among them: 30 to 45 days

_PLAIN = re.compile(r"[A-Za-z0-9.+_-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


def paths(signer: Signer, bounces: str, at: float) -> Callable[[str, int | None], str]:
    """Return what makes the return paths of a mailing queued at the time `at`.

    It takes a recipient and their member id. Where a recipient does not fit into the address (more than
    64 octets, a quoted local part) a token of the member stands for it; where there is none, the path is
    `bounces`, the list's bounce address, as it is.
    """
    period, marker = _period(at), signer.marker("verp", bounces, _period(at))
    local, _, domain = bounces.rpartition("@")
    room = address.MAX_LOCAL - len(local) - 10  # for +, = and the mark

    def path(rcpt: str, member_id: int | None = None) -> str:
        if len(rcpt) <= room and _PLAIN.fullmatch(rcpt):  # nearly all; the rest of this is slow
            return f"{local}+{rcpt.replace('@', '=')}={marker(rcpt.lower())}@{domain}"
        key = address.key(rcpt)
        packed = address.verp(bounces, rcpt, marker(key))
        if packed == bounces and member_id is not None:
            return f"{local}+{signer.make('verp', member_id, bounces, key, period)}@{domain}"
        return packed

    return path


def proven(signer: Signer, bounces: str, detail: str, now: float) -> str:
    """Return the key of the recipient that `detail` names with a good mark; "" if it does not.

    `detail` is what stood behind `pmo-bounces+`.
    """
    for packed in map(address.unverp, (detail, _mended(detail))):
        if packed and packed.mark:
            key = address.key(packed.address)
            if any(signer.check_mark(packed.mark, key, "verp", bounces, period) for period in _periods(now)):
                return key
    return ""


def proves(signer: Signer, bounces: str, token: str, member_id: int, key: str, now: float) -> bool:
    """Say whether `token` is one that stood for this member in a return path lately."""
    return any(signer.check(token, "verp", member_id, bounces, key, period) for period in _periods(now))


def _period(at: float) -> str:
    return str(int(at // PERIOD))


def _periods(now: float) -> list[str]:
    return [_period(now - past * PERIOD) for past in range(PERIODS)]


def _mended(detail: str) -> str:
    """Undo what quoted-printable and URL encoding have done on the way."""
    for damaged, meant in (("=3d", "="), ("%3d", "="), ("%2b", "+")):
        detail = detail.replace(damaged, meant)
    return detail
