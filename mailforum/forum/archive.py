"""Archives: mails of old become posts.

What is imported is stored and threaded, and that is all: it is sent to nobody, is in no digest, and
commands in it are not read. Each batch is one transaction. A mail that the list has already, from
wherever it came, is not stored again, so an import that was stopped is simply run once more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TypeAlias

from mailforum.archives.source import NO_MAIL, Mail
from mailforum.clock import Clock
from mailforum.errors import Deferred, Refused
from mailforum.forum import looking, order, posts, search
from mailforum.forum.looking import Look, Looker, Unreadable
from mailforum.mail import msgid
from mailforum.mail.message import Message
from mailforum.model import MailingList, Shunted
from mailforum.store import intake, lists
from mailforum.store import posts as rows
from mailforum.store import search as index
from mailforum.store.database import Database, Tx

BATCH = 200  # mails a transaction
BATCH_BYTES = 4 * 1024**2
NAMED = 100  # how many bad mails a report names
_INTO = "import into "  # so begins why a mail was kept aside
# What programs write that know of no time: 1970, 1980 (zip), and git the 17th of September 2001.
_FIRST_MAILBOX = 347_155_200.0  # 1981
_GIT = 1_000_684_800.0
_FARTHEST_WEST = 12 * 3600.0  # seconds that local time is behind UTC


@dataclass(frozen=True, slots=True)
class Bad:
    """A mail that was not imported: where it stands, and why not."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What an import has done so far.

    `bad` counts all bad mails, `named` tells of the first hundred. `left_out` counts by reason what was not
    to be imported, `unknown` tells of the first hundred that were no mail. `repaired` and `charsets` count
    imported mails by what was made good and what they are written in. `threads` are those with imported
    posts, `opened` of them are new; `ghosts` are posts that the list's posts name and that it does not
    have. `first` and `last` are the earliest and the latest date of the posts; `since` is the id of the
    first post imported, 0 if there is none.
    """

    imported: int = 0
    duplicates: int = 0
    bad: int = 0
    named: tuple[Bad, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: tuple[str, ...] = ()
    repaired: Counter[str] = field(default_factory=Counter)
    charsets: Counter[str] = field(default_factory=Counter)
    threads: int = 0
    opened: int = 0
    ghosts: int = 0
    first: float | None = None
    last: float | None = None
    since: int = 0

    @property
    def mails(self) -> int:
        """How many mails were looked at."""
        return self.imported + self.duplicates + self.bad + self.left_out.total()


@dataclass(frozen=True, slots=True)
class _Read:
    """A mail whose header was read, and the fingerprint by which it is known again; `look` once it was looked at."""

    mail: Mail
    msg: Message
    raw: bytes
    mark: bytes
    look: Look | None = None


_Refused: TypeAlias = "tuple[Mail, str]"  # a bad mail, and what is wrong with it


@dataclass(frozen=True, slots=True)
class _Batch:
    """Mails that are dealt with together: all of them, those that are new, and those that are bad."""

    mails: Sequence[Mail]
    new: list[_Read]
    bad: list[_Refused]


async def take_in(
    db: Database,
    mlist: MailingList,
    mails: Iterable[Mail],
    clock: Clock,
    room: Callable[[], bool] = lambda: True,
    done: Callable[[Report], None] = lambda report: None,
    looker: Looker | None = None,
) -> Report:
    """Store and thread `mails` as posts of `mlist`; return what became of them.

    `done` is called after each batch, which then is durable. A bad mail is kept aside (`mailforum shunt`)
    and the import goes on. `looker` reads the mails; without one it is done here. Raises Deferred when the disk
    is full (`room` says no) or the database cannot be written; what was taken in before stays.
    """
    looker = looker or Looker(mlist, cores=1)
    newest = await db.read(rows.newest_thread)
    await db.write(lambda tx: index.merge_from(tx, index.MERGE_LATE), ())
    try:
        report = await _take_all(db, mlist, mails, clock, room, done, looker)
    finally:  # if we are killed before, all works as well
        await db.write(lambda tx: index.merge_from(tx, index.MERGE), ())
    return await _summed_up(db, mlist, report, newest) if report.since else report


async def _take_all(
    db: Database,
    mlist: MailingList,
    mails: Iterable[Mail],
    clock: Clock,
    room: Callable[[], bool],
    done: Callable[[Report], None],
    looker: Looker,
) -> Report:
    report = Report()
    before: _Batch | None = None
    for some in chain(_batches(mails), [None]):
        # While this batch is read, and then looked at by another process, the one before is stored.
        batch = await _open_all(db, mlist, some) if some else None
        looks = looker.answer() if before else []
        if batch:
            looker.ask([(one.msg, one.raw) for one in batch.new])
        if before:
            if not room():
                raise Deferred("There is no room for more mail.", "the disk is nearly full", code=452, enhanced="4.3.1")
            report = await _take_batch(db, mlist, _looked_at(before, looks), clock.now(), report)
            done(report)
        before = batch
    return report


async def _summed_up(db: Database, mlist: MailingList, report: Report, newest: int) -> Report:
    found = await db.read(lambda tx: rows.imported(tx, mlist.id, report.since, newest))
    return replace(
        report,
        threads=found.threads,
        opened=found.opened,
        ghosts=found.ghosts,
        first=found.first,
        last=found.last,
    )


def _batches(mails: Iterable[Mail]) -> Iterator[list[Mail]]:
    batch: list[Mail] = []
    size = 0
    for mail in mails:
        batch.append(mail)
        size += len(mail.raw)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _open_all(db: Database, mlist: MailingList, mails: Sequence[Mail]) -> _Batch:
    """Read the headers of mails, and leave out those that the list has."""
    opened: list[_Read] = []
    bad: list[_Refused] = []
    for mail in mails:
        if not mail.left_out:
            one = _open(mail)
            if isinstance(one, _Read):
                opened.append(one)
            else:
                bad.append((mail, one))
    known = await db.read(lambda tx: {one.mark for one in opened if _has(tx, mlist, one)})
    return _Batch(mails, [one for one in opened if one.mark not in known], bad)


def _open(mail: Mail) -> _Read | str:
    """Read the header of a mail, as the way in does; return why not if that fails."""
    if mail.fault:
        return mail.fault
    try:
        msg, raw = posts.parse(mail.raw)
        if not any(header.name for header in msg.headers):
            return "This is no mail: it has no header."
        return _Read(mail, msg, raw, msg.fingerprint)
    except Refused as refused:
        return refused.text
    except Exception as error:
        return looking.fault(error)


def _looked_at(batch: _Batch, looks: looking.Found) -> _Batch:
    """Put to each new mail what was found in it."""
    pairs = list(zip(batch.new, looks, strict=True))
    for one, found in pairs:
        if isinstance(found, Look):
            vars(one.msg).update(found.read)  # so that the message need not read them once more
    new = [replace(one, look=found) for one, found in pairs if isinstance(found, Look)]
    bad = [(one.mail, found.reason) for one, found in pairs if isinstance(found, Unreadable)]
    return _Batch(batch.mails, new, batch.bad + bad)


async def _take_batch(db: Database, mlist: MailingList, batch: _Batch, now: float, report: Report) -> Report:
    stored, refused = await _store(db, mlist, batch.new, now)
    place = {id(mail): number for number, mail in enumerate(batch.mails)}
    bad = sorted(batch.bad + refused, key=lambda one: place[id(one[0])])
    if bad:
        await db.write(lambda tx: _keep_aside(tx, mlist, bad, now), ())
    left_out = Counter(mail.left_out for mail in batch.mails if mail.left_out)
    return replace(
        report,
        imported=report.imported + len(stored),
        duplicates=report.duplicates + len(batch.mails) - left_out.total() - len(stored) - len(bad),
        bad=report.bad + len(bad),
        named=(*report.named, *(Bad(mail.where, reason) for mail, reason in bad))[:NAMED],
        left_out=report.left_out + left_out,
        unknown=(*report.unknown, *(mail.where for mail in batch.mails if mail.left_out == NO_MAIL))[:NAMED],
        repaired=report.repaired + Counter(what for one in stored.values() for what in _repaired(one)),
        charsets=report.charsets
        + Counter(one.look.charset for one in stored.values() if one.look and one.look.charset),
        since=report.since or min(stored, default=0),
    )


def _repaired(one: _Read) -> Iterable[str]:
    """Return what was made good of a mail, each once."""
    return dict.fromkeys((*one.mail.repaired, *(one.look.flaws if one.look else ())))


def _has(tx: Tx, mlist: MailingList, one: _Read) -> bool:
    """Say whether the list has a mail; of a copy that has lost something, by its Message-ID alone."""
    if rows.has(tx, mlist.id, msgid.key(posts.identity(one.msg, one.raw, mlist.domain)), one.mark):
        return True
    known_by = one.msg.message_id if one.mail.copy else ""
    return bool(known_by) and rows.by_name(tx, mlist.id, msgid.key(known_by)) is not None


async def _store(
    db: Database, mlist: MailingList, good: Sequence[_Read], now: float
) -> tuple[dict[int, _Read], list[_Refused]]:
    """Store what is new; return it by the ids of the posts, and the mails that could not be stored, with why."""
    if not good:
        return {}, []
    try:
        return await db.write(partial(_store_new, mlist, good, now), [mlist.id]), []
    except Deferred:
        raise
    except Exception as error:
        if len(good) == 1:
            return {}, [(good[0].mail, looking.fault(error))]
    # One of them is to blame: each on its own, so that it takes no other with it.
    stored: dict[int, _Read] = {}
    bad: list[_Refused] = []
    for one in good:
        new, refused = await _store(db, mlist, [one], now)
        stored |= new
        bad += refused
    return stored, bad


def _store_new(mlist: MailingList, mails: Sequence[_Read], now: float, tx: Tx) -> dict[int, _Read]:
    stored = {}
    failed = intake.keeps_aside(tx)
    for read in mails:
        if not _has(tx, mlist, read):  # one of the same batch may be the same
            received = _received(read, now)
            found = read.look.evidence if read.look else None
            post = posts.store(tx, mlist, read.msg, read.raw, received, mark=read.mark, imported=True, found=found)
            stored[post.id] = read
            if failed:  # this one perhaps, before
                intake.unshunt_digest(tx, _digest(mlist, read.mail))
    search.add(tx, {post_id: read.look.words for post_id, read in stored.items() if read.look})
    return stored


def _received(read: _Read, now: float) -> float:
    """Return when its mailbox received a mail; when it was written, where the mailbox cannot know; else now."""
    box, written = read.mail.received, read.msg.date
    unknown = box is None or box < _FIRST_MAILBOX or box == _GIT
    west = read.mail.local and box is not None and written is not None and box < written <= box + _FARTHEST_WEST
    times = (written, box) if unknown or west else (box, written)
    return next((time for time in times if time is not None and time <= now + order.CLOCKS_DIFFER), now)


def _keep_aside(tx: Tx, mlist: MailingList, bad: Iterable[tuple[Mail, str]], now: float) -> None:
    """Keep bad mails, each once however often the import is run; for no recipient, as nobody is to be sent them."""
    for mail, reason in bad:
        if not mail.fault:
            text = f"{_INTO}{mlist.address}: {reason}"
            intake.shunt(tx, digest=_digest(mlist, mail), mail_from="", rcpts=(), reason=text, raw=mail.raw, now=now)


async def again(db: Database, shunted: Shunted, raw: bytes, clock: Clock) -> Report | None:
    """Import a mail that an import has kept aside once more; None if it was no import, or its list is gone.

    It is let go of if the list has it now.
    """
    address = shunted.reason.removeprefix(_INTO).partition(": ")[0] if shunted.reason.startswith(_INTO) else ""
    mlist = await db.read(lambda tx: lists.by_address(tx, address))
    if mlist is None or shunted.rcpts:
        return None
    report = await take_in(db, mlist, [Mail(f"mail {shunted.id}", raw)], clock)
    if not report.bad:
        await db.write(lambda tx: intake.unshunt(tx, shunted.id), ())
    return report


def _digest(mlist: MailingList, mail: Mail) -> bytes:
    """By what a mail that was kept aside is known again."""
    return hashlib.sha256(b"import " + mlist.address.encode() + b"\0" + mail.raw).digest()
