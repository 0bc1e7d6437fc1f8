"""Faults that others have had, played to the whole service, as far as no other file has them.

What is wrong in a session: test_session.py, and tests/fuzz. How many and how much: test_server.py,
test_rates.py, test_memory.py, test_attack.py. What is wrong in a mail: tests/hostile.
"""

import asyncio
import json

import pytest

from tests.support.site import DOMAIN, Site

STORES = ["sqlite"]

VICTIM = "victim@example.net"
ANSWERING = (
    "pmo", "pmo-join", "pmo-join-digest", "pmo-leave", "pmo-request", "pmo-help", "pmo-info", "pmo-confirm+x",
    "pmo-leave+x", "pmo-bounces", "mailforum",
)  # fmt: skip
ROBOTS = (
    "Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated (rejected)", "Precedence: bulk", "Precedence: junk",
    "X-Auto-Response-Suppress: All", "X-Autoreply: yes", "X-Autorespond: yes",
)  # fmt: skip


def _mail(number: int, field: str = "X-Nothing: x", body: str = "Hello.") -> bytes:
    lines = (f"From: {VICTIM}", field, f"Message-ID: <{number}@example.net>", "Subject: help", "", body, "")
    return "\r\n".join(lines).encode()


async def _make_lists(site: Site) -> None:
    for name in ("pmo", "open"):
        await site.cli("list", "create", name)
        await site.cli("member", "add", name, "ada@example.org", "bob@example.com", "--no-welcome")
        await site.cli("list", "set", name, "posting=anyone")


async def _posts(site: Site) -> list[dict[str, object]]:
    return [json.loads(line) for line in (await site.cli("post", "ls", "pmo", "--json")).out.splitlines()]


async def test_mail_from_the_null_sender_is_answered_by_no_address(site):
    await _make_lists(site)
    for number, name in enumerate(ANSWERING):
        await site.send("", [f"{name}@{DOMAIN}"], _mail(number))
    await site.quiet()
    assert site.sink.mails == []
    assert await _posts(site) == []


@pytest.mark.parametrize("field", ROBOTS)
async def test_a_robot_is_answered_by_no_address_posts_nothing_and_joins_nothing(site, field):
    await _make_lists(site)
    for number, name in enumerate(ANSWERING):
        await site.send(VICTIM, [f"{name}@{DOMAIN}"], _mail(number, field, body="subscribe"))
    await site.quiet()
    assert site.sink.mails == []
    assert await _posts(site) == []
    assert VICTIM not in (await site.cli("member", "ls", "pmo")).out


async def test_a_mail_that_came_through_a_list_is_obeyed_by_no_address(site):
    await _make_lists(site)
    for number, name in enumerate(ANSWERING[1:]):
        await site.send(VICTIM, [f"{name}@{DOMAIN}"], _mail(number, "List-Id: <other.example.com>", body="subscribe"))
    await site.quiet()
    assert site.sink.mails == []


async def test_a_list_named_three_times_in_a_mail_has_one_post_and_each_member_one_delivery(site):
    await _make_lists(site)
    names = [f"pmo@{DOMAIN}", f"PMO@{DOMAIN.title()}", f'"pmo"@{DOMAIN}', f"pmo@{DOMAIN}"]
    assert (await site.send("ada@example.org", names, _mail(1))).startswith("250")
    await site.quiet()
    assert len(await _posts(site)) == 1
    assert sorted(mail.rcpts for mail in site.sink.mails) == [("ada@example.org",), ("bob@example.com",)]


async def test_a_mail_to_two_thousand_recipients_is_taken_for_the_first_thousand(site):
    await _make_lists(site)
    rcpts = b"".join(b"RCPT TO:<pmo-leave+%d@%s>\r\n" % (number, DOMAIN.encode()) for number in range(2000))
    answer = await site.raw(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\n" + rcpts + b"QUIT\r\n")
    lines = answer.split(b"\r\n")
    assert sum(line.startswith(b"250 2.1.5") for line in lines) == 1000
    assert sum(line.startswith(b"452 4.5.3") for line in lines) == 1000
    assert lines[-2].startswith(b"221")


@pytest.mark.parametrize("lmtp", [False, True])
async def test_half_a_mail_in_every_form_is_no_mail(site, lmtp):
    await _make_lists(site)
    hello = b"LHLO x\r\n" if lmtp else b"EHLO x\r\n"
    whole = hello + b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<pmo@%s>\r\nDATA\r\n%s" % (DOMAIN.encode(), _mail(1))
    for end in (b"", b".", b".\r", b"\n.\r\n", b"\r\n.\r", b"\r.\r\n", b"\r\n.\n"):
        for cut in (0, 40, 80):
            reader, writer = await asyncio.open_connection(*(site.lmtp if lmtp else site.smtp))
            writer.write(whole[: len(whole) - cut] + (end if cut == 0 else b""))
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 10)
            writer.close()
    assert await _posts(site) == []
    assert (await site.send("ada@example.org", [f"pmo@{DOMAIN}"], _mail(2))).startswith("250")
