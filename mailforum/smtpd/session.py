"""One client's dialogue: greeting, MAIL, RCPT, DATA, and the answer behind the dot.

Read `Dialogue` from the top. A command either pushes its reply or raises: Refused and Deferred are
replies themselves, `HangUp` ends the session, anything else is our own fault and becomes 451 with
an id (`protocol.py`). What is asked of the rest of mailforum are the two methods of `Intake`.
"""

# ruff: noqa: N802, N815  # smtp_MAIL and its like are aiosmtpd's names

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from mailforum import log
from mailforum.errors import Deferred, Refused
from mailforum.mail import address
from mailforum.model import Envelope, Outcome, Route
from mailforum.smtpd.data import MailData
from mailforum.smtpd.protocol import HangUp, Wire
from mailforum.smtpd.rates import Rate
from mailforum.smtpd.shared import Shared
from mailforum.smtpd.syntax import need_utf8, no_argument, no_more, one_outcome, reply, split_path

_HTTP = frozenset({"GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"})
_TRIES = 10  # times max_recipients


class Intake(Protocol):
    """Where the dialogue takes its recipients and its mail."""

    async def admit(self, mail_from: str) -> None:
        """Raise Deferred while no mail can be taken in."""
        ...

    async def route(self, rcpt: str) -> Route:
        """Return what an address leads to; raises Refused or Deferred."""
        ...

    async def receive(self, envelope: Envelope, raw: bytes) -> tuple[Outcome, ...]:
        """Take a mail; return one outcome for each route, in their order, once it is durable.

        Raises Refused or Deferred for the whole mail.
        """
        ...


@dataclass(slots=True)
class Transaction:
    """What one mail has so far. `mail_from` is None before MAIL, and "" for the null sender.

    `id` is the mail's name in the log. `rcpts` are the keys of the accepted RCPT commands, repeated ones
    too; each leads into `routes`.
    """

    id: str = ""
    mail_from: str | None = None
    smtputf8: bool = False
    rcpts: list[str] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    tries: int = 0
    refused: bool = False  # the mail before it


class Dialogue(Wire):
    """SMTP (RFC 5321) or LMTP (RFC 2033) with one client."""

    def __init__(self, shared: Shared, intake: Intake, *, lmtp: bool) -> None:
        super().__init__(shared)
        self.intake = intake
        self.lmtp = lmtp
        self.helo = ""
        self.extended = False
        self.mail = Transaction()

    def greeting(self) -> str:
        return f"220 {self.shared.hostname} {'LMTP' if self.lmtp else 'ESMTP'} mailforum"

    async def obey(self, verb: str, argument: str) -> None:
        if verb in _HTTP:
            raise HangUp("421 4.7.0 This is no web server")  # a browser was sent here to talk for someone
        if not argument.isascii() and verb not in ("MAIL", "RCPT"):
            raise Refused("Only MAIL and RCPT take other than ASCII", code=501, enhanced="5.5.2")
        command = COMMANDS.get(verb)
        if command is None:
            raise Refused("There is no such command", code=500, enhanced="5.5.1")
        await command(self, argument)

    # -- who are you

    async def smtp_HELO(self, hostname: str) -> None:
        self._greeted(hostname, extended=False)
        await self.push(f"250 {self.shared.hostname}")

    async def smtp_EHLO(self, hostname: str) -> None:
        if self.lmtp:
            raise Refused("This is LMTP: say LHLO", code=500, enhanced="5.5.1")
        await self._extensions(hostname)

    async def smtp_LHLO(self, hostname: str) -> None:
        if not self.lmtp:
            raise Refused("This is SMTP: say EHLO", code=500, enhanced="5.5.1")
        await self._extensions(hostname)

    async def _extensions(self, hostname: str) -> None:
        self._greeted(hostname, extended=True)
        lines = [
            self.shared.hostname,
            "PIPELINING",
            f"SIZE {int(self.shared.options.max_size)}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if self.shared.tls and not self.encrypted:
            lines.append("STARTTLS")
        await self.push("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _greeted(self, hostname: str, *, extended: bool) -> None:
        if not hostname:
            raise Refused("Say who you are: a host name is missing", code=501, enhanced="5.5.4")
        if self.lmtp and not extended:
            raise Refused("This is LMTP: say LHLO", code=500, enhanced="5.5.1")
        if self.helo:
            self.count_junk()
        self.mail = Transaction()
        self.helo, self.extended = hostname, extended

    async def smtp_STARTTLS(self, argument: str) -> None:
        no_argument(argument)
        if self.shared.tls is None or self.encrypted:
            raise Refused("TLS is not offered now", code=503, enhanced="5.5.1")
        await self.start_tls(self.shared.tls)
        self.helo, self.extended = "", False  # what was said in the clear is forgotten
        self.mail = Transaction()

    # -- a mail: from whom, to whom

    async def smtp_MAIL(self, argument: str) -> None:
        if not self.helo:
            raise Refused("Say hello first", code=503, enhanced="5.5.1")
        if self.mail.mail_from is not None:
            raise Refused("There is a sender already", code=503, enhanced="5.5.1")
        path, params = split_path("FROM:", argument)
        utf8 = self._check_mail_params(params)
        need_utf8(path, utf8)
        mail_from = address.envelope(path)
        self.mail.id = self.shared.new_id()
        await self._admit(mail_from)
        self.mail.mail_from = mail_from
        self.mail.smtputf8 = utf8
        await self.push_soon("250 2.1.0 Sender ok")

    def _check_mail_params(self, params: dict[str, str | None]) -> bool:
        """Check SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531); return whether UTF-8 is meant."""
        if not params:
            return False
        if not self.extended:
            raise Refused("Parameters need EHLO", code=555, enhanced="5.5.4")
        size = params.pop("SIZE", "0") or ""
        if not re.fullmatch(r"[0-9]{1,20}", size):
            raise Refused("SIZE takes a number", code=501, enhanced="5.5.4")
        if int(size) > self.shared.options.max_size:
            raise Refused("The mail is too large", code=552, enhanced="5.3.4")
        if (params.pop("BODY", "7BIT") or "").upper() not in ("7BIT", "8BITMIME"):
            raise Refused("BODY is 7BIT or 8BITMIME", code=501, enhanced="5.5.4")
        utf8 = "SMTPUTF8" in params
        if params.pop("SMTPUTF8", None) is not None:
            raise Refused("SMTPUTF8 takes no value", code=501, enhanced="5.5.4")
        no_more(params)
        return utf8

    async def _admit(self, mail_from: str) -> None:
        """Say whether a mail may be sent now; whoever has to wait has a line in the log."""
        try:
            self._charge(self.shared.mails, "mails")
            await self.intake.admit(mail_from)
        except Deferred as error:
            self._log_refused(self.mail, "", error, mail_from or "<>")
            raise

    def _charge(self, rate: Rate, what: str) -> None:
        if not rate.take(self.client):
            self.count_junk()
            text = f"Too many {what} a minute from your address, try again later"
            raise Deferred(text, f"too many {what} a minute", code=450, enhanced="4.7.0")

    async def smtp_RCPT(self, argument: str) -> None:
        if self.mail.mail_from is None:
            raise Refused("Say MAIL first", code=503, enhanced="5.5.1")
        path, params = split_path("TO:", argument)
        no_more(params)
        need_utf8(path, self.mail.smtputf8)
        try:
            await self._recipient(path)
        except (Refused, Deferred) as error:
            self._log_refused(self.mail, path, error)
            # A recipient that is not here is no misbehaviour: a post may go to twenty dead addresses.
            await self.push_soon(reply(error.code, error.enhanced, error.text))
        else:
            await self.push_soon("250 2.1.5 Recipient ok")

    async def _recipient(self, path: str) -> None:
        transaction = self.mail
        self._count_recipient(transaction)
        if path.lstrip("<").startswith("@"):
            raise Refused("Source routes are not followed", "source route")
        rcpt = address.envelope(path)
        if not rcpt:
            raise Refused("The address is missing", code=501, enhanced="5.1.3")
        key = address.key(rcpt)
        if key not in transaction.routes:
            self._charge(self.shared.recipients, "recipients")
            transaction.routes[key] = await self.intake.route(rcpt)
        transaction.rcpts.append(key)

    def _count_recipient(self, transaction: Transaction) -> None:
        transaction.tries += 1
        most = self.shared.options.max_recipients
        if transaction.tries > _TRIES * most:
            raise HangUp("421 4.5.3 Far too many recipients")
        if transaction.tries > most:
            raise Deferred("Too many recipients, send the rest in another mail", code=452, enhanced="4.5.3")

    # -- the mail itself, and what became of it

    async def smtp_DATA(self, argument: str) -> None:
        no_argument(argument)
        transaction = self.mail
        if not transaction.rcpts:
            self._refuse_data()
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        data = await self.read_mail()
        # From here on the mail is ours: what the client does now must not stop it half-way.
        answers = await self.undisturbed(self._hand_over(transaction, data))
        self.mail = Transaction(refused=not any(answer.startswith("2") for answer in answers))
        if not self.mail.refused:
            self.forgive()
        await self.push("\r\n".join(answers))

    def _refuse_data(self) -> None:
        """Refuse DATA, and end the session if the mail is there already: its lines are no commands."""
        text = "There is no sender" if self.mail.mail_from is None else "There is no valid recipient"
        if self.bytes_waiting():
            raise HangUp(reply(503, "5.5.1", text))
        raise Refused(text, code=503, enhanced="5.5.1")

    async def _hand_over(self, transaction: Transaction, data: MailData) -> list[str]:
        """Give the mail to the intake and return the replies to its dot. Never raises."""
        envelope = Envelope(
            mail_from=transaction.mail_from or "",
            routes=tuple(transaction.routes.values()),
            peer=self.peer,
            helo=self.helo,
            smtputf8=transaction.smtputf8,
            lmtp=self.lmtp,
            id=transaction.id,
        )
        try:
            outcomes = await self._take(envelope, data)
            by_key = dict(zip(transaction.routes, outcomes, strict=True))
            told = [by_key[key] for key in transaction.rcpts] if self.lmtp else [one_outcome(outcomes)]
            return [reply(outcome.code, outcome.enhanced, outcome.text) for outcome in told]
        except (Refused, Deferred) as error:
            return self._one_for_all(transaction, error)
        except Exception as error:
            return [await self.handle_exception(error)] * self._replies(transaction)
        finally:
            self.shared.release(data)

    async def _take(self, envelope: Envelope, data: MailData) -> tuple[Outcome, ...]:
        """Large mails are dealt with one after the other: each takes some three times its size of memory."""
        if not data.spilled:
            return await self.intake.receive(envelope, data.content())
        async with self.shared.large:
            return await self.intake.receive(envelope, await asyncio.to_thread(data.content))

    def _one_for_all(self, transaction: Transaction, error: Refused | Deferred) -> list[str]:
        for rcpt in transaction.routes:
            self._log_refused(transaction, rcpt, error)
        return [reply(error.code, error.enhanced, error.text)] * self._replies(transaction)

    def _log_refused(self, transaction: Transaction, rcpt: str, error: Refused | Deferred, mail_from: str = "") -> None:
        log.refused(
            mail=transaction.id,
            mail_from=mail_from,
            rcpt=rcpt,
            code=error.code,
            enhanced=error.enhanced,
            reason=error.reason,
            peer=self.peer,
        )

    def _replies(self, transaction: Transaction) -> int:
        """How many replies a dot gets: in LMTP one for each RCPT that was accepted, repeated ones too."""
        return len(transaction.rcpts) if self.lmtp else 1

    # -- small talk

    async def smtp_RSET(self, arg: str) -> None:
        no_argument(arg)
        if not self.mail.refused:  # clients say it behind a mail that was refused, and mean no harm
            self.count_junk()
        self.mail = Transaction()
        await self.push("250 2.0.0 Ok")

    async def smtp_NOOP(self, arg: str) -> None:
        self.count_junk()
        await self.push("250 2.0.0 Ok")

    async def smtp_HELP(self, arg: str) -> None:
        self.count_junk()
        await self.push("214 2.0.0 See RFC 5321")

    async def smtp_VRFY(self, arg: str) -> None:
        self.count_junk()
        await self.push("252 2.5.0 Send some mail, and see")

    async def smtp_EXPN(self, arg: str) -> None:
        raise Refused("Not offered here", code=502, enhanced="5.5.1")

    smtp_AUTH = smtp_ETRN = smtp_TURN = smtp_EXPN

    async def smtp_BDAT(self, arg: str) -> None:
        # Its data follows without being asked for, and must not be taken for commands.
        raise HangUp("502 5.5.1 BDAT is not offered here")

    async def smtp_QUIT(self, arg: str) -> None:
        raise HangUp("221 2.0.0 Bye")

    def is_between_mails(self) -> bool:
        return self.mail.mail_from is None

    def mail_id(self) -> str:
        return self.mail.id


COMMANDS: dict[str, Callable[[Dialogue, str], Awaitable[None]]] = {
    name.removeprefix("smtp_"): command for name, command in vars(Dialogue).items() if name.startswith("smtp_")
}
