"""Flows: what people do by mail and what they get, as files that a mail admin can read.

A flow is a folder with a `flow.txt` and the mails it sends. Lines of `flow.txt`:

    $ list create pmo                     a command of the admin
    = #1  Budget                          its output holds this line (blanks do not count)
    =~ Secret                             its output does not hold this
    ! list delete nobody                  a command that fails
    bob@example.org -> pmo@lists… : FILE  sends FILE over SMTP (no FILE: an empty mail)
    < 250                                 how the answer begins
    bob@example.org replies: FILE         answers the newest mail they have got, as a phone does
    bob@example.org gets                  they have got one more mail since they were last asked for,
    | Subject: Re: Budget                 in which these lines stand in this order
    |~ X-Secret                           and this stands nowhere
    bob@example.org gets nothing          they have got nothing more
    mail of bob@example.com comes back: FILE
                                          their server sends FILE to the return path of the newest mail they
                                          have got; in it {rcpt} is their address, and a line {the mail} is
                                          that mail as it came
    mail of bob@example.com comes back to pmo-owner@lists…: FILE
                                          the same to another address of ours
    a day passes                          and the clock does what is due; also: an hour passes
    # a remark

`gets` looks at mails in the order of their arrival.
"""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from tests.support.sink import Mail
from tests.support.site import Answer, Site

_SEND = re.compile(r"(?P<sender>\S+) -> (?P<rcpts>[^:]+?)(?: : (?P<file>\S+))?")
_REPLY = re.compile(r"(?P<who>\S+) replies(?:: (?P<file>\S+))?")
_BACK = re.compile(r"mail of (?P<who>\S+) comes back(?: to (?P<to>[^\s:]+))?: (?P<file>\S+)")
_PASSES = {"a day passes": 86400.0, "an hour passes": 3600.0, "a week passes": 7 * 86400.0}
_GETS = re.compile(r"(?P<who>\S+) gets(?P<nothing> nothing)?")


class Flow:
    """Plays one folder against a site."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self.site = folder, site
        self.answer = Answer(0, "", "")
        self.reply = ""
        self.mail: list[str] = []
        self.mail_text = ""
        self.read: dict[str, int] = {}
        self.sent = 0

    async def play(self) -> None:
        """Run every line; AssertionError names the first that does not hold."""
        for number, line in enumerate((self.folder / "flow.txt").read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                try:
                    await self._step(line.rstrip())
                except AssertionError as error:
                    raise AssertionError(f"{self.folder.name}/flow.txt:{number}: {line}\n{error}") from None

    async def _step(self, line: str) -> None:
        mark, rest = line[:1], line[2:]
        if mark in "$!":
            self.answer = await self.site.cli(*_words(rest), check=False)
            assert (self.answer.code == 0) == (mark == "$"), self.answer
        elif line.startswith("=~"):
            assert line[3:] not in self.answer.out, self.answer.out
        elif mark == "=":
            shown = [" ".join(each.split()) for each in (self.answer.out + self.answer.err).splitlines()]
            assert any(" ".join(rest.split()) in each for each in shown), self.answer.out + self.answer.err
        elif line.startswith("< "):
            assert self.reply.startswith(rest), self.reply
        elif line.startswith("|~"):
            assert line[3:] not in self.mail_text, self.mail_text
        elif mark == "|":
            self._find(rest)
        else:
            await self._person(line)

    def _find(self, wanted: str) -> None:
        for index, line in enumerate(self.mail):
            if wanted in line:
                self.mail = self.mail[index + 1 :]
                return
        raise AssertionError(f"not in the rest of the mail:\n{self.mail_text}")

    async def _person(self, line: str) -> None:
        if line in _PASSES:
            await self.site.quiet()
            self.site.clock.shift += _PASSES[line]
            await self.site.tick()
        elif match := _BACK.fullmatch(line):
            await self._comes_back(match["who"], match["to"], self._file(match["file"]))
        elif match := _SEND.fullmatch(line):
            await self._send(match["sender"], match["rcpts"].replace(",", " ").split(), self._file(match["file"]))
        elif match := _REPLY.fullmatch(line):
            await self._replies(match["who"], match["file"])
        elif match := _GETS.fullmatch(line):
            await self._gets(match["who"], nothing=bool(match["nothing"]))
        else:
            raise AssertionError("this line means nothing")

    async def _send(self, sender: str, rcpts: list[str], mail: bytes) -> None:
        self.sent += 1
        if not mail:
            mail = (
                f"From: {sender}\r\nTo: {', '.join(rcpts)}\r\nSubject:\r\n"
                f"Message-ID: <{self.folder.name}.{self.sent}@client.example.org>\r\n\r\n"
            ).encode()
        self.reply = await self.site.send("" if sender == "<>" else sender, rcpts, mail)

    def _file(self, name: str | None) -> bytes:
        return (self.folder / name).read_bytes().replace(b"\n", b"\r\n") if name else b""

    async def _replies(self, who: str, file: str | None) -> None:
        """Answer as phones do: to Reply-To or From, with a subject, ids, and the original quoted below."""
        original = _parsed(self.site.sink.to(who)[-1])
        to = str(original["Reply-To"] or original["From"])
        to = to.rpartition("<")[2].rstrip(">").strip()
        text = self._file(file).decode() if file else ""
        quoted = "".join(f"> {line}\r\n" for line in _text(original).splitlines())
        self.sent += 1
        mail = (
            f"From: <{who}>\r\nTo: {to}\r\nSubject: Re: {original['Subject']}\r\n"
            f"Message-ID: <{self.folder.name}.{self.sent}@phone.example.org>\r\n"
            f"In-Reply-To: {original['Message-ID']}\r\nReferences: {original['Message-ID']}\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
            f"\r\n{text}\r\nOn some day, somebody wrote:\r\n{quoted}"
        )
        self.reply = await self.site.send(who, [to], mail.encode())

    async def _comes_back(self, who: str, to: str | None, file: bytes) -> None:
        await self.site.quiet()
        original = self.site.sink.to(who)[-1]
        mail = file.replace(b"{rcpt}", who.encode()).replace(b"{the mail}\r\n", original.data)
        self.reply = await self.site.send("", [to or original.mail_from], mail)

    async def _gets(self, who: str, *, nothing: bool) -> None:
        await self.site.quiet()
        mails = self.site.sink.to(who)[self.read.get(who, 0) :]
        if nothing:
            assert not mails, mails[0].data.decode(errors="replace")
            return
        assert mails, f"nothing more has come; {who} had {len(self.site.sink.to(who))} mails"
        self.read[who] = self.read.get(who, 0) + 1
        parsed = _parsed(mails[0])
        headers = [f"{name}: {' '.join(str(value).split())}" for name, value in parsed.items()]
        self.mail = [f"Return-Path: <{mails[0].mail_from}>", *headers, "", *_text(parsed).splitlines()]
        self.mail_text = "\n".join(self.mail)


def _words(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


def _parsed(mail: Mail) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(mail.data, policy=policy.default))


def _text(mail: EmailMessage) -> str:
    """All text parts, one after the other."""
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    return "\n".join(str(part.get_content()) for part in parts)
