"""A relay that syncs before it answers: it takes all mail, and waits before the answer to each dot.

    python -m tests.bench.slow_sink PORT SECONDS

Keeps nothing. A process of its own, so that it does not share the interpreter with what is measured.
"""

from __future__ import annotations

import asyncio
import sys

END = b"\r\n.\r\n"


class Session(asyncio.Protocol):
    """One connection. Commands may come pipelined; their answers leave in order."""

    delay = 0.005

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.waiting = bytearray()
        self.in_mail = self.asleep = False
        self.transport.write(b"220 slow.example.org ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        if not self.asleep:
            self.read_on()

    def read_on(self) -> None:
        """Deal with what is there, up to the end of a mail: its answer takes a while."""
        answers: list[bytes] = []
        while not self.asleep:
            end, length = (END, len(END)) if self.in_mail else (b"\r\n", 2)
            at = self.waiting.find(end)
            if at < 0:
                break
            command = bytes(self.waiting[: 4 if self.in_mail else at]).upper()
            del self.waiting[: at + length]
            if self.in_mail:
                self.in_mail, self.asleep = False, True
                asyncio.get_running_loop().call_later(self.delay, self.wake)
            else:
                answers.append(self.answer(command))
        if answers:
            self.transport.write(b"".join(answers))

    def answer(self, command: bytes) -> bytes:
        if command.startswith(b"EHLO"):
            return b"250-slow.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
        if command == b"DATA":
            self.in_mail = True
            return b"354 go on\r\n"
        return b"250 2.0.0 Ok\r\n"

    def wake(self) -> None:
        self.asleep = False
        if not self.transport.is_closing():
            self.transport.write(b"250 2.0.0 kept\r\n")
            self.read_on()


async def main(port: int, delay: float) -> None:
    Session.delay = delay
    server = await asyncio.get_running_loop().create_server(Session, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    run(main(int(sys.argv[1]), float(sys.argv[2])))
