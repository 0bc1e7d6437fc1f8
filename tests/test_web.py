"""HTTP: health, and leaving with one click (RFC 8058)."""

import asyncio
import contextlib
import re
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path
from urllib.error import HTTPError

import pytest

from mailforum.health import Kept
from mailforum.store import lists
from mailforum.store.database import Tx
from tests.support.sink import Sink
from tests.support.site import Site, running_site
from tests.test_metrics import check

POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n\r\nHello, all.\r\n"


async def http(site: Site, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{site.service.web_addresses[0]}{path}", data=body, method=method)

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def members(tx: Tx) -> list[str]:
    return [member.address for mlist in lists.every(tx) for member in lists.members(tx, mlist.id)]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path, web_url='"https://lists.example.test/"') as running:
        await running.cli("list", "create", "pmo", "--title", "PMO circle")
        await running.cli("list", "set", "pmo", "posting=anyone")
        await running.cli("member", "add", "pmo", "bob@example.com", "kim@example.com", "--no-welcome")
        yield running


async def unsubscribe_path(site: Site) -> str:
    await site.send("ada@example.org", ["pmo@lists.example.test"], POST)
    await site.sink.wait(2)
    mail = message_from_bytes(site.sink.to("bob@example.com")[0].data)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    match = re.match(r"<https://lists\.example\.test(/leave/[a-z2-7]{26})>,", mail["List-Unsubscribe"])
    assert match, mail["List-Unsubscribe"]
    return match[1]


async def test_a_link_that_is_opened_changes_nothing_and_shows_a_button(site: Site) -> None:
    path = await unsubscribe_path(site)
    for method in ("GET", "HEAD"):
        status, page = await http(site, path, method)
        assert status == 200
    status, page = await http(site, path)
    assert "<form" in page
    assert 'method="post"' in page
    assert await site.service.core.db.read(members) == ["bob@example.com", "kim@example.com"]


async def test_one_click_leaves_at_once_and_a_second_one_does_no_harm(site: Site) -> None:
    path = await unsubscribe_path(site)
    for _ in range(2):
        status, page = await http(site, path, "POST", b"List-Unsubscribe=One-Click")
        assert status == 200
        assert "left" in page
    assert await site.service.core.db.read(members) == ["kim@example.com"]
    await site.quiet()
    goodbyes = [mail for mail in site.sink.to("bob@example.com") if b"You have left" in mail.data]
    assert len(goodbyes) == 1


async def test_a_changed_token_leaves_nobody(site: Site) -> None:
    path = await unsubscribe_path(site)
    changed = path[:-3] + ("aaa" if path[-3:] != "aaa" else "bbb")
    status, page = await http(site, changed, "POST", b"List-Unsubscribe=One-Click")
    assert status == 404
    assert changed.rpartition("/")[2] not in page
    assert await site.service.core.db.read(members) == ["bob@example.com", "kim@example.com"]


async def test_metrics_can_be_read_by_prometheus_and_say_how_all_stands(site: Site) -> None:
    before = check((await http(site, "/metrics"))[1])
    await unsubscribe_path(site)
    await site.send("ada@example.org", ["nobody@lists.example.test"], POST)
    await site.quiet()
    site.clock.shift += 2
    status, text = await http(site, "/metrics")
    assert status == 200
    now = check(text)
    events = {
        name: now[f'mailforum_events_total{{event="{name}"}}'] - before[f'mailforum_events_total{{event="{name}"}}']
        for name in ("received", "handled", "sent", "refused", "deferred")
    }
    assert events == {"received": 1, "handled": 1, "sent": 2, "refused": 1, "deferred": 0}
    assert now['mailforum_refusals_total{status="5.1.1",reason="unknown recipient"}'] >= 1
    assert now['mailforum_mails_total{what="post"}'] >= 1
    for histogram, more in (("handling", 1), ("arrival", 2)):
        name = f"mailforum_{histogram}_seconds_count"
        assert now[name] - before[name] == more
    assert now['mailforum_deliveries{state="queued"}'] == now["mailforum_relay_down_seconds"] == 0
    assert now["mailforum_wal_bytes"] > 0 and now["mailforum_disk_free_bytes"] > 0
    assert now["mailforum_digest_lag_seconds"] < 60


async def test_what_waits_is_counted_and_how_long(tmp_path: Path) -> None:
    async with running_site(tmp_path, Sink(rcpt="450 4.2.0 later")) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("member", "add", "pmo", "ada@example.org", "bob@example.com", "--no-welcome")
        await site.send("ada@example.org", ["pmo@lists.example.test"], POST)
        await site.quiet()
        site.clock.shift += 100
        now = check((await http(site, "/metrics"))[1])
        assert now['mailforum_deliveries{state="deferred"}'] == 2
        assert 100 <= now['mailforum_oldest_seconds{state="deferred"}'] < 130
        assert now['mailforum_oldest_seconds{state="any"}'] == now['mailforum_oldest_seconds{state="deferred"}']


async def test_a_count_that_takes_long_is_kept_for_long() -> None:
    now, asked = 0.0, 0

    async def ask() -> int:
        nonlocal now, asked
        now, asked = now + 0.5, asked + 1
        return asked

    kept = Kept(ask, lambda: now)
    assert await asyncio.gather(*(kept.get() for _ in range(5))) == [1] * 5
    now = 15.0
    assert await kept.get() == 1
    now = 15.6
    assert await kept.get() == 2


async def test_alive_and_ready_are_two_things(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await http(site, "/healthz") == (200, "ok\n")
    assert await http(site, "/readyz") == (200, "ready\n")
    monkeypatch.setattr(site.service.health, "_room", lambda: False)
    monkeypatch.setattr(site.service.worker, "_down_at", site.clock.monotonic() - 901)
    assert await http(site, "/readyz") == (
        503,
        "not ready: the disk is nearly full\nnot ready: the relay has been down for long\n",
    )
    assert await http(site, "/healthz") == (200, "ok\n")


async def test_who_holds_the_database_makes_us_not_ready_but_not_dead(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailforum.health.PATIENCE", 0.2)
    other = sqlite3.connect(site.service.config.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert await http(site, "/readyz") == (503, "not ready: the database cannot be written: TimeoutError\n")
    assert await http(site, "/healthz") == (200, "ok\n")
    other.execute("ROLLBACK")
    other.close()
    await until_ready(site)


async def until_ready(site: Site) -> None:
    async with asyncio.timeout(20):
        while (await http(site, "/readyz"))[0] != 200:
            await asyncio.sleep(0.05)


async def test_anything_else_is_not_there(site: Site) -> None:
    for path in ("/", "/leave/", "/leave/../etc/passwd", "/admin", "/leave/" + "a" * 25):
        assert (await http(site, path))[0] == 404
    assert (await http(site, "/healthz", "POST", b"x"))[0] == 404


async def test_what_is_no_http_is_closed(site: Site) -> None:
    host, _, port = site.service.web_addresses[0].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"EHLO hello\r\n" + b"x" * 100_000)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert (await http(site, "/healthz"))[0] == 200
