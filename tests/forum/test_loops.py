"""Two sites whose lists are members of each other, and a post office between them that may be hostile."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path

import pytest

from tests.support.sink import Mail, Sink
from tests.support.site import Site, running_site

A, B = "a.example.test", "b.example.test"
PMO, LAB = f"pmo@{A}", f"lab@{B}"
LONG = b"Who pays for the low-code platform, each department or all of us together?\r\n"
SHORT = b"+1\r\n"
MOST_AT_ONCE = 5  # times that a short text may come back before a moderator reads it: [limits] answers_per_ten_minutes
_MARKS = re.compile(
    rb"^(?:List-[^:]*|X-Loop|X-Mailforum-[^:]*|Received|Precedence|Sender|Auto-Submitted|X-Auto[^:]*|Return-Path):"
    rb".*\r\n(?:[ \t].*\r\n)*",
    re.IGNORECASE | re.MULTILINE,
)


def honest(data: bytes) -> bytes:
    """Do what every mail server does."""
    return b"Received: from x.example.org by y.example.org; Sat, 22 Nov 2025 14:05:00 +0000\r\n" + data


def hostile(numbers: count[int]) -> Callable[[bytes], bytes]:
    """Take out everything by which a loop is known, and give each mail a new Message-ID."""

    def change(data: bytes) -> bytes:
        head, _, body = data.partition(b"\r\n\r\n")
        head = _MARKS.sub(b"", head + b"\r\n")
        head = re.sub(rb"(?im)^Message-ID:.*\r\n", b"", head)
        return head + b"Message-ID: <%d@middle.example.net>\r\n\r\n" % next(numbers) + body

    return change


@dataclass
class Office:
    """The post office: mail for one of the two sites goes there, all other mail stays."""

    change: Callable[[bytes], bytes] = honest
    forge_null: str = ""  # what the null sender is replaced by
    sites: dict[str, Site] = field(default_factory=dict)
    carried: list[tuple[str, str]] = field(default_factory=list)

    async def carry(self, mail: Mail) -> str | None:
        """Carry a mail on; what the other site answers is what the sender hears."""
        for domain, site in self.sites.items():
            rcpts = [rcpt for rcpt in mail.rcpts if rcpt.endswith(f"@{domain}")]
            if rcpts:
                answer = await site.send(mail.mail_from or self.forge_null, rcpts, self.change(mail.data))
                self.carried += [(rcpt, answer) for rcpt in rcpts]
                return None if answer.startswith("250") else answer
        return None

    async def quiet(self) -> None:
        """Wait until neither site has anything left to send."""
        before = -1
        while before != len(self.carried):
            before = len(self.carried)
            for site in self.sites.values():
                await site.quiet()


@contextlib.asynccontextmanager
async def two_sites(folder: Path, office: Office) -> AsyncIterator[tuple[Site, Site]]:
    """Run both; each list lets anyone post, and has the other one as a member."""
    async with contextlib.AsyncExitStack() as stack:
        for domain, mine, theirs in ((A, PMO, LAB), (B, LAB, PMO)):
            (folder / domain).mkdir()
            options = {
                "site_domain": f'"{domain}"',
                "limits_answers_per_ten_minutes": str(MOST_AT_ONCE),
                "limits_same_text": '"1d"',
            }
            site = await stack.enter_async_context(running_site(folder / domain, Sink(dot=office.carry), **options))
            office.sites[domain] = site
            await site.cli("list", "create", mine)
            await site.cli("list", "set", mine, "posting=anyone", "footer=on", "prefix=[x]")
            await site.cli("member", "add", mine, theirs, f"reader@{domain}.example.org", "--no-welcome")
        yield office.sites[A], office.sites[B]


def letter(body: bytes, sender: bytes = b"ada@example.org", subject: bytes = b"Budget", number: int = 1) -> bytes:
    return b"From: %s\r\nTo: pmo@a.example.test\r\nSubject: %s\r\nMessage-ID: <%d@example.org>\r\n\r\n%s" % (
        sender, subject, number, body,
    )  # fmt: skip


async def posts(site: Site, mlist: str) -> int:
    return len((await site.cli("post", "ls", mlist, "--json")).out.splitlines())


async def held(site: Site, mlist: str) -> int:
    return len((await site.cli("held", "ls", mlist, "--json")).out.splitlines())


async def test_two_lists_that_are_members_of_each_other_have_a_post_once_each(tmp_path: Path) -> None:
    office = Office()
    async with two_sites(tmp_path, office) as (a, b):
        assert (await a.send("ada@example.org", [PMO], letter(LONG))).startswith("250")
        await office.quiet()
        assert (await posts(a, PMO), await posts(b, LAB)) == (1, 1)
        assert office.carried == [(LAB, office.carried[0][1]), (PMO, "550 5.4.6 This mail has been here before.")]


async def test_without_any_mark_a_loop_ends_by_its_text(tmp_path: Path) -> None:
    office = Office(hostile(count(100)))
    async with two_sites(tmp_path, office) as (a, b):
        assert (await a.send("ada@example.org", [PMO], letter(LONG))).startswith("250")
        await office.quiet()
        assert (await posts(a, PMO), await posts(b, LAB)) == (1, 1)
        # The answer to the second may be there before that to the first, which brought it about.
        assert sorted(rcpt for rcpt, _ in office.carried) == [LAB, PMO]
        assert "the same text" in dict(office.carried)[PMO]


async def test_without_any_mark_a_short_text_goes_round_a_few_times_until_it_is_held(tmp_path: Path) -> None:
    office = Office(hostile(count(100)))
    async with two_sites(tmp_path, office) as (a, b):
        await a.cli("member", "add", PMO, "chair@example.org", "--role", "owner", "--no-welcome")
        assert (await a.send("ada@example.org", [PMO], letter(SHORT))).startswith("250")
        await office.quiet()
        assert (await posts(a, PMO), await posts(b, LAB)) == (1 + MOST_AT_ONCE, 1 + MOST_AT_ONCE)
        assert await held(a, PMO) + await held(b, LAB) == 1
        assert len(office.carried) == 2 * (1 + MOST_AT_ONCE)
        # Its author and the owner of the list hear of it once.
        assert len([mail for mail in a.sink.to("chair@example.org") if not mail.mail_from]) == 1
        assert len(a.sink.to("ada@example.org")) == 1


async def test_two_addresses_for_commands_do_not_talk_to_each_other(tmp_path: Path) -> None:
    office = Office()
    ours = ("join", "leave", "help", "info", "request", "confirm+abcdefghijklmnopqrstuvwxyz")
    theirs = ("request", "join", "help", "owner", "bounces")
    async with two_sites(tmp_path, office) as (a, _):
        for number, (sub, to) in enumerate(product(ours, theirs)):
            a.clock.shift += 86400  # what was answered yesterday does not count
            office.carried.clear()
            forged = letter(b"help\r\n", f"lab-{to}@{B}".encode(), b"", number)
            await a.send(f"lab-{to}@{B}", [f"pmo-{sub}@{A}"], forged)
            await office.quiet()
            assert len(office.carried) == (0 if "confirm" in sub else 1), (sub, to)


async def test_even_when_a_hostile_server_makes_our_answers_look_like_peoples_mail_they_end(tmp_path: Path) -> None:
    office = Office(hostile(count(100)), forge_null="somebody@example.net")
    async with two_sites(tmp_path, office) as (a, _):
        forged = letter(b"help\r\n", f"lab-request@{B}".encode(), b"help")
        await a.send("x@example.net", [f"pmo-request@{A}"], forged)
        await office.quiet()
        most = a.service.config.limits.answers_to_strangers
        assert most <= len(office.carried) <= 2 * most


async def test_a_report_about_a_report_and_mail_from_nobody_are_never_answered(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_admin='""') as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")
        everywhere = [
            "pmo",
            *(f"pmo-{sub}" for sub in ("join", "leave", "request", "help", "info", "bounces")),
            "mailforum",
        ]
        for number, local in enumerate(everywhere):
            mail = letter(b"subscribe pmo\r\n", b"MAILER-DAEMON@example.org", b"Undelivered", number)
            await site.send("", [f"{local}@lists.example.test"], mail)
        await site.quiet()
        assert site.sink.mails == []


@dataclass
class Robot:
    """A member's program that answers every mail of the list to the list, and does not say what it is."""

    text: bytes
    site: Site | None = None
    numbers: count[int] = field(default_factory=lambda: count(1))
    tasks: set[asyncio.Task[str]] = field(default_factory=set)

    def answer(self, mail: Mail) -> None:
        if self.site and "robot@example.net" in mail.rcpts:
            number = next(self.numbers)
            text = self.text % number if b"%d" in self.text else self.text
            reply = letter(text, b"robot@example.net", b"Re: Budget", 1000 + number)
            to = ["pmo@lists.example.test"]
            self.tasks.add(asyncio.create_task(self.site.send("robot@example.net", to, reply)))


@pytest.mark.parametrize("text", [b"I will be glad to help you with your request number %d, dear customer.\r\n", SHORT])
async def test_a_members_robot_that_answers_every_post_is_read_by_a_moderator_soon(tmp_path: Path, text: bytes) -> None:
    robot = Robot(text)
    async with running_site(
        tmp_path, Sink(dot=robot.answer), limits_answers_per_ten_minutes="5", limits_same_text='"1d"'
    ) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("member", "add", "pmo", "ada@example.org", "robot@example.net", "--no-welcome")
        robot.site = site
        await site.send("ada@example.org", ["pmo@lists.example.test"], letter(LONG))
        await site.quiet()
        while any(not task.done() for task in robot.tasks):
            await asyncio.gather(*robot.tasks)
            await site.quiet()
        assert await posts(site, "pmo") == 1 + 5
        # Held: its sixth post, and what it says to our notice of that.
        assert 1 <= await held(site, "pmo") <= 2


@pytest.mark.parametrize(
    "mark",
    [
        b"Auto-Submitted: auto-replied",
        b"Precedence: bulk",
        b"X-Autoreply: yes",
        b"X-Auto-Response-Suppress: All",
    ],
)
async def test_twenty_robots_on_holiday_that_answer_all_addresses_are_heard_by_nobody(
    tmp_path: Path, mark: bytes
) -> None:
    async with running_site(tmp_path, site_admin='""') as site:
        await site.cli("list", "create", "pmo")
        robots = [f"robot{number}@example.net" for number in range(20)]
        await site.cli("member", "add", "pmo", *robots, "--no-welcome")
        for number, robot in enumerate(robots):
            mail = letter(b"I am away.\r\n", robot.encode(), b"Away\r\n" + mark, number)
            for to in ("pmo", "pmo-request", "pmo-join", "pmo-leave"):
                assert (await site.send(robot, [f"{to}@lists.example.test"], mail)).startswith("250")
        await site.quiet()
        assert site.sink.mails == []
        assert await posts(site, "pmo") == 0
