"""What this machine does without us: only ratios to that mean anything.

Each is measured anew beside each row that needs it, since a machine with other work is never twice the
same. Where a program is not installed its figure is 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import postfix
from tests.support.postfix import Postfix

SBIN = ":/usr/sbin:/usr/local/sbin"
CORES = os.cpu_count() or 1
# smtpd and cleanup at their best: qmgr never sees the mail, and nothing slows down who sends much.
ONLY_QUEUED = """
smtpd_client_restrictions = static:HOLD
smtpd_client_event_limit_exceptions = static:all
in_flow_delay = 0
message_size_limit = 0
"""


def tool(name: str) -> str:
    """Return the path of a program, or ""."""
    return shutil.which(name, path=os.environ.get("PATH", "") + SBIN) or ""


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """Run Postfix's smtp-sink on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen([tool("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "1024"])
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        yield port
    finally:
        server.terminate()
        server.wait()


def source(
    port: int, *, connections: int, mails: int, size: int, sender: str = "", to: str = "", rcpts: int = 1
) -> float:
    """Send mail with smtp-source, each connection one after the other; return the seconds that it took."""
    who = [*(["-f", sender] if sender else []), *(["-t", to] if to else [])]
    numbers = ["-s", str(connections), "-m", str(mails), "-l", str(size), "-r", str(rcpts)]
    command = [tool("smtp-source"), "-d", "-S", "Budget for 2027", *who, *numbers, f"127.0.0.1:{port}"]
    started = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - started


def signatures(kind: str, seconds: int = 1, cores: int = CORES) -> float:
    """Return how many signatures a second OpenSSL makes on so many cores; `kind` is rsa2048 or ed25519."""
    if not tool("openssl"):
        return 0.0
    command = [tool("openssl"), "speed", "-seconds", str(seconds), "-multi", str(cores), kind]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    # The last line ends: seconds a signature, seconds a verification, signatures/s, verifications/s
    line = next((line for line in reversed(out.splitlines()) if re.match(r"\s*(rsa|253|EdDSA)", line)), "")
    return float(line.split()[-2]) if line else 0.0


def deliveries(connections: int, size: int, rcpts: int = 1, mails: int = 4000) -> float:
    """Return how many recipients a second smtp-source serves at smtp-sink, `rcpts` of them a mail."""
    if not (tool("smtp-source") and tool("smtp-sink")):
        return 0.0
    with sink() as port:
        return mails * rcpts / source(port, connections=connections, mails=mails, size=size, rcpts=rcpts)


def syncs(folder: Path, seconds: float = 1.0) -> float:
    """Return how many times a second a page can be appended and synced in `folder`."""
    path = folder / "syncs"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        count, page, started = 0, bytes(4096), time.monotonic()
        while time.monotonic() - started < seconds:
            os.write(handle, page)
            os.fdatasync(handle)
            count += 1
        return count / (time.monotonic() - started)
    finally:
        os.close(handle)
        path.unlink()


def smtpd(folder: Path, *, connections: int, size: int, mails: int = 2000) -> float:
    """Return how many mails a second Postfix's own smtpd takes into its queue, on the disk of `folder`."""
    if postfix.missing() or not tool("smtp-source"):
        return 0.0

    async def taken() -> float:
        server = Postfix(folder)
        server.configure(ONLY_QUEUED, 1)
        async with server:
            # The first mails pay for the processes that are started for them.
            for count in (connections * 4, mails):
                seconds = await asyncio.to_thread(
                    source, server.port, connections=connections, mails=count, size=size, to="reader@example.com"
                )
            return mails / seconds

    return asyncio.run(taken())


def mlmmj(folder: Path, *, readers: int, mail: bytes, verp: bool = True) -> float:
    """Return how many readers a second mlmmj serves at smtp-sink, with a return path each or 100 at a time.

    With a return path each it waits for its peer's delayed ACK every time (40 ms on Linux).
    """
    if not (tool("mlmmj-send") and tool("smtp-sink")):
        return 0.0
    home = folder / "mlmmj"
    for name in ("control", "subscribers.d", "text", "archive", "requeue", "queue/discarded", "bounce"):
        (home / name).mkdir(parents=True)
    (home / "subscribers.d" / "r").write_text("".join(f"reader{number}@example.com\n" for number in range(readers)))
    (home / "mail").write_bytes(mail.replace(b"\r\n", b"\n"))
    with sink() as port:
        bulk = {} if verp else {"verp": ""}
        for name, value in {"listaddress": "pmo@example.org", "smtpport": str(port), **bulk}.items():
            (home / "control" / name).write_text(f"{value}\n")
        started = time.monotonic()
        subprocess.run([tool("mlmmj-send"), "-L", str(home), "-m", str(home / "mail"), "-D"], check=True)
        return readers / (time.monotonic() - started)
