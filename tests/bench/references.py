"""What this machine does without us: only ratios to that mean anything.

Each is measured anew beside each row, since a machine with other work is never twice the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.bench.transport import sink

SBIN = ":/usr/sbin:/usr/local/sbin"


def tool(name: str) -> str:
    """Return the path of a program, or ""."""
    return shutil.which(name, path=os.environ.get("PATH", "") + SBIN) or ""


def signatures(kind: str, seconds: int = 1) -> float:
    """Return how many signatures a second OpenSSL makes on all cores; `kind` is rsa2048 or ed25519."""
    if not tool("openssl"):
        return 0.0
    command = [tool("openssl"), "speed", "-seconds", str(seconds), "-multi", str(os.cpu_count() or 1), kind]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    # The last line ends: seconds a signature, seconds a verification, signatures/s, verifications/s
    line = next((line for line in reversed(out.splitlines()) if re.match(r"\s*(rsa|253|EdDSA)", line)), "")
    return float(line.split()[-2]) if line else 0.0


def transactions(connections: int, size: int, mails: int = 4000) -> float:
    """Return how many mails a second Postfix's smtp-source brings to its smtp-sink."""
    if not (tool("smtp-source") and tool("smtp-sink")):
        return 0.0
    with sink() as port:
        started = time.monotonic()
        source(port, connections=connections, mails=mails, size=size)
        return mails / (time.monotonic() - started)


def source(port: int, *, connections: int, mails: int, size: int, sender: str = "", to: str = "") -> None:
    """Send mail with smtp-source, each connection one after the other."""
    who = [*(["-f", sender] if sender else []), *(["-t", to] if to else [])]
    numbers = ["-s", str(connections), "-m", str(mails), "-l", str(size)]
    subprocess.run(
        [tool("smtp-source"), "-d", "-S", "Budget for 2027", *who, *numbers, f"127.0.0.1:{port}"], check=True
    )


def syncs(folder: Path, seconds: float = 1.0) -> float:
    """Return how many times a second a page can be written and synced in `folder`."""
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
