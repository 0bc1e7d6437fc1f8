"""Hosts that share a queue: who has what in hand, and what becomes of it when a host is lost."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mailforum.clock import SystemClock
from mailforum.hosting import Host
from mailforum.model import Due, Kind, Mode, Role, State, Status
from mailforum.settings import ListSettings
from mailforum.store import claims, hosts, lists, queue
from mailforum.store.database import Database, Tx
from mailforum.store.opening import open_database
from tests.support.hosts import be_old
from tests.support.postgres import emptied_url

SENT = Status(State.SENT, "2.0.0", "250 ok")
LATER = Status(State.DEFERRED, "4.2.0", "450 later")


class LaterClock(SystemClock):
    """By as many seconds later as a test says."""

    later = 0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


class Pair:
    """Two hosts with a database connection each; nothing beats but when a test says so."""

    def __init__(self, dbs: list[Database]) -> None:
        self.dbs = dbs
        self.hosts = [Host(db, SystemClock(), name, ["deliver"]) for db, name in zip(dbs, "ab", strict=True)]

    async def beat(self) -> None:
        for host in (*self.hosts, *self.hosts):
            await host.beat()

    async def queue(self, count: int, at: float = 1.0) -> None:
        def unit(tx: Tx) -> None:
            mailing = queue.add_mailing(tx, Kind.NOTICE, list_id=None, mail_from="", now=at)
            for number in range(count):
                queue.address_to(tx, mailing, f"m{number}@example.com", at)

        await self.dbs[0].write(unit)

    async def take(self, which: int, want: int, now: float = 1e9) -> list[Due]:
        who = self.hosts[which].claimant
        taken, _ = await self.dbs[which].claim(lambda tx: claims.take(tx, now, who, want))
        return taken.due

    async def settle(self, which: int, due: list[Due], status: Status, then: float = 1.0) -> None:
        mark = queue.Mark(-1, [(one, status, then) for one in due], (), self.hosts[which].id)
        await self.dbs[which].write(lambda tx: queue.settle(tx, [mark], 2.0), ())

    async def forget(self, which: int) -> None:
        """Let the lease of a host end."""
        await run(self.dbs[0], f"UPDATE host SET seen_at = seen_at - 31 WHERE id = {self.hosts[which].id}")


async def run(db: Database, statement: str) -> None:
    def unit(tx: Tx) -> None:
        tx._session.simple(statement)  # type: ignore[attr-defined]

    await db.write(unit)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        url = stack.enter_context(emptied_url())
        dbs = [await open_database(url) for _ in range(2)]
        for db in dbs:
            stack.push_async_callback(db.close)
        found = Pair(dbs)
        await found.beat()
        for host in found.hosts:
            be_old(host)
        yield found


def ids(due: list[Due]) -> set[int]:
    return {one.id for one in due}


async def test_what_two_hosts_take_at_the_same_time_nobody_has_twice_and_nothing_is_left(pair: Pair) -> None:
    for at in range(1, 6):
        await pair.queue(100, float(at))
    found: list[Due] = []
    while taken := [due for some in await asyncio.gather(pair.take(0, 30), pair.take(1, 30)) for due in some]:
        found += taken
    assert Counter(one.id for one in found) == Counter(range(1, 501))


async def test_runs_take_turns_and_the_newest_has_one_of_its_own(pair: Pair) -> None:
    for at in (1.0, 2.0, 3.0):
        await pair.queue(600, at)
    taken = await pair.take(0, 600)
    assert Counter(one.due_at for one in taken) == {1.0: 240, 2.0: 240, 3.0: 220}


async def test_the_newest_go_on_where_they_were_and_what_comes_meanwhile_is_first(pair: Pair) -> None:
    for at in range(1, 41):
        await pair.queue(30, float(at))
    found, progress, who = list[Due](), claims.BEGINNING, pair.hosts[0].claimant
    for number in range(7):
        before = progress
        taken, progress = await pair.dbs[0].claim(lambda tx: claims.take(tx, 1e3, who, 100, before))  # noqa: B023
        found += taken.due
        if number == 2:
            assert progress.passed[1] < (40.0, 40)
            await pair.queue(5, 999.0)
    assert [one.due_at for one in found[200 * 3 :]].count(999.0) == 5
    assert max(one.due_at for one in found[200 * 3 : 200 * 4]) == 999.0
    assert Counter(one.id for one in found) == Counter(range(1, 1206))


async def test_old_mail_in_anothers_hand_keeps_no_new_mail_waiting(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "STEPS", 5)
    for at in range(1, 41):
        await pair.queue(1, float(at))
    while await pair.take(0, 40):
        pass
    await pair.queue(1, 41.0)
    assert [one.due_at for one in await pair.take(1, 40)] == [41.0]


async def test_what_is_let_go_or_put_off_others_take(pair: Pair) -> None:
    await pair.queue(30)
    first, second, third = [await pair.take(0, 10) for _ in range(3)]
    host = pair.hosts[0].id
    await pair.dbs[0].write(lambda tx: claims.let_go(tx, sorted(ids(first)), host), ())
    await pair.dbs[0].write(lambda tx: queue.put_off(tx, sorted(ids(second)), 50.0, host), ())
    await pair.settle(0, third, LATER, 60.0)
    assert ids(await pair.take(1, 99, 40.0)) == ids(first)
    assert ids(await pair.take(1, 99, 55.0)) == ids(second)
    assert ids(await pair.take(1, 99, 65.0)) == ids(third)


async def test_what_a_lost_host_had_in_hand_is_free_and_what_it_had_under_way_is_named_once(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    await pair.queue(20)
    taken = await pair.take(0, 20)
    flying, lost = sorted(ids(taken))[:3], pair.hosts[0].id
    await pair.dbs[0].write(lambda tx: queue.settle(tx, [queue.Mark(lost * 1000, [], flying, lost)], 2.0), ())
    assert await pair.take(1, 99) == []
    await pair.forget(0)
    third = Host(pair.dbs[0], SystemClock(), "c", ["deliver"])
    with caplog.at_level(logging.INFO, "mailforum"):
        await asyncio.gather(pair.hosts[1].beat(), third.beat())
    named = [record.msg.fields for record in caplog.records if "event=uncertain" in str(record.msg)]
    assert [fields["delivery"] for fields in named] == flying
    assert sum("event=host_lost" in str(record.msg) for record in caplog.records) == 1
    await pair.hosts[1].beat()
    assert ids(await pair.take(1, 99)) == ids(taken)


async def test_a_database_that_was_away_from_all_makes_nobody_dead(pair: Pair) -> None:
    clock = LaterClock()
    last = Host(pair.dbs[0], clock, "c", ["deliver"])
    await last.beat()
    clock.later = 40
    await pair.forget(0)
    await last.beat()  # the database is back, and this is the first to see it
    standing = {pair.hosts[0].id}
    assert await pair.dbs[1].write(lambda tx: hosts.standing(tx, standing), ()) == standing
    for clock.later in (50, 60):
        await last.beat()
    assert await pair.dbs[1].write(lambda tx: hosts.standing(tx, standing), ()) == set()


async def test_who_has_just_come_takes_nobody_for_dead(pair: Pair) -> None:
    clock, standing = LaterClock(), {pair.hosts[0].id}
    await pair.forget(0)
    newcomer = Host(pair.dbs[0], clock, "c", ["deliver"])  # the database was away from all, and it is the first
    for clock.later in (0, 10):
        await newcomer.beat()
    assert await pair.dbs[1].write(lambda tx: hosts.standing(tx, standing), ()) == standing
    clock.later = 20
    await newcomer.beat()
    assert await pair.dbs[1].write(lambda tx: hosts.standing(tx, standing), ()) == set()


async def test_who_has_just_come_is_not_taken_for_dead_by_who_has_not_seen_it_yet(pair: Pair) -> None:
    await pair.queue(10)
    third = Host(pair.dbs[0], SystemClock(), "c", ["deliver"])
    await third.beat()
    who = third.claimant
    await pair.dbs[0].claim(lambda tx: claims.take(tx, 9.0, who, 10))
    assert await pair.take(1, 10) == []


async def test_what_a_host_had_in_hand_that_nobody_has_ever_seen_is_free(pair: Pair) -> None:
    await pair.queue(10)
    third = Host(pair.dbs[0], SystemClock(), "c", ["deliver"])
    await third.beat()
    who = third.claimant
    await pair.dbs[0].claim(lambda tx: claims.take(tx, 9.0, who, 10))
    await pair.dbs[0].write(lambda tx: hosts.leave(tx, third.id), ())
    await pair.hosts[1].beat()
    assert len(await pair.take(1, 10)) == 10


async def test_who_looks_waits_for_who_is_about_to_come(pair: Pair) -> None:
    loop, looking = asyncio.get_running_loop(), []

    async def look() -> tuple[set[int], int]:
        living, newest = await pair.dbs[1].write(hosts.look, ())
        return {one.id for one in living}, newest

    async def comes(tx: Tx) -> None:
        looking.append(asyncio.create_task(look()))
        await asyncio.wait(looking, timeout=0.1)
        assert not looking[0].done()

    def register(tx: Tx) -> int:
        found = hosts.register(tx, "c", ["deliver"], "1", "")
        asyncio.run_coroutine_threadsafe(comes(tx), loop).result()
        return found

    new = await pair.dbs[0].write(register, ())
    living, newest = await looking[0]
    assert new in living
    assert newest == new


async def test_while_a_backup_is_made_hosts_come_and_look_at_each_other(pair: Pair, tmp_path: Path) -> None:
    third, seen = Host(pair.dbs[1], SystemClock(), "c", ["deliver"]), list[int]()

    def advance(done: int, of: int) -> None:
        if not seen:
            asyncio.run_coroutine_threadsafe(third.beat(), loop).result()
            seen.append(third.id)

    loop = asyncio.get_running_loop()
    assert await pair.dbs[0].backup(tmp_path / "backup.db", 1.0, advance) == []
    assert seen[0] > 0


async def test_who_was_lost_writes_down_what_it_has_sent_and_nothing_else(pair: Pair) -> None:
    await pair.queue(3)
    one, two, three = await pair.take(0, 3)
    await pair.forget(0)
    await pair.hosts[1].beat()
    assert len(await pair.take(1, 3)) == 3
    await pair.settle(0, [one], SENT)
    await pair.settle(0, [two], LATER, 77.0)
    await pair.settle(1, [three], SENT)
    found = {row.id: (row.state, row.due_at) for row in await pair.dbs[0].read(queue.deliveries)}
    assert found == {one.id: (State.SENT, 1.0), two.id: (State.QUEUED, 1.0), three.id: (State.SENT, 1.0)}


async def test_marks_that_are_written_down_twice_count_once(pair: Pair) -> None:
    await pair.queue(2)
    one, two = await pair.take(0, 2)
    for _ in range(2):
        await pair.settle(0, [one], SENT)
        await pair.settle(0, [two], LATER, 77.0)
    rows = await pair.dbs[0].read(queue.deliveries)
    assert {row.id: row.attempts for row in rows} == {one.id: 1, two.id: 1}
    assert len(await pair.dbs[0].read(lambda tx: queue.attempts(tx, two.id))) == 1


async def test_what_an_admin_gave_up_in_a_hosts_hand_is_nobodys_after_the_attempt(pair: Pair) -> None:
    await pair.queue(1)
    (one,) = await pair.take(0, 1)
    await pair.dbs[1].write(lambda tx: queue.drop(tx, 2.0, one.id))
    await pair.settle(0, [one], LATER, 77.0)
    assert await pair.dbs[1].write(lambda tx: queue.retry(tx, 3.0, one.id)) == 1
    assert ids(await pair.take(1, 1)) == {one.id}


async def test_what_is_let_go_while_its_claim_is_still_being_committed_is_free(pair: Pair) -> None:
    await pair.queue(1)
    here, loop = pair.hosts[0].id, asyncio.get_running_loop()
    letting_go: list[asyncio.Future[None]] = []

    def let_go() -> None:
        unit = pair.dbs[0].write(lambda tx: claims.let_go(tx, [1], here), ())
        letting_go.append(asyncio.ensure_future(unit))

    def claim(tx: Tx) -> None:
        claims.take(tx, 1e9, pair.hosts[0].claimant, 1)
        loop.call_soon_threadsafe(let_go)
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        until = time.monotonic() + 1  # who does not wait is done by then
        while time.monotonic() < until and tx._session.simple(waits).get_value(0, 0) == b"0":  # type: ignore[attr-defined]
            time.sleep(0.01)

    await pair.dbs[0].claim(claim)
    await letting_go[0]
    assert ids(await pair.take(1, 1)) == {1}


async def test_a_host_that_writes_down_marks_is_not_buried_before_they_are_durable(pair: Pair) -> None:
    here, loop = pair.hosts[0].id, asyncio.get_running_loop()

    def bury(tx: Tx) -> list[int]:
        return [one.id for one in hosts.bury(tx, 30.0)]

    def writes(tx: Tx) -> tuple[set[int], list[int]]:
        standing = hosts.standing(tx, [here])
        return standing, asyncio.run_coroutine_threadsafe(pair.dbs[1].write(bury, ()), loop).result()

    await pair.forget(0)
    assert await pair.dbs[0].write(writes, ()) == ({here}, [])
    assert await pair.dbs[1].write(bury, ()) == [here]
    assert await pair.dbs[0].write(lambda tx: hosts.standing(tx, [here]), ()) == set()


async def test_hosts_fan_out_together_and_nobody_is_missed_or_has_it_twice(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "STEP", 20)

    def begin(tx: Tx) -> None:
        for name in ("pmo", "dev"):
            address = f"{name}@lists.example.test"
            list_id = lists.add(tx, address, name, ListSettings(), 1.0) or 0
            for number in range(150):
                member = f"{name}{number}@example.com"
                lists.add_member(tx, list_id, member, member, "", Role.MEMBER, Mode.EACH, 1.0)
            mailing = queue.add_mailing(tx, Kind.POST, list_id=list_id, mail_from="", now=1.0)
            queue.fan_out(tx, mailing, [Mode.EACH])

    def both_at_once(tx: Tx) -> bool:
        if not queue.go_on_fanning_out(tx):
            return False
        return asyncio.run_coroutine_threadsafe(pair.dbs[1].write(queue.go_on_fanning_out, ()), loop).result()

    loop = asyncio.get_running_loop()
    await pair.dbs[0].write(begin)
    while await pair.dbs[0].write(both_at_once, ()):
        pass
    while await pair.dbs[0].write(queue.go_on_fanning_out, ()):
        pass
    found = Counter(row.rcpt for row in await pair.dbs[0].read(queue.deliveries))
    assert found == Counter(f"{name}{number}@example.com" for name in ("pmo", "dev") for number in range(150))
