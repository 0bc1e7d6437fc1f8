"""How soon the server is ready, and what it costs while nobody writes."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.place import NOWHERE, Row, make_site, median, serving


def ready(folder: Path, starts: int) -> Row:
    """From the start of the process until it takes mail; the middle of several starts."""
    make_site(folder, NOWHERE, 1)
    waits = []
    for _ in range(starts):
        with serving(folder) as server:
            waits.append(server.started)
    return Row("start until ready", f"{median(waits):.2f} s")


def idle(folder: Path, seconds: float) -> Row:
    """Memory and CPU of a server that has nothing to do."""
    make_site(folder, NOWHERE, 1)
    with serving(folder) as server:
        time.sleep(1)
        used = server.cpu
        time.sleep(seconds)
        share = (server.cpu - used) / seconds
        return Row("idle", f"{server.memory():.0f} MiB", notes=(f"{share:.1%} of a core",))
