"""From the queue to the relay: what is sent, put off, given up, and never sent twice."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailforum.delivery import pace, smtp
from mailforum.errors import Deferred
from mailforum.store import hurry, queue
from tests.support.sink import Mail, Sink
from tests.support.site import Site, free_port, running_site

POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <%d@example.org>\r\n\r\nHello, all.\r\n"


async def make_list(site: Site, members: int = 3, **settings: str) -> list[str]:
    addresses = [f"m{number}@example.com" for number in range(members)]
    await site.cli("list", "create", "pmo")
    await site.cli("list", "set", "pmo", "posting=anyone", *(f"{key}={value}" for key, value in settings.items()))
    (site.config_file.parent / "members").write_text("\n".join(addresses))
    await site.cli("member", "import", "pmo", str(site.config_file.parent / "members"))
    return addresses


async def post(site: Site, number: int = 1) -> None:
    reply = await site.send("ada@example.org", ["pmo@lists.example.test"], POST % number)
    assert reply.startswith("250"), reply


async def stats(site: Site) -> dict[str, int]:
    answer = await site.cli("queue", "stats", "--json")
    return {state: count for state, count in json.loads(answer.out).items() if state in ("sent", "failed", "deferred")}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def copies(sink: Sink) -> Counter[str]:
    return Counter(rcpt for mail in sink.mails for rcpt in mail.rcpts)


async def test_personal_mail_has_a_transaction_and_a_return_path_for_each(site: Site) -> None:
    addresses = await make_list(site)
    await post(site)
    await site.quiet()
    paths = {mail.rcpts: mail.mail_from for mail in site.sink.mails}
    shown = {to: path.rpartition("=")[0] for (to,), path in paths.items()}
    assert shown == {to: f"pmo-bounces+{to.replace('@', '=')}" for to in addresses}
    leave = {line for mail in site.sink.mails for line in mail.data.split(b"\r\n") if b"List-Unsubscribe:" in line}
    assert len(leave) == 3


async def test_shared_mail_goes_to_many_in_one_transaction(site: Site) -> None:
    addresses = await make_list(site, members=130, personal="off")
    await post(site)
    await site.quiet()
    assert sorted(len(mail.rcpts) for mail in site.sink.mails) == [30, 100]
    assert copies(site.sink) == Counter(addresses)
    assert {mail.mail_from for mail in site.sink.mails} == {"pmo-bounces@lists.example.test"}


async def test_who_is_refused_fails_and_who_is_put_off_waits_while_the_others_get_it(tmp_path: Path) -> None:
    answers = {"m0@example.com": "550 5.1.1 no such user", "m1@example.com": "451 4.2.0 come back later"}
    async with running_site(tmp_path, Sink(rcpt=answers.get)) as site:
        await make_list(site)
        await post(site)
        await site.quiet()
        assert await stats(site) == {"sent": 1, "deferred": 1, "failed": 1}
        rows = [json.loads(line) for line in (await site.cli("queue", "ls", "--json")).out.splitlines()]
        said = {row["rcpt"]: row["reply"] for row in rows}
        assert "no such user" in said["m0@example.com"] or "m0@example.com" not in said
        assert "come back later" in said["m1@example.com"]
        answers.clear()
        await site.cli("queue", "retry", "--all")
        await site.quiet()
        assert copies(site.sink) == {"m1@example.com": 1, "m2@example.com": 1}


async def test_a_deferred_delivery_is_tried_again_when_it_is_due(tmp_path: Path) -> None:
    tries: list[str] = []

    def greylist(rcpt: str) -> str | None:
        tries.append(rcpt)
        return "450 4.7.1 greylisted" if tries.count(rcpt) == 1 else None

    async with running_site(tmp_path, Sink(rcpt=greylist)) as site:
        await make_list(site, members=1)
        await post(site)
        await site.quiet()
        assert site.sink.mails == []
        site.clock.shift += 301
        await site.sink.wait(1)
        await site.quiet()
        assert await stats(site) == {"sent": 1, "deferred": 0, "failed": 0}


async def test_what_is_tried_again_just_now_is_not_sent_twice_because_an_admin_asks_for_it_as_well(
    tmp_path: Path,
) -> None:
    sink = Sink(rcpt="450 4.7.1 greylisted")
    hurry = asyncio.Event()

    async def dot(_: Mail) -> None:
        await hurry.wait()

    sink.hooks["dot"] = dot
    async with running_site(tmp_path, sink, delivery_connections="2") as site:
        addresses = await make_list(site, members=10)
        await post(site)
        await site.quiet()
        sink.hooks["rcpt"] = None
        site.clock.shift += 301
        await until(lambda: len(sink.seen) == 2)
        now, one = site.clock.now(), (await site.service.core.db.read(queue.deliveries))[5].id
        retried = await site.service.core.db.write(lambda tx: queue.retry(tx, now) + queue.retry(tx, now, one))
        hurry.set()
        await site.quiet()
        assert copies(sink) == Counter(addresses)
        assert retried == 0


async def test_what_an_admin_drops_while_it_is_tried_is_not_tried_again(tmp_path: Path) -> None:
    hurry = asyncio.Event()

    async def dot(_: Mail) -> str:
        await hurry.wait()
        return "450 4.2.0 come back later"

    async with running_site(tmp_path, Sink(dot=dot)) as site:
        await make_list(site, members=2)
        await post(site)
        await until(lambda: len(site.sink.seen) == 2)
        await site.cli("queue", "drop", "1")
        hurry.set()
        await site.quiet()
        assert await stats(site) == {"sent": 0, "deferred": 1, "failed": 1}


async def test_a_delivery_is_given_up_after_five_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailforum.delivery.worker.LOOK", 0.05)
    async with running_site(tmp_path, Sink(rcpt="450 4.2.1 mailbox busy")) as site:
        await make_list(site, members=1)
        await post(site)
        await site.quiet()
        site.clock.shift += 5 * 86400
        async with asyncio.timeout(20):
            while (await stats(site))["failed"] == 0:
                assert len(site.sink.lines) < 200
                site.clock.shift += 4 * 3600
                await site.quiet()
        answer = await site.cli("queue", "ls", "--state", "failed", "--json")
        assert "given up" in answer.out
        assert "mailbox busy" in answer.out


async def test_a_relay_that_is_down_loses_nothing_and_gets_all_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailforum.delivery.worker.PAUSE", (0.1, 0.4))
    down = Sink(port=free_port())
    async with running_site(tmp_path, down) as site:
        addresses = await make_list(site, members=20)
        await down.stop()
        for number in range(3):
            await post(site, number)
        await asyncio.sleep(0.5)
        assert await stats(site) | {"deferred": 0} == {"sent": 0, "deferred": 0, "failed": 0}
        async with Sink(port=down.port) as back:
            await back.wait(60)
            assert copies(back) == Counter(dict.fromkeys(addresses, 3))


async def test_a_relay_that_goes_down_while_all_connections_are_busy_is_known_to_be_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.02)

    monkeypatch.setattr("mailforum.delivery.worker.PAUSE", (0.1, 0.4))
    async with running_site(tmp_path, Sink(dot=dot)) as site:
        addresses = await make_list(site, members=200)
        await post(site)
        await site.sink.wait(40)
        await site.sink.stop()
        await until(lambda: site.service.worker.down_for > 0)
        await site.sink.start()
        await site.quiet()
        site.clock.shift += 301  # of those that were under way it is not known what became
        await site.quiet()
        assert (await stats(site))["sent"] == 200
        assert set(copies(site.sink)) == {*addresses}


async def test_a_relay_that_wants_few_connections_is_sent_to_without_a_pause(tmp_path: Path) -> None:
    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.01)

    def greeting(_: int) -> str | None:
        return "421 4.7.0 too many connections" if sink.open > 3 else None

    sink = Sink(greeting=greeting, dot=dot)
    async with running_site(tmp_path, sink) as site:
        await make_list(site, members=60)
        await post(site)
        await sink.wait(40, timeout=4)
        assert sink.connections < 20


async def test_what_was_in_hand_when_the_relay_did_not_even_greet_us_counts_as_not_tried_and_waits_for_seconds(
    tmp_path: Path,
) -> None:
    times: list[int] = []

    def greeting(_: int) -> str | None:
        times.append(1)
        return "421 4.3.2 busy, later" if len(times) <= 1 else None

    async with running_site(tmp_path, Sink(greeting=greeting)) as site:
        await make_list(site, members=1)
        await post(site)
        db = site.service.core.db
        await until(lambda: site.service.worker.down_for > 0)
        (row,) = await db.read(queue.deliveries)
        assert (row.attempts, row.reply, await db.read(lambda tx: queue.attempts(tx, row.id))) == (0, "", [])
        assert await db.read(queue.in_flight) == []
        await site.sink.wait(1, timeout=4)
        assert copies(site.sink) == Counter(["m0@example.com"])


async def test_what_was_on_its_way_at_a_crash_is_sent_again_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_site(tmp_path) as site:
        await make_list(site, members=2)
        site.service.worker.stop()
        await asyncio.sleep(0)
        await post(site)
        due = (await site.service.core.db.read(lambda tx: queue.take(tx, site.clock.now(), {}, 1))).due
        # As a crash leaves it: one delivery was about to be handed over, the other was not.
        await site.service.core.db.write(lambda tx: queue.settle(tx, [queue.Mark(0, [], [due[0].id])], 0.0))
    async with running_site(tmp_path) as again:
        await again.sink.wait(2)
        assert copies(again.sink) == {"m0@example.com": 1, "m1@example.com": 1}
    named = [record.getMessage() for record in caplog.records if "event=uncertain" in record.getMessage()]
    assert len(named) == 1
    assert due[0].rcpt in named[0]


async def test_shared_mail_that_is_due_again_at_several_times_goes_out_once(tmp_path: Path) -> None:
    busy = True

    async def dot(mail: Mail) -> None:
        await asyncio.sleep(0.2)  # long enough for the next look at the queue

    async with running_site(tmp_path, Sink(dot=dot, rcpt=lambda _: "450 4.2.1 busy" if busy else None)) as site:
        await make_list(site, members=4, personal="off")
        await post(site)
        await site.quiet()
        db, busy = site.service.core.db, False
        for row in await db.read(queue.deliveries):
            at = row.due_at + row.id
            await db.write(lambda tx, row=row, at=at: queue.put_off(tx, [row.id], at))  # type: ignore[misc]
        site.clock.shift += 400
        await site.quiet()
        assert copies(site.sink) == Counter({f"m{number}@example.com": 1 for number in range(4)})


async def test_many_different_mails_at_once_are_all_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are kept ready: whoever is crowded out while it is made is sent all the same."""
    monkeypatch.setattr("mailforum.delivery.making.KEPT", 2)
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        addresses = [f"m{number}@example.com" for number in range(60)]
        await site.cli("member", "add", "pmo", *addresses)
        await site.sink.wait(60)
        assert copies(site.sink) == Counter(addresses)
        await site.quiet()
        assert await stats(site) == {"sent": 60, "deferred": 0, "failed": 0}


async def test_what_a_crash_left_open_is_named_again_if_the_next_start_is_killed_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_site(tmp_path) as site:
        await make_list(site, members=1)
        site.service.worker.stop()
        await asyncio.sleep(0)
        await post(site)
        await site.service.core.db.write(lambda tx: queue.settle(tx, [queue.Mark(0, [], [1])], 0.0))
        assert [row.id for row in await site.service.core.db.read(queue.in_flight)] == [1]
        # Naming changes nothing: only then it is written down that nothing flies any more.
        assert [row.id for row in await site.service.core.db.read(queue.in_flight)] == [1]
        await site.service.core.db.write(queue.land)
        assert await site.service.core.db.read(queue.in_flight) == []


@pytest.fixture
async def dropping(tmp_path: Path) -> AsyncIterator[tuple[Site, list[Mail]]]:
    """A relay that keeps the first mail and hangs up before it says so."""
    kept: list[Mail] = []

    def dot(mail: Mail) -> str | None:
        kept.append(mail)
        return "drop" if len(kept) == 1 else None

    async with running_site(tmp_path, Sink(dot=dot)) as site:
        yield site, kept


async def test_a_repeated_send_is_byte_identical(dropping: tuple[Site, list[Mail]]) -> None:
    site, kept = dropping
    await make_list(site, members=1, footer="on", prefix="[x]")
    await post(site)
    await until(lambda: len(kept) == 1)
    site.clock.shift += 301
    await until(lambda: len(kept) == 2)
    assert kept[0].data == kept[1].data
    assert kept[0].mail_from == kept[1].mail_from


async def test_who_leaves_gets_no_more_of_what_waits(tmp_path: Path) -> None:
    async with running_site(tmp_path, Sink(rcpt="450 4.2.0 later")) as site:
        await make_list(site, members=2)
        await post(site)
        await site.quiet()
        await site.cli("member", "remove", "pmo", "m0@example.com")
        site.sink.hooks["rcpt"] = None
        await site.cli("queue", "retry", "--all")
        await site.quiet()
        assert copies(site.sink) == {"m1@example.com": 1}


async def test_a_list_that_is_deleted_takes_its_deliveries_with_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, Sink(rcpt="450 4.2.0 later")) as site:
        await make_list(site, members=5)
        await post(site)
        await site.quiet()
        await site.cli("list", "delete", "pmo", "--yes")
        assert await stats(site) == {"sent": 0, "deferred": 0, "failed": 0}
        assert await site.send("ada@example.org", ["pmo@lists.example.test"], POST) != "250"


async def test_a_fault_of_ours_at_one_mail_is_tried_again_later_and_the_others_go_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope, faults = smtp._Dialogue._envelope, []

    def faulty(dialogue: smtp._Dialogue, work: smtp._Work) -> list[bytes]:
        if work.job.rcpts == ("m1@example.com",):
            faults.append(work)
            raise ValueError("our own fault")
        return envelope(dialogue, work)

    monkeypatch.setattr(smtp._Dialogue, "_envelope", faulty)
    async with running_site(tmp_path, delivery_connections="1") as site:
        addresses = await make_list(site, members=5)
        await post(site)
        await site.quiet()
        assert len(faults) == 1
        assert (await stats(site))["deferred"] in (1, 2)  # the mail before it may have been with it in hand
        assert set(copies(site.sink)) <= {*addresses} - {"m1@example.com"}


async def test_a_reload_with_fewer_connections_closes_those_that_are_too_many(tmp_path: Path) -> None:
    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.05)

    async with running_site(tmp_path, Sink(dot=dot)) as site:
        await make_list(site, members=100)
        await post(site)
        await site.sink.wait(10)
        options = site.service.config.delivery
        fewer = msgspec.structs.replace(site.service.config, delivery=msgspec.structs.replace(options, connections=2))
        site.service.reload(fewer)
        await until(lambda: site.service.worker.connections <= 2)
        assert len(site.sink.mails) < 60
        site.service.reload(site.service.config)
        await site.sink.wait(100)


async def test_a_database_that_is_away_for_a_moment_makes_no_destination_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, failures = queue.settle, iter(range(2))

    def unavailable(*words: Any) -> None:
        if next(failures, None) is not None:
            raise Deferred("away")
        settle(*words)

    monkeypatch.setattr(queue, "settle", unavailable)
    monkeypatch.setattr("mailforum.delivery.marks.AGAIN", 0.5)
    monkeypatch.setattr("mailforum.delivery.worker.LOOK", 0.05)
    monkeypatch.setattr(pace, "SLOW", 0.2)
    async with running_site(tmp_path, delivery_connections="2") as site:
        await make_list(site, members=5)
        await post(site)
        async with asyncio.timeout(20):
            while len(site.sink.mails) < 5:
                assert not site.service.worker.pace.of("example.com", 0.0).slow
                await asyncio.sleep(0.02)
        assert next(failures, None) is None


async def test_a_slow_disk_makes_no_destination_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = queue.settle

    def slowly(*words: Any) -> None:
        time.sleep(0.05)
        settle(*words)

    monkeypatch.setattr(queue, "settle", slowly)
    monkeypatch.setattr(pace, "SLOW", 0.04)
    async with running_site(tmp_path, delivery_connections="1") as site:
        await make_list(site, members=5)
        await post(site)
        await site.sink.wait(5)
        await site.quiet()
        assert not site.service.worker.pace.of("example.com", 0.0).slow


async def test_an_admin_who_has_mended_the_relay_says_so_and_mail_leaves_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailforum.delivery.worker.PAUSE", (300.0, 300.0))
    async with running_site(tmp_path) as site:
        addresses = await make_list(site, members=5)
        await site.sink.stop()
        await post(site)
        await until(lambda: site.service.worker.down_for > 0)
        await site.sink.start()
        await site.cli("queue", "retry", "--all")
        assert len(await site.sink.wait(5, timeout=60)) == 5
        assert copies(site.sink) == Counter(addresses)


async def test_when_it_is_forgotten_that_an_admin_has_asked_nothing_is_tried_for_it(tmp_path: Path) -> None:
    tries: list[str] = []

    def greylist(rcpt: str) -> str:
        tries.append(rcpt)
        return "450 4.7.1 greylisted"

    async with running_site(tmp_path, Sink(rcpt=greylist)) as site:
        worker, db = site.service.worker, site.service.core.db
        await site.cli("queue", "retry", "--all")
        await until(lambda: worker._retried == 1)
        await make_list(site, members=1)
        await post(site)
        await site.quiet()
        await db.write(lambda tx: tx.run("intake.begin_anew", rcpt=hurry._WHAT))
        await until(lambda: worker._retried == 0)
        looked = worker._asked_at
        await until(lambda: worker._asked_at > looked)
        await site.quiet()
        assert len(tries) == 1
