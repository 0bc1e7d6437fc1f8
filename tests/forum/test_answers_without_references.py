"""Answers whose header names nothing: Outlook's index, and our footer in the text, through the whole server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailforum.mail import message, thread_index
from mailforum.mail.message import Message
from mailforum.store import posts
from tests.support import author
from tests.support.sink import Mail
from tests.support.site import DOMAIN, Site, running_site

LIST = f"pmo@{DOMAIN}"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone", "footer=on")
        await site.cli("member", "add", "pmo", "bob@example.com", "--no-welcome")
        yield site


def mail(name: str, subject: str, *fields: str, text: str = "text") -> bytes:
    head = ["From: Ada <ada@example.org>", f"To: {LIST}", f"Subject: {subject}", f"Message-ID: <{name}@example.org>"]
    head.append("Date: Mon, 1 Mar 2021 10:00:00 +0000")
    return "\r\n".join([*head, *fields, "", text, ""]).encode()


async def sent(site: Site, mail: bytes) -> Mail:
    """Post a mail; return what Bob gets."""
    before = len(site.sink.mails)
    assert (await site.send("ada@example.org", [LIST], mail)).startswith("250")
    await site.sink.wait(before + 1)
    return site.sink.mails[before]


async def found(site: Site) -> dict[str, tuple[str | None, str]]:
    of_list = await site.service.core.db.read(lambda tx: posts.of_list(tx, 1))
    return {post.message_id[1:].partition("@")[0]: (post.parent, post.how.label) for post in of_list}


def index(got: Mail) -> str:
    return thread_index.read(read(got).get("Thread-Index"))


def read(got: Mail) -> Message:
    return message.parse(got.data)


async def test_outlook_groups_what_we_send_and_its_answers_find_their_place(site: Site) -> None:
    first = await sent(site, mail("1", "Budget"))
    second = await sent(site, mail("2", "Re: Budget", "In-Reply-To: <1@example.org>"))
    third = await sent(site, mail("3", "AW: Re: Budget", "References: <1@example.org> <2@example.org>"))
    other = await sent(site, mail("4", "Lunch"))
    assert [len(index(one)) // 2 for one in (first, second, third)] == [22, 27, 32]
    assert thread_index.ancestors(index(third)) == [index(second), index(first)]
    assert not index(other).startswith(index(first)[:44])
    assert [read(one).get("Thread-Topic") for one in (first, second, third, other)] == ["Budget"] * 3 + ["Lunch"]

    answer = thread_index.value(index(second) + "0102030405")
    fifth = await sent(site, mail("5", "RE: Budget", f"Thread-Index: {answer}", "Thread-Topic: Budget"))
    assert read(fifth).get("Thread-Index") == answer, "the author's own is sent as it is"
    await sent(site, mail("6", "Re: Budget", "In-Reply-To: <5@example.org>"))
    assert (await found(site))["5"] == ("<2@example.org>", "thread-index")


async def test_a_quoted_footer_says_which_post_is_answered(site: Site) -> None:
    first = await sent(site, mail("1", "Budget"))
    assert f"#1.1  pmo: {LIST}\r\n" in first.data.decode()
    await sent(site, mail("2", "Another budget"))
    text = "Fine.\r\n\r\n" + "".join(
        f"> {line}\r\n" for line in first.data.decode().partition("\r\n\r\n")[2].splitlines()
    )
    await sent(site, mail("3", "Money", text=text))
    assert (await found(site))["3"] == ("<1@example.org>", "text")


async def test_who_answers_a_digest_and_quotes_one_post_answers_that_post(site: Site) -> None:
    await sent(site, mail("1", "Budget"))
    await sent(site, mail("2", "Lunch"))
    digest = f"In-Reply-To: <digest.1.7.pmo@{DOMAIN}>"
    one = "> #1.1  Ada <ada@example.org>\r\n> Mon 1 Mar 2021, 11:00\r\n>\r\n> text\r\n\r\nFine."
    await sent(site, mail("3", "Re: pmo: digest 1, 2 new posts", digest, text=one))
    await sent(
        site, mail("4", "Re: pmo: digest 1, 2 new posts", digest, text=one + "\r\n> #2.1  Ada <ada@example.org>")
    )
    rows = await found(site)
    assert (rows["3"], rows["4"]) == (("<1@example.org>", "text"), (None, ""))


async def test_an_author_who_signed_that_there_is_no_index_gets_none(site: Site) -> None:
    await site.cli("list", "set", "pmo", "footer=off")
    signed = author.sign(mail("1", "Budget"), "rsa", b"relaxed/relaxed", also=[b"thread-index"])
    got = await sent(site, signed)
    assert not read(got).get("Thread-Index")
    assert read(got).get("Thread-Topic") == "Budget"
    assert all(author.verdicts(got.data))
