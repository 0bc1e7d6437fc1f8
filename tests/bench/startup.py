"""How soon the server is ready, and what it costs while nobody writes, with one list and with very many."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from mailforum import config
from mailforum.core import open_core
from mailforum.settings import ListSettings
from mailforum.store import lists
from tests.bench.place import NOWHERE, make_site, serving
from tests.bench.table import Row, at_most
from tests.support.site import DOMAIN


def idle(folder: Path, more_lists: int, starts: int, seconds: float) -> list[Row]:
    """From the start of the process until it takes mail (the middle of several); then memory and CPU."""
    file = make_site(folder, NOWHERE, 1)
    asyncio.run(_add_lists(file, more_lists))
    waits = []
    for _ in range(starts):
        with serving(folder) as server:
            waits.append(server.started)
    with serving(folder) as server:
        time.sleep(1)
        used = server.cpu
        time.sleep(seconds)
        share, memory = 100 * (server.cpu - used) / seconds, server.memory()
    name = f"{more_lists:,} idle lists" if more_lists else "idle"
    start = statistics.median(waits)
    return [
        Row(f"{name}: start until mail is taken", f"{start:.2f} s", goals=(at_most(start, 1, " s"),)),
        Row(f"{name}: memory", f"{memory:.0f} MiB", goals=(at_most(memory, 80, " MiB"),)),
        Row(f"{name}: CPU", f"{share:.1f} % of a core", goals=(at_most(share, 0.5, " %"),)),
    ]


async def _add_lists(file: Path, count: int) -> None:
    async with open_core(config.load(file, {})) as site:
        await site.db.write(
            lambda tx: [
                lists.add(tx, f"list{number}@{DOMAIN}", "A list", ListSettings(), time.time())
                for number in range(count)
            ]
        )
