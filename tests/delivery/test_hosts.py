"""Several hosts that send what is in one queue: nothing twice, nothing left, and within the same limits."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mailforum.delivery import marks
from mailforum.errors import Deferred
from mailforum.forum import bounces
from mailforum.store import claims, hurry, queue, stats
from mailforum.store.database import Database, Tx, Unit
from mailforum.store.hosts import Rest, rest
from mailforum.store.queue import LANES
from mailforum.store.trouble import Unavailable
from tests.support.hosts import Sender, beat, hosts
from tests.support.sink import Mail, Sink

T = TypeVar("T")


def members(count: int, domain: str = "example.com") -> list[str]:
    return [f"m{number}@{domain}" for number in range(count)]


def copies(sink: Sink) -> Counter[str]:
    return Counter(rcpt for mail in sink.mails for rcpt in mail.rcpts)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def done(sender: Sender) -> None:
    async with asyncio.timeout(20):
        while await sender.waiting():
            await asyncio.sleep(0.02)


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, object]]:
    return [dict(record.msg.fields) for record in caplog.records if getattr(record.msg, "name", "") == name]


async def test_each_delivery_is_sent_by_one_of_them_and_both_do_their_part(tmp_path: Path) -> None:
    sink = Sink()
    async with hosts(tmp_path, sink, 2, delivery_connections="2") as both:
        await both[0].post(members(400))
        for one in both:
            one.start()
        await done(both[0])
        assert copies(sink) == Counter(members(400))
        assert len({mail.connection for mail in sink.mails}) == 4


async def test_who_begins_to_send_names_nothing_that_others_have_under_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    async with hosts(tmp_path, gate.sink, 2, delivery_connections="2") as (first, second):
        with caplog.at_level(logging.INFO, "mailforum"):
            await first.post(members(2))
            first.start()
            await until(lambda: gate.waiting == 2)
            second.start()
            await until(lambda: second.worker._source._began_at)  # type: ignore[attr-defined]  # it has looked
            assert not events(caplog, "uncertain")
            rows = await first.db.read(lambda tx: tx.all("queue.in_flight", first=0, last=2**40))
            assert len(rows) == 2
            in_hand = await first.db.read(stats.in_hand)
            assert [(one.name, one.in_hand) for one in in_hand] == [("host0", 2), ("host1", 0)]
            assert (first.worker.in_hand, second.worker.in_hand) == (2, 0)
            gate.open.set()
            await done(first)


class Gate:
    """A relay that keeps each connection waiting at its first dot until it is opened."""

    def __init__(self) -> None:
        self.open, self.waiting = asyncio.Event(), 0
        self.sink = Sink(dot=self.dot)

    async def dot(self, _: Mail) -> None:
        if not self.open.is_set():
            self.waiting += 1
            await self.open.wait()


async def test_who_was_taken_for_dead_sends_nothing_more_than_what_was_under_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    async with hosts(tmp_path, gate.sink, 2, delivery_connections="3") as (stalled, other):
        with caplog.at_level(logging.INFO, "mailforum"):
            await stalled.post(members(100))
            stalled.start()
            await until(lambda: gate.waiting == 3)
            before = stalled.host.id
            await stalled.forget()
            await other.host.beat()
            await other.host.beat()
            other.start()
            await until(lambda: gate.waiting == 6)
            gate.open.set()
            await until(lambda: events(caplog, "fenced"))
            await done(other)
            assert stalled.host.id == 0
            named = {str(event["rcpt"]) for event in events(caplog, "uncertain")}
            assert len(named) == 3
            assert set(copies(gate.sink)) == {*members(100)}
            assert {rcpt for rcpt, count in copies(gate.sink).items() if count > 1} <= named

            await beat(stalled, other)  # and it is back
            assert stalled.host.id > before
            await other.stop()
            await stalled.post(["new@example.com"])
            await done(stalled)
            assert copies(gate.sink)["new@example.com"] == 1
            assert len(events(caplog, "fenced")) == len(events(caplog, "host_back")) == 1


async def test_who_is_cut_off_from_the_database_goes_on_as_a_new_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailforum.delivery.marks.AGAIN", 0.05)
    gate = Gate()
    async with hosts(tmp_path, gate.sink, 2, delivery_connections="2") as (stalled, other):
        await other.post(members(40))
        stalled.start()
        await until(lambda: gate.waiting == 2)
        await stalled.forget()
        await other.host.beat()
        await other.host.beat()
        terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        terminate += " AND pid <> pg_backend_pid()"
        await other.db.write(lambda tx: tx._session.simple(terminate), ())  # type: ignore[attr-defined]
        gate.open.set()
        await until(lambda: stalled.host.id == 0)
        await beat(stalled, other)
        await done(stalled)
        assert set(copies(gate.sink)) == {*members(40)}
        assert sum(count - 1 for count in copies(gate.sink).values()) <= 2


class Late:
    """A database whose claims are committed; `answer` says when that is known, or whether it ever is."""

    def __init__(self, db: Database, answer: Callable[[], Awaitable[None]]) -> None:
        self._db, self._answer = db, answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    async def claim(self, unit: Unit[T]) -> T:
        result = await self._db.claim(unit)
        await self._answer()
        return result


async def test_what_somebody_claims_who_is_buried_meanwhile_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailforum.delivery.source.BEGIN_AGAIN", 0.0)
    claimed, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        claimed.set()
        await go.wait()

    sink = Sink()
    async with hosts(tmp_path, sink, 2, delivery_connections="2") as (stalled, other):
        await stalled.post(members(300))
        stalled.worker._source._db = Late(stalled.db, wait)
        stalled.start()
        await claimed.wait()
        await stalled.forget()
        await beat(other, stalled)  # and it is another host
        stalled.worker.fenced(stalled.worker._source.part.index * LANES)  # as its connections find out
        go.set()
        await done(stalled)
        assert copies(sink) == Counter(members(300))


async def test_what_was_claimed_when_the_database_did_not_answer_is_sent_all_the_same(tmp_path: Path) -> None:
    times: list[int] = []

    async def never() -> None:
        times.append(1)
        if len(times) <= 2:
            raise Unavailable("GONE", OSError("cut off"))

    sink = Sink()
    async with hosts(tmp_path, sink, 1) as (one,):
        await one.post(members(50))
        one.worker._source._db = Late(one.db, never)
        one.start()
        await done(one)
        assert copies(sink) == Counter(members(50))


async def test_what_a_relay_that_is_down_does_not_take_is_let_go(tmp_path: Path) -> None:
    sink = Sink()
    async with hosts(tmp_path, sink, 2) as (first, second):
        await sink.stop()
        await first.post(members(50))
        first.start()
        await until(lambda: first.worker.down_for)

        def free(tx: Tx) -> int:
            taken, _ = claims.take(tx, first.clock.now() + 1e6, second.host.claimant, 100)
            raise Undone(len(taken.due))

        async with asyncio.timeout(10):
            while await undone(second, free) < 50:
                await asyncio.sleep(0.05)
        await sink.start()


class Undone(Exception):
    """What a unit has found; nothing of it is kept."""


async def undone(sender: Sender, unit: Callable[[Tx], int]) -> int:
    try:
        return await sender.db.claim(unit)
    except Undone as found:
        return int(found.args[0])


class Counted:
    """A relay that counts how many mails to a domain are under way at the same time."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.now, self.most = Counter[str](), Counter[str]()
        self._seconds = seconds
        self.sink = Sink(dot=self.dot)

    async def dot(self, mail: Mail) -> None:
        domain = mail.rcpts[0].partition("@")[2]
        self.now[domain] += 1
        self.most[domain] = max(self.most[domain], self.now[domain])
        await asyncio.sleep(self._seconds)
        self.now[domain] -= 1


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_destination_has_as_many_connections_from_all_hosts_as_the_admin_allows(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailforum.delivery.worker.WANT", (10, 10))  # so that both have some of it
    monkeypatch.setattr(claims, "TURN", 10)
    relay = Counted()
    limits = f'["few.example.com {limit}"]'
    async with hosts(tmp_path, relay.sink, 2, delivery_connections="8", delivery_limits=limits) as both:
        await both[0].post(members(40, "few.example.com") + members(40))
        for one in both:
            one.start()
        await done(both[0])
        assert relay.most["few.example.com"] == limit
        assert copies(relay.sink) == Counter(members(40, "few.example.com") + members(40))


async def test_a_breaker_that_one_has_opened_all_have(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def rcpt(address: str) -> str | None:
        return "550 5.7.1 you are listed" if address.endswith("@bad.example.com") else None

    sink = Sink(rcpt=rcpt)
    async with hosts(tmp_path, sink, 2) as (first, second):
        for _ in range(3):
            await first.post(members(12, "bad.example.com") + members(3))
        first.start()
        await until(lambda: first.worker.resting)
        await first.stop()
        before = len(sink.lines)
        await second.host.look()
        assert second.worker.resting == 1
        second.start()
        await second.post(members(1, "good.example.com") + members(5, "bad.example.com"))
        await sink.wait(10)
        await until(lambda: copies(sink)["m0@good.example.com"])
        assert not [line for _, line in sink.lines[before:] if "@bad.example.com" in line]


async def test_what_all_leave_alone_all_try_at_once_when_an_admin_says_so(tmp_path: Path) -> None:
    def bad(address: str) -> str | None:
        return "550 5.7.1 you are listed" if address.endswith("@bad.example.com") else None

    def hurry_up(tx: Tx) -> int:
        hurry.all_senders(tx, first.clock.now(), many_hosts=True)
        return queue.retry(tx, first.clock.now())

    sink = Sink(rcpt=bad)
    async with hosts(tmp_path, sink, 2) as (first, second):
        for _ in range(3):
            await first.post(members(12, "bad.example.com") + members(3))
        first.start()
        await until(lambda: first.worker.resting)
        await second.host.look()
        second.start()
        await until(lambda: second.worker._retried is not None)  # type: ignore[attr-defined]
        sink.hooks["rcpt"] = None
        assert await second.db.write(hurry_up) > 0
        await until(lambda: first.worker.resting == second.worker.resting == 0)
        await done(first)
        await second.host.look()
        assert (second.worker.resting, copies(sink)["m0@bad.example.com"]) == (0, 3)


async def test_a_relay_that_refuses_all_that_one_brings_is_left_alone_by_all(tmp_path: Path) -> None:
    async with hosts(tmp_path, Sink(), 2) as (first, second):
        for sender in (second, first):
            await first.db.write(lambda tx: rest(tx, [Rest("", "5.7.1 listed", 60.0)]), ())
            await sender.host.look()
            assert sender.worker.down_for > 0
            assert sender.worker.pace.resting(sender.clock.monotonic())


async def test_marks_of_which_nobody_knows_whether_they_are_committed_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure, counted = list[object](), list[int | None]()

    async def write(unit: Any, lists: Any = None) -> Any:
        result = await first_write(unit, lists)
        if getattr(unit, "func", None) is marks._settle and len(unsure) < 2:
            unsure.append(unit)
            raise Deferred("Not now.", "the connection was lost while it was committed")
        return result

    monkeypatch.setattr(marks, "AGAIN", 0.01)
    monkeypatch.setattr(bounces, "failed", lambda tx, member_id, mailing_id, status, now: counted.append(mailing_id))
    answers = {"m0@example.com": "550 5.1.1 no such user", "m1@example.com": "450 4.2.0 later"}
    async with hosts(tmp_path, Sink(rcpt=answers.get), 1, delivery_connections="1") as (sender,):
        first_write = sender.db.write
        monkeypatch.setattr(sender.db, "write", write)
        mailing = await sender.post(members(3))
        sender.start()
        await until(lambda: counted and not sender.worker.in_hand)
        rows = await sender.db.read(queue.deliveries)
        assert [(row.state, row.attempts) for row in rows] == [("failed", 1), ("deferred", 1), ("sent", 1)]
        assert len(await sender.db.read(lambda tx: queue.attempts(tx, rows[1].id))) == 1
        assert counted == [mailing]
        assert len(unsure) == 2
