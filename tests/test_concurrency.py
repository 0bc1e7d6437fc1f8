"""Things done at the same time end as if they had been done one after the other."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mailforum.forum import digests
from mailforum.store import lists
from tests.support.sink import Mail, Sink
from tests.support.site import Site, running_site

LIST = "pmo@lists.example.test"


def post_mail(number: int) -> bytes:
    return b"From: ada@example.org\r\nSubject: Post %d\r\nMessage-ID: <%d@example.org>\r\n\r\nHello.\r\n" % (
        number,
        number,
    )


async def post(site: Site, number: int, to: str = LIST) -> None:
    answer = await site.send("ada@example.org", [to], post_mail(number))
    assert answer.startswith("250"), answer


async def make_list(site: Site, *members: str, name: str = "pmo", **settings: str) -> None:
    await site.cli("list", "create", name)
    await site.cli(
        "list", "set", name, *(f"{key}={value}" for key, value in ({"posting": "anyone"} | settings).items())
    )
    if members:
        await site.cli("member", "add", name, "--no-welcome", *members)


async def rows(site: Site, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (await site.cli(*words, "--json")).out.splitlines()]


async def at_once(site: Site, *commands: list[str]) -> list[tuple[int, str]]:
    """Run commands, each as a process; return how each ended and what it said on standard error."""
    words = [sys.executable, "-m", "mailforum", "--config", str(site.config_file)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen([*words, *more], stdout=pipe, stderr=pipe, text=True) for more in commands]
    said = [await asyncio.to_thread(process.communicate) for process in started]
    return [(process.returncode, err) for process, (_, err) in zip(started, said, strict=True)]


async def test_one_confirmation_that_comes_twenty_times_at_once_counts_once(site: Site) -> None:
    await make_list(site)
    ask = b"From: eve@example.com\r\nSubject: join\r\nMessage-ID: <j@example.com>\r\n\r\n"
    assert (await site.send("eve@example.com", ["pmo-join@lists.example.test"], ask)).startswith("250")
    (question,) = await site.sink.wait(1)
    match = re.search(rb"pmo-confirm\+\w+@[\w.]+", question.data.replace(b"\r\n ", b""))
    assert match
    to = match[0].decode()

    async def confirm(number: int) -> str:
        mail = b"From: eve@example.com\r\nMessage-ID: <%d@example.com>\r\nSubject: Re: yes\r\n\r\n" % number
        return await site.send("eve@example.com", [to], mail)

    answers = await asyncio.gather(*(confirm(number) for number in range(20)))
    assert {answer[:3] for answer in answers} == {"250"}
    await site.quiet()
    assert [row["address"] for row in await rows(site, "member", "ls", "pmo")] == ["eve@example.com"]
    assert len(site.sink.to("eve@example.com")) == 2, "the question and one welcome"


@pytest.mark.parametrize("verbs", [("approve", "approve"), ("approve", "reject"), ("discard", "approve")])
async def test_two_who_moderate_the_same_post_at_once_have_one_outcome(site: Site, verbs: tuple[str, str]) -> None:
    await make_list(site, "ada@example.org", "bob@example.com", posting="members", nonmembers="hold")
    mail = b"From: eve@example.com\r\nSubject: May I?\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n"
    assert (await site.send("eve@example.com", [LIST], mail)).startswith("250")
    await site.quiet()
    before = len(site.sink.mails)
    ended = await at_once(site, *(["held", verb, "1"] for verb in verbs))
    assert sorted(code for code, _ in ended) == [0, 1]
    assert [said for code, said in ended if code] == ["mailforum: There is no held post 1 (any more).\n"]
    await site.quiet()
    (won,) = [verb for verb, (code, _) in zip(verbs, ended, strict=True) if code == 0]
    sent = Counter(rcpt for mail in site.sink.mails[before:] for rcpt in mail.rcpts)
    wanted = {"approve": {"ada@example.org": 1, "bob@example.com": 1}, "reject": {"eve@example.com": 1}, "discard": {}}
    assert sent == wanted[won]


async def test_every_post_is_in_one_digest_however_it_is_cut(site: Site) -> None:
    await make_list(site, "bob@example.com")
    await site.cli("member", "set", "pmo", "bob@example.com", "mode=digest")
    db, posted = site.service.core.db, asyncio.Event()
    (mlist,) = await db.read(lists.every)

    async def cut() -> None:
        while not posted.is_set():
            await db.write(lambda tx: digests.cut(tx, mlist, site.clock.now()))

    cutting = asyncio.create_task(cut())
    await asyncio.gather(*(post(site, number) for number in range(60)))
    posted.set()
    await cutting
    await site.cli("digest", "send", "pmo")
    await site.quiet()
    digests_sent = [mail.data for mail in site.sink.to("bob@example.com")]
    assert len(digests_sent) > 1
    found = Counter(number for digest in digests_sent for number in set(re.findall(rb"Post (\d+)\b", digest)))
    assert found == Counter(b"%d" % number for number in range(60)), "a post is in none, or in two"
    numbers = [re.findall(rb"^Subject:.*?(\d+)", digest, re.MULTILINE)[0] for digest in digests_sent]
    assert len(set(numbers)) == len(numbers), "a number was given twice"


async def test_commands_and_the_server_write_at_once_and_nobody_hears_of_a_lock(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await make_list(site, "bob@example.com")
        ended = asyncio.Event()

        async def keep_posting(start: int) -> None:
            number = start
            while not ended.is_set():
                await post(site, number)
                number += 1

        posting = [asyncio.create_task(keep_posting(start)) for start in (0, 10_000, 20_000)]
        said = await at_once(site, *(["member", "add", "pmo", f"m{n}@example.com"] for n in range(4)))
        ended.set()
        await asyncio.gather(*posting)
        assert said == [(0, "")] * 4
        assert len(await rows(site, "member", "ls", "pmo")) == 5


async def test_a_list_that_is_deleted_while_a_thousand_mails_wait_takes_them_with_it(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def wait(mail: Mail) -> None:
        if b"pmo" in mail.data:
            await hold.wait()

    async with running_site(tmp_path, Sink(dot=wait), delivery_connections="2") as site:
        await make_list(site)
        await make_list(site, "bob@example.com", name="other")
        people = tmp_path / "people"
        people.write_text("".join(f"m{n}@example.com\n" for n in range(1000)))
        await site.cli("member", "import", "pmo", str(people))
        await post(site, 1)
        async with asyncio.timeout(20):
            while not site.sink.seen:
                await asyncio.sleep(0.01)
        await site.cli("list", "delete", "pmo", "--yes")
        hold.set()
        await post(site, 2, "other@lists.example.test")
        await site.quiet()
        assert len(site.sink.to("bob@example.com")) == 1
        assert len(site.sink.mails) < 600, "only what was in hand already goes out"
        (stats,) = await rows(site, "queue", "stats")
        assert (stats["queued"], stats["deferred"]) == (0, 0)
        assert "error" not in (await site.cli("check")).out


async def test_threads_are_corrected_while_answers_come_in(site: Site) -> None:
    await make_list(site)
    ended = asyncio.Event()
    await post(site, 0)
    await post(site, 1)

    async def keep_answering(number: int) -> None:
        while not ended.is_set():
            named = b"References: <%d@example.org>\r\n" % (number % 2)
            await site.send("ada@example.org", [LIST], named + post_mail(number))
            number += 1

    answering = [asyncio.create_task(keep_answering(start)) for start in (10_000, 20_000)]
    for _ in range(3):
        for words in ("merge 2 1", "split 2.1", "rename 1 Lunch"):
            await site.cli("thread", *words.split())
    ended.set()
    await asyncio.gather(*answering)
    threads = await rows(site, "thread", "ls", "pmo")
    assert [(row["id"], row["subject"]) for row in threads] == [(1, "Lunch"), (2, "Post 1")]
    of_post = {row["message_id"]: row["thread"] for row in await rows(site, "post", "ls", "pmo")}
    assert len(of_post) > 4
    assert all(thread == int(msgid[-14]) % 2 + 1 for msgid, thread in of_post.items()), of_post
    assert len(await rows(site, "audit", "pmo")) == 9
    said = (await site.cli("check", check=False)).out.splitlines()
    assert not [line for line in said if line.startswith("error") and "fsync" not in line], said
