"""A clock that is set back or forward: nothing twice, nothing expired in a burst, nothing in circles."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailforum.chores import send_due_digests
from mailforum.store import queue
from tests.support.sink import Sink
from tests.support.site import Site, running_site

DAY = 86400.0
HOUR = 3600.0
LIST = "pmo@lists.example.test"


def mail(number: int, sender: str = "ada@example.org") -> bytes:
    return f"From: {sender}\r\nSubject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\nHello.\r\n".encode()


async def post(site: Site, number: int) -> None:
    assert (await site.send("ada@example.org", [LIST], mail(number))).startswith("250")


async def states(site: Site) -> Counter[str]:
    rows = await site.service.core.db.read(queue.deliveries)
    return Counter(str(row.state) for row in rows)


@pytest.fixture
async def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Site, dict[str, str | None]]]:
    """A site whose relay answers each recipient with what the dictionary says, 450 at first."""
    monkeypatch.setattr("mailforum.delivery.worker.LOOK", 0.05)
    answer: dict[str, str | None] = {"rcpt": "450 4.2.1 busy"}
    async with running_site(tmp_path, Sink(rcpt=lambda _: answer["rcpt"])) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")
        await site.cli("member", "add", "pmo", "bob@example.com", "--no-welcome")
        yield site, answer


async def test_an_hour_back_sends_nothing_twice_and_new_mail_at_once(
    busy: tuple[Site, dict[str, str | None]],
) -> None:
    site, answer = busy
    answer["rcpt"] = None
    await post(site, 1)
    await site.sink.wait(1)
    answer["rcpt"] = "450 4.2.1 busy"
    await post(site, 2)
    await site.quiet()
    site.clock.shift -= HOUR  # while one mail is sent, and the other waits
    answer["rcpt"] = None
    await post(site, 3)
    await site.sink.wait(2)
    await post(site, 1)  # what came before is known again
    site.clock.shift += HOUR + 301
    await site.sink.wait(3)
    await site.quiet()
    assert Counter(kept.data.partition(b"Subject: ")[2][:1] for kept in site.sink.mails) == {b"1": 1, b"2": 1, b"3": 1}


async def test_ten_days_ahead_and_back_gives_nothing_up(busy: tuple[Site, dict[str, str | None]]) -> None:
    site, answer = busy
    for number in range(5):
        await post(site, number)
    for wait in (301, 901, 1801, 3601, 7201):  # attempts of the first hours
        await site.quiet()
        site.clock.shift += wait
    await site.quiet()
    site.clock.shift += 10 * DAY
    await site.quiet()
    assert await states(site) == {"deferred": 5}
    site.clock.shift -= 10 * DAY
    answer["rcpt"] = None
    site.clock.shift += 10 * DAY + 4 * HOUR  # at the latest when the time has come that it seemed to be
    await site.sink.wait(5)
    await site.quiet()
    assert await states(site) == {"sent": 5}
    assert len(site.sink.mails) == 5


async def test_a_question_that_was_asked_before_can_be_answered_after_the_clock_was_ten_days_ahead(
    tmp_path: Path,
) -> None:
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        assert (await site.send("eve@example.org", ["pmo-join@lists.example.test"], mail(1, "eve@example.org")))[
            :3
        ] == "250"
        (question,) = await site.sink.wait(1)
        confirm = question.data.partition(b"Reply-To: ")[2].partition(b"\r")[0].decode()
        site.clock.shift += 10 * DAY
        await site.service.chores.clean()  # housekeeping sees it as long expired
        assert "expired" in await site.send("eve@example.org", [confirm], mail(2, "eve@example.org"))
        site.clock.shift -= 10 * DAY
        assert (await site.send("eve@example.org", [confirm], mail(3, "eve@example.org"))).startswith("250")
        assert "eve@example.org" in (await site.cli("member", "ls", "pmo")).out


async def test_there_is_one_digest_a_day_whatever_the_clock_does(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")
        await site.cli("member", "add", "pmo", "bob@example.com", "--mode", "digest", "--no-welcome")
        site.clock.shift = 7 * HOUR + 60 - site.clock.now() % DAY  # a minute after the hour of the digest

        async def digests(number: int) -> int:
            """Post two minutes before, let the clock's jobs be done, and return how many digests there have been."""
            site.clock.shift -= 120
            await post(site, number)
            site.clock.shift += 120
            await send_due_digests(site.service.core, site.clock.now())
            row = await site.service.core.db.read(lambda tx: tx.one("issue.watermark", list_id=1))
            assert row
            return int(row["last_issue"])

        before = await digests(1)
        site.clock.shift += DAY
        assert await digests(2) == before + 1
        site.clock.shift -= HOUR
        assert await digests(3) == before + 1
        site.clock.shift += HOUR
        assert await digests(4) == before + 1  # the same hour once more
        site.clock.shift += 10 * DAY
        assert await digests(5) == before + 2
        site.clock.shift -= 10 * DAY
        assert await digests(6) == before + 2
        for day in range(1, 4):  # it does not wait for ten days until time has caught up
            site.clock.shift += DAY
            assert await digests(6 + day) == before + 2 + day
        await site.sink.wait(before + 5)
        numbers = [kept.data.partition(b": digest ")[2].partition(b",")[0] for kept in site.sink.mails]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("shift", [-HOUR, -10 * DAY, 10 * DAY])
async def test_no_shift_makes_it_run_in_circles(busy: tuple[Site, dict[str, str | None]], shift: float) -> None:
    site, _ = busy
    await post(site, 1)
    await site.quiet()
    site.clock.shift += shift
    await asyncio.sleep(0.2)
    used, asked = time.process_time(), len(site.sink.lines)
    await asyncio.sleep(2)
    assert time.process_time() - used < 1
    assert len(site.sink.lines) - asked < 10
