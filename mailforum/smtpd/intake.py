"""One mail from bytes to commit, every step in order. This is the way in; read it first.

The second half of a mail's life is in `delivery/worker.py`; the two meet only in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mailforum import log
from mailforum.clock import Clock
from mailforum.errors import Deferred, Refused
from mailforum.forum import dispatch, notices, policy, posts, route
from mailforum.forum.site import Incoming, Site
from mailforum.mail import mime
from mailforum.mail.message import Message
from mailforum.model import Envelope, Outcome, Route
from mailforum.smtpd.backlog import Backlog
from mailforum.store import intake as store
from mailforum.store import journal
from mailforum.store.database import Database, Tx
from mailforum.store.journal import Entry

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("mailforum")


# A mail of more bytes than that is read on a thread of its own, so that no other session waits for it. For a
# smaller one the change of threads takes longer than the reading (0.2 ms; 20 ms with as many parts as are read).
SMALL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes mail in, whoever brings it: SMTP, LMTP or `mailforum inject`."""

    db: Database
    site: Site
    clock: Clock
    room: Callable[[], bool]
    backlog: Backlog

    async def admit(self, mail_from: str) -> None:
        """Say before a mail is sent whether there is room for it. Raises Deferred 452 when there is not.

        A report, which the null sender sends, is fanned out to nobody and may always come.
        """
        if mail_from and await self.backlog.full():
            text = "Too much mail is waiting to be sent; please try again later."
            raise Deferred(text, "the queue is full", code=452, enhanced="4.3.1")

    async def route(self, rcpt: str) -> Route:
        """Return what an address leads to. Raises Refused 550 5.1.1 when it is not ours."""
        return await self.db.peek(lambda tx: route.find(tx, rcpt, self.site.domain))

    async def receive(self, envelope: Envelope, raw: bytes) -> tuple[Outcome, ...]:
        """Take one mail in for all its recipients; what is returned is durable.

        Returns an outcome for each route, in their order. Raises Refused or Deferred when nothing was
        taken. A fault of our own keeps the mail aside (`mailforum shunt`) and is a Deferred.
        """
        started = self.clock.monotonic()
        if not self.room():
            raise Deferred("There is no room for mail just now.", "the disk is nearly full", code=452, enhanced="4.3.1")
        msgid = ""
        try:
            msg, raw = await _read(posts.parse, raw, len(raw))
            msgid = msg.message_id
            _log_received(envelope, msg, raw)
            await _read(_refuse_unreadable, msg, len(raw))
            digest = await _read(partial(_digest, envelope), raw, len(raw))
            about = dispatch.decides_about(envelope.routes, msg)
            outcomes = await self.db.write(partial(self._handle_all, envelope, msg, raw, digest), about)
        except Deferred:
            raise
        except Refused as refused:
            await self._note_refused(envelope, msgid, raw, refused)
            raise
        except Exception as error:
            raise await self._shunt(envelope, msgid, raw, error) from error
        for outcome in outcomes:
            _log_outcome(envelope.id, outcome, msg, self.clock.monotonic() - started)
        return outcomes

    def _handle_all(self, envelope: Envelope, msg: Message, raw: bytes, digest: bytes, tx: Tx) -> tuple[Outcome, ...]:
        """Handle the mail for each recipient in one transaction: all of it happens, or nothing."""
        now = self.clock.now()
        mails = [Incoming(self.site, envelope, way, msg, raw, now) for way in envelope.routes]
        outcomes = tuple(_handle(tx, mail) for mail in mails)
        store.unshunt_digest(tx, digest)
        if not envelope.lmtp and any(outcome.code == 250 for outcome in outcomes):
            outcomes = tuple(_told_by_mail(tx, mail, outcome) for mail, outcome in zip(mails, outcomes, strict=True))
        for mail, outcome in zip(mails, outcomes, strict=True):
            journal.add(tx, _entry(envelope, mail.route, outcome, msg.message_id, len(raw), now))
        return outcomes

    async def _note_refused(self, envelope: Envelope, msgid: str, raw: bytes, refused: Refused) -> None:
        """Write down a mail that was refused whole: what it had done is undone, that it came is not."""
        now, what = self.clock.now(), f"refused: {refused.reason}"
        entries = [
            _entry(
                envelope,
                way,
                Outcome(way.rcpt, refused.code, refused.enhanced, refused.text, what),
                msgid,
                len(raw),
                now,
            )
            for way in envelope.routes
        ]

        def note(tx: Tx) -> None:
            for entry in entries:
                journal.add(tx, entry)

        with contextlib.suppress(Deferred):  # then the line in the log has to do
            await self.db.write(note, ())

    async def _shunt(self, envelope: Envelope, msgid: str, raw: bytes, error: Exception) -> Deferred:
        """Keep a mail aside that we were not able to handle, and say what its sender is told."""
        logger.exception("mail %s could not be handled", envelope.id)
        reason = "".join(traceback.format_exception_only(error)).strip()
        shunt_id = await self.db.write(partial(self._keep_aside, envelope, raw, msgid, reason), ())
        log.shunted(mail=envelope.id, shunt_id=shunt_id, reason=reason)
        return Deferred(f"A fault of ours; your mail is kept, please try again later (S{shunt_id}).", reason)

    def _keep_aside(self, envelope: Envelope, raw: bytes, msgid: str, reason: str, tx: Tx) -> int:
        tx.mail, now = envelope.id, self.clock.now()
        rcpts = tuple(way.rcpt for way in envelope.routes)
        digest = _digest(envelope, raw)
        shunt_id = store.shunt(
            tx, digest=digest, mail_from=envelope.mail_from, rcpts=rcpts, reason=reason, raw=raw, now=now
        )
        for way in envelope.routes:
            outcome = Outcome(way.rcpt, 451, "4.3.0", "", f"shunted S{shunt_id}: {reason}")
            journal.add(tx, _entry(envelope, way, outcome, msgid, len(raw), now))
        return shunt_id


async def _read(how: Callable[[T], R], what: T, size: int) -> R:
    return how(what) if size < SMALL else await asyncio.to_thread(how, what)


def _refuse_unreadable(msg: Message) -> None:
    if not (msg.get("Content-Type") or "text/plain").lower().startswith("text/"):
        mime.parts(msg)  # refuses what is nested too deep to be read


def _handle(tx: Tx, mail: Incoming) -> Outcome:
    tx.mail = mail.envelope.id
    try:
        return dispatch.handle(tx, mail)
    except Refused as refused:
        return Outcome(mail.route.rcpt, refused.code, refused.enhanced, refused.text, f"refused: {refused.reason}")


def _reason(outcome: Outcome) -> str:
    return outcome.what.removeprefix("refused: ")


def _told_by_mail(tx: Tx, mail: Incoming, outcome: Outcome) -> Outcome:
    """SMTP has one answer for all recipients. Where some took the mail, the others' no goes by mail.

    Raises Refused, and nobody has taken it, when that must not be: a robot, a loop or the null sender is
    never answered, and nobody more often than their share.
    """
    if outcome.code == 250:
        return outcome
    if policy.automatic(mail) or not notices.answer(tx, mail, "notice/refused", reason=outcome.text):
        raise Refused(outcome.text, _reason(outcome), code=outcome.code, enhanced=outcome.enhanced)
    return outcome


def _digest(envelope: Envelope, raw: bytes) -> bytes:
    rcpts = ",".join(sorted(way.rcpt for way in envelope.routes))
    digest = hashlib.sha256(rcpts.encode() + b"\0")
    digest.update(raw)
    return digest.digest()


def _entry(envelope: Envelope, way: Route, outcome: Outcome, msgid: str, size: int, now: float) -> Entry:
    return Entry(
        mail=envelope.id,
        at=now,
        rcpt=outcome.rcpt,
        what=outcome.what or "taken",
        text=f"{outcome.enhanced} {outcome.text}",
        code=outcome.code,
        message_id=msgid,
        mail_from=envelope.mail_from,
        peer=envelope.peer,
        size=size,
        list_id=way.mlist.id if way.mlist else None,
    )


def _log_received(envelope: Envelope, msg: Message, raw: bytes) -> None:
    rcpts = ",".join(way.rcpt for way in envelope.routes)
    log.received(
        mail=envelope.id,
        msgid=msg.message_id,
        mail_from=envelope.mail_from,
        rcpt=rcpts,
        size=len(raw),
        peer=envelope.peer,
    )


def _log_outcome(mail: str, outcome: Outcome, msg: Message, seconds: float) -> None:
    if outcome.code != 250:
        log.refused(
            mail=mail,
            rcpt=outcome.rcpt,
            code=outcome.code,
            enhanced=outcome.enhanced,
            reason=_reason(outcome),
            msgid=msg.message_id,
        )
    else:
        log.handled(mail=mail, msgid=msg.message_id, rcpt=outcome.rcpt, what=outcome.what, seconds=seconds)
