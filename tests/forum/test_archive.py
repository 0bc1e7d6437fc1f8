"""Archives in and out: nothing doubled, nothing sent, nothing lost, nothing that stops it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from random import Random

import pytest

from mailforum.errors import Deferred
from mailforum.forum import archive, digests, export, posts
from mailforum.forum.archive import Mail, Report
from mailforum.mail import mbox
from mailforum.model import MailingList, Mode, Post, Role, Selection
from mailforum.settings import ListSettings
from mailforum.store import intake, lists, queue
from mailforum.store import posts as rows
from mailforum.store.database import Database
from mailforum.store.opening import open_database
from tests.support import archive as made_up
from tests.support.stores import one_store

NOW = 1_700_000_000.0
MAIL = b"From: Ada <ada@example.org>\r\nMessage-ID: <1@example.org>\r\nSubject: Budget\r\n\r\nHello\r\n"


class Clock:
    """Stands still."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("an import does not wait")


@dataclass
class Forum:
    """A database with one list that people read."""

    db: Database
    mlist: MailingList

    async def take_in(self, mails: Iterable[Mail], mlist: MailingList | None = None) -> Report:
        return await archive.take_in(self.db, mlist or self.mlist, mails, Clock())

    async def posts(self, mlist: MailingList | None = None) -> list[Post]:
        return await self.db.read(lambda tx: rows.of_list(tx, (mlist or self.mlist).id))

    async def give_out(self, mlist: MailingList | None = None) -> bytes:
        out = io.BytesIO()
        async for post, raw in export.give_out(self.db, mlist or self.mlist, Selection()):
            mbox.write(out, raw, received=post.received_at)
        return out.getvalue()

    async def new_list(self, address: str) -> MailingList:
        list_id = await self.db.write(lambda tx: lists.add(tx, address, "", ListSettings(), NOW))
        mlist = await self.db.read(lambda tx: lists.by_id(tx, list_id or 0))
        assert mlist
        return mlist

    async def post(self, raw: bytes) -> Post:
        """Post as a member does."""
        msg, raw = posts.parse(raw)
        stored = await self.db.write(lambda tx: posts.accept(tx, self.mlist, msg, raw, NOW))
        post = await self.db.read(lambda tx: rows.by_id(tx, stored.id))
        assert post
        return post

    async def shunted(self) -> list[str]:
        return [one.reason for one in await self.db.read(intake.shunts)]


@pytest.fixture
async def forum(store: str) -> AsyncIterator[Forum]:
    db = await open_database(store)
    try:
        made = Forum(db, None)  # type: ignore[arg-type]
        made.mlist = await made.new_list("pmo@lists.example.org")
        for name, mode in (("bob", Mode.EACH), ("cleo", Mode.DIGEST)):
            address = f"{name}@example.org"
            await db.write(
                lambda tx, a=address, m=mode: lists.add_member(tx, made.mlist.id, a, a, "", Role.MEMBER, m, NOW)
            )
        yield made
    finally:
        await db.close()


def mails(data: bytes) -> Iterator[Mail]:
    for number, entry in enumerate(mbox.read(io.BytesIO(data)), 1):
        yield Mail(f"mail {number}", entry.raw, entry.received)


def mail(number: int, body: str = "Hello") -> bytes:
    return MAIL.replace(b"<1@", f"<{number}@".encode()).replace(b"Hello", body.encode())


async def test_a_real_looking_archive_is_taken_in_whole(forum: Forum) -> None:
    letters = list(made_up.letters(600, seed=3))
    report = await forum.take_in(mails(made_up.mbox(letters)))
    different = {letter.raw for letter in letters}
    assert (report.imported, report.duplicates, report.bad) == (len(different), 600 - len(different), 0)
    stored = await forum.posts()
    assert report.threads == len({post.thread for post in stored})
    assert (report.first, report.last) == (min(p.date for p in stored), max(p.date for p in stored))
    # Old Outlook names nothing and some mails have no id: most answers find what they answer all the same.
    answered = {letter.msgid: letter.answers.msgid for letter in letters if letter.answers}
    right = sum(post.parent == answered.get(post.message_id, "") for post in stored)
    assert right > 0.75 * len(answered)


async def test_bytes_are_kept_as_smtp_would_have_brought_them(forum: Forum) -> None:
    raw = MAIL + b"\r\nFrom here\r\n>From there\r\n\r\n"
    out = io.BytesIO()
    mbox.write(out, raw, received=5.0)
    await forum.take_in(mails(out.getvalue()))
    (post,) = await forum.posts()
    assert await forum.db.read(lambda tx: rows.raw(tx, post.id)) == raw


@one_store
async def test_an_import_that_was_killed_goes_on_without_doubling(forum: Forum) -> None:
    letters = list(made_up.letters(500, seed=4))
    data = made_up.mbox(letters)

    def killed() -> Iterator[Mail]:
        for number, one in enumerate(mails(data)):
            if number == 450:
                raise KeyboardInterrupt
            yield one

    with pytest.raises(KeyboardInterrupt):
        await forum.take_in(killed())
    before = len(await forum.posts())
    assert 0 < before <= 450
    report = await forum.take_in(mails(data))
    whole = len({letter.raw for letter in letters})
    assert before + report.imported == whole == len(await forum.posts())
    again = await forum.take_in(mails(data))
    assert (again.imported, again.duplicates) == (0, 500)


async def test_what_came_by_smtp_is_not_imported_again(forum: Forum) -> None:
    await forum.post(mail(1))
    report = await forum.take_in([Mail("1", mail(1)), Mail("2", mail(2))])
    assert (report.imported, report.duplicates) == (1, 1)


async def test_one_id_with_another_text_is_a_post_of_its_own(forum: Forum) -> None:
    report = await forum.take_in([Mail("1", mail(1)), Mail("2", mail(1, "Hello again"))])
    assert (report.imported, report.duplicates) == (2, 0)


async def test_what_its_id_does_not_lead_to_is_known_again(forum: Forum) -> None:
    nameless = MAIL.replace(b"Message-ID: <1@example.org>\r\n", b"")
    read = b"Status: RO\r\n" + nameless  # as a mailbox that was opened since has it
    first = [Mail("1", mail(1)), Mail("2", mail(1, "Hello again")), Mail("3", nameless)]
    assert (await forum.take_in(first)).imported == 3
    again = await forum.take_in([*reversed(first), Mail("4", read)])
    assert (again.imported, again.duplicates) == (0, 4)


async def test_the_same_mail_may_be_on_two_lists(forum: Forum) -> None:
    other = await forum.new_list("dev@lists.example.org")
    assert (await forum.take_in([Mail("1", MAIL)])).imported == 1
    assert (await forum.take_in([Mail("1", MAIL)], other)).imported == 1


async def test_imported_mail_is_sent_to_nobody_and_is_in_no_digest(forum: Forum) -> None:
    await forum.post(mail(1))
    await forum.take_in([Mail(str(number), mail(number)) for number in range(2, 30)])
    await forum.post(mail(30))
    assert [one.rcpt for one in await forum.db.read(queue.deliveries)] == ["bob@example.org"] * 2
    cut = await forum.db.write(lambda tx: digests.cut(tx, forum.mlist, NOW))
    assert cut
    issue = cut[0]
    content = await forum.db.read(lambda tx: rows.between(tx, forum.mlist.id, issue.after_post, issue.last_post))
    assert (issue.posts, [post.message_id for post in content]) == (2, ["<1@example.org>", "<30@example.org>"])


async def test_a_digest_after_an_import_and_nothing_else_is_none(forum: Forum) -> None:
    await forum.take_in([Mail("1", MAIL)])
    assert await forum.db.write(lambda tx: digests.cut(tx, forum.mlist, NOW)) is None
    await forum.post(mail(2))
    assert await forum.db.write(lambda tx: digests.cut(tx, forum.mlist, NOW))


async def test_a_command_in_an_archive_is_not_obeyed(forum: Forum) -> None:
    leave = b"From: bob@example.org\r\nSubject: unsubscribe\r\n\r\n"
    assert (await forum.take_in([Mail("1", leave)])).imported == 1
    assert len(await forum.db.read(lambda tx: lists.members(tx, forum.mlist.id))) == 2
    assert not await forum.db.read(queue.deliveries)


async def test_a_reply_to_an_imported_mail_goes_into_its_thread(forum: Forum) -> None:
    await forum.take_in([Mail("1", MAIL)])
    reply = await forum.post(mail(2).replace(b"Subject", b"In-Reply-To: <1@example.org>\r\nSubject"))
    assert (reply.label, reply.parent) == ("1.2", "<1@example.org>")


@pytest.mark.parametrize(
    ("header", "received", "date", "received_at"),
    [
        (b"Date: Thu, 1 Jan 2015 12:30:00 +0000\r\n", 1_420_200_000.0, 1_420_115_400.0, 1_420_200_000.0),
        (b"Date: Thu, 1 Jan 2015 12:30:00 +0000\r\n", None, 1_420_115_400.0, 1_420_115_400.0),
        # The author's clock was two days fast: the mailbox's is believed, so that it comes out as it went in.
        (b"Date: Sat, 3 Jan 2015 12:30:00 +0000\r\n", 1_420_115_400.0, 1_420_115_400.0, 1_420_115_400.0),
        (b"Date: Thu, 1 Jan 2015 12:31:00 +0000\r\n", 1_420_115_400.0, 1_420_115_400.0, 1_420_115_400.0),
        # git writes 2001 into every From_ line, zip knows no time before 1980; a clock that is ahead of ours is wrong.
        (b"Date: Thu, 1 Jan 2015 12:30:00 +0000\r\n", 315_532_800.0, 1_420_115_400.0, 1_420_115_400.0),
        (b"Date: Thu, 1 Jan 2015 12:30:00 +0000\r\n", 1_000_684_800.0, 1_420_115_400.0, 1_420_115_400.0),
        (b"Date: Thu, 1 Jan 2055 12:30:00 +0000\r\n", 1_420_200_000.0, 1_420_200_000.0, 1_420_200_000.0),
        (b"Date: Thu, 1 Jan 2055 12:30:00 +0000\r\n", 2_682_419_400.0, NOW, NOW),
        (b"Date: yesterday\r\n", 1_420_200_000.0, 1_420_200_000.0, 1_420_200_000.0),
        (b"", 0.0, 0.0, 0.0),
        (b"", None, NOW, NOW),
    ],
)
async def test_the_date_is_the_authors_else_the_mailboxes_else_now(
    forum: Forum, header: bytes, received: float | None, date: float, received_at: float
) -> None:
    await forum.take_in([Mail("1", header + MAIL, received)])
    (post,) = await forum.posts()
    assert (post.date, post.received_at) == (date, received_at)


async def test_a_mailbox_in_the_west_has_not_received_mails_before_they_were_written(forum: Forum) -> None:
    written = b"Date: Thu, 1 Jan 2015 12:30:00 +0000\r\n" + MAIL
    behind = [0, 8 * 3600, 13 * 3600]
    times = [1_420_115_400.0 - hours for hours in behind]
    await forum.take_in(Mail("", written + b"%d" % n, time, local=True) for n, time in enumerate(times))
    assert [post.received_at for post in await forum.posts()] == [times[0], times[0], times[2]]


async def test_bad_mails_are_counted_named_and_kept_aside_once(forum: Forum) -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(60))
    bad = [
        Mail("mail 2", b"X: " + b"y" * 300_000 + b"\r\n\r\n"),
        Mail("mail 3", deep),
        Mail("mail 4", b"\x89PNG\r\n\x1a\n\0\0\0"),
        Mail("mail 5", b"", fault="It is too large."),
    ]
    for _ in range(2):
        report = await forum.take_in([Mail("mail 1", MAIL), *bad, Mail("mail 6", mail(6))])
        assert (report.imported + report.duplicates, report.bad) == (2, 4)
        assert [one.where for one in report.named] == ["mail 2", "mail 3", "mail 4", "mail 5"]
        assert all(one.reason for one in report.named)
    kept = await forum.db.read(intake.shunts)
    assert len(kept) == 3 and all(one.times == 2 for one in kept)
    assert all(one.reason.startswith("import into pmo@lists.example.org: ") for one in kept)
    # With no recipient, nobody can be sent it by mistake.
    assert [(one.mail_from, one.rcpts) for one in kept] == [("", ())] * 3
    assert await forum.db.read(lambda tx: intake.shunt_raw(tx, kept[1].id)) == deep


async def test_a_fault_of_ours_with_one_mail_takes_no_other_with_it(
    forum: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = posts.store

    def broken(tx, mlist, msg, *rest, **more):  # type: ignore[no-untyped-def]
        stored = whole(tx, mlist, msg, *rest, **more)
        if msg.message_id == "<7@example.org>":
            raise RuntimeError("a bug")
        return stored

    monkeypatch.setattr(posts, "store", broken)
    report = await forum.take_in([Mail(str(number), mail(number)) for number in range(20)])
    assert (report.imported, report.bad, report.named[0].where) == (19, 1, "7")
    assert len(await forum.posts()) == 19
    assert await forum.shunted() == ["import into pmo@lists.example.org: A fault of ours: RuntimeError: a bug"]
    monkeypatch.undo()
    again = await forum.take_in([Mail(str(number), mail(number)) for number in range(20)])
    assert (again.imported, again.duplicates, again.bad) == (1, 19, 0)
    assert await forum.shunted() == []


async def test_a_report_tells_what_came_of_each_mail(forum: Forum) -> None:
    await forum.take_in([Mail("0", mail(90))])
    answers = mail(2).replace(b"Subject", b"In-Reply-To: <90@example.org>\r\nReferences: <1@example.net>\r\nSubject")
    latin = b"Date: Thu, 1 Jan 2015 12:30:00 +0000\r\nContent-Type: text/plain; charset=iso-8859-1\r\nSubject"
    nameless = (
        b"From: a@example.org\r\nContent-Type: multipart/mixed\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nZo\xeb\r\n"
    )
    report = await forum.take_in(
        [
            Mail("1", answers),
            Mail("2", mail(3, "ä").replace("ä".encode(), b"\xe4").replace(b"Subject", latin)),
            Mail("3", nameless, repaired=("unmarked From_ lines",)),
            Mail("4", b"", left_out="deleted"),
            Mail("5", b"", left_out="draft"),
            Mail("6", mail(90)),
            Mail("7", b"", fault="It cannot be read."),
        ]
    )
    assert (report.imported, report.duplicates, report.bad, report.mails) == (3, 1, 1, 7)
    assert report.left_out == {"deleted": 1, "draft": 1}
    assert report.repaired == {
        **{"no readable Date": 2, "no Message-ID": 1, "unmarked From_ lines": 1},
        **{"broken MIME": 1, "guessed charset": 1},
    }
    assert report.charsets == {"us-ascii": 1, "iso-8859-1": 1, "guessed windows-1252": 1}
    assert (report.threads, report.opened) == (3, 2)
    assert (report.first, report.last) == (1420115400.0, NOW)


async def test_a_ghost_is_a_mail_that_others_name(forum: Forum) -> None:
    answers = mail(2).replace(b"Subject", b"In-Reply-To: <1@example.org>\r\nSubject")
    assert (await forum.take_in([Mail("2", answers)])).ghosts == 1
    report = await forum.take_in([Mail("1", mail(1))])
    assert (report.ghosts, report.threads, report.opened) == (0, 1, 0)


async def test_a_copy_that_has_lost_something_is_known_by_its_message_id(forum: Forum) -> None:
    await forum.take_in([Mail("1", mail(1))])
    copies = [Mail("a", mail(1, "Other"), copy=True), Mail("b", mail(2), copy=True), Mail("c", mail(2, "x"), copy=True)]
    report = await forum.take_in([*copies, Mail("d", b"From: a@example.org\r\n\r\n", copy=True)])
    assert (report.imported, report.duplicates) == (2, 2)


async def test_a_report_names_a_hundred_bad_mails_and_counts_all(forum: Forum) -> None:
    report = await forum.take_in(Mail(str(number), b"no header %d" % number) for number in range(250))
    assert (report.bad, len(report.named), report.mails) == (250, 100, 250)


@one_store
async def test_a_full_disk_ends_it_and_keeps_what_is_done(forum: Forum) -> None:
    answers = iter([True, True, False])
    source = (Mail(str(number), mail(number)) for number in range(1000))
    with pytest.raises(Deferred):
        await archive.take_in(forum.db, forum.mlist, source, Clock(), lambda: next(answers))
    assert len(await forum.posts()) == 2 * archive.BATCH


@one_store
async def test_an_archive_is_read_a_batch_at_a_time(forum: Forum) -> None:
    in_hand = 0

    def source() -> Iterator[Mail]:
        nonlocal in_hand
        for number in range(1000):
            in_hand += 1
            assert in_hand <= 2 * archive.BATCH
            yield Mail(str(number), mail(number))

    def done(report: Report) -> None:
        nonlocal in_hand
        in_hand = 0

    report = await archive.take_in(forum.db, forum.mlist, source(), Clock(), done=done)
    assert report.imported == 1000


def test_batches_of_large_mails_are_small() -> None:
    large = [Mail(str(number), b"x" * archive.BATCH_BYTES) for number in range(3)]
    assert [len(batch) for batch in archive._batches(large)] == [1, 1, 1]


@one_store
async def test_export_import_export_is_a_fixed_point(forum: Forum) -> None:
    await forum.post(b"From ada@example.org\r\n" + mail(0))  # brought by a client with an mbox line of its own
    await forum.take_in(mails(made_up.mbox(made_up.letters(300, seed=5))))
    await forum.post(mail(1, "Line\r\n\r\nFrom me\r\n>From you\r\n\r\n"))
    exported = await forum.give_out()
    other = await forum.new_list("copy@lists.example.org")
    report = await forum.take_in(mails(exported), other)
    assert (report.imported, report.duplicates, report.bad) == (len(await forum.posts()), 0, 0)
    assert await forum.give_out(other) == exported

    def shape(stored: list[Post]) -> list[tuple[object, ...]]:
        return [(post.label, post.thread, post.subject, post.date, post.size) for post in stored]

    assert shape(await forum.posts(other))[1:-1] == shape(await forum.posts())[1:-1]


@one_store
async def test_an_archive_in_any_order_makes_the_same_threads(forum: Forum) -> None:
    letters = [letter for letter in made_up.letters(150, seed=6) if b"\r\nMessage-I" in letter.raw]
    letters = list({letter.msgid: letter for letter in letters}.values())
    other = await forum.new_list("copy@lists.example.org")
    await forum.take_in(Mail("", letter.raw) for letter in letters)
    await forum.take_in((Mail("", letter.raw) for letter in Random(6).sample(letters, len(letters))), other)

    async def shape(mlist: MailingList) -> tuple[dict[str, str | None], set[frozenset[str]]]:
        stored = await forum.posts(mlist)
        groups: dict[int, set[str]] = {}
        for post in stored:
            groups.setdefault(post.thread, set()).add(post.message_id)
        return {post.message_id: post.parent for post in stored}, {frozenset(group) for group in groups.values()}

    assert await shape(forum.mlist) == await shape(other)
