"""How fast one post goes out to many, from its 250 to the last durable mark.

The relay is Postfix's smtp-sink where it is installed: C, no disk. `slow` has one that waits 5 ms before
each answer to a dot, as a relay that syncs does. Times are those in the queue's own rows.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import references
from tests.bench.place import Row, Serving, mail, make_site, median, serving, slow_sink
from tests.bench.transport import sink

CONNECTIONS = 10


@dataclass(frozen=True)
class Case:
    """What is sent to whom, and how."""

    readers: int
    personal: bool = True
    keys: tuple[str, ...] = ()
    size: int = 3072
    delay: float = 0.0
    connections: int = CONNECTIONS

    @property
    def name(self) -> str:
        """What the table calls it."""
        parts = ["personal" if self.personal else "shared", *self.keys]
        if self.size != 3072:
            parts.append(f"{self.size // 1024} KiB")
        if self.delay:
            parts.append(f"{self.delay * 1000:.0f} ms at the dot, {self.connections} connections")
        return f"to {self.readers:,}, {', '.join(parts)}"


def sent(folder: Path, case: Case, posts: int = 1) -> Row:
    """Send `posts` posts to all; the best of them counts."""
    with relay(case.delay) as port:
        options = {"personal": str(case.personal).lower(), "delivery_connections": str(case.connections)}
        make_site(folder, f"smtp://127.0.0.1:{port}", case.readers, keys=case.keys, **options)
        with serving(folder) as server:
            _warm(server, case)
            runs = [_run(server, case, f"{number}") for number in range(posts)]
            seconds, used = min(runs)
            rate = case.readers / seconds
            reference, beside = _reference(case)
            return Row(
                f"fan-out {case.name}",
                f"{rate:,.0f} deliveries/s",
                each=used / case.readers * 1e6,
                ratio=rate / reference if reference else None,
                beside=beside,
                notes=(f"peak {server.memory('VmHWM'):.0f} MiB",),
            )


@contextlib.contextmanager
def relay(delay: float):  # type: ignore[no-untyped-def]
    """Run the sink that a case asks for; yields its port."""
    with slow_sink(delay) if delay or not references.tool("smtp-sink") else sink() as port:
        yield port


def _warm(server: Serving, case: Case) -> None:
    """Let the first mail of all pay for what is loaded only once."""
    server.post(mail("warm", 1024))
    server.until_sent()


def _run(server: Serving, case: Case, name: str) -> tuple[float, float]:
    used = server.cpu
    answered, _ = server.post(mail(name, case.size))
    server.until_sent()
    used = server.cpu - used
    newest = "mailing_id = (SELECT max(id) FROM mailing)"
    failed = server.ask(f"SELECT count(*) FROM delivery WHERE {newest} AND (state <> 'sent' OR attempts <> 1)")
    assert not failed, f"{failed} deliveries did not go out at once"
    return server.ask(f"SELECT max(done_at) FROM delivery WHERE {newest}") - answered, used


def _reference(case: Case) -> tuple[float, str]:
    for kind, name in (("rsa", "rsa2048"), ("ed25519", "ed25519")):
        if kind in case.keys:
            rate = references.signatures(name)
            return rate, f"openssl {name} on {os.cpu_count()} cores {rate:,.0f}/s"
    rate = references.transactions(CONNECTIONS, case.size)
    return rate, f"smtp-source to smtp-sink {rate:,.0f}/s"


def first(folder: Path, posts: int = 20) -> Row:
    """How long after the 250 the first reader's mail has arrived, with nothing else to do."""
    with relay(0) as port:
        make_site(folder, f"smtp://127.0.0.1:{port}", 1)
        with serving(folder) as server:
            waits = []
            for number in range(posts):
                answered, _ = server.post(mail(str(number)))
                server.until_sent()
                waits.append(max(0.0, server.ask("SELECT max(done_at) FROM delivery") - answered))
                time.sleep(0.05)
            return Row("first delivery after the 250", f"{median(waits) * 1000:.1f} ms", notes=("median",))


def large(folder: Path, readers: int, *, personal: bool = True) -> Row:
    """A post to a very large list: how long the 250 takes, and how much memory the sending."""
    with relay(0) as port:
        make_site(folder, f"smtp://127.0.0.1:{port}", readers, personal=str(personal).lower())
        with serving(folder) as server:
            idle, used = server.memory(), server.cpu
            server.forget_peak()
            answered, wait = server.post(mail("large"))
            server.until_sent()
            used = server.cpu - used
            seconds = server.ask("SELECT max(done_at) FROM delivery") - answered
            return Row(
                f"fan-out to {readers:,}, {'personal' if personal else 'shared'}",
                f"{readers / seconds:,.0f} deliveries/s",
                each=used / readers * 1e6,
                notes=(
                    f"250 after {wait * 1000:.0f} ms",
                    f"{idle:.0f} MiB before, peak {server.memory('VmHWM'):.0f} MiB",
                ),
            )
