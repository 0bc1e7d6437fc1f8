"""`mailforum trace`: every refusal, hold, drop, retry and give-up of a mail in one command."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mailforum import log
from mailforum.model import State
from mailforum.store import journal
from mailforum.store.database import Tx
from tests.cli.conftest import Forum, lines
from tests.cli.test_queue import settle
from tests.forum.test_bounces import DSN, GONE
from tests.support.sink import Sink
from tests.support.site import Site, running_site

PMO = "pmo@lists.example.test"


def traced(forum: Forum, *words: str) -> list[tuple[str, str, str]]:
    return [(row["event"], row["who"], row["what"]) for row in forum.rows("trace", *words)]


def events(forum: Forum, *words: str) -> list[str]:
    return [row["event"] for row in forum.rows("trace", *words)]


def test_a_post_is_found_by_its_message_id_its_label_a_delivery_and_its_own_id(pmo: Forum) -> None:
    pmo.post("one@example.org")
    rows = pmo.rows("trace", "<one@example.org>")
    assert [row["event"] for row in rows] == ["received", "post", "queued", "queued", "queued"]
    mail = rows[0]["mail"]
    for words in (["one@example.org"], [mail], [mail.upper()], ["pmo#1.1"], ["#1.1", "--list", "pmo"], ["1"]):
        assert pmo.rows("trace", *words) == rows
    assert rows[1]["what"] == "1.1; told 250 2.0.0 Taken as #1.1."
    assert rows[2]["what"] == "post 1.1 to 2 recipients (mailing 1)"
    assert rows[3]["at"] == "now"
    assert lines(pmo.run("trace", mail))[0] == "AT EVENT WHO WHAT"


def test_a_refusal_a_repetition_and_a_drop_are_found_though_nothing_is_left_of_them(pmo: Forum) -> None:
    pmo.run("inject", "--to", PMO, pmo.mail("eve@example.net", sender="eve@example.net"), code=1)
    assert traced(pmo, "eve@example.net")[1] == (
        "refused",
        PMO,
        "not a member; told 550 5.7.1 Only members post to this list; write to pmo-join@lists.example.test to join.",
    )
    pmo.post("twice@example.org")
    pmo.post("twice@example.org")
    assert [event for event in events(pmo, "twice@example.org") if event in ("post", "duplicate")] == [
        "post",
        "duplicate",
    ]
    assert lines(pmo.run("trace", "twice@example.org"))[0] == "MAIL AT EVENT WHO WHAT"
    robot = pmo.mail("robot@example.org", more="Auto-Submitted: auto-replied\n")
    pmo.run("inject", "--to", PMO, robot)
    assert events(pmo, "robot@example.org") == ["received", "dropped"]


def test_a_mail_that_is_refused_whole_is_found_though_all_it_did_is_undone(pmo: Forum) -> None:
    deep = "Content-Type: multipart/mixed; boundary=b\n\n" + "--b\nContent-Type: text/plain\n\nx\n" * 2000 + "--b--\n"
    pmo.run("inject", "--to", PMO, pmo.mail("deep@example.org", more=deep), code=1)
    assert [row[:2] for row in traced(pmo, "deep@example.org")] == [("received", "ada@example.org"), ("refused", PMO)]


@pytest.mark.parametrize(
    ("words", "event"),
    [(["approve", "1"], "approved"), (["reject", "1", "--reason", "no"], "rejected"), (["discard", "1"], "discarded")],
)
def test_what_was_held_says_how_that_ended(pmo: Forum, words: list[str], event: str) -> None:
    pmo.run("list", "set", "pmo", "moderated=on")
    pmo.post("held@example.org")
    rows = traced(pmo, "held@example.org")
    assert rows[1][:2] == ("held", PMO)
    assert ("waits", "a moderator", "held 1: moderated list") in rows
    pmo.run("held", *words)
    rows = traced(pmo, "held@example.org")
    assert event in [row[0] for row in rows]
    assert "waits" not in [row[0] for row in rows]
    assert any(row[2].startswith("post 1.1 to 2 recipients") for row in rows) == (event == "approved")
    assert any(row[2].startswith("notice/rejected to 1") for row in rows) == (event == "rejected")


def test_what_is_kept_aside_is_found(pmo: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("mailforum.forum.posts.accept", fail)
    pmo.run("inject", "--to", PMO, pmo.mail("bad@example.org"), code=75)
    monkeypatch.undo()
    rows = traced(pmo, "bad@example.org")
    assert [row[0] for row in rows] == ["received", "shunted", "shunted"]
    assert rows[2][2] == "kept aside as 1: ValueError: a fault of ours"
    pmo.run("shunt", "retry", "1")
    assert "post" in events(pmo, "bad@example.org")


def test_what_is_not_known_is_said_so(pmo: Forum) -> None:
    assert pmo.fails("trace", "nobody@example.org") == (
        "nothing is known of nobody@example.org; what came more than 14 days ago is forgotten"
    )
    assert pmo.fails("trace", "99").startswith("no mail is known that delivery 99 was made of")
    assert pmo.fails("trace", "48.3").startswith("several lists may have a post 48.3")
    assert pmo.fails("trace", "pmo#48.3") == "pmo@lists.example.test has no post 48.3"
    assert pmo.fails("trace", "d" * 12).startswith("nothing is known")


def test_what_a_stranger_wrote_does_not_reach_the_terminal(pmo: Forum) -> None:
    pmo.post()
    settle(pmo, State.FAILED)
    answer = pmo.run("trace", "pmo#1.1")
    assert "4.2.2 mailbox  full" in answer.out
    assert "\x1b" not in answer.out


async def trace(site: Site, *words: str) -> list[str]:
    return [" ".join(line.split()) for line in (await site.cli("trace", *words)).out.splitlines()]


async def test_retries_and_what_is_given_up_are_told_with_every_attempt(tmp_path: Path) -> None:
    deferred = log.counters["deferred"]
    answers = {"m1@example.com": "450 4.2.2 full", "m2@example.com": "550 5.1.1 unknown"}
    relay = Sink(rcpt=answers.get)
    async with running_site(tmp_path, relay) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")
        await site.cli("member", "add", "pmo", *(f"m{n}@example.com" for n in range(14)), "--no-welcome")
        await site.send("ada@example.org", [PMO], b"From: ada@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHi\r\n")
        await site.quiet()
        site.clock.shift += 310
        answers["m1@example.com"] = "450 4.2.2 still full"
        await until(lambda: log.counters["deferred"] - deferred == 2)
        found = "\n".join(await trace(site, "1@example.org"))
    for line in (
        f"queued {PMO} post 1.1 to 14 recipients (mailing 1)",
        f"sent {PMO} 12 of 14",
        "tried m1@example.com 450 4.2.2 full",
        "tried m1@example.com 450 4.2.2 still full",
        "now deferred m1@example.com delivery 2, next attempt",
        "failed m2@example.com delivery 3, after 1 attempt: 550 5.1.1 unknown",
    ):
        assert line in found, found
    assert "m3@example.com" not in found


async def test_a_mail_for_two_lists_that_nobody_took_has_an_answer_for_each(tmp_path: Path) -> None:
    async with running_site(tmp_path, limits_answers_per_day="1") as site:
        await site.cli("list", "create", "pmo")
        mail = b"From: eve@example.net\r\nMessage-ID: <%d@example.net>\r\n\r\nHi %d\r\n"
        for number, answer in ((0, "250"), (1, "550")):  # the second time she is not told by mail any more
            rcpts = [PMO, "pmo-owner@lists.example.test"]
            assert (await site.send("eve@example.net", rcpts, mail % (number, number))).startswith(answer)
        assert log.refusals["5.7.1", "not a member"] >= 2
        rows = [line.split(maxsplit=3)[1:] for line in (await site.cli("trace", "1@example.net")).out.splitlines()[1:]]
    assert [(event, who) for event, who, _ in rows] == [
        ("received", "eve@example.net"),
        ("refused", "pmo-owner@lists.example.test"),
        ("refused", PMO),
    ]
    assert all(what.startswith("not a member; told 550 5.7.1 Only members") for _, _, what in rows[1:])


async def test_what_came_back_later_is_told_too(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")
        await site.cli("member", "add", "pmo", "bob@example.com", "--no-welcome")
        await site.send("ada@example.org", [PMO], b"From: ada@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHi\r\n")
        await site.sink.wait(1)
        report = DSN.format(
            n=1,
            rcpt="bob@example.com",
            action="failed",
            status="5.1.1",
            reply=GONE,
            returned="Message-ID: <1@example.org>",
        )
        path = site.sink.mails[0].mail_from
        assert (await site.send("", [path], report.replace("\n", "\r\n").encode())).startswith("250")
        found = "\n".join(await trace(site, "1@example.org"))
    assert f"returned bob@example.com hard: {GONE}" in found


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_what_is_older_than_keep_log_is_forgotten(tmp_path: Path) -> None:
    async with running_site(tmp_path, store_keep_log='"1d"') as site:
        now, ids = site.clock.now(), site.service.core.ids
        site.clock.shift -= 2 * 86400
        old, late = [ids.new() for _ in range(1200)], ids.new()
        site.clock.shift = 0
        mails = [*old, late, ids.new()]
        db = site.service.core.db

        def add(tx: Tx) -> None:
            for mail in mails:
                at = now if mail not in old else now - 2 * 86400
                journal.add(tx, journal.Entry(mail, at, PMO, "duplicate"))
            journal.add(tx, journal.Entry(late, now - 2 * 86400, PMO, "held 1: moderated list"))

        await db.write(add)
        await site.service.chores.clean()
        left = await db.read(lambda tx: {mail: len(found) for mail in mails if (found := journal.of_mail(tx, mail))})
        assert left == {late: 1, mails[-1]: 1}


async def test_a_held_post_that_nobody_looked_at_in_time_is_not_gone_without_a_word(tmp_path: Path) -> None:
    async with running_site(tmp_path, store_keep_held='"1d"') as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone", "moderated=on")
        await site.send("ada@example.org", [PMO], b"From: ada@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nHi\r\n")
        site.clock.shift += 2 * 86400
        await site.service.chores.clean()
        found = "\n".join(await trace(site, "1@example.org"))
    assert f"expired {PMO} (held 1)" in found
    assert "now waits" not in found


async def test_our_own_notices_and_digests_are_found_by_their_message_ids(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("member", "add", "pmo", "ada@example.org", "--no-welcome", "--mode", "digest")
        join = b"From: bob@example.org\r\nSubject: join\r\nMessage-ID: <join@example.org>\r\n\r\n"
        await site.send("bob@example.org", ["pmo-join@lists.example.test"], join)
        post = b"From: ada@example.org\r\nSubject: x\r\nMessage-ID: <post@example.org>\r\n\r\nHello.\r\n"
        await site.send("ada@example.org", [PMO], post)
        await site.quiet()
        await site.cli("digest", "send", "pmo")
        await site.sink.wait(2)
        await site.quiet()
        for mail, event in zip(site.sink.mails, ("asked", "queued"), strict=True):
            message_id = mail.data.partition(b"Message-ID: ")[2].partition(b"\r\n")[0].decode()
            found = await site.cli("trace", message_id)
            assert event in found.out
            assert mail.rcpts[0] in (await site.cli("trace", message_id.upper(), "--all")).out
        for wrong in ("<notice.1.7@x.example.org>", "<notice.999.1@x.example.org>", "<digest.1.1.pmo@x.example.org>"):
            assert (await site.cli("trace", wrong, check=False)).code == 1
