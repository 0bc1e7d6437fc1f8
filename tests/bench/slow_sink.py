"""A relay that syncs before it answers: it takes all mail, and waits before the answer to each dot.

    python -m tests.bench.slow_sink PORT SECONDS

Keeps nothing. A process of its own, and no event loop: the timers of asyncio and of epoll count in
milliseconds, and an answer that is due in five must not come after six.
"""

from __future__ import annotations

import gc
import select
import socket
import sys
import time
from collections import deque

END = b"\r\n.\r\n"
EHLO = b"250-slow.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
OK, GO_ON, KEPT = b"250 2.0.0 Ok\r\n", b"354 go on\r\n", b"250 2.0.0 kept\r\n"


class Session:
    """One connection. Commands may come pipelined; their answers leave in order."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.waiting = sock, b""
        self.in_mail = self.asleep = False
        sock.send(b"220 slow.example.org ESMTP\r\n")

    def fileno(self) -> int:
        return self.sock.fileno()

    def read_on(self, answer: bytes = b"") -> None:
        """Deal with what is there, up to the end of a mail: its answer takes a while."""
        while not self.asleep:
            if self.in_mail:
                # What came before the last chunk has been looked at, but for half an end.
                end = self.waiting.find(END)
                if end < 0:
                    self.waiting = self.waiting[-len(END) + 1 :]
                    break
                self.waiting = self.waiting[end + len(END) :]
                self.in_mail, self.asleep = False, True
                break
            line, found, rest = self.waiting.partition(b"\r\n")
            if not found:
                break
            self.waiting = rest
            answer += self.answer(line[:4].upper())
        if answer:
            self.sock.send(answer)

    def answer(self, verb: bytes) -> bytes:
        if verb == b"DATA":
            self.in_mail, self.waiting = True, b"\r\n" + self.waiting
            return GO_ON
        return EHLO if verb == b"EHLO" else OK


def serve(listener: socket.socket, delay: float) -> None:
    """Serve for ever. All waits are equally long, so the answers are due in the order of the dots."""
    sessions: set[Session] = set()
    due: deque[tuple[float, Session]] = deque()
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        ready, _, _ = select.select([listener, *sessions], [], [], wait)
        now = time.monotonic()
        for one in ready:
            if one is listener:
                sessions.add(Session(listener.accept()[0]))
            elif not _hear(one, due, now + delay):
                sessions.discard(one)
                one.sock.close()
        while due and due[0][0] <= now:
            _wake(due.popleft()[1], due, now + delay)


def _hear(session: Session, due: deque[tuple[float, Session]], until: float) -> bool:
    """Read what has come; False when the client is gone."""
    try:
        data = session.sock.recv(1 << 20)
        session.waiting += data
        if data and not session.asleep:
            session.read_on()
            if session.asleep:
                due.append((until, session))
    except OSError:
        return False
    return bool(data)


def _wake(session: Session, due: deque[tuple[float, Session]], until: float) -> None:
    """Send the answer that was due, and go on with what has come meanwhile."""
    session.asleep = False
    try:
        session.read_on(KEPT)
    except OSError:
        return  # it is closed where its end is read
    if session.asleep:
        due.append((until, session))


if __name__ == "__main__":
    gc.disable()
    serve(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512), float(sys.argv[2]))
