"""How fast mail leaves: our SMTP client into Postfix's smtp-sink, beside Postfix's smtp-source.

    python -m tests.bench.transport [--mails 20000] [--connections 10] [--size 3072] [--uvloop]

Marks are free here (settle does nothing): this measures the wire alone.
"""

import argparse
import asyncio
import time
from collections.abc import Callable

from mailforum.delivery.hello import Relay
from mailforum.delivery.smtp import SmtpTransport
from mailforum.delivery.transport import Job
from mailforum.model import State, Status
from tests.bench.references import sink, source


def mail(size: int) -> bytes:
    head = (
        b"From: ann@example.org\r\nTo: pmo@lists.example.org\r\nSubject: Budget\r\nMessage-ID: <1@example.org>\r\n\r\n"
    )
    line = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
    return head + line * max(1, (size - len(head)) // len(line))


async def send(port: int, mails: int, rcpts: int, connections: int, data: bytes) -> None:
    addresses = tuple(f"reader{number}@example.com" for number in range(rcpts))
    jobs = (Job("pmo-bounces@lists.example.org", addresses, tuple(range(rcpts)), data) for _ in range(mails))
    sent = 0

    async def take(_: bool) -> Job | None:
        return next(jobs, None)

    async def settle(_: Job, statuses: tuple[Status, ...]) -> None:
        nonlocal sent
        sent += sum(status.state is State.SENT for status in statuses)

    transport = SmtpTransport(Relay("127.0.0.1", port, helo="bench.example.org", tls="off"))
    await asyncio.gather(*(transport.run(take, settle) for _ in range(connections)))
    assert sent == mails * rcpts, f"{sent} of {mails * rcpts} sent"


def measure(name: str, mails: int, rcpts: int, run: Callable[[int], object]) -> None:
    with sink() as port:
        started = time.monotonic()
        run(port)
        seconds = time.monotonic() - started
    rates = f"{mails / seconds:9,.0f} transactions/s {mails * rcpts / seconds:11,.0f} deliveries/s"
    print(f"{name:14} {rcpts:4} rcpt  {rates}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--size", type=int, default=3072)
    parser.add_argument("--uvloop", action="store_true")
    given = parser.parse_args()
    runner = asyncio.run
    if given.uvloop:
        import uvloop

        runner = uvloop.run
    data = mail(given.size)
    for mails, rcpts in ((given.mails, 1), (given.mails // 20, 100)):
        measure(
            "mailforum",
            mails,
            rcpts,
            lambda port, m=mails, r=rcpts: runner(send(port, m, r, given.connections, data)),
        )
        measure(
            "smtp-source",
            mails,
            rcpts,
            lambda port, m=mails, r=rcpts: source(
                port, connections=given.connections, mails=m, size=given.size, rcpts=r
            ),
        )


if __name__ == "__main__":
    main()
