"""One id from the session a mail came in to each delivery that it caused."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailforum import ids, log
from mailforum.chores import send_due_digests
from tests.support.sink import Sink
from tests.support.site import Site, running_site

PMO = "pmo@lists.example.test"


class Lines:
    """What was logged, as objects."""

    def __init__(self) -> None:
        self.out = io.StringIO()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.out.getvalue().splitlines()) if line.get("event") == event]

    def mails(self, event: str) -> set[str]:
        return {line.get("mail", "") for line in self.of(event)}


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Have the log written as JSON, as `[site] log_format` does."""
    found, before = Lines(), (log.logger.handlers[:], log.logger.level)
    log.logger.handlers[:] = [logging.StreamHandler(found.out)]
    log.use("info", "json")
    yield found
    log.logger.handlers[:] = before[0]
    log.logger.setLevel(before[1])


async def pmo(site: Site, *settings: str) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "set", "pmo", "posting=anyone", *settings)
    await site.cli("member", "add", "pmo", "bob@example.com", "kim@example.com", "--no-welcome")
    await site.cli("member", "add", "pmo", "eve@example.com", "--mode", "digest", "--no-welcome")


def mail(number: int = 1, text: str = "Hello") -> bytes:
    return f"From: ada@example.org\r\nMessage-ID: <{number}@example.org>\r\n\r\n{text}\r\n".encode()


async def test_a_post_its_refused_recipient_and_all_its_deliveries_have_one_id(tmp_path: Path, lines: Lines) -> None:
    async with running_site(tmp_path, Sink(rcpt={"kim@example.com": "450 4.2.0 later"}.get)) as site:
        await pmo(site)
        dialogue = (
            b"EHLO client.example.org\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<nobody@lists.example.test>\r\n"
            b"RCPT TO:<%s>\r\nDATA\r\n%s.\r\nQUIT\r\n"
        )
        assert b"250 2.0.0 Taken as #1.1" in await site.raw(dialogue % (PMO.encode(), mail()))
        await site.quiet()
    (one,) = lines.mails("received")
    assert ids.is_id(one)
    for event in ("refused", "handled", "sent", "deferred"):
        assert lines.mails(event) == {one}, event
    assert [line["rcpt"] for line in lines.of("sent")] == ["bob@example.com"]


async def test_two_mails_of_one_session_have_two_ids_and_answers_that_of_their_question(
    tmp_path: Path, lines: Lines
) -> None:
    async with running_site(tmp_path) as site:
        await pmo(site)
        await site.send("ada@example.org", ["pmo-request@lists.example.test"], mail(1, "help"))
        await site.send("ada@example.org", ["pmo-join@lists.example.test"], mail(2))
        await site.quiet()
    asked = [line["mail"] for line in lines.of("received")]
    assert len(set(asked)) == 2
    assert lines.mails("sent") == set(asked)


async def test_a_held_post_keeps_its_id_through_the_moderators_hands(tmp_path: Path, lines: Lines) -> None:
    async with running_site(tmp_path) as site:
        await pmo(site, "moderated=on")
        await site.send("bob@example.com", [PMO], mail().replace(b"ada@example.org", b"bob@example.com"))
        await site.cli("held", "approve", "1")
        await site.sink.wait(3)
        await site.quiet()
    (one,) = lines.mails("received")
    assert lines.mails("sent") == {one}
    assert {line["rcpt"] for line in lines.of("sent")} >= {"bob@example.com", "kim@example.com"}


async def test_what_the_clock_makes_has_an_id_of_its_own(tmp_path: Path, lines: Lines) -> None:
    async with running_site(tmp_path) as site:
        await pmo(site)
        await site.send("ada@example.org", [PMO], mail())
        await site.quiet()
        site.clock.shift += 86400
        await send_due_digests(site.service.core, site.clock.now())
        await site.sink.wait(3)
        await site.quiet()
        digest = lines.of("digest")[0]["mail"]
        assert [line["mail"] for line in lines.of("sent") if line["rcpt"] == "eve@example.com"] == [digest]
        assert digest not in lines.mails("received")
        told = (await site.cli("trace", digest, "--json")).out
    assert "digest to 1 recipient" in told


async def test_a_crash_names_the_mail_that_may_be_sent_twice(tmp_path: Path, lines: Lines) -> None:
    async with running_site(tmp_path, Sink(rcpt="450 4.2.0 later")) as site:
        await pmo(site)
        await site.send("ada@example.org", [PMO], mail())
        await site.quiet()
        flying = lines.of("deferred")[0]["delivery"]
        db = site.service.core.db
        await db.write(lambda tx: tx.run("queue.take_off", flying=f'{{"0": [{flying}]}}'))
    async with running_site(tmp_path):
        pass
    assert lines.mails("uncertain") == lines.mails("received")
