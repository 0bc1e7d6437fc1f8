"""Forged addresses, floods and mail that comes again: who gets how much of our mail then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailforum.chores import tell_what_waits
from mailforum.mail import message, origin
from mailforum.store import intake
from mailforum.store.database import Tx
from tests.support.sink import Mail
from tests.support.site import Site, running_site

PMO = "pmo@lists.example.test"
VICTIM = "victim@example.net"
TEXT = "Who pays for the low-code platform, each department or all of us together?\r\n"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path, limits_same_text='"1d"') as site:
        await site.cli("list", "create", "pmo")
        yield site


def letter(sender: str, number: int, *, subject: str = "Hello", body: str = "", fields: str = "") -> bytes:
    head = f"From: {sender}\r\nTo: {PMO}\r\nSubject: {subject}\r\nMessage-ID: <{number}@x.example.org>\r\n"
    return f"{fields}{head}\r\n{body}".encode()


def came_by(client: str) -> str:
    """Return the field that a mail server in front of us would put on top."""
    return f"Received: from x (x.example.net [{client}]) by mx.example.org; Sat, 22 Nov 2025 14:05:00 +0000\r\n"


async def test_a_stranger_is_asked_once_a_day_by_a_list_and_a_few_times_by_the_site(site: Site) -> None:
    lists = [f"l{number}" for number in range(8)]
    for name in lists:
        await site.cli("list", "create", name)
    for number in range(60):
        to = f"{lists[number % 8]}-join@lists.example.test"
        assert (await site.send("x@example.com", [to], letter(VICTIM, number))).startswith("250")
    await site.quiet()
    assert len(site.sink.to(VICTIM)) == site.service.config.limits.answers_to_strangers
    assert len({mail.data.partition(b"Reply-To: ")[2].partition(b"-")[0] for mail in site.sink.to(VICTIM)}) == 5
    site.clock.shift += 86400
    await site.send("x@example.com", ["pmo-join@lists.example.test"], letter(VICTIM, 100))
    await site.quiet()
    assert len(site.sink.to(VICTIM)) == 6


async def test_whoever_asks_for_everything_in_a_strangers_name_gets_them_five_mails(site: Site) -> None:
    number = 0
    for _ in range(5):
        for local in ("pmo-join", "pmo-leave", "pmo-help", "pmo-info", "pmo-request", "mailforum"):
            number += 1
            await site.send("x@example.com", [f"{local}@lists.example.test"], letter(VICTIM, number))
    await site.quiet()
    assert len(site.sink.to(VICTIM)) == 5


async def test_a_network_that_names_hundreds_of_victims_reaches_twenty_of_them(site: Site) -> None:
    for number in range(60):
        mail = letter(f"victim{number}@example.net", number, fields=came_by(f"192.0.2.{number}"))
        assert (await site.send("x@example.com", ["pmo-join@lists.example.test"], mail)).startswith("250")
    await site.quiet()
    assert len(site.sink.mails) == 20
    other = letter("kim@example.com", 100, fields=came_by("198.51.100.7"))
    await site.send("kim@example.com", ["pmo-join@lists.example.test"], other)
    await site.quiet()
    assert len(site.sink.to("kim@example.com")) == 1
    site.clock.shift += 3600
    late = letter("late@example.net", 101, fields=came_by("192.0.2.1"))
    await site.send("late@example.net", ["pmo-join@lists.example.test"], late)
    await site.quiet()
    assert len(site.sink.to("late@example.net")) == 1


async def test_a_member_may_give_many_commands_a_day(site: Site) -> None:
    await site.cli("member", "add", "pmo", VICTIM, "--no-welcome")
    for number in range(12):
        subject = ("set digest daily", "set digest off", "which")[number % 3]
        await site.send(VICTIM, ["pmo-request@lists.example.test"], letter(VICTIM, number, subject=subject))
    await site.quiet()
    assert len(site.sink.to(VICTIM)) == 12


async def test_who_has_answered_a_question_is_no_stranger_that_day(site: Site) -> None:
    for number in range(8):
        await site.cli("list", "create", f"l{number}")
    await site.send(VICTIM, ["pmo-join@lists.example.test"], letter(VICTIM, 1))
    question = (await site.sink.wait(1))[0].data
    answer_to = question.partition(b"Reply-To: ")[2].partition(b"\r\n")[0].decode()
    await site.send(VICTIM, [answer_to], letter(VICTIM, 2))
    for number in range(8):
        await site.send(VICTIM, [f"l{number}-join@lists.example.test"], letter(VICTIM, 10 + number))
    await site.quiet()
    asked = [mail for mail in site.sink.to(VICTIM) if b"Please confirm" in mail.data]
    assert len(asked) == 9


async def test_two_hundred_posts_with_one_forged_sender_are_a_notice_to_them_and_two_mails_to_the_owner(
    site: Site,
) -> None:
    await site.cli("list", "set", "pmo", "nonmembers=hold")
    await site.cli("member", "add", "pmo", "chair@example.org", "--role", "owner", "--no-welcome")
    for number in range(200):
        mail = letter(VICTIM, number, subject=f"Buy now {number}", body=f"{number} {TEXT}")
        assert (await site.send("x@example.com", [PMO], mail)).startswith("250")

    async def later(seconds: float) -> list[Mail]:
        site.clock.shift += seconds
        for _ in range(3):
            await tell_what_waits(site.service.core, site.clock.now())
        await site.quiet()
        return site.sink.to("chair@example.org")

    assert len(await later(3000)) == 1
    assert len(site.sink.to(VICTIM)) == 1
    _, more = await later(1000)
    assert b"Subject: pmo: 199 posts wait for you" in more.data
    assert b"Buy now 1\r\n" in more.data
    assert b"and 149 more" in more.data

    assert len(await later(4000)) == 2


async def test_owners_hear_of_a_post_that_a_host_with_a_slow_clock_has_held(site: Site) -> None:
    await site.cli("list", "set", "pmo", "nonmembers=hold")
    await site.cli("member", "add", "pmo", "chair@example.org", "--role", "owner", "--no-welcome")

    async def told(number: int, shift: float) -> list[bytes]:
        """Have a post held by a clock that is so far behind; return the subjects of what the owner has got then."""
        site.clock.shift -= shift
        await site.send("x@example.com", [PMO], letter("eve@example.com", number, subject=f"Buy {number}"))
        site.clock.shift += shift
        await tell_what_waits(site.service.core, site.clock.now())
        await site.quiet()
        return [
            mail.data.partition(b"Subject: ")[2].partition(b"\r\n")[0] for mail in site.sink.to("chair@example.org")
        ]

    first, *more = await told(1, 0)
    assert more == []
    assert await told(2, 30) == [first]
    site.clock.shift += 3700
    assert await told(3, 3650) == [first, b"pmo: 2 posts wait for you"]
    site.clock.shift += 3700
    assert len(await told(4, 0)) == 3
    site.clock.shift += 3700
    assert len(await told(5, 0)) == 4


QP = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
MIXED = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
FOOTER = f"{'_' * 47}\r\nlab mailing list\r\nlab@example.net\r\n"
TWICE = {
    "as it was": (TEXT, "Budget"),
    "in another encoding": (TEXT.replace("or all", "or=20=\r\nall"), "Budget", QP),
    "with a footer as a part of its own": (f"--b\r\n\r\n{TEXT}\r\n--b\r\n\r\n{FOOTER}--b--\r\n", "Budget", MIXED),
    "quoted": (f"> {TEXT}", "Re: Budget"),
    "broken into lines": (TEXT.replace(" or all", "\r\nor all"), "Budget"),
    "under another list's tag": (TEXT, "Re: [lab] Budget"),
    "with a footer": (TEXT + FOOTER, "[lab] Re: Budget"),
    "with a signature": (f"{TEXT}\r\n-- \r\nlab mailing list\r\n", "Budget"),
}


@pytest.mark.parametrize("name", TWICE)
async def test_a_text_that_comes_again_within_a_day_is_refused(site: Site, name: str) -> None:
    await site.cli("list", "set", "pmo", "posting=anyone")
    body, subject, *fields = TWICE[name]
    first = letter("ada@example.org", 1, subject="Budget", body=TEXT)
    assert (await site.send("ada@example.org", [PMO], first)).startswith("250")
    again = letter("lab@example.net", 2, subject=subject, body=body, fields="".join(fields))
    answer = await site.send("lab-bounces@example.net", [PMO], again)
    assert answer.startswith("550 5.4.6 This list has just had the same text")
    site.clock.shift += 86401
    assert (await site.send("lab-bounces@example.net", [PMO], again)).startswith("250")


async def test_whoever_sends_one_text_twice_means_it_twice(site: Site) -> None:
    await site.cli("list", "set", "pmo", "posting=anyone")
    for number in range(20):
        mail = letter("monitor@example.org", number, subject="Disk", body=TEXT)
        assert (await site.send("monitor@example.org", [PMO], mail)).startswith("250")


async def test_a_short_text_that_another_server_brings_again_and_again_is_held(site: Site) -> None:
    await site.cli("list", "set", "pmo", "posting=anyone")
    answers = [
        await site.send("lab-bounces@example.net", [PMO], letter("lab@example.net", number, body="Yes.\r\n"))
        for number in range(10)
    ]
    assert ["Taken" in answer for answer in answers] == [True] * 6 + [False] * 4


@pytest.mark.parametrize(
    "fields",
    [
        "In-Reply-To: <0@x.example.org>\r\n",  # a series: each answers the first, by the same author
        "Date: Sat, 22 Nov 2025 14:05:00 +0000\r\nIn-Reply-To: <9@y.example.org>\r\n",  # an archive, posted again
        "",
    ],
)
async def test_many_posts_that_answer_nobody_else_just_now_are_no_storm(site: Site, fields: str) -> None:
    await site.cli("list", "set", "pmo", "posting=anyone")
    for number in range(12):
        mail = letter("ada@example.org", number, body=f"{number} {TEXT}", fields=fields if number else "")
        assert "Taken" in await site.send("ada@example.org", [PMO], mail)


@pytest.mark.parametrize(
    ("body", "subject"),
    [("Thank you, me too!\r\n", "Budget"), (TEXT, "Another subject"), (TEXT + "I mean it.\r\n", "Budget")],
)
async def test_what_two_people_may_well_say_is_no_loop(site: Site, body: str, subject: str) -> None:
    await site.cli("list", "set", "pmo", "posting=anyone")
    for number, title in enumerate(["Budget", subject]):
        text = body if number or len(body) < 40 else TEXT
        mail = letter(f"{number}@example.org", number, subject=title, body=text)
        assert (await site.send("x@example.org", [PMO], mail)).startswith("250")


async def test_the_same_words_with_another_file_are_another_post(site: Site) -> None:
    await site.cli("list", "set", "pmo", "posting=anyone")
    kind = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    for number, file in enumerate(["minutes-1.txt", "minutes-2.txt"]):
        part = f'Content-Type: text/plain\r\nContent-Disposition: attachment; filename="{file}"\r\n\r\nA.\r\n'
        body = f"--b\r\n\r\n{TEXT}--b\r\n{part}--b--\r\n"
        mail = letter("ada@example.org", number, body=body, fields=kind)
        assert (await site.send("ada@example.org", [PMO], mail)).startswith("250")


async def test_a_refused_text_may_come_again_and_the_same_mail_is_taken_twice_as_ever(site: Site) -> None:
    mail = letter("ada@example.org", 1, body=TEXT)
    assert (await site.send("ada@example.org", [PMO], mail)).startswith("550")
    await site.cli("member", "add", "pmo", "ada@example.org", "--no-welcome")
    for _ in range(2):
        assert (await site.send("ada@example.org", [PMO], mail)).startswith("250")


async def test_who_answers_very_much_goes_on_after_a_pause_and_others_do_not_wait(tmp_path: Path) -> None:
    async with running_site(tmp_path, limits_answers_per_ten_minutes="5") as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")

        async def post(sender: str, number: int) -> str:
            mail = letter(sender, number, subject="Re: Budget", body=f"Yes, {number}.\r\n")
            return await site.send(sender, [PMO], mail)

        answers = [await post("ada@example.org", number) for number in range(20)]
        assert ["Taken" in answer for answer in answers] == [True] * 5 + [False] * 15
        assert "moderator" in answers[-1]
        assert "Taken" in await post("bob@example.org", 50)
        site.clock.shift += 300
        assert "Taken" in await post("ada@example.org", 60)
        await site.quiet()
        assert len(site.sink.to("ada@example.org")) == 1


def test_a_pace_is_kept_by_whoever_goes_slowly_and_survives_a_clock_that_goes_back(tx: Tx) -> None:
    def ok(now: float) -> bool:
        return intake.pace(tx, "x", b"y", now, most=5, seconds=600)

    assert all(ok(1000 + 120 * step) for step in range(50))
    assert [ok(20_000) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not ok(20_100)
    assert ok(20_400)
    assert not ok(10_000)
    assert ok(10_300)


@pytest.mark.parametrize(
    ("peer", "clients", "network"),
    [
        ("192.0.2.7", ["198.51.100.7"], "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", [], "2001:db8:1:2::/64"),
        ("127.0.0.1", [], ""),
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.0/24"),
        ("::1", ["IPv6:2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        ("10.1.2.3", ["192.168.1.1", "192.0.2.7", "198.51.100.7"], "192.0.2.0/24"),
        ("127.0.0.1", ["no address", "192.0.2.7"], ""),
        ("127.0.0.1", ["::::", "192.0.2.7"], ""),
        ("fe80::1%eth0", ["192.0.2.7"], "192.0.2.0/24"),
        ("", ["192.0.2.7"], ""),
    ],
)
def test_the_network_is_that_of_the_first_client_from_outside(peer: str, clients: list[str], network: str) -> None:
    mail = "".join(map(came_by, clients)).replace("[no address]", "by uid 1000") + "Subject: x\r\n\r\n"
    assert origin.network(message.parse(mail.encode()), peer) == network
