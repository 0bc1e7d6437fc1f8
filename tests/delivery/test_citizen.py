"""The worker among many lists and destinations: nobody waits for somebody else's trouble."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from mailforum.delivery import hand, pace
from mailforum.errors import Deferred
from mailforum.store import queue
from mailforum.store.database import Tx
from tests.support.sink import Mail, Sink
from tests.support.site import DOMAIN, Site, running_site

STORES = ["sqlite"]

POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <%s@example.org>\r\n\r\nHello, all.\r\n"


async def make_list(site: Site, name: str, addresses: list[str], **settings: str) -> None:
    await site.cli("list", "create", name)
    await site.cli("list", "set", name, "posting=anyone", *(f"{key}={value}" for key, value in settings.items()))
    file = site.config_file.parent / f"{name}.members"
    file.write_text("\n".join(addresses))
    await site.cli("member", "import", name, str(file))


async def post(site: Site, name: str, msgid: str = "1") -> None:
    reply = await site.send("ada@example.org", [f"{name}@{DOMAIN}"], POST % f"{name}.{msgid}".encode())
    assert reply.startswith("250"), reply


def at(domain: str, count: int) -> list[str]:
    return [f"m{number}@{domain}" for number in range(count)]


def copies(sink: Sink) -> Counter[str]:
    return Counter(rcpt for mail in sink.mails for rcpt in mail.rcpts)


async def stats(site: Site) -> dict[str, int]:
    return json.loads((await site.cli("queue", "stats", "--json")).out)


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if f"event={name}" in record.getMessage()]


async def test_a_big_list_is_fanned_out_in_steps_and_everybody_gets_one_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "STEP", 50)
    async with running_site(tmp_path) as site:
        members = at("example.com", 333)
        await make_list(site, "pmo", members)
        await post(site, "pmo")
        await site.sink.wait(333)
        await site.quiet()
        assert copies(site.sink) == Counter(members)


async def test_a_fan_out_that_was_cut_off_by_a_crash_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "STEP", 50)
    members = at("example.com", 120)
    async with running_site(tmp_path) as site:
        await make_list(site, "pmo", members)
        site.service.worker.stop()  # nothing is sent or fanned out any more, as if it had been killed here
        await asyncio.sleep(0.05)
        await post(site, "pmo")
        rows = await site.service.core.db.read(queue.deliveries)
        assert len(rows) == 50
    async with running_site(tmp_path) as again:
        await again.sink.wait(120)
        await again.quiet()
        assert copies(again.sink) == Counter(members)


async def test_who_joins_after_the_post_gets_nothing_of_it_and_who_has_left_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "STEP", 5)
    members = at("example.com", 20)
    async with running_site(tmp_path) as site:
        await make_list(site, "pmo", members)
        site.service.worker.stop()
        await asyncio.sleep(0.05)
        await post(site, "pmo")
        await site.cli("member", "add", "pmo", "late@example.com", "--no-welcome")
        await site.cli("member", "remove", "pmo", members[0])  # queued already
        await site.cli("member", "remove", "pmo", members[19])  # not yet
    async with running_site(tmp_path) as again:
        await again.quiet()
        posts = Counter(mail.rcpts[0] for mail in again.sink.mails if b"Subject: Hello" in mail.data)
        assert posts == Counter(members[1:19])


async def test_a_small_list_does_not_wait_for_a_big_one(tmp_path: Path) -> None:
    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.02)

    async with running_site(tmp_path, Sink(dot=dot), delivery_connections="4") as site:
        await make_list(site, "big", at("example.com", 2000))
        await make_list(site, "small", ["zoe@example.net"])
        await post(site, "big")
        await site.sink.wait(50)
        await post(site, "small")
        async with asyncio.timeout(10):
            while "zoe@example.net" not in copies(site.sink):
                await asyncio.sleep(0.01)
        assert len(site.sink.mails) < 1000


async def test_a_slow_destination_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    hurry = asyncio.Event()

    async def dot(mail: Mail) -> None:
        if mail.rcpts[0].endswith("@slow.example.com"):
            await hurry.wait()

    quick = at("quick.example.com", 60)
    async with running_site(tmp_path, Sink(dot=dot), delivery_connections="8") as site:
        await make_list(site, "pmo", [*at("slow.example.com", 100), *quick])
        await post(site, "pmo")
        await site.sink.wait(60, 60)
        assert copies(site.sink) == Counter(quick)
        hurry.set()
        await site.sink.wait(160, 60)


async def test_a_relay_that_refuses_everybody_is_left_alone_and_nobody_has_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PAUSE", (1.0, 2.0))
    members = at("example.com", 100)
    async with running_site(tmp_path, Sink(rcpt="550 5.7.1 relaying denied")) as site:
        await make_list(site, "pmo", members)
        await post(site, "pmo")
        async with asyncio.timeout(20):
            while not events(caplog, "breaker"):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert (await stats(site))["failed"] == 0
        tried = sum(line.startswith("RCPT") for _, line in site.sink.lines)
        assert 20 <= tried < 100
        site.sink.hooks["rcpt"] = None
        await site.sink.wait(100, 30)
        assert copies(site.sink) == Counter(members)


async def test_one_domain_that_refuses_everybody_is_left_alone_and_the_others_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def rcpt(address: str) -> str | None:
        return "554 5.7.1 you are on our list" if address.endswith("@strict.example.com") else None

    kind = at("kind.example.com", 200)
    async with running_site(tmp_path, Sink(rcpt=rcpt)) as site:
        await make_list(site, "pmo", [*kind[:100], *at("strict.example.com", 60), *kind[100:]])
        await post(site, "pmo")
        await site.sink.wait(200)
        assert copies(site.sink) == Counter(kind)
        async with asyncio.timeout(20):
            while not any("to strict.example.com" in line for line in events(caplog, "breaker")):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert (await stats(site))["failed"] == 0


async def test_a_relay_without_8bitmime_costs_only_the_mails_that_need_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = [*at("a.example.com", 10), *at("b.example.com", 10), *at("c.example.com", 10)]
    async with running_site(tmp_path, Sink(features=("PIPELINING", "SIZE"))) as site:
        await make_list(site, "pmo", members)
        for number in (b"8bit.1", b"8bit.2"):
            await site.send("ada@example.org", [f"pmo@{DOMAIN}"], POST % number + "Grüße\r\n".encode())
        await post(site, "pmo")
        await site.sink.wait(30)
        await site.quiet()
        assert copies(site.sink) == Counter(members)
        assert (await stats(site))["failed"] == 60
        assert events(caplog, "breaker") == []


async def test_a_limit_of_the_admin_holds(tmp_path: Path) -> None:
    busy = most = 0

    async def dot(_: Mail) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1

    async with running_site(tmp_path, Sink(dot=dot), delivery_limits='["example.com 2"]') as site:
        await make_list(site, "pmo", at("example.com", 40))
        await post(site, "pmo")
        await site.sink.wait(40)
    assert most <= 2


async def test_greylisted_mail_is_tried_again_after_5_then_15_then_60_minutes(tmp_path: Path) -> None:
    async with running_site(tmp_path, Sink(rcpt="450 4.7.1 greylisted")) as site:
        await make_list(site, "pmo", ["bob@example.com"])
        await post(site, "pmo")
        waits = []
        for attempt in range(1, 5):
            async with asyncio.timeout(10):
                while (row := await _only(site)).attempts < attempt:
                    await asyncio.sleep(0.01)
            waits.append(round((row.due_at - site.clock.now()) / 60))
            site.clock.shift += row.due_at - site.clock.now() + 1
        assert waits == [5, 15, 60, 120]
        assert len(await site.service.core.db.read(lambda tx: queue.attempts(tx, row.id))) >= 4


async def _only(site: Site):  # type: ignore[no-untyped-def]
    (row,) = await site.service.core.db.read(queue.deliveries)
    return row


async def test_only_so_many_bytes_of_large_mails_are_on_their_way_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "LARGE", 50_000)
    monkeypatch.setattr(hand, "MEMORY", 250_000)
    flying: Counter[bytes] = Counter()
    most = 0

    async def dot(mail: Mail) -> None:
        nonlocal most
        flying[mail.data[-20:]] += 1
        most = max(most, len(+flying))
        await asyncio.sleep(0.02)
        flying[mail.data[-20:]] -= 1

    async with running_site(tmp_path, Sink(dot=dot)) as site:
        await make_list(site, "pmo", at("example.com", 5))
        for number in range(8):
            mail = POST % str(number).encode() + b"x\r\n" * 33_000 + b"%d\r\n" % number
            assert (await site.send("ada@example.org", [f"pmo@{DOMAIN}"], mail)).startswith("250")
        await site.sink.wait(40, 30)
        await site.quiet()
    assert most <= 3  # two on their way, and the next one begins while the last of one ends
    assert copies(site.sink) == Counter(dict.fromkeys(at("example.com", 5), 8))


async def test_a_few_who_are_put_off_among_many_open_no_breaker(tmp_path: Path) -> None:
    """In shared mode those who got it count as well, or two of a hundred would soon be all there is."""

    def rcpt(address: str) -> str | None:
        return "450 4.2.1 busy" if address.startswith("m0@") else None

    async with running_site(tmp_path, Sink(rcpt=rcpt)) as site:
        await make_list(site, "pmo", [f"m{number}@example.com" for number in range(10)], personal="off")
        for number in range(30):
            await post(site, "pmo", str(number))
        await site.quiet()
        assert len(site.sink.mails) == 30
        assert site.service.worker.pace.resting(site.clock.monotonic()) == []


async def test_what_cannot_be_put_off_because_the_database_is_locked_is_sent_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SLOW", 0.01)
    monkeypatch.setattr(pace, "PUT_OFF", 0.1)
    monkeypatch.setattr(hand, "ASIDE", 5)
    put_off, locked = queue.put_off, []

    def at_first_locked(tx: Tx, ids: list[int], due_at: float, host: int) -> None:
        if not locked:
            locked.append(ids)
            raise Deferred("Not now.", "locked")
        put_off(tx, ids, due_at, host)

    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.02)

    monkeypatch.setattr(queue, "put_off", at_first_locked)
    members = [address for number in range(3) for address in at(f"slow{number}.example.com", 20)]
    async with running_site(tmp_path, Sink(dot=dot)) as site:
        await make_list(site, "pmo", members)
        await post(site, "pmo")
        await site.sink.wait(60)
        assert locked
        assert copies(site.sink) == Counter(members)


async def test_who_has_to_wait_costs_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, take = [], queue.take

    def noted(*words: object, **more: object) -> queue.Taken:
        looks.append(words)
        return take(*words, **more)  # type: ignore[arg-type]

    async def dot(_: Mail) -> None:
        await asyncio.sleep(0.3)

    monkeypatch.setattr(queue, "take", noted)
    async with running_site(tmp_path, Sink(dot=dot)) as site:
        await make_list(site, "pmo", at("example.com", 30))
        await post(site, "pmo")
        await site.sink.wait(30)
        assert len(looks) < 200


async def test_who_is_given_few_mails_a_second_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async with running_site(tmp_path, delivery_limits='["example.com 60/m"]') as site:
        await make_list(site, "many", at("example.com", 150))
        await make_list(site, "one", ["zoe@example.net"])
        await post(site, "many")
        await site.sink.wait(1)
        await post(site, "one")
        async with asyncio.timeout(5):
            while not site.sink.to("zoe@example.net"):
                await asyncio.sleep(0.01)
        assert len(site.sink.mails) < 10
