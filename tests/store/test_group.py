"""Work that is asked for at the same time is done together, and each caller hears of their own."""

import asyncio
from collections.abc import Callable

import pytest

from mailforum.store.group import Group


class Work:
    """Notes the lists it is given; each waits at `gate` before it ends."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self.gate = asyncio.Semaphore(0)

    async def __call__(self, items: list[int]) -> list[int | Exception]:
        self.lists.append(items)
        await self.gate.acquire()
        return [ValueError(str(item)) if item < 0 else item * 10 for item in items]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_comes_while_a_list_is_worked_on_is_in_the_next() -> None:
    work = Work()
    group = Group(work, 64)
    first = asyncio.create_task(group.add(1))
    await until(lambda: work.lists)
    others = [asyncio.create_task(group.add(item)) for item in (2, 3, 4)]
    await asyncio.sleep(0)
    assert work.lists == [[1]]
    work.gate.release()
    work.gate.release()
    assert [await first, *await asyncio.gather(*others)] == [10, 20, 30, 40]
    assert work.lists == [[1], [2, 3, 4]]


async def test_a_list_has_no_more_than_the_most() -> None:
    work = Work()
    work.gate.release()
    work.gate.release()
    work.gate.release()
    group = Group(work, 2)
    assert await asyncio.gather(*(group.add(item) for item in range(5))) == [0, 10, 20, 30, 40]
    assert work.lists == [[0, 1], [2, 3], [4]]


async def test_an_error_goes_to_the_one_it_is_about() -> None:
    work = Work()
    work.gate.release()
    group = Group(work, 64)
    results = await asyncio.gather(group.add(1), group.add(-2), group.add(3), return_exceptions=True)
    assert [str(result) for result in results] == ["10", "-2", "30"]


async def test_when_the_work_itself_fails_all_of_the_list_hear_of_it_and_the_next_list_is_done() -> None:
    calls = 0

    async def work(items: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("no")
        return items

    group: Group[int, int] = Group(work, 64)
    results = await asyncio.gather(group.add(1), group.add(2), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert await group.add(3) == 3


async def test_a_caller_who_goes_away_does_not_take_the_item_back() -> None:
    work = Work()
    group = Group(work, 64)
    first = asyncio.create_task(group.add(1))
    await until(lambda: work.lists)
    second = asyncio.create_task(group.add(2))
    await asyncio.sleep(0)
    second.cancel()
    work.gate.release()
    work.gate.release()
    assert await first == 10
    with pytest.raises(asyncio.CancelledError):
        await second
    await group.finish()
    assert work.lists == [[1], [2]]


async def test_those_who_come_back_together_stay_together() -> None:
    """Without waiting for each other they would take turns: [1] [2, 3] [1] [2, 3] …"""
    lists: list[list[str]] = []

    async def work(items: list[str]) -> list[str]:
        lists.append(sorted(items))
        await asyncio.sleep(0.05)
        return items

    group: Group[str, str] = Group(work, 64)

    async def client(name: str) -> None:
        for _ in range(5):
            await group.add(name)

    early = asyncio.create_task(client("a"))
    await until(lambda: lists)
    await asyncio.gather(early, *(client(name) for name in "bc"))
    assert lists[0] == ["a"]
    assert ["a", "b", "c"] in lists
    assert len(lists) <= 8, lists


async def test_two_halves_that_take_turns_come_together() -> None:
    lists: list[str] = []

    async def work(items: list[str]) -> list[str]:
        lists.append("".join(sorted(items)))
        await asyncio.sleep(0.05)
        return items

    group: Group[str, str] = Group(work, 64)

    async def client(name: str) -> None:
        for _ in range(5):
            await group.add(name)

    early = [asyncio.create_task(client(name)) for name in "ab"]
    await until(lambda: lists)
    await asyncio.gather(*early, *(client(name) for name in "cd"))
    assert lists[:3] == ["ab", "abcd", "abcd"]


async def test_nobody_is_waited_for_when_the_most_are_there() -> None:
    work = Work()
    group = Group(work, 2)
    tasks = [asyncio.create_task(group.add(item)) for item in range(6)]
    await until(lambda: work.lists)
    await asyncio.sleep(0.2)  # so long would be waited now
    for _ in range(3):
        work.gate.release()
    async with asyncio.timeout(0.15):
        await asyncio.gather(*tasks)
    assert work.lists == [[0, 1], [2, 3], [4, 5]]


async def test_finish_waits_for_all_that_was_asked_for() -> None:
    work = Work()
    group = Group(work, 1)
    tasks = [asyncio.create_task(group.add(item)) for item in (1, 2)]
    await until(lambda: work.lists)
    work.gate.release()
    work.gate.release()
    await group.finish()
    assert [await task for task in tasks] == [10, 20]
