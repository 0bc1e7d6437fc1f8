"""What the games have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailforum.model import MailingList
from mailforum.store import intake
from mailforum.store.database import Tx
from tests.races.hosts import Hosts

DAY = 86400.0
SENT = "FROM delivery JOIN mailing ON mailing.id = mailing_id WHERE list_id = %s"


def letter(name: str, *answers: str, to: str = "pmo@lists.example.test", text: str = "", sender: str = "ada") -> bytes:
    """Write a mail called `name` that says it answers others."""
    known = "".join(f" <{one}@example.org>" for one in reversed(answers))
    more = f"In-Reply-To: <{answers[0]}@example.org>\nReferences:{known}\n" if answers else ""
    head = f"From: {sender}@example.org\nTo: {to}\nSubject: Race\nMessage-ID: <{name}@example.org>\n{more}"
    return f"{head}\nSomething about {name} {text}\n".replace("\n", "\r\n").encode()


def taken(results: Sequence[Any]) -> list[str]:
    """Return what became of mails; all of them were taken."""
    outcomes = [outcome for result in results if isinstance(result, list) for outcome in result]
    assert all(isinstance(result, list) for result in results), results
    assert all(outcome.code == 250 for outcome in outcomes), outcomes
    return sorted(outcome.what for outcome in outcomes)


async def texts(hosts: Hosts, mlist: MailingList, template: str) -> int:
    """How many deliveries of a text are queued for a list."""
    return await hosts.count(f"SELECT count(*) {SENT} AND template = %s", mlist.id, template)


async def posts_of(hosts: Hosts, mlist: MailingList) -> int:
    return await hosts.count("SELECT count(*) FROM post WHERE list_id = %s", mlist.id)


async def held(hosts: Hosts, mlist: MailingList, age: float = 0.0) -> int:
    """Have a post wait for a moderator; return its number."""

    def hold(tx: Tx) -> int:
        what = {"mail_from": "eve@example.org", "from_address": "eve@example.org", "subject": "Held", "under": ""}
        named = {"message_id": "<held@example.org>", "reason": "not a member", "raw": letter("held")}
        return intake.hold(tx, mlist.id, now=hosts.now - age, **what, **named)  # type: ignore[arg-type]

    return await hosts.one.db.write(hold)
