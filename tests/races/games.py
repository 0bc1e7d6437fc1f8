"""What two hosts may do at the same moment, and how it has to come out."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from random import Random
from typing import Any

from mailforum.archives.source import Mail
from mailforum.core import Core
from mailforum.delivery.hand import Task
from mailforum.delivery.marks import Ended, Marks
from mailforum.delivery.pace import Pace
from mailforum.forum import archive, members, moderation, order, posts
from mailforum.mail import address, verp
from mailforum.model import Due, MailingList, Mode, State, Status
from mailforum.options import DeliveryOptions
from mailforum.store import bounces, intake, queue, upkeep
from mailforum.store import posts as rows
from mailforum.store.database import Tx, caused_by
from mailforum.web import Pages
from tests.races import clocks
from tests.races.acts import DAY, SENT, held, letter, posts_of, taken, texts
from tests.races.hosts import Game, Hosts, take
from tests.support import threading
from tests.support.oracle import by_the_rule

GONE = "550 5.1.1 User unknown"
REPORT = """From: MAILER-DAEMON@mx.example.org
Subject: Undelivered
Message-ID: <{name}@mx.example.org>
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Final-Recipient: rfc822; {to}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b--
"""


# -- threads


async def threads(hosts: Hosts) -> None:
    """Parents and children, the same Message-ID twice, orphans that name each other's ghosts."""
    mlist = await hosts.new_list("ada")
    mails = _discussion(hosts.random)
    half = len(mails) // 2
    imports = hosts.random.random() < 0.3
    other = _imports(hosts.cores[1], mlist, mails[half:]) if imports else _takes(hosts.cores[1], mlist, mails[half:])
    for result in await hosts.at_once(_takes(hosts.one, mlist, mails[:half]), other):
        assert result is None, result
    await hosts.one.db.read(partial(_as_the_rule_says, mlist, len(mails)))


def _discussion(random: Random) -> list[bytes]:
    names = [f"m{number}" for number in range(random.choice((2, 2, 3, 4)))]
    told = [*names, "ghost1", "ghost2"]
    mails = []
    for number in range(len(names)):
        own = random.choice(names) if random.random() < 0.15 else names[number]
        answers = [name for name in random.sample(told, random.randrange(4)) if name != own]
        mails.append(letter(own, *answers, text=f"number {number}"))
    return random.sample(mails, len(mails))


async def _takes(core: Core, mlist: MailingList, mails: Sequence[bytes]) -> None:
    for raw in mails:
        taken([await take(core, "ada@example.org", mlist.address, raw)])


async def _imports(core: Core, mlist: MailingList, mails: Sequence[bytes]) -> None:
    report = await archive.take_in(core.db, mlist, [Mail("archive", raw) for raw in mails], core.clock)
    assert (report.bad, report.mails) == (0, len(mails)), report


def _as_the_rule_says(mlist: MailingList, count: int, tx: Tx) -> None:
    stored = rows.of_list(tx, mlist.id)
    assert len(stored) <= count
    newcomers = []
    for post in stored:
        msg, raw = posts.parse(rows.raw(tx, post.id))
        found, own = posts.evidence_of(mlist, msg, raw), posts.identity(msg, raw, mlist.domain)
        date = order.date(msg.date, post.received_at)
        newcomers.append(posts.introduce(tx, mlist, found, own, post.subject, date, imported=False))
    assert threading.stored(tx, mlist.id, [post.id for post in stored]) == by_the_rule(newcomers)
    assert threading.is_whole(tx, mlist.id)


async def same_mail(hosts: Hosts) -> None:
    """The very same mail comes to both."""
    mlist = await hosts.new_list("ada", "bob", "cleo")
    mails = [take(core, "ada@example.org", mlist.address, letter("same")) for core in hosts.cores]
    assert taken(await hosts.at_once(*mails)) == ["duplicate", "post 1.1"]
    assert (await posts_of(hosts, mlist), await hosts.count(f"SELECT count(*) {SENT}", mlist.id)) == (1, 3)


async def two_lists(hosts: Hosts) -> None:
    """Mails for the same two lists, which are named in another order."""
    both = [await hosts.new_list("ada"), await hosts.new_list("ada")]
    rcpts = [mlist.address for mlist in both]
    first = take(hosts.one, "ada@example.org", rcpts, letter("one"))
    second = take(hosts.cores[1], "ada@example.org", rcpts[::-1], letter("two"))
    assert taken(await hosts.at_once(first, second)) == ["post 1.1", "post 1.1", "post 2.1", "post 2.1"]


# -- members


async def join(hosts: Hosts) -> None:
    """A question is answered twice, and each answer goes to another host."""
    mlist = await hosts.new_list()
    to = await _question(hosts, mlist, "join", "eve@example.org", Mode.EACH)
    answers = [take(core, "eve@example.org", to, letter(f"yes{n}", to=to)) for n, core in enumerate(hosts.cores)]
    assert taken(await hosts.at_once(*answers)) == ["confirmed before: join", "joined"]
    assert (await texts(hosts, mlist, "notice/welcome"), await hosts.member(mlist, "eve") is not None) == (1, True)


async def settings(hosts: Hosts) -> None:
    """A member confirms two different changes."""
    mlist = await hosts.new_list("ada")
    changes = (Mode.DIGEST, members.NO_OWN_POSTS)
    ways = [await _question(hosts, mlist, "set", "ada@example.org", change) for change in changes]
    answers = [take(core, "ada@example.org", to, letter(to[:20])) for core, to in zip(hosts.cores, ways, strict=True)]
    taken(await hosts.at_once(*answers))
    ada = await hosts.member(mlist, "ada")
    assert ada and (ada.mode, ada.own_posts) == (Mode.DIGEST, False), ada


async def _question(hosts: Hosts, mlist: MailingList, action: str, to: str, mode: str) -> str:
    def ask(tx: Tx) -> int:
        return intake.ask(tx, mlist.id, action, to, name="", mode=mode, now=hosts.now, expires_at=hosts.now + DAY)

    number = await hosts.one.db.write(ask)
    token = hosts.one.site.signer.make("confirm", number, action, mlist.address, address.key(to))
    return mlist.sub("confirm", token)


async def leave(hosts: Hosts) -> None:
    """A member leaves by a click and by a mail."""
    mlist = await hosts.new_list("ada")
    token = await _way_out(hosts, mlist)
    core = hosts.one
    pages = Pages(core.db, core.site, core.clock, lambda name: name, None, core.ids.new)  # type: ignore[arg-type]
    click = pages.answer("POST", f"/leave/{token}")
    results = await hosts.at_once(
        click, take(hosts.cores[1], "ada@example.org", mlist.sub("leave", token), letter("x"))
    )
    taken(results[1:])
    assert await hosts.member(mlist, "ada") is None
    assert await texts(hosts, mlist, "notice/goodbye") == 1, results


async def _way_out(hosts: Hosts, mlist: MailingList) -> str:
    ada = await hosts.member(mlist, "ada")
    assert ada
    return members.leave_token(hosts.one.site.signer, mlist, ada.id, ada.key)


# -- mail that comes back


def _report(hosts: Hosts, core: Core, mlist: MailingList, name: str) -> Awaitable[Any]:
    path = verp.paths(core.site.signer, mlist.sub("bounces"), hosts.now)("ada@example.org", None)
    raw = REPORT.format(name=name, to="ada@example.org").replace("\n", "\r\n").encode()
    return take(core, "", path, raw)


async def bounce_of_a_leaver(hosts: Hosts) -> None:
    """A report comes in while the member leaves."""
    mlist = await hosts.new_list("ada")
    to = mlist.sub("leave", await _way_out(hosts, mlist))
    await _judge_leaver(hosts, mlist, take(hosts.cores[1], "ada@example.org", to, letter("bye")))


async def _judge_leaver(hosts: Hosts, mlist: MailingList, leaves: Awaitable[Any]) -> None:
    taken(await hosts.at_once(_report(hosts, hosts.one, mlist, "late"), leaves))
    assert await hosts.member(mlist, "ada") is None
    assert await hosts.count("SELECT count(*) FROM failing WHERE list_id = %s", mlist.id) == 0


async def complaint_of_a_leaver(hosts: Hosts) -> None:
    """A report comes in while a complaint, which came to another list, takes the member off."""
    mlist, other = await hosts.new_list("ada"), await hosts.new_list("owner")
    path = verp.paths(hosts.one.site.signer, mlist.sub("bounces"), hosts.now)("ada@example.org", None)
    raw = (
        "From: fbl@mx.example.org\nSubject: x\nMessage-ID: <c@mx.example.org>\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        f"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nOriginal-Mail-From: <{path}>\n"
        f"Original-Rcpt-To: <ada@example.org>\n\n--b--\n"
    )
    mail = raw.replace("\n", "\r\n").encode()
    await _judge_leaver(hosts, mlist, take(hosts.cores[1], "fbl@mx.example.org", other.sub("owner"), mail))


async def bounces_counted(hosts: Hosts) -> None:
    """Two reports about one member."""
    mlist = await hosts.new_list("ada")
    reports = [_report(hosts, core, mlist, f"r{number}") for number, core in enumerate(hosts.cores)]
    assert taken(await hosts.at_once(*reports)) == ["bounce for ada@example.org: hard"] * 2
    await _counted_once(hosts, mlist)


async def bounce_and_refusal(hosts: Hosts) -> None:
    """A report comes in while the next hop refuses another mail to the same member."""
    mlist = await hosts.new_list("ada")
    core = hosts.cores[1]
    taken([await take(hosts.one, "ada@example.org", mlist.address, letter("post"))])
    (due,) = await hosts.one.db.read(partial(_due, mlist))
    marks = Marks(core.db, Pace({}, 8), DeliveryOptions(), core.clock, lambda pause: None)
    refused = Status(State.FAILED, "5.1.1", GONE)
    ended = marks.settle(Ended(Task(due.mailing_id, (due,), "example.org", list_id=mlist.id), (refused,), 1))
    results = await hosts.at_once(_report(hosts, hosts.one, mlist, "r"), ended)
    taken(results[:1])
    assert results[1] is None, results
    await _counted_once(hosts, mlist)


def _due(mlist: MailingList, tx: Tx) -> list[Due]:
    return [
        Due(row.id, row.mailing_id, row.member_id, row.rcpt, row.attempts, row.created_at, row.due_at)
        for row in queue.deliveries(tx)
        if row.list_id == mlist.id
    ]


async def _counted_once(hosts: Hosts, mlist: MailingList) -> None:
    ada = await hosts.member(mlist, "ada")
    assert ada
    failing = await hosts.one.db.read(lambda tx: bounces.failing(tx, ada.id))
    assert failing and (failing.points, failing.hard) == (2, 1), failing
    assert await hosts.count("SELECT coalesce(sum(members), 0) FROM storm WHERE list_id = %s", mlist.id) == 1
    assert await hosts.count("SELECT count(*) FROM bounce WHERE list_id = %s", mlist.id) == 2


# -- moderators


def _approves(hosts: Hosts, core: Core, number: int) -> Awaitable[Any]:
    unit = partial(moderation.approve, held_id=number, now=hosts.now)
    return core.db.write(caused_by(core.ids.new(), unit))  # as cli/common.py `write` has it


async def approved(hosts: Hosts) -> None:
    """Two moderators approve the same post."""
    mlist = await hosts.new_list("ada")
    number = await held(hosts, mlist)
    results = await hosts.at_once(*[_approves(hosts, core, number) for core in hosts.cores])
    assert sorted(type(result).__name__ for result in results) == ["Post", "UsageError"], results
    assert await posts_of(hosts, mlist) == 1


async def approved_too_late(hosts: Hosts) -> None:
    """A post is approved while it is too old to be kept any longer."""
    mlist = await hosts.new_list("ada")
    number = await held(hosts, mlist, age=400 * DAY)
    keep = hosts.one.config.store
    (drop,) = [step for name, step, _ in upkeep.steps(keep, DAY, hosts.now) if name == "held"]
    clears = hosts.cores[1].db.write(partial(drop, 0))
    results = await hosts.at_once(_approves(hosts, hosts.one, number), clears)
    expired = await hosts.count("SELECT count(*) FROM event WHERE list_id = %s AND what LIKE 'expired%%'", mlist.id)
    assert (await posts_of(hosts, mlist), expired) in ((1, 0), (0, 1)), results


async def approved_beside_a_post(hosts: Hosts) -> None:
    """A held post is approved while another comes in."""
    mlist = await hosts.new_list("ada")
    number = await held(hosts, mlist)
    comes = take(hosts.cores[1], "ada@example.org", mlist.address, letter("other", "held"))
    results = await hosts.at_once(_approves(hosts, hosts.one, number), comes)
    taken(results[1:])
    await hosts.one.db.read(partial(_as_the_rule_says, mlist, 2))
    assert await posts_of(hosts, mlist) == 2, results


GAMES = {
    "threads": Game(threads),
    "same mail": Game(same_mail, guarded=False),
    "two lists": Game(two_lists, guarded=False),
    "join": Game(join, guarded=False),
    "settings": Game(settings, guarded=False),
    "leave": Game(leave),
    "bounce of a leaver": Game(bounce_of_a_leaver),
    "complaint of a leaver": Game(complaint_of_a_leaver),
    "bounces counted": Game(bounces_counted),
    "bounce and refusal": Game(bounce_and_refusal),
    "approved": Game(approved),
    "approved too late": Game(approved_too_late),
    "approved beside a post": Game(approved_beside_a_post),
    "digest": Game(clocks.digest),
    "digest beside a post": Game(clocks.digest_beside_a_post),
    "owners told": Game(clocks.owners_told),
    "fan-out": Game(clocks.fan_out),
    "seen again": Game(clocks.seen_again),
    "pruned": Game(clocks.pruned, guarded=False),
    "indexing": Game(clocks.indexing),
    "answers counted": Game(clocks.answers_counted, guarded=False),
}
