"""From bytes to commit: what is durable, what is kept aside, and who is told what."""

import asyncio
import json
from pathlib import Path

import pytest

from mailforum.errors import Deferred
from mailforum.forum import dispatch
from mailforum.store import intake, lists, posts
from mailforum.store.database import Tx
from tests.support.site import Site, running_site

POST = b"From: Ada <ada@example.org>\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n\r\nHello, all.\r\n"
PMO = "pmo@lists.example.test"


async def make_list(site: Site, *names: str) -> None:
    for name in names or ("pmo",):
        await site.cli("list", "create", name)
        await site.cli("member", "add", name, "ada@example.org", "bob@example.com", "--no-welcome")


def count(tx: Tx) -> int:
    return sum(len(posts.of_list(tx, mlist.id)) for mlist in lists.every(tx))


async def test_a_fault_of_ours_is_a_451_the_mail_is_kept_aside_once_and_can_be_retried(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_list(site)

    def broken(tx: Tx, mail: object) -> object:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "handle", broken)
        for _ in range(2):
            reply = await site.send("ada@example.org", [PMO], POST)
            assert reply.startswith("451 4.3.0"), reply
            assert "ZeroDivision" not in reply
    shunts = await site.service.core.db.read(intake.shunts)
    assert [(shunt.times, shunt.rcpts) for shunt in shunts] == [(2, (PMO,))]
    assert "ZeroDivisionError" in (await site.cli("shunt", "ls")).out
    assert await site.service.core.db.read(count) == 0
    await site.cli("shunt", "retry")
    assert await site.service.core.db.read(count) == 1
    assert await site.service.core.db.read(intake.shunts) == []
    await site.sink.wait(2)


async def test_a_mail_that_gets_through_after_all_is_no_longer_kept_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_list(site)
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "handle", lambda tx, mail: 1 / 0)
        assert (await site.send("ada@example.org", [PMO], POST)).startswith("451")
    assert (await site.send("ada@example.org", [PMO], POST)).startswith("250")
    assert await site.service.core.db.read(intake.shunts) == []


async def test_a_client_that_hangs_up_after_the_dot_leaves_a_whole_post_or_none(site: Site) -> None:
    await make_list(site)
    for number in range(20):
        mail = POST.replace(b"<1@", b"<%d@" % number)
        _, writer = await asyncio.open_connection(*site.smtp)
        writer.write(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n" % PMO.encode())
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(mail + b".\r\n")
        await writer.drain()
        writer.transport.abort()
    reply = await site.send("ada@example.org", [PMO], POST.replace(b"<1@", b"<last@"))
    assert reply.startswith("250")
    await site.quiet()
    taken = await site.service.core.db.read(count)
    assert len(site.sink.mails) == taken * 2


async def test_the_same_mail_again_is_taken_and_not_posted_twice(site: Site) -> None:
    await make_list(site)
    for _ in range(3):
        assert (await site.send("ada@example.org", [PMO], POST)).startswith("250")
    changed = POST.replace(b"Hello, all.", b"Hello again.")
    assert (await site.send("ada@example.org", [PMO], changed)).startswith("250")
    assert await site.service.core.db.read(count) == 2


async def test_the_same_mail_by_twenty_connections_at_once_is_one_post(site: Site) -> None:
    await make_list(site)
    replies = await asyncio.gather(*[site.send("ada@example.org", [PMO], POST) for _ in range(20)])
    assert all(reply.startswith("250") for reply in replies)
    assert await site.service.core.db.read(count) == 1


async def test_lmtp_answers_for_each_recipient(site: Site) -> None:
    await make_list(site)
    await site.cli("list", "create", "closed")
    dialogue = (
        b"LHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<pmo@lists.example.test>\r\n"
        b"RCPT TO:<nobody@lists.example.test>\r\nRCPT TO:<closed@lists.example.test>\r\nDATA\r\n"
        + POST
        + b".\r\nQUIT\r\n"
    )
    lines = (await site.raw(dialogue, lmtp=True)).decode().split("\r\n")
    after = lines[next(i for i, line in enumerate(lines) if line.startswith("354")) + 1 :]
    assert [line[:9] for line in after[:2]] == ["250 2.0.0", "550 5.7.1"]
    assert any(line.startswith("550 5.1.1") for line in lines)
    await site.quiet()
    assert not site.sink.to("ada@example.org") or all(
        b"Only members" not in mail.data for mail in site.sink.to("ada@example.org")
    )


async def test_no_mail_is_taken_in_while_the_disk_is_nearly_full(tmp_path: Path) -> None:
    async with running_site(tmp_path, store_min_free='"900000G"') as site:
        await make_list(site)
        assert (await site.send("ada@example.org", [PMO], POST)).startswith("452 4.3.1")


async def test_while_the_queue_is_full_senders_are_put_off_and_reports_come_in(tmp_path: Path) -> None:
    async with running_site(tmp_path, limits_queue_size="3", delivery_relay='"smtp://127.0.0.1:1"') as site:
        await make_list(site)
        for number in range(2):
            answer = await site.send("ada@example.org", [PMO], POST.replace(b"<1@", b"<%d@" % number))
            assert answer.startswith("250")
        until = asyncio.get_running_loop().time() + 5
        while (await site.send("ada@example.org", [PMO], POST)).startswith("250"):  # a count is good for a second
            assert asyncio.get_running_loop().time() < until
            await asyncio.sleep(0.1)
        assert (await site.send("ada@example.org", [PMO], POST)).startswith("452 4.3.1 Too much mail is waiting")
        assert (await site.send("", ["pmo-bounces@lists.example.test"], POST)).startswith("250")
        await site.cli("queue", "drop", "1")
        await site.cli("queue", "drop", "2")
        while not (await site.send("ada@example.org", [PMO], POST)).startswith("250"):
            assert asyncio.get_running_loop().time() < until
            await asyncio.sleep(0.1)


async def test_a_locked_database_is_a_451_and_mail_flows_again_afterwards(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_list(site)

    async def locked(unit: object) -> object:
        raise Deferred("Mail cannot be stored just now; please try again later.", "database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(type(site.service.core.db), "write", lambda self, unit: locked(unit))
        assert (await site.send("ada@example.org", [PMO], POST)).startswith("451 4.3.0")
    assert (await site.send("ada@example.org", [PMO], POST)).startswith("250")


async def test_a_confirmation_used_by_twenty_connections_at_once_joins_once(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    ask = b"From: eve@example.net\r\nSubject: x\r\nMessage-ID: <ask@example.net>\r\n\r\n"
    await site.send("eve@example.net", ["pmo-join@lists.example.test"], ask)
    mail = (await site.sink.wait(1))[0]
    to = mail.data.partition(b"Reply-To: ")[2].partition(b"\r\n")[0].decode()
    replies = [ask.replace(b"<ask@", b"<%d@" % n) for n in range(20)]
    answers = await asyncio.gather(*[site.send("eve@example.net", [to], reply) for reply in replies])
    assert all(answer.startswith("250") for answer in answers)
    await site.quiet()
    welcomes = [mail for mail in site.sink.to("eve@example.net") if b"Subject: Welcome" in mail.data]
    assert len(welcomes) == 1
    rows = [json.loads(line) for line in (await site.cli("member", "ls", "pmo", "--json")).out.splitlines()]
    assert [row["address"] for row in rows] == ["eve@example.net"]


@pytest.mark.parametrize("change", ["last", "first", "other-list", "leave"])
async def test_a_confirmation_that_was_tampered_with_is_refused(site: Site, change: str) -> None:
    await make_list(site, "pmo", "lab")
    ask = b"From: eve@example.net\r\nSubject: x\r\nMessage-ID: <ask@example.net>\r\n\r\n"
    await site.send("eve@example.net", ["pmo-join@lists.example.test"], ask)
    mail = (await site.sink.wait(1))[0]
    to = mail.data.partition(b"Reply-To: ")[2].partition(b"\r\n")[0].decode()
    local, _, domain = to.partition("@")
    flip = {"a": "b"}
    changed = {
        "last": f"{local[:-2]}{flip.get(local[-2], 'a')}{local[-1]}@{domain}",
        "first": local[:-26] + flip.get(local[-26], "a") + local[-25:] + f"@{domain}",
        "other-list": to.replace("pmo-confirm+", "lab-confirm+"),
        "leave": to.replace("pmo-confirm+", "pmo-leave+"),
    }[change]
    answer = await site.send("eve@example.net", [changed], ask.replace(b"<ask@", b"<again@"))
    members = (await site.cli("member", "ls", "pmo", "--json")).out
    assert "eve@example.net" not in members
    assert "bob@example.com" in members
    assert answer.startswith("550") or change == "leave"


async def test_an_expired_confirmation_is_refused_with_a_sentence(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    ask = b"From: eve@example.net\r\nSubject: x\r\nMessage-ID: <ask@example.net>\r\n\r\n"
    await site.send("eve@example.net", ["pmo-join@lists.example.test"], ask)
    mail = (await site.sink.wait(1))[0]
    to = mail.data.partition(b"Reply-To: ")[2].partition(b"\r\n")[0].decode()
    site.clock.shift += 4 * 86400
    answer = await site.send("eve@example.net", [to], ask.replace(b"<ask@", b"<late@"))
    assert answer.startswith("550 5.7.1 This confirmation has expired")


async def test_one_forged_address_is_not_buried_in_our_answers(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    for number in range(40):
        ask = b"From: victim@example.net\r\nSubject: x\r\nMessage-ID: <%d@example.net>\r\n\r\n" % number
        assert (await site.send("x@example.com", ["pmo-join@lists.example.test"], ask)).startswith("250")
    await site.quiet()
    assert len(site.sink.to("victim@example.net")) == 1


async def test_who_was_refused_can_send_the_very_same_mail_after_joining(site: Site) -> None:
    await make_list(site)
    mail = POST.replace(b"ada@example.org>\r\nS", b"eve@example.net>\r\nS")
    assert (await site.send("eve@example.net", [PMO], mail)).startswith("550 5.7.1")
    await site.cli("member", "add", "pmo", "eve@example.net", "--no-welcome")
    assert (await site.send("eve@example.net", [PMO], mail)).startswith("250")
    assert await site.service.core.db.read(count) == 1


async def test_a_flood_of_held_posts_is_no_flood_to_the_owners(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await make_list(site)
        await site.cli("list", "set", "pmo", "nonmembers=hold")
        await site.cli("member", "add", "pmo", "chair@example.org", "--role", "owner", "--no-welcome")
        for number in range(30):
            mail = POST.replace(b"<1@", b"<%d@" % number).replace(b"ada@", b"eve@")
            assert (await site.send("eve@example.net", [PMO], mail)).startswith("250")
        await site.quiet()
        assert len(site.sink.to("chair@example.org")) == 1
        assert len((await site.cli("held", "ls", "pmo", "--json")).out.splitlines()) == 30


async def test_mail_to_an_address_that_nobody_reads_is_refused_and_not_lost(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_admin='""') as site:
        await site.cli("list", "create", "pmo")
        for to in ("pmo-owner@lists.example.test", "postmaster@lists.example.test"):
            assert (await site.send("ada@example.org", [to], POST)).startswith("550 5.2.1")


async def test_an_answer_to_a_posts_own_address_lands_under_it_also_when_it_was_held(site: Site) -> None:
    await make_list(site)
    await site.cli("member", "set", "pmo", "bob@example.com", "mode=digest")
    await site.send("ada@example.org", [PMO], POST)
    await site.cli("digest", "send", "pmo")
    await site.quiet()
    digest = site.sink.to("bob@example.com")[-1].data
    to = digest.partition(b"Answer: ")[2].partition(b"\r\n")[0].decode()
    await site.cli("list", "set", "pmo", "moderated=on")
    answer = b"From: bob@example.com\r\nSubject: Quite another\r\nMessage-ID: <2@example.com>\r\n\r\nYes.\r\n"
    assert (await site.send("bob@example.com", [to], answer)).startswith("250")
    await site.cli("held", "approve", "1")
    rows = [json.loads(line) for line in (await site.cli("post", "ls", "pmo", "--json")).out.splitlines()]
    assert [(row["id"].lstrip("#"), row["parent"]) for row in rows] == [("1.1", None), ("1.2", "<1@example.org>")]
    changed = to.replace("+r.", "+r.a", 1)
    assert (await site.send("bob@example.com", [changed], answer.replace(b"<2@", b"<3@"))).startswith("550 5.1.1")


async def test_a_refusal_that_cannot_be_told_by_mail_refuses_the_whole_mail(tmp_path: Path) -> None:
    async with running_site(tmp_path, limits_answers_per_day="1") as site:
        await make_list(site)
        await site.cli("list", "create", "news", "--preset", "announce")
        both = [PMO, "news@lists.example.test"]
        assert (await site.send("ada@example.org", both, POST)).startswith("250")
        second = POST.replace(b"<1@", b"<2@")
        assert (await site.send("ada@example.org", both, second)).startswith("550 5.7.1")
        assert await site.service.core.db.read(count) == 1
        assert (await site.send("ada@example.org", [PMO], second)).startswith("250")


async def test_a_loop_is_never_answered_by_mail(site: Site) -> None:
    await make_list(site)
    looped = POST.replace(b"Subject:", b"List-Id: <pmo.lists.example.test>\r\nSubject:")
    both = [PMO, "postmaster@lists.example.test"]
    assert (await site.send("ada@example.org", both, looped)).startswith("550 5.4.6")
    await site.quiet()
    assert site.sink.mails == []
