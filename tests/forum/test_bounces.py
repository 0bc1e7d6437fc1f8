"""Mail that comes back: what proves whom it is about, what it counts, and what the clock makes of it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from mailforum import config
from mailforum.chores import keep_bounces
from mailforum.core import Core, open_core
from mailforum.forum import bounces, members
from mailforum.mail import address, verp
from mailforum.model import (
    Envelope,
    Failing,
    ListSettings,
    MailingList,
    Member,
    MemberStatus,
    Mode,
    Outcome,
    Role,
    State,
    Status,
)
from mailforum.store import bounces as rows
from mailforum.store import lists, queue, upkeep
from tests.support.clock import ShiftedClock
from tests.support.site import write_config

LIST = "pmo@lists.example.test"
GONE = "550 5.1.1 User unknown"
FULL = "552 5.2.2 Mailbox is full"
DSN = """From: MAILER-DAEMON@mx.example.com
Subject: Undelivered Mail Returned to Sender
Message-ID: <{n}@mx.example.com>
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Final-Recipient: rfc822; {rcpt}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {reply}

--b
Content-Type: message/rfc822

{returned}
Subject: Minutes

--b--
"""


@dataclass
class Office:
    """A database with one list, mail that comes in, and a clock."""

    core: Core
    clock: ShiftedClock
    mlist: MailingList
    sent: int = 0

    @classmethod
    async def open(cls, core: Core, clock: ShiftedClock, settings: ListSettings) -> Office:
        list_id = await core.db.write(lambda tx: lists.add(tx, LIST, "PMO", settings, clock.now()))
        mlist = await core.db.read(lambda tx: lists.by_id(tx, list_id or 0))
        assert mlist
        office = cls(core, clock, mlist)
        await office.join("chair@example.org", role=Role.OWNER)
        return office

    async def join(self, *addresses: str, role: Role = Role.MEMBER) -> Member:
        """Make them members; return the last."""
        for to in addresses:
            await self.core.db.write(
                lambda tx, to=to: members.add(tx, self.mlist, to, self.clock.now(), role=role, welcome=False)
            )
        return await self.member(addresses[-1])

    async def member(self, to: str) -> Member:
        found = await self.core.db.read(lambda tx: lists.member(tx, self.mlist.id, address.key(to)))
        assert found
        return found

    async def failing(self, to: str) -> Failing | None:
        member = await self.member(to)
        return await self.core.db.read(lambda tx: rows.failing(tx, member.id))

    async def points(self, to: str) -> int:
        failing = await self.failing(to)
        return failing.points if failing else 0

    def path(self, to: str) -> str:
        """The return path of mail sent to `to` now."""
        return verp.paths(self.core.site.signer, self.mlist.sub("bounces"), self.clock.now())(to, None)

    async def receive(self, rcpt: str, text: str, mail_from: str = "") -> Outcome:
        route = await self.core.intake.route(rcpt)
        raw = text.replace("\n", "\r\n").encode()
        (outcome,) = await self.core.intake.receive(Envelope(mail_from, (route,)), raw)
        return outcome

    async def report(
        self,
        rcpt: str,
        about: str = "bob@example.com",
        reply: str = GONE,
        *,
        action: str = "failed",
        returned: str = "",
    ) -> str:
        """Have a report come in; return what was made of it."""
        self.sent += 1
        status = reply.split()[1]
        returned = returned or f"X-Number: {self.sent}"
        text = DSN.format(n=self.sent, rcpt=about, action=action, status=status, reply=reply, returned=returned)
        return (await self.receive(rcpt, text)).what

    async def fail(self, to: str, reply: str = GONE, *, mailing: int = 0, state: State = State.FAILED) -> None:
        """Let the next hop refuse mail to a member, as the worker sees it."""
        member, now = await self.member(to), self.clock.now()
        status = Status(state, reply.split()[1], reply)
        await self.core.db.write(lambda tx: bounces.failed(tx, member.id, mailing, status, now))

    async def tick(self, days: float = 0.0) -> None:
        """Let some days pass, and the clock do what is due."""
        self.clock.shift += days * 86400
        await keep_bounces(self.core, self.clock.now())

    async def texts(self, to: str = "") -> list[str]:
        """Which texts have been queued, to one address or to all."""
        found = await self.core.db.read(queue.deliveries)
        mailings = [
            await self.core.db.read(lambda tx, d=d: queue.mailing(tx, d.mailing_id)) for d in found if to in d.rcpt
        ]
        return [mailing.template for mailing in mailings if mailing]


@pytest.fixture
async def core(store: str, tmp_path: Path) -> AsyncIterator[tuple[Core, ShiftedClock]]:
    clock = ShiftedClock()
    file = write_config(tmp_path, "maildir:outbox", store_url=f'"{store}"')
    async with open_core(config.load(file, {}), clock) as opened:
        yield opened, clock


@pytest.fixture
async def office(core: tuple[Core, ShiftedClock]) -> Office:
    opened = await Office.open(*core, ListSettings())
    await opened.join("bob@example.com")
    return opened


# -- what proves whom it is about


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path,
        str.upper,
        lambda path: path.replace("+", ""),
        lambda path: path.replace("+", "-"),
        lambda path: path.replace("+", "%2b"),
        lambda path: path.replace("=", "=3D"),
        lambda path: path.replace("=", "%3d").replace("+", "%2B"),
        lambda path: '"' + path.replace("@", '"@'),
    ],
    ids=["whole", "upper case", "no plus", "minus", "percent", "quoted-printable", "url", "quoted"],
)
async def test_a_damaged_return_path_is_understood(office: Office, damage) -> None:  # type: ignore[no-untyped-def]
    assert await office.report(damage(office.path("bob@example.com"))) == "bounce for bob@example.com: hard"
    assert await office.points("bob@example.com") == 2


@pytest.mark.parametrize(
    "change", [("bob", "chair"), ("example.com=", "example.com=0"), ("=example.com", "=example.net")]
)
async def test_a_forged_return_path_counts_for_nothing(office: Office, change: tuple[str, str]) -> None:
    forged = office.path("bob@example.com").replace(*change)
    assert (await office.report(forged)).startswith("unproven bounce")
    assert await office.failing("bob@example.com") is None


async def test_a_return_path_of_long_ago_counts_for_nothing(office: Office) -> None:
    old = office.path("bob@example.com")
    office.clock.shift += 30 * 86400
    assert (await office.report(old)).endswith("hard")
    office.clock.shift += 16 * 86400
    assert (await office.report(old)).startswith("unproven")


async def test_without_a_mark_nothing_counts_and_only_so_much_is_written_down(office: Office) -> None:
    plain = f"pmo-bounces+bob=example.com@{office.mlist.domain}"
    for _ in range(bounces.UNPROVEN_PER_DAY + 20):
        assert await office.report(plain) == "unproven bounce for bob@example.com"
    assert await office.failing("bob@example.com") is None
    counts = await office.core.db.read(lambda tx: rows.counts(tx, office.mlist.id, 0, 1e12))
    assert counts["unproven"][0] == bounces.UNPROVEN_PER_DAY


async def test_an_address_too_long_for_the_return_path_is_proven_by_a_token(office: Office) -> None:
    member = await office.join("x" * 60 + "@example.com")
    paths = verp.paths(office.core.site.signer, office.mlist.sub("bounces"), office.clock.now())
    assert (await office.report(paths(member.address, member.id))).endswith("hard")
    assert await office.points(member.address) == 2


async def test_the_way_out_in_the_returned_mail_is_a_proof_too(office: Office) -> None:
    bob = await office.member("bob@example.com")
    token = members.leave_token(office.core.site.signer, office.mlist, bob.id, bob.key)
    plain, field = office.mlist.sub("bounces"), "List-Unsubscribe: <mailto:pmo-leave+{}@lists.example.test>"
    assert (await office.report(plain, returned=field.format(token))).endswith("hard")
    assert (await office.report(plain, returned=field.format("a" * 26))).startswith("unproven")
    assert (await office.report(plain, returned=f"Return-Path: <{office.path('bob@example.com')}>")).endswith("hard")


async def test_the_return_path_outweighs_what_a_report_says(office: Office) -> None:
    await office.join("eve@example.net")
    await office.report(office.path("bob@example.com"), about="eve@example.net")
    assert await office.points("bob@example.com") == 2
    assert await office.failing("eve@example.net") is None


async def test_a_proof_of_one_list_is_none_at_another(office: Office) -> None:
    await office.core.db.write(lambda tx: lists.add(tx, "lab@lists.example.test", "Lab", ListSettings(), 0.0))
    returned = f"Return-Path: <{office.path('bob@example.com')}>"
    assert (await office.report("lab-bounces@lists.example.test", returned=returned)).startswith("unproven")


# -- what counts


@pytest.mark.parametrize(
    ("reply", "action", "what"),
    [
        ("450 4.4.1 Connection timed out", "delayed", "delayed: bob@example.com"),
        ("250 2.0.0 Ok", "delivered", "delivered: bob@example.com"),
    ],
)
async def test_what_is_late_or_has_arrived_counts_for_nothing(
    office: Office, reply: str, action: str, what: str
) -> None:
    assert await office.report(office.path("bob@example.com"), reply=reply, action=action) == what
    assert await office.failing("bob@example.com") is None


async def test_what_is_said_of_the_mail_never_counts_against_its_reader(office: Office) -> None:
    for day in range(10):
        await office.report(office.path("bob@example.com"), reply="550 5.7.26 DMARC policy of example.org")
        await office.fail("bob@example.com", "554 5.7.1 blocked using zen.spamhaus.example")
        await office.tick(1)
        assert await office.points("bob@example.com") == 0, day
    assert (await office.member("bob@example.com")).status is MemberStatus.ACTIVE
    assert "notice/probe" not in await office.texts()


async def test_what_the_next_hop_refuses_counts_like_a_report(office: Office) -> None:
    await office.fail("bob@example.com")
    assert await office.points("bob@example.com") == 2
    office.clock.shift += 86400
    await office.report(office.path("bob@example.com"))
    assert await office.points("bob@example.com") == 4


@pytest.mark.parametrize("state", [State.SENT, State.DEFERRED])
async def test_what_is_sent_or_tried_again_counts_for_nothing(office: Office, state: State) -> None:
    await office.fail("bob@example.com", state=state)
    assert await office.failing("bob@example.com") is None


async def test_mail_of_a_person_goes_to_the_owners_and_an_out_of_office_reply_nowhere(office: Office) -> None:
    path = office.path("bob@example.com")
    mail = "From: Bob <bob@example.com>\nSubject: {}\nMessage-ID: <{}@example.com>\n\nHello, my mailbox is full.\n"
    told = await office.receive(path, mail.format("Please help", "a"), "bob@example.com")
    assert told.what == "forwarded to 1"
    listed = await office.receive(path, "List-Id: <x.example>\n" + mail.format("Hello", "c"), "bob@example.com")
    assert listed.what == "no report: came through another list"
    away = await office.receive(path, mail.format("Out of office", "b"))
    assert away.what == "no report: null sender"
    assert await office.failing("bob@example.com") is None


# -- what the clock does


async def bounce_for_days(office: Office, days: int, reply: str = GONE, to: str = "bob@example.com") -> None:
    for _ in range(days):
        await office.report(office.path(to), about=to, reply=reply)
        await office.tick(1)


async def test_a_dead_address_is_tested_and_then_gets_no_more(office: Office) -> None:
    await bounce_for_days(office, 3)
    failing = await office.failing("bob@example.com")
    assert failing
    assert failing.state == "probing"
    assert await office.texts("bob") == ["notice/probe"]
    await office.report(office.path("bob@example.com"))  # an older mail; it says nothing about the test
    await office.tick()
    assert (await office.member("bob@example.com")).status is MemberStatus.ACTIVE
    probe = await office.core.db.read(lambda tx: queue.mailing(tx, failing.probe))
    assert probe
    await office.report(probe.mail_from)
    await office.tick()
    assert (await office.member("bob@example.com")).status is MemberStatus.BOUNCING
    assert await office.texts("bob") == ["notice/probe", "notice/suspended"]
    await office.report(probe.mail_from)
    await office.tick(30)
    assert await office.texts("bob") == ["notice/probe", "notice/suspended"]


async def test_a_test_that_the_next_hop_refuses_has_come_back_too(office: Office) -> None:
    await bounce_for_days(office, 3)
    failing = await office.failing("bob@example.com")
    assert failing
    await office.fail("bob@example.com", mailing=failing.probe + 1)
    await office.tick()
    assert (await office.member("bob@example.com")).status is MemberStatus.ACTIVE
    await office.fail("bob@example.com", mailing=failing.probe)
    await office.tick()
    assert (await office.member("bob@example.com")).status is MemberStatus.BOUNCING


async def test_nobody_can_say_for_the_address_that_it_came_back(office: Office) -> None:
    await bounce_for_days(office, 3)
    bob = await office.member("bob@example.com")
    forged = office.core.site.signer.make("probe", bob.id, LIST, "1")
    told = await office.report(office.mlist.sub("bounces", forged))
    assert told.startswith("unproven")
    await office.tick()
    assert (await office.member("bob@example.com")).status is MemberStatus.ACTIVE


async def test_when_the_test_does_not_come_back_all_is_forgotten(office: Office) -> None:
    await bounce_for_days(office, 3)
    await office.tick(6)
    assert await office.failing("bob@example.com")
    await office.tick(1.1)
    assert await office.failing("bob@example.com") is None
    assert (await office.member("bob@example.com")).status is MemberStatus.ACTIVE


async def test_a_full_mailbox_gets_time(office: Office) -> None:
    await bounce_for_days(office, 5, FULL)
    assert await office.texts("bob") == []
    await bounce_for_days(office, 1, FULL)
    assert await office.texts("bob") == ["notice/probe"]


async def test_without_a_test_mail_is_stopped_at_once(core: tuple[Core, ShiftedClock]) -> None:
    office = await Office.open(*core, ListSettings(bounce_probe=False))
    await office.join("bob@example.com")
    await bounce_for_days(office, 3)
    assert (await office.member("bob@example.com")).status is MemberStatus.BOUNCING
    assert await office.texts("bob") == ["notice/suspended"]


async def test_with_a_limit_of_zero_nothing_ever_happens(core: tuple[Core, ShiftedClock]) -> None:
    office = await Office.open(*core, ListSettings(bounce_limit=0))
    await office.join("bob@example.com")
    await bounce_for_days(office, 20)
    assert await office.texts("bob") == []


async def test_who_is_added_anew_begins_without_points(office: Office) -> None:
    await bounce_for_days(office, 2)
    bob = await office.member("bob@example.com")
    await office.core.db.write(lambda tx: lists.remove_member(tx, bob.id))
    await office.join("bob@example.com")
    assert await office.failing("bob@example.com") is None


# -- storms


async def storm(office: Office, domain: str, failing: int, members_there: int, reply: str) -> None:
    """Let mail to some members of a domain fail for three days."""
    everybody = [f"m{n}@{domain}" for n in range(members_there)]
    await office.join(*everybody)
    for _ in range(3):
        for to in everybody[:failing]:
            await office.fail(to, reply)
        await office.tick(1 / 24 + 0.001)
        await office.tick(1)


async def test_when_a_third_of_a_provider_fails_in_the_same_words_nobody_is_to_blame(office: Office) -> None:
    await storm(office, "big.example", 12, 30, "550 5.1.1 The account does not exist")
    texts = await office.texts()
    assert texts.count("owner/storm") == 1
    assert "notice/probe" not in texts
    assert await office.points("m0@big.example") < 6


async def test_a_storm_is_seen_before_the_first_is_tested(office: Office) -> None:
    everybody = [f"m{n}@big.example" for n in range(20)]
    await office.join(*everybody)
    for _ in range(3):
        for to in everybody:
            await office.fail(to, "550 5.1.1 The account does not exist")
            await office.tick(1 / 1440)
        await office.tick(1)
    assert "notice/probe" not in await office.texts()


async def test_some_dead_addresses_among_many_are_no_storm(office: Office) -> None:
    await storm(office, "big.example", 12, 60, "550 5.1.1 The account does not exist")
    texts = await office.texts()
    assert "owner/storm" not in texts
    assert texts.count("notice/probe") == 12


async def test_a_policy_is_told_of_once_however_many_domains_it_is_about(office: Office) -> None:
    for n in range(12):
        await office.join(f"a@company{n}.example")
        await office.fail(f"a@company{n}.example", f"550 5.7.515 Access denied, id={n}x")
    await office.tick()
    await office.tick(0.5)
    assert (await office.texts()).count("owner/storm") == 1


async def test_a_policy_counts_against_the_post_that_it_refused(office: Office) -> None:
    await office.join(*[f"a@company{n}.example" for n in range(12)])
    text = "From: chair@example.org\nSubject: Offer\nMessage-ID: <offer@example.org>\n\nBuy.\n"
    await office.receive(LIST, text, "chair@example.org")
    deliveries = await office.core.db.read(queue.deliveries)
    for n in range(12):
        await office.fail(f"a@company{n}.example", "554 5.7.1 spam", mailing=deliveries[0].mailing_id)
    await office.tick()
    found = [d for d in await office.core.db.read(queue.deliveries) if d.rcpt == "chair@example.org"]
    storm = await office.core.db.read(lambda tx: queue.mailing(tx, found[-1].mailing_id))
    assert storm
    assert storm.values["posts"] == [["1.1", "Offer", "chair@example.org", 12]]


async def test_a_few_refusals_are_no_storm(office: Office) -> None:
    for n in range(9):
        await office.join(f"a@company{n}.example")
        for _ in range(5):  # the same member many times is one member
            await office.fail(f"a@company{n}.example", "550 5.7.1 policy")
    await office.tick()
    assert "owner/storm" not in await office.texts()


# -- coming back


async def suspended(office: Office) -> Member:
    await bounce_for_days(office, 3)
    failing = await office.failing("bob@example.com")
    assert failing
    await office.fail("bob@example.com", mailing=failing.probe)
    await office.tick()
    return await office.member("bob@example.com")


async def confirm_last(office: Office, to: str) -> str:
    """Answer the newest question mailed to `to`."""
    found = [d for d in await office.core.db.read(queue.deliveries) if d.rcpt == to]
    mailing = await office.core.db.read(lambda tx: queue.mailing(tx, found[-1].mailing_id))
    assert mailing
    text = f"From: {to}\nSubject: Re: x\nMessage-ID: <{found[-1].id}@example.com>\n\n"
    return (await office.receive(mailing.reply_to, text, to)).what


async def test_a_reply_brings_mail_back_and_a_second_does_no_harm(office: Office) -> None:
    assert (await suspended(office)).status is MemberStatus.BOUNCING
    office.clock.shift += 300 * 86400
    assert await confirm_last(office, "bob@example.com") == "returned"
    assert (await office.member("bob@example.com")).status is MemberStatus.ACTIVE
    assert await office.failing("bob@example.com") is None


async def test_any_answer_with_a_proof_brings_mail_back(office: Office) -> None:
    await suspended(office)
    await office.receive(
        "pmo-request@lists.example.test", "From: bob@example.com\nSubject: set digest\n\n", "bob@example.com"
    )
    assert await confirm_last(office, "bob@example.com") == "set digest"
    bob = await office.member("bob@example.com")
    assert (bob.status, bob.mode) == (MemberStatus.ACTIVE, Mode.DIGEST)


async def test_who_wants_to_join_but_gets_no_mail_is_told_how_to_return_once_a_day(office: Office) -> None:
    await suspended(office)
    before = len(await office.texts("bob"))
    for n in range(3):
        text = f"From: bob@example.com\nMessage-ID: <j{n}@example.com>\n\n"
        await office.receive("pmo-join@lists.example.test", text, "bob@example.com")
    assert (await office.texts("bob"))[before:] == ["notice/suspended"]


async def test_whom_an_admin_has_suspended_nothing_brings_back(office: Office) -> None:
    from mailforum.forum import admin

    bob = await suspended(office)
    await office.core.db.write(lambda tx: admin.change_member(tx, bob, ["status=suspended"]))
    assert await confirm_last(office, "bob@example.com") == "returned"
    assert (await office.member("bob@example.com")).status is MemberStatus.SUSPENDED


# -- what the owners hear, and what is forgotten


async def test_owners_hear_once_a_day_at_most(office: Office) -> None:
    for _ in range(8):
        await office.report(office.path("bob@example.com"))
        await office.report("pmo-bounces@lists.example.test")
        await office.tick(0.25)
    assert (await office.texts("chair")).count("owner/bounces") <= 2


async def test_full_mailboxes_and_late_mail_are_nothing_to_tell(office: Office) -> None:
    await office.report(office.path("bob@example.com"), reply=FULL)
    await office.report(office.path("bob@example.com"), reply="450 4.4.1 later", action="delayed")
    await office.tick(3)
    assert await office.texts() == []


async def test_what_is_old_is_forgotten(office: Office) -> None:
    await office.report(office.path("bob@example.com"))
    await office.tick(200)
    keep, now = office.core.config.store, office.clock.now()
    for name, step, _ in upkeep.steps(keep, 0.0, now):
        if name in ("bounces", "failing", "storms"):
            await office.core.db.write(lambda tx, step=step: step(0, tx))
    assert await office.failing("bob@example.com") is None
    assert await office.core.db.read(lambda tx: rows.counts(tx, office.mlist.id, 0, 1e12)) == {}


async def test_a_quiet_tick_writes_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office.core.db, "write", None)
    await office.tick(1)


# -- the second opinion

STRANGE = "From: postmaster@odd.example\nSubject: {}\nMessage-ID: <{}@odd.example>\n\nzzz bob@example.com zzz\n"


async def test_a_second_opinion_that_fails_is_none(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ModuleType("flufl.bounce")

    def all_failures(_: object) -> object:
        raise KeyError("broken")

    broken.all_failures = all_failures  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flufl", ModuleType("flufl"))
    monkeypatch.setitem(sys.modules, "flufl.bounce", broken)
    told = await office.receive(office.path("bob@example.com"), STRANGE.format("Zzz", 1))
    assert told.what == "no report: null sender"


async def test_a_second_opinion_counts_little(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    sure = ModuleType("flufl.bounce")
    sure.all_failures = lambda _: (set(), {b"bob@example.com"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flufl", ModuleType("flufl"))
    monkeypatch.setitem(sys.modules, "flufl.bounce", sure)
    told = await office.receive(office.path("bob@example.com"), STRANGE.format("Zzz", 1))
    assert told.what == "bounce for bob@example.com: soft"
    away = await office.receive(office.path("bob@example.com"), STRANGE.format("Out of office", 2))
    assert away.what == "no report: null sender"


async def test_the_second_opinion_knows_a_form_that_we_do_not(office: Office) -> None:
    pytest.importorskip("flufl.bounce")
    text = """From: MAILER-DAEMON@usa.example
Subject: Processing Error
Message-ID: <o@usa.example>

Intended recipient: bob@example.com

The following mail has been returned because it encountered an error
while being processed.  Please try to resend this message.
"""
    told = await office.receive(office.path("bob@example.com"), text)
    assert told.what == "bounce for bob@example.com: soft"
