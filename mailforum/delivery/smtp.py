"""SMTP and LMTP out, pipelined (RFC 5321, 2033, 2920).

One transaction is two groups of bytes. The envelope: MAIL, RCPT…, DATA. The ending: the mail and
its dot; or, if nobody was accepted, a lone dot or RSET. While one mail ends, the envelope of the
next goes out in the same write:

    ->  MAIL A, RCPT A, DATA
    <-  250, 250, 354
    ->  mail A and dot, MAIL B, RCPT B, DATA
    <-  250                                  how A ended: settle(A) begins
    <-  250, 250, 354                        meanwhile
    ->  mail B and dot, …                    only after settle(A) has returned

So a crash leaves at most one transaction a connection of which nobody knows whether it was sent.
A server without PIPELINING gets the same groups, one command at a time.
"""

from __future__ import annotations

from collections import deque

from mailforum.delivery.hello import Relay, Session, connect
from mailforum.delivery.transport import Job, NoSession, RelayDown, Settle, Take, bad_address
from mailforum.delivery.wire import Reply
from mailforum.model import State, Status

_RSET = (b"RSET\r\n",)
_LONE_DOT = (b".\r\n",)
_TOO_MANY = {(452, "4.5.3"), (452, "4.0.0"), (552, "5.5.3"), (552, "5.0.0")}
_BYE = 5.0  # seconds that a server gets to answer QUIT


class SmtpTransport:
    """Delivery to one relay. Each `run` has one connection at a time."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    async def run(self, take: Take, settle: Settle) -> None:
        """Send what `take` gives; see `Transport.run`."""
        jobs = _Jobs(take)
        try:
            while await jobs.wait():
                session = await connect(self.relay)
                try:
                    if await _Dialogue(self.relay, session, jobs, settle).carry():
                        return
                finally:
                    session.wire.fail(RelayDown("done"))
        except RelayDown as down:
            offered = [work for work in jobs.in_hand if work.statuses or not isinstance(down, NoSession)]
            for work in offered:
                work.postpone(work.todo, down)
                await work.settle(settle, None)
            raise


class _Work:
    """A job and what is known of its recipients. `todo`: the indexes of those nobody has spoken for."""

    __slots__ = ("job", "statuses", "todo")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.todo = list(range(len(job.rcpts)))
        self.statuses: dict[int, Status] = {}

    def postpone(self, indexes: list[int], down: RelayDown, note: str = "") -> None:
        for index in indexes:
            self.statuses[index] = Status(State.DEFERRED, down.enhanced, down.text + note)

    async def settle(self, settle: Settle, following: _Work | None) -> None:
        statuses = tuple([self.statuses[index] for index in range(len(self.job.rcpts))])
        await settle(self.job, statuses, following.job if following else None)


class _Jobs:
    """What `take` gives, and before it what was put back: its connection broke before it was sent."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self.in_hand: deque[_Work] = deque()

    def put_back(self, work: _Work) -> None:
        self.in_hand.appendleft(work)

    @property
    def first(self) -> _Work | None:
        """What was put back and comes next."""
        return self.in_hand[0] if self.in_hand else None

    async def next(self, *, wait: bool) -> _Work | None:
        if self.in_hand:
            return self.in_hand.popleft()
        job = await self._take(wait)
        return _Work(job) if job else None

    async def wait(self) -> bool:
        """Wait until there is something to send; False: there will be nothing more."""
        work = await self.next(wait=True)
        if work:
            self.put_back(work)
        return work is not None


class _Dialogue:
    """What is said on one connection.

    `proven`: some recipient had its answer here. A connection that has not proved itself gets no
    second mail in hand, so RelayDown postpones one job and not two.
    `opened`: the envelope of the work in hand is on its way already.
    """

    def __init__(self, relay: Relay, session: Session, jobs: _Jobs, settle: Settle) -> None:
        self.relay = relay
        self.session = session
        self.wire = session.wire
        self.jobs = jobs
        self.settle = settle
        self.proven = False
        self.opened = False

    async def carry(self) -> bool:
        """Send until there are no more jobs (True), or until the connection is gone (False).

        RelayDown: it went before any recipient had an answer. What was not sent is put back.
        """
        work = await self.jobs.next(wait=True)
        while work:
            try:
                following = await self._transact(work)
            except RelayDown:
                self.jobs.put_back(work)
                if self.proven:
                    return False
                raise
            work = following or await self.jobs.next(wait=True)
        if await self.wire.send((b"QUIT\r\n",), _BYE):
            await self.wire.replies(1, _BYE)
        return True

    async def _transact(self, work: _Work) -> _Work | None:
        """Make one transaction; return the work in hand after it.

        RelayDown: the connection broke. `work.todo` then holds those whose mail was not sent.
        """
        if not self.opened:
            self._drop_unsendable(work)
        if not work.todo:
            await self._settle(work, None)
            return None
        replies = await self._open(work)
        accepted, ending = self._judge(work, replies)
        following = await self._next(work)
        if accepted and self.wire.failure:  # it broke while we looked for the next: nothing was sent
            if following and following is not work:
                self.jobs.put_back(following)
            work.todo = sorted(accepted + work.todo)
            raise self.wire.failure
        announced = self._envelope(following) if following and self.opened else ()
        handed_over = await self.wire.send((*ending, *announced), self.relay.data_timeout)
        count = len(accepted) if accepted and self.relay.lmtp else 1
        answers = await self.wire.replies(count, self.relay.data_timeout)
        self._conclude(work, accepted, answers, handed_over)
        if not work.todo:
            await self._settle(work, following)
        return following

    async def _settle(self, work: _Work, following: _Work | None) -> None:
        """Mark how `work` ended, and what comes next: also if that was taken by a connection that is gone."""
        await work.settle(self.settle, following or self.jobs.first)

    async def _open(self, work: _Work) -> list[Reply]:
        """Send the envelope, unless that was done before; return its replies: MAIL, RCPT…, DATA."""
        timeout = self.relay.command_timeout
        if self.opened:
            self.opened = False
            replies = await self.wire.replies(len(work.todo) + 2, timeout)
        else:
            replies, commands = [], self._envelope(work)
            for group in [b"".join(commands)] if self.session.pipelining else commands:
                await self.wire.send((group,), timeout)
                replies += await self.wire.replies(group.count(b"\r\n"), timeout)
        if self.wire.failure:
            raise self.wire.failure
        return replies

    def _envelope(self, work: _Work) -> list[bytes]:
        job, features = work.job, self.session.features
        parameters = f" SIZE={job.size}" if "SIZE" in features else ""
        if "8BITMIME" in features and not job.ascii:
            parameters += " BODY=8BITMIME"
        if _needs_smtputf8(work):
            parameters += " SMTPUTF8"
        rcpts = [f"RCPT TO:<{job.rcpts[index]}>\r\n".encode() for index in work.todo]
        return [f"MAIL FROM:<{job.mail_from}>{parameters}\r\n".encode(), *rcpts, b"DATA\r\n"]

    def _judge(self, work: _Work, replies: list[Reply]) -> tuple[list[int], tuple[bytes, ...]]:
        """Say who was accepted, and with what bytes the transaction ends.

        Whoever is over the server's limit of recipients (RFC 5321 section 4.5.3.1.10) stays in
        `work.todo` if others were taken; everyone else who was refused gets a status.
        """
        mail, *rcpts, data = replies
        willing = any(reply.ok for reply in rcpts)
        go = mail.ok and willing and data.code == 354
        accepted: list[int] = []
        later: list[int] = []
        for index, reply in zip(work.todo, rcpts, strict=True):
            if go and reply.ok:
                accepted.append(index)
            elif go and _too_many(reply):
                later.append(index)
            else:
                work.statuses[index] = _refusal(mail if not mail.ok else data if reply.ok else reply)
                self.proven = True
        work.todo = later
        if go:
            return accepted, (work.job.own, *work.job.content.wire)
        if data.code != 354:
            return [], _RSET
        if willing or self.relay.lmtp:
            # A dot would send an empty mail to those it took in spite of all; and LMTP has no
            # answer to a dot for nobody.
            self.wire.fail(RelayDown("the relay wants a mail that it refused"))
        return [], _LONE_DOT

    async def _next(self, work: _Work) -> _Work | None:
        """Return what comes after `work`: its own left-over recipients, or a job that is there now."""
        ahead = self.session.pipelining and not self.wire.failure
        following: _Work | None = work if work.todo else None
        if ahead and self.proven and following is None:
            following = await self.jobs.next(wait=False)
        if ahead and following:
            self._drop_unsendable(following)
            self.opened = bool(following.todo)
        return following

    def _conclude(self, work: _Work, accepted: list[int], answers: list[Reply], handed_over: bool) -> None:
        """Give the accepted recipients their statuses."""
        if answers and answers[0].code != 421:
            self.proven = True
        results = [_result(reply) for reply in answers]
        if not self.relay.lmtp:
            results *= len(accepted)
        work.statuses.update(zip(accepted, results, strict=False))
        failure = self.wire.failure
        if failure is None:
            return
        unanswered = accepted[len(results) :]
        work.postpone(unanswered, failure, "; the mail may have been delivered" if handed_over else "")
        if not self.proven:
            raise failure

    def _drop_unsendable(self, work: _Work) -> None:
        """Settle those recipients whom this server cannot be asked to serve."""
        whole = self._objection(work.job)
        for index in work.todo:
            rcpt = work.job.rcpts[index]
            status = whole or bad_address(rcpt) or self._ascii_only(rcpt)
            if status:
                work.statuses[index] = status
        work.todo = [index for index in work.todo if index not in work.statuses]

    def _objection(self, job: Job) -> Status | None:
        """Return why this mail cannot be sent here to anybody."""
        limit = self.session.size
        if 0 < limit < job.size:
            text = f"the mail has {job.size} bytes, and the relay takes {limit}"
            return Status(State.FAILED, "5.3.4", text)
        if "8BITMIME" not in self.session.features and not job.ascii:
            return Status(State.FAILED, "5.6.3", "the mail has 8-bit characters, and the relay takes none")
        if not job.content.clean:
            return Status(State.DEFERRED, "4.6.0", "the mail has a bare CR or LF")
        if job.smtputf8 and "SMTPUTF8" not in self.session.features:
            return Status(State.FAILED, "5.6.7", "the mail needs SMTPUTF8, and the relay does not offer it")
        return bad_address(job.mail_from) or self._ascii_only(job.mail_from)

    def _ascii_only(self, address: str) -> Status | None:
        if address.isascii() or "SMTPUTF8" in self.session.features:
            return None
        return Status(State.FAILED, "5.6.7", "the address needs SMTPUTF8, and the relay does not offer it")


def _needs_smtputf8(work: _Work) -> bool:
    job = work.job
    return job.smtputf8 or not (job.mail_from.isascii() and all(job.rcpts[index].isascii() for index in work.todo))


def _too_many(reply: Reply) -> bool:
    """Whether the server only has no room for more recipients in this transaction.

    Old ones say 552 (RFC 5321 section 4.5.3.1.10).
    """
    return (reply.code, reply.enhanced) in _TOO_MANY


def _result(reply: Reply) -> Status:
    """What the answer to the mail itself means."""
    return Status(State.SENT, reply.enhanced, reply.text) if reply.ok else _refusal(reply)


def _refusal(reply: Reply) -> Status:
    """What an answer means that was not the one we hoped for. Whatever is no 5yz is temporary."""
    if reply.code >= 500:
        return Status(State.FAILED, reply.enhanced, reply.text)
    enhanced = reply.enhanced if reply.code >= 400 else "4.5.0"
    return Status(State.DEFERRED, enhanced, reply.text)
