"""How full the queue is, without counting it for every mail."""

import asyncio

import pytest

from mailforum.errors import Deferred
from mailforum.smtpd.backlog import Backlog
from mailforum.store import queue
from tests.smtpd.conftest import StoppedClock


class Store:
    """Counts how often it is asked; each time takes `seconds`."""

    def __init__(self, clock: StoppedClock) -> None:
        self.clock, self.asked, self.waiting, self.seconds = clock, 0, 0, 0.0
        self.go = asyncio.Event()
        self.go.set()

    async def read(self, unit):
        self.asked += 1
        await self.go.wait()
        self.clock.at += self.seconds
        return unit(self)


@pytest.fixture
def store(monkeypatch) -> Store:
    monkeypatch.setattr(queue, "backlog", lambda tx, most: min(tx.waiting, most))
    return Store(StoppedClock())


async def test_a_count_is_good_for_a_second(store):
    backlog = Backlog(store, store.clock, 10)
    assert [await backlog.full() for _ in range(100)] == [False] * 100
    store.waiting = 10
    store.clock.at += 0.5
    assert not await backlog.full()
    assert store.asked == 1
    store.clock.at += 0.5
    assert await backlog.full()
    store.waiting = 9
    store.clock.at += 1
    assert not await backlog.full()
    assert store.asked == 3


async def test_a_count_that_takes_long_is_good_for_longer(store):
    store.seconds = 2.0
    backlog = Backlog(store, store.clock, 10)
    await backlog.full()
    store.clock.at += 37
    await backlog.full()
    assert store.asked == 1
    store.clock.at += 2
    await backlog.full()
    assert store.asked == 2


async def test_nobody_waits_for_a_count_that_another_has_begun(store):
    backlog = Backlog(store, store.clock, 10)
    store.go.clear()
    first = asyncio.create_task(backlog.full())
    await asyncio.sleep(0)
    assert not await asyncio.wait_for(backlog.full(), 1)
    store.waiting = 10
    store.go.set()
    assert await first
    assert await backlog.full()


async def test_without_a_limit_nothing_is_counted(store):
    assert not await Backlog(store, store.clock, 0).full()
    assert store.asked == 0


async def test_a_queue_that_cannot_be_read_puts_the_sender_off_and_is_asked_again_later(store, monkeypatch):
    def broken(tx, most):
        raise Deferred("Not now")

    backlog = Backlog(store, store.clock, 10)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "backlog", broken)
        with pytest.raises(Deferred):
            await backlog.full()
    store.clock.at += 1
    assert not await backlog.full()
