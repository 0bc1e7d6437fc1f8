"""What the clock does is done once, also while two hosts believe that it is for them to do."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from mailforum import chores, config
from mailforum.chores import Chores, Indexing
from mailforum.core import Core, open_core
from mailforum.forum import archive, members, posts, search
from mailforum.forum.archive import Mail
from mailforum.forum.query import parse
from mailforum.mail import address
from mailforum.model import Envelope, Failing, Mode, Role
from mailforum.settings import ListSettings
from mailforum.store import bounces, health, intake, lists, queue, upkeep
from mailforum.store import search as index
from mailforum.store.database import Tx
from tests.support.clock import ShiftedClock
from tests.support.postgres import database_url
from tests.support.site import write_config

T = TypeVar("T")
DAY, HOUR = 86400.0, 3600.0
PATIENCE = 20.0
PMO = "pmo@lists.example.test"


@dataclass
class Hosts:
    """Two hosts on one database; neither asks whether it leads."""

    url: str
    one: Core
    other: Core
    clock: ShiftedClock

    async def at_once(self, what: Callable[[Core], Any], times: int = 2) -> None:
        """Have both do something at the same moment, some times over."""
        await asyncio.gather(*(what(core) for core in (self.one, self.other) * times))

    async def make_list(self, name: str = "pmo", **who: Mode) -> int:
        """Make a list to which anybody may post, with members; return its id."""
        now, to = self.clock.now(), f"{name}@lists.example.test"

        def make(tx: Tx) -> int:
            list_id = lists.add(tx, to, "", ListSettings(posting="anyone"), now - 30 * DAY)
            for local, mode in who.items():
                role = Role.OWNER if local == "owner" else Role.MEMBER
                found = f"{local}@example.org"
                lists.add_member(tx, list_id or 0, found, address.key(found), "", role, mode, now)
            return list_id or 0

        return await self.one.db.write(make)

    async def send(self, core: Core, number: int, to: str = PMO) -> None:
        """Post a mail by a host."""
        raw = f"From: zoe{number}@example.org\r\nMessage-ID: <{number}@example.org>\r\n\r\nThe budget, {number}.\r\n"
        way = await core.intake.route(to)
        await core.intake.receive(Envelope("zoe@example.org", (way,), id=core.ids.new()), raw.encode())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as server:
            return server.execute(sql).fetchall()

    async def until(self, sql: str) -> None:
        """Wait until a query finds something."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(self.rows, sql):
                await asyncio.sleep(0.01)

    async def until_one_waits(self) -> None:
        """Wait until a transaction waits for what another decides."""
        await self.until("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    clock = ShiftedClock()
    with database_url() as url:
        settings = config.load(write_config(tmp_path, "maildir:outbox", store_url=f'"{url}"'), {})
        async with open_core(settings, clock) as one, open_core(settings, clock) as other:
            yield Hosts(url, one, other, clock)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    yield Gate(monkeypatch)


class Gate:
    """Holds up one transaction, between its last statement and its commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._reached, self._opened = threading.Event(), threading.Event()

    def behind(self, module: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
        """Hold up whoever calls a function first, when it returns."""
        called = getattr(module, name)

        def held_up(*args: Any, **kwargs: Any) -> Any:
            result = called(*args, **kwargs)
            if when(*args) and not self._reached.is_set():
                self._reached.set()
                assert self._opened.wait(PATIENCE)
            return result

        self._monkeypatch.setattr(module, name, held_up)

    async def reached(self) -> None:
        """Wait until somebody is held up."""
        assert await asyncio.to_thread(self._reached.wait, PATIENCE)

    def open(self) -> None:
        """Let them go on."""
        self._opened.set()


def issues_and_posts(hosts: Hosts) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int]]]:
    """Return all issues (list, number, from after, up to) and all posts (list, id), in order."""
    issues = hosts.rows("SELECT list_id, number, after_post, last_post FROM issue ORDER BY 1, 2")
    return issues, hosts.rows("SELECT list_id, id FROM post ORDER BY 1, 2")


async def test_two_clocks_cut_each_digest_once_and_each_post_is_in_one(hosts: Hosts) -> None:
    names = [f"list{number}" for number in range(4)]
    ids = [await hosts.make_list(name, ada=Mode.DIGEST, bob=Mode.DIGEST) for name in names]
    number = 0
    for _ in range(4):
        for name in names:
            number += 1
            await hosts.send(hosts.one, number, f"{name}@lists.example.test")
        hosts.clock.shift += DAY

        async def cut(core: Core) -> None:
            await chores.send_due_digests(core, hosts.clock.now())

        numbers = range(number + 1, number + 9)
        number += 8
        late = [hosts.send(hosts.other, each, f"{names[each % 4]}@lists.example.test") for each in numbers]
        await asyncio.gather(hosts.at_once(cut), *late)
    hosts.clock.shift += 2 * DAY
    await chores.send_due_digests(hosts.other, hosts.clock.now())
    issues, stored = issues_and_posts(hosts)
    found = Counter(
        post_id
        for list_id, _, after, last in issues
        for of, post_id in stored
        if of == list_id and after < post_id <= last
    )
    assert found == Counter(post_id for _, post_id in stored) and len(stored) == number
    for list_id in ids:
        cut_of_list = [each[1] for each in issues if each[0] == list_id]
        assert cut_of_list in ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert hosts.rows(
        "SELECT DISTINCT count(*) FROM delivery JOIN mailing ON mailing.id = mailing_id GROUP BY ref_id, kind"
    ) == [(2,)]


async def test_a_post_that_is_long_in_coming_is_in_a_digest(hosts: Hosts, gate: Gate) -> None:
    list_id = await hosts.make_list(ada=Mode.DIGEST)
    await hosts.send(hosts.one, 1)
    gate.behind(posts, "accept", lambda tx, mlist, msg, *_: msg.message_id == "<2@example.org>")
    slow = asyncio.create_task(hosts.send(hosts.other, 2))  # it has an id, and is not committed
    await gate.reached()
    hosts.clock.shift += 2 * DAY
    third = asyncio.create_task(hosts.send(hosts.one, 3))
    cutting = asyncio.create_task(chores.send_due_digests(hosts.one, hosts.clock.now()))
    await hosts.until_one_waits()
    gate.open()
    await asyncio.gather(slow, third, cutting)
    hosts.clock.shift += 2 * DAY
    await chores.send_due_digests(hosts.one, hosts.clock.now())
    issues, stored = issues_and_posts(hosts)
    assert [issue[2:] for issue in issues if issue[0] == list_id][-1][1] == stored[-1][1] == max(stored)[1]
    assert sum(count for (count,) in hosts.rows("SELECT posts FROM issue")) == 3


async def test_an_import_that_is_under_way_keeps_no_post_out_of_a_digest(hosts: Hosts, gate: Gate) -> None:
    await hosts.make_list(ada=Mode.DIGEST)
    mlist = await hosts.one.db.read(lambda tx: lists.by_address(tx, PMO))
    assert mlist
    gate.behind(posts, "store", lambda tx, mlist, msg, *_: msg.message_id == "<old@example.org>")
    old = Mail("1", b"From: a@example.org\nMessage-ID: <old@example.org>\nDate: Mon, 1 Jan 2001 10:00:00 +0000\n\nx\n")
    taking = asyncio.create_task(archive.take_in(hosts.other.db, mlist, [old], hosts.clock))
    await gate.reached()
    new = asyncio.create_task(hosts.send(hosts.one, 1))
    await hosts.until_one_waits()
    gate.open()
    await asyncio.gather(taking, new)
    hosts.clock.shift += 2 * DAY
    await chores.send_due_digests(hosts.one, hosts.clock.now())
    assert hosts.rows("SELECT posts FROM issue") == [(1,)]


@pytest.mark.parametrize("by_admin", [False, True])
async def test_who_joins_while_another_host_begins_a_fan_out_gets_it_or_comes_after_it(
    hosts: Hosts, gate: Gate, monkeypatch: pytest.MonkeyPatch, by_admin: bool
) -> None:
    monkeypatch.setattr(queue, "STEP", 2)
    list_id = await hosts.make_list(**{f"member{number}": Mode.EACH for number in range(5)})
    mlist = await hosts.one.db.read(lambda tx: lists.by_id(tx, list_id))
    assert mlist

    async def join(local: str) -> None:
        def unit(tx: Tx) -> None:
            members.add(tx, mlist, f"{local}@example.org", hosts.clock.now(), welcome=False)

        await hosts.other.db.write(unit, None if by_admin else [list_id])

    gate.behind(members, "add")
    early = asyncio.create_task(join("early"))
    await gate.reached()
    sending = asyncio.create_task(hosts.send(hosts.one, 1))
    await hosts.until_one_waits()
    gate.open()
    await asyncio.gather(early, sending)
    await join("late")
    await hosts.at_once(fan_out)
    got = Counter(rcpt for (rcpt,) in hosts.rows("SELECT rcpt FROM delivery"))
    assert got == Counter(f"{local}@example.org" for local in ["early", *(f"member{number}" for number in range(5))])


async def fan_out(core: Core) -> None:
    while await core.db.write(queue.go_on_fanning_out, ()):
        pass


async def test_owners_hear_once_of_what_waits(hosts: Hosts) -> None:
    ids = [await hosts.make_list(f"list{number}", owner=Mode.EACH) for number in range(4)]

    def hold(tx: Tx) -> None:
        for list_id in ids:
            values = {
                "subject": "x",
                "message_id": "",
                "reason": "",
                "under": "",
                "raw": b"x",
                "now": hosts.clock.now(),
            }
            intake.hold(tx, list_id, mail_from="a@example.com", from_address="a@example.com", **values)  # type: ignore[arg-type]

    for _ in range(2):
        await hosts.one.db.write(hold)
        hosts.clock.shift += 2 * HOUR
        await hosts.at_once(lambda core: chores.tell_what_waits(core, hosts.clock.now()))
    assert len(hosts.rows("SELECT FROM delivery JOIN mailing ON mailing.id = mailing_id")) == 2 * len(ids)


async def test_what_is_done_about_bounces_is_done_once(hosts: Hosts) -> None:
    list_id = await hosts.make_list(owner=Mode.EACH, **{f"member{number}": Mode.EACH for number in range(8)})
    now = hosts.clock.now()

    def fail(tx: Tx) -> None:
        for member in lists.members(tx, list_id):
            if member.role is Role.MEMBER:
                state = "returned" if member.id % 2 else "counting"
                bounces.keep(tx, Failing(member.id, list_id, state, at=now, reply="550 no such user", due_at=now))
        bounces.tell(tx, list_id, now)

    await hosts.one.db.write(fail)
    await hosts.at_once(lambda core: chores.keep_bounces(core, now + HOUR), 3)
    assert hosts.rows("SELECT template, count(*) FROM mailing GROUP BY 1 ORDER BY 1") == [
        ("notice/probe", 4),
        ("notice/suspended", 4),
        ("owner/bounces", 1),
    ]


async def test_posts_are_put_into_the_index_once_whoever_does_it(
    hosts: Hosts, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SOME", 4)
    await hosts.make_list()
    mlist = await hosts.one.db.read(lambda tx: lists.by_address(tx, PMO))
    assert mlist
    mails = [Mail(str(number), b"Message-ID: <i%d@example.org>\n\nold budget\n" % number) for number in range(20)]
    for number in range(20):
        await hosts.send(hosts.one, number)
    gate.behind(index, "add")
    slow = asyncio.create_task(put_in(hosts.one))
    await gate.reached()
    taking = asyncio.create_task(archive.take_in(hosts.other.db, mlist, mails, hosts.clock))
    others = asyncio.create_task(hosts.at_once(put_in))
    await hosts.until("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'")
    gate.open()
    await asyncio.gather(slow, others, taking)
    await hosts.at_once(put_in)
    entries = hosts.rows("SELECT post_id FROM indexed JOIN full_text USING (entry)")
    assert len(entries) == len(set(entries)) == 40
    assert await hosts.one.db.read(health.index_faults) == []


async def put_in(core: Core) -> None:
    while await search.index_some(core.db):
        pass


async def test_a_text_that_is_forgotten_by_one_host_is_not_put_in_by_another(hosts: Hosts, gate: Gate) -> None:
    await hosts.make_list()
    for number in range(3):
        await hosts.send(hosts.one, number)
    hosts.clock.shift += 10 * DAY
    gate.behind(upkeep, "replace_body")
    forget = posts.forget_bodies(hosts.clock.now() - DAY)
    forgetting = asyncio.create_task(Chores(hosts.one)._do_steps("bodies", forget))
    await gate.reached()
    adding = asyncio.create_task(search.index_some(hosts.other.db))  # it reads the texts as they were
    await hosts.until("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'")
    gate.open()
    await asyncio.gather(forgetting, adding)
    await hosts.at_once(put_in)
    mlist = await hosts.one.db.read(lambda tx: lists.by_address(tx, PMO))
    assert mlist
    for words, total in (("budget", 0), ("longer kept", 3)):
        wanted = parse(words)
        assert (await hosts.one.db.read(lambda tx, wanted=wanted: search.find(tx, mlist, wanted, 1))).total == total  # type: ignore[misc]
    assert await hosts.one.db.read(health.index_faults) == []


async def test_a_host_that_is_told_of_a_post_puts_it_in_at_once(hosts: Hosts) -> None:
    """Without being told it would look after 20 seconds."""
    await hosts.make_list()
    indexing = Indexing(hosts.one)
    hosts.one.db.on_commit(indexing.look)
    running = asyncio.create_task(indexing.run())
    await hosts.until("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")
    for number in range(3):
        await hosts.send(hosts.other, number)
        await hosts.until(f"SELECT 1 FROM indexed WHERE entry IS NOT NULL AND post_id = {number + 1}")
    indexing.stop()
    await running
