"""Post given mails over several connections at once, from a process of its own.

python -m tests.bench.posting PORT ADDRESS SENDERS <mails.mbox
"""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import BinaryIO

from mailforum.mail import mbox

AUTHOR = "author@example.com"


def post_all(port: int, to: str, mails: Iterable[bytes], senders: int) -> float:
    """Post mails to a list; return the seconds from the first connection to the last 250."""
    data = io.BytesIO()
    for raw in mails:
        mbox.write(data, raw, received=0.0)
    command = [sys.executable, "-m", "tests.bench.posting", str(port), to, str(senders)]
    return float(subprocess.run(command, input=data.getvalue(), stdout=subprocess.PIPE, check=True).stdout)


def _run(port: int, to: str, senders: int, mails: list[bytes]) -> float:
    started = time.monotonic()
    threads = [threading.Thread(target=_post, args=(port, to, mails[first::senders])) for first in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


def _post(port: int, to: str, mails: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as replies:
        _expect(replies, b"220")
        connection.sendall(b"EHLO client.example.org\r\n")
        _expect(replies, b"250")
        for raw in mails:
            for line, code in ((f"MAIL FROM:<{AUTHOR}>", b"250"), (f"RCPT TO:<{to}>", b"250"), ("DATA", b"354")):
                connection.sendall(f"{line}\r\n".encode())
                _expect(replies, code)
            connection.sendall(raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            _expect(replies, b"250")
        connection.sendall(b"QUIT\r\n")


def _expect(replies: BinaryIO, code: bytes) -> None:
    line = replies.readline()
    while line[3:4] == b"-":
        line = replies.readline()
    assert line.startswith(code), line


def main() -> int:
    """Run from the command line."""
    mails = [entry.raw.replace(b"\n", b"\r\n") for entry in mbox.read(sys.stdin.buffer)]
    print(_run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), mails))
    return 0


if __name__ == "__main__":
    sys.exit(main())
