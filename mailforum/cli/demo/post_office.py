"""The members' side of the mail: SMTP to the list, and the Maildir in which their mail arrives."""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.headerregistry import Address as EmailAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid
from pathlib import Path

from mailforum.errors import MailforumError
from mailforum.mail import address, body, message
from mailforum.mail.message import Message
from mailforum.units import Address

LOOK = 0.02  # seconds between looks into the Maildir
PATIENCE = 15.0  # seconds after which a mail that is due is missing


class NotArrived(MailforumError):
    """A mail that somebody waits for has not come in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said to a mail; `text` is without the enhanced code."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail in the Maildir, and whom it was delivered to."""

    path: Path
    to: str
    msg: Message

    @property
    def kind(self) -> str:
        """`post`, `digest` or `notice`."""
        if self.msg.get("X-Mailforum-Id"):
            return "post"
        return "digest" if self.msg.message_id.startswith("<digest.") else "notice"


class Outbox:
    """The Maildir that stands for everybody's mailbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._letters: dict[str, Letter] = {}

    def letters(self) -> list[Letter]:
        """Return everything that has arrived, in order."""
        for path in [*self.folder.glob("new/*"), *self.folder.glob("cur/*")]:
            name = path.name.partition(":")[0]  # a mail program that reads it puts `:2,S` behind
            if name not in self._letters:
                self._letters[name] = _letter(path)
        return [self._letters[name] for name in sorted(self._letters)]

    async def wait_for(self, what: str, is_it: Callable[[Letter], bool]) -> Letter:
        """Return the first letter of which `is_it` is true. Raises NotArrived when none comes."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = next(filter(is_it, self.letters()), None)
            if found:
                return found
            await asyncio.sleep(LOOK)
        raise NotArrived(f"{what} has not arrived in {self.folder} within {PATIENCE:.0f} seconds")


def _letter(path: Path) -> Letter:
    msg = message.parse(path.read_bytes())
    return Letter(path, msg.get("Delivered-To"), msg)


async def send(server: Address, mail_from: str, rcpt: str, raw: bytes) -> Reply:
    """Send one mail over a connection of its own, as the sender's mail server would."""
    return await asyncio.to_thread(_send, server, mail_from, rcpt, raw)


def _send(server: Address, mail_from: str, rcpt: str, raw: bytes) -> Reply:
    helo = f"mail.{address.domain_of(mail_from)}"
    with smtplib.SMTP(server.host, server.port, local_hostname=helo, timeout=PATIENCE) as client:
        client.ehlo()
        code, text = client.mail(mail_from, ["BODY=8BITMIME"])
        if code == 250:
            code, text = client.rcpt(rcpt)
        if code == 250:
            code, text = client.data(raw)
    return Reply(code, text.decode("utf-8", "replace").partition(" ")[2].replace("\n", " "))


def compose(name: str, sender: str, to: str, subject: str = "", text: str = "", answers: str = "") -> bytes:
    """Write a mail as a small mail program does; `answers` is the Message-ID of the mail it replies to."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = EmailAddress(name, addr_spec=sender)
    mail["To"] = to
    mail["Subject"] = subject
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = make_msgid(domain=address.domain_of(sender))
    if answers:
        mail["In-Reply-To"] = mail["References"] = answers
    mail.set_content(text)
    return mail.as_bytes()


def answer(name: str, letter: Letter) -> tuple[str, bytes]:
    """Answer a letter as people do on a phone: tap Reply, tap Send. Return to whom, and the mail."""
    asked = letter.msg
    mailbox = address.mailbox(asked.get("Reply-To") or asked.get("From"))
    if mailbox is None:
        raise NotArrived(f"{letter.path} names nobody to reply to")
    quoted = "".join(f"> {line}\n" for line in body.read(asked).text.splitlines())
    text = f"\n\nOn {asked.get('Date')}, {mailbox.name} wrote:\n\n{quoted}"
    subject = f"Re: {asked.subject}"
    return mailbox.address, compose(name, letter.to, mailbox.address, subject, text, asked.message_id)
