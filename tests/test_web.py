"""HTTP: health, and leaving with one click (RFC 8058)."""

import asyncio
import contextlib
import re
import urllib.request
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path
from urllib.error import HTTPError

import pytest

from mailforum.store import lists
from mailforum.store.database import Tx
from tests.support.site import Site, running_site

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


async def test_health_and_metrics_say_how_the_queue_stands(site: Site) -> None:
    assert (await http(site, "/healthz")) == (200, "ok, 0 to be sent\n")
    await unsubscribe_path(site)
    await site.quiet()
    status, text = await http(site, "/metrics")
    assert status == 200
    assert 'mailforum_deliveries{state="sent"} 2' in text
    assert re.search(r'mailforum_events_total\{event="sent"\} \d+', text)


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
