"""What this machine and its other mail programs do: the rows that all others are to be read beside."""

from __future__ import annotations

from pathlib import Path

from tests.bench import references
from tests.bench.place import mail, relay
from tests.bench.references import CORES, tool
from tests.bench.table import Row

ABSENT = "not installed, or not root"


def syncs(folder: Path) -> Row:
    """How often the disk can be made to keep something."""
    return _row("fdatasync of 4 KiB, appended", references.syncs(folder, 2), "/s")


def signing(kind: str, cores: int) -> Row:
    """How many signatures OpenSSL makes."""
    where = "one core" if cores == 1 else f"{cores} cores"
    return _row(f"openssl speed {kind}, {where}", references.signatures(kind, 2, cores), " signatures/s")


def wire(recipients: int) -> Row:
    """How much mail Postfix's test programs bring from one to the other."""
    rate = references.deliveries(10, 3072, recipients, 10_000 if recipients == 1 else 1000)
    return _row(f"smtp-source to smtp-sink, recipients a mail: {recipients}", rate, " deliveries/s")


def slow_sink() -> Row:
    """That the sink which waits is not what limits those who send to it."""
    if not tool("smtp-source"):
        return _row("smtp-source to the slow relay, without its wait", 0, "")
    with relay(0.0) as port:
        rate = 10_000 / references.source(port, connections=10, mails=10_000, size=3072)
        return _row("smtp-source to the slow relay, without its wait", rate, " deliveries/s")


def smtpd(folder: Path) -> Row:
    """How much mail Postfix takes in and queues."""
    rate = references.smtpd(folder, connections=8, size=3072)
    return _row("Postfix's smtpd: 8 senders, 3 KiB, queued on this disk", rate, " mails/s")


def mlmmj(folder: Path, *, verp: bool) -> Row:
    """How fast mlmmj sends a post to a list."""
    rate = references.mlmmj(folder, readers=100 if verp else 10_000, mail=mail("1"), verp=verp)
    return _row(f"mlmmj, {'a return path each' if verp else '100 recipients a mail'}", rate, " deliveries/s")


def _row(name: str, rate: float, unit: str) -> Row:
    return Row(name, f"{rate:,.0f}{unit}" if rate else ABSENT)


ONE_AND_ALL = sorted({1, CORES})
