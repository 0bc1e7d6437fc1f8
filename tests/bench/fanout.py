"""How fast one post goes out to many, from its 250 to the last durable mark.

The relay is Postfix's smtp-sink where it is installed: C, no disk; or one that waits before each answer to
a dot, as a relay that syncs does. Times are those in the queue's own rows.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import references
from tests.bench.place import Serving, mail, mail_with_file, make_site, relay, serving
from tests.bench.references import CORES
from tests.bench.table import Goal, Row, at_least, at_most, share

CONNECTIONS = 32  # the limit that the relay which waits is measured with


@dataclass(frozen=True)
class Case:
    """What is sent to whom, and how many a second that shall be at least.

    `delay` is the relay's before it answers a dot. `signed` is the share of what openssl signs that is to be reached.
    """

    readers: int
    personal: bool = True
    keys: tuple[str, ...] = ()
    size: int = 3072
    delay: float | None = None
    reach: float = 0.0
    signed: float = 0.0

    @property
    def name(self) -> str:
        """What the table calls it."""
        parts = [
            "personal" if self.personal else "100 recipients a transaction",
            *([f"{self.size // 1024} KiB with a file"] if self.size > 3072 else []),
            *([" and ".join(self.keys)] if self.keys else []),
            *([f"the relay takes {self.delay * 1000:.0f} ms a dot"] if self.delay else []),
        ]
        return f"fan-out to {self.readers:,}, {', '.join(parts)}"

    def mail(self, name: str) -> bytes:
        """Return a post for it."""
        return mail(name, self.size) if self.size <= 3072 else mail_with_file(name, self.size)


def sent(folder: Path, case: Case, posts: int = 1) -> Row:
    """Send `posts` posts to all; the best of them counts."""
    slow = {"delivery_connections": str(CONNECTIONS)} if case.delay else {}
    with relay(case.delay) as port:
        make_site(
            folder,
            f"smtp://127.0.0.1:{port}",
            case.readers,
            keys=case.keys,
            personal=str(case.personal).lower(),
            **slow,
        )
        with serving(folder) as server:
            _, _, mailing = server.post(mail("warm", 1024))  # pays for what is loaded only once
            server.until_sent(mailing, case.readers)
            seconds, used = min(_run(server, case, f"{number}") for number in range(posts))
            peak = server.memory("VmHWM")
    rate = case.readers / seconds
    beside, goals = _judged(case, rate)
    each = used / case.readers * 1e6
    return Row(case.name, f"{rate:,.0f} deliveries/s", each, (*beside, f"peak {peak:.0f} MiB"), goals)


def _run(server: Serving, case: Case, name: str) -> tuple[float, float]:
    used = server.cpu
    answered, _, mailing = server.post(case.mail(name))
    server.until_sent(mailing, case.readers)
    return server.last(mailing, case.readers) - answered, server.cpu - used


def _judged(case: Case, rate: float) -> tuple[tuple[str, ...], tuple[Goal, ...]]:
    """Return what stands beside the rate, measured now, and what it was to be."""
    if case.delay:
        allowed = CONNECTIONS / case.delay
        goal = at_least(100 * rate / allowed, 90, " % of what the relay allows")
        return (share(rate, allowed, f"{CONNECTIONS} connections ÷ latency"),), (goal,)
    reach = (at_least(rate, case.reach),) if case.reach else ()
    if case.keys:
        kind = "rsa2048" if "rsa" in case.keys else "ed25519"
        limit = references.signatures(kind)
        if case.signed and limit:
            reach = (*reach, at_least(100 * rate / limit, 100 * case.signed, " % of openssl"))
        return (share(rate, limit, f"openssl {kind} on {CORES} cores"),), reach
    limit = references.deliveries(10, case.size, 1 if case.personal else 100, 4000 if case.personal else 500)
    return (share(rate, limit, "smtp-source to smtp-sink"),), reach


def first(folder: Path, readers: int, posts: int) -> Row:
    """How long after the 250 the first reader's mail has arrived, with nothing else to do."""
    with relay() as port:
        make_site(folder, f"smtp://127.0.0.1:{port}", readers)
        with serving(folder) as server:
            waits = []
            for number in range(posts):
                answered, _, mailing = server.post(mail(str(number)))
                waits.append(max(0.0, server.first(mailing) - answered) * 1000)
                server.until_sent(mailing, readers)
                time.sleep(0.1)
    middle = statistics.median(waits)
    beside = (f"the longest of {posts}: {max(waits):.1f} ms",)
    name = f"first delivery after the 250, list of {readers:,}"
    return Row(name, f"{middle:.1f} ms", None, beside, (at_most(middle, 20, " ms"),))
