"""Mails that hypothesis makes out of good ones: cut, spliced, repeated and altered, a step at a time.

They go to the intake itself. Whatever they are, they are taken, refused with a reason, or (never
here) deferred; and what was taken can be sent on, read in a digest, and has a footer put under it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailforum import config
from mailforum.core import Core, open_core
from mailforum.delivery.mailings import Preparer
from mailforum.delivery.render import Texts
from mailforum.errors import Refused
from mailforum.forum import digests, members
from mailforum.mail.message import normalise
from mailforum.model import Envelope, Kind, Mailing, MailingList, Mode, Outcome, Role, State, Status
from mailforum.settings import ListSettings
from mailforum.store import intake, lists, queue
from mailforum.store.database import Tx
from tests.hostile.nasty import table
from tests.support.mails import AUTHOR, ordinary
from tests.support.site import DOMAIN, write_config

T = TypeVar("T")

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", 200))
GOOD = [
    mail for mail in (*ordinary().values(), *(nasty.data for nasty in table() if nasty.taken)) if len(mail) < 20_000
]
SPECIAL = (
    b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"\r\n ", b":", b";", b'"', b"<", b">", b"@", b",", b"(", b")", b"\\",
    b"=?utf-8?q?", b"?=", b"--", b"\r\n--b\r\n", b"\r\n--b--\r\n", b"\r\n.\r\n", b"\xff", b"\xc3", b"%00", b"=",
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"From: eve@example.com\r\n", b"boundary", b"charset=utf-16", b"> ", b"{{", b"<script>",
    "\u202e".encode(), b"List-Id: <pmo>", b"Re: ", b"[pmo]",
)  # fmt: skip
ROLES = ("", "", "", "", "-owner", "-request", "-join", "-leave", "-confirm+x", "-bounces+a=b.c", "-help", "+r.aaaa")
REFUSALS = ("550 5.1.1", "550 5.4.6", "550 5.6.0", "550 5.7.1", "552 5.3.4", "553 5.1.3", "553 5.7.1")


@st.composite
def garbage(draw: st.DrawFn) -> bytes:
    """A good mail after one to eight accidents."""
    mail = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 8))):
        mail = draw(st.sampled_from(ACCIDENTS))(draw, mail)
    return mail[:200_000]


def _insert(draw: st.DrawFn, mail: bytes) -> bytes:
    at = draw(st.integers(0, len(mail)))
    return mail[:at] + draw(st.sampled_from(SPECIAL)) * draw(st.sampled_from([1, 1, 2, 300])) + mail[at:]


def _alter(draw: st.DrawFn, mail: bytes) -> bytes:
    at = draw(st.integers(0, len(mail)))
    return mail[:at] + draw(st.binary(min_size=1, max_size=4)) + mail[at + 1 :]


def _cut(draw: st.DrawFn, mail: bytes) -> bytes:
    at = draw(st.integers(0, len(mail)))
    return mail[:at] + mail[at + draw(st.integers(1, 200)) :]


def _cut_off(draw: st.DrawFn, mail: bytes) -> bytes:
    return mail[: draw(st.integers(0, len(mail)))]


def _lines(draw: st.DrawFn, mail: bytes) -> bytes:
    """Double, drop or move a line."""
    lines = mail.split(b"\r\n")
    line = lines[at := draw(st.integers(0, len(lines) - 1))]
    what = draw(st.sampled_from(["double", "drop", "move"]))
    if what != "double":
        del lines[at]
    if what != "drop":
        lines.insert(draw(st.integers(0, len(lines))), line)
    return b"\r\n".join(lines)


def _splice(draw: st.DrawFn, mail: bytes) -> bytes:
    other = draw(st.sampled_from(GOOD))
    return mail[: draw(st.integers(0, len(mail)))] + other[draw(st.integers(0, len(other))) :]


ACCIDENTS: tuple[Callable[[st.DrawFn, bytes], bytes], ...] = (_insert, _alter, _cut, _cut_off, _lines, _lines, _splice)


class Forum:
    """A core with two lists, on an event loop of its own: hypothesis knows no async tests."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        options = config.load(write_config(folder, "smtp://127.0.0.1:1"), {})
        self.core: Core = self.run(self.stack.enter_async_context(open_core(options)))
        self.preparer = Preparer(self.core.site, Texts([]), lambda domain: ())
        self.run(self.core.db.write(self._set_up))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.loop.close()

    def _set_up(self, tx: Tx) -> None:
        now = self.core.clock.now()
        plain, changing = ListSettings(posting="anyone"), ListSettings(posting="anyone", prefix="[x]", footer=True)
        for name, options in (("pmo", plain), ("dev", changing)):
            lists.add(tx, f"{name}@{DOMAIN}", name, options, now)
            mlist = self._list(tx, name)
            members.add(tx, mlist, AUTHOR, now, welcome=False)
            members.add(tx, mlist, "bob@example.com", now, role=Role.OWNER, welcome=False)
            members.add(tx, mlist, "dora@example.com", now, mode=Mode.DIGEST, welcome=False)

    def _list(self, tx: Tx, name: str) -> MailingList:
        mlist = lists.by_address(tx, f"{name}@{DOMAIN}")
        assert mlist is not None
        return mlist

    async def receive(self, raw: bytes, mail_from: str, role: str) -> tuple[Outcome, ...]:
        """Take a mail in for both lists; where the intake refuses it whole, each has that for an outcome."""
        rcpts = [f"{name}{role}@{DOMAIN}" for name in ("pmo", "dev")]
        routes = [await self.core.intake.route(rcpt) for rcpt in rcpts]
        try:
            return await self.core.intake.receive(Envelope(mail_from, tuple(routes), lmtp=True), raw)
        except Refused as refused:
            return tuple(Outcome(rcpt, refused.code, refused.enhanced, refused.text) for rcpt in rcpts)

    async def send(self) -> list[tuple[Mailing, bytes]]:
        """Make every mail that waits to be sent, and digests of what is new."""
        return await self.core.db.write(self._send)

    def _send(self, tx: Tx) -> list[tuple[Mailing, bytes]]:
        now = self.core.clock.now()
        for name in ("pmo", "dev"):
            digests.cut(tx, self._list(tx, name), now)
        made = []
        for due in queue.take(tx, now + 1, {}, 1000).due:
            prepared = self.preparer.prepare(tx, due.mailing_id)
            made.append((prepared.mailing, prepared.own(due) + prepared.content.data))
            queue.settle(tx, [queue.Mark(0, [(due, Status(State.SENT, "2.0.0", "ok"), now)])], now)
        return made


@pytest.fixture(scope="module")
def forum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forum]:
    forum = Forum(tmp_path_factory.mktemp("garbage"))
    yield forum
    forum.close()


@settings(max_examples=EXAMPLES)
@example(raw=b"List-Id: <pmo>To:", mail_from=AUTHOR, role="-owner")
@given(raw=garbage(), mail_from=st.sampled_from((AUTHOR, AUTHOR, "")), role=st.sampled_from(ROLES))
def test_garbage_is_taken_or_refused_and_what_is_taken_can_be_sent(
    forum: Forum, raw: bytes, mail_from: str, role: str
) -> None:
    outcomes = forum.run(forum.receive(raw, mail_from, role))
    answers = {f"{outcome.code} {outcome.enhanced}" for outcome in outcomes}
    assert answers <= {"250 2.0.0", *REFUSALS}
    assert forum.run(forum.core.db.read(intake.shunts)) == []
    for mailing, data in forum.run(forum.send()):
        head, blank, body = data.partition(b"\r\n\r\n")
        assert blank
        assert data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n")
        if mailing.kind is not Kind.FORWARD:  # that has what its author put there
            assert len(re.findall(rb"(?im)^list-id:", head)) == (mailing.kind in (Kind.POST, Kind.DIGEST))
        if mailing.kind is Kind.POST and mailing.mail_from.startswith("pmo"):
            assert normalise(raw).endswith(body)
        if mailing.kind is Kind.DIGEST:
            assert b"<script>" not in data.partition(b"text/html")[2]
