"""A PostgreSQL server that goes away and comes back in the middle of the work: sessions are told 451, the worker waits
and goes on, nothing is lost, and of what was being sent at that moment a second copy may come, nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.frail import Frail
from tests.support.site import Site, running_site
from tests.test_faults import MEMBERS, copies, make_list, once_each, post, until

POSTS = 40
SENDERS = 4
CONNECTIONS = 2


@pytest.fixture
def server() -> Iterator[Frail]:
    server = Frail()
    yield server
    server.stop()


async def keep_posting(site: Site, numbers: Iterator[int], posted: list[int], answers: Counter[str]) -> None:
    """Post as a sender does who tries again and again, and never goes on before the 250."""
    for number in numbers:
        posted.append(number)
        while not (answer := await post(site, number)).startswith("250"):
            answers[answer[:9]] += 1
            await asyncio.sleep(0.05)


async def test_a_server_that_fails_while_mail_flows_costs_nothing_but_time(tmp_path: Path, server: Frail) -> None:
    url, connections = f'"{server.url(server.create())}"', str(CONNECTIONS)
    answers: Counter[str] = Counter()
    async with running_site(tmp_path, store_url=url, delivery_connections=connections) as site:
        await make_list(site)
        numbers, posted = iter(range(1, POSTS + 1)), list[int]()
        senders = [asyncio.create_task(keep_posting(site, numbers, posted, answers)) for _ in range(SENDERS)]
        for outage, how in enumerate((signal.SIGQUIT, signal.SIGINT), 1):
            await until(lambda outage=outage: len(posted) > outage * POSTS / 3)
            await asyncio.to_thread(server.halt, how)
            await asyncio.sleep(0.3)  # some mails come meanwhile
            await asyncio.to_thread(server.go_on)
        await asyncio.gather(*senders)
        await site.quiet()
        site.clock.shift += 60.0  # a destination that seemed slow, because all stood still, has rested by then
        await site.quiet()
        sent, due = copies(site.sink), once_each(*range(1, POSTS + 1))
    assert set(answers) == {"451 4.3.0"}
    assert due - sent == Counter()  # nothing is lost
    twice = sent - due
    assert set(sent) == set(due) and twice.total() <= 2 * CONNECTIONS * len(MEMBERS), twice
