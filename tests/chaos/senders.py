"""Who writes: servers that repeat what was not answered, as honest ones do, and people who join and leave."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.ledger import Ledger, List
from tests.support.site import DOMAIN

if TYPE_CHECKING:
    from tests.chaos.stages import Trigger

PATIENCE = 20.0  # seconds that a sender waits for an answer
AGAIN = 0.02  # seconds until it tries again
UNKNOWN, NOT_SENT = "the answer was lost", "not sent"


@dataclass
class Client:
    """One sending server: a connection that is made again when it broke, SMTP or LMTP."""

    port: int
    trigger: Trigger
    lmtp: bool = False
    hosts: tuple[str, ...] = ("127.0.0.1",)  # where one cannot be had, or does not answer, the next is tried
    patience: float = PATIENCE
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    dotted: bool = False

    async def send(self, mail_from: str, rcpts: Sequence[str], mail: bytes) -> str:
        """Try once; return the answer to the dot (UNKNOWN if it was lost) or what was refused before it."""
        self.dotted = False
        try:
            async with asyncio.timeout(self.patience):
                return await self._send(mail_from, rcpts, mail)
        except (OSError, EOFError, TimeoutError):
            self.hang_up()
            return UNKNOWN if self.dotted else NOT_SENT

    async def _send(self, mail_from: str, rcpts: Sequence[str], mail: bytes) -> str:
        reader, writer = self.streams = self.streams or await self._connect()
        for line in (f"MAIL FROM:<{mail_from}>", *(f"RCPT TO:<{rcpt}>" for rcpt in rcpts), "DATA"):
            answer = await self._say(line)
            if answer[:1] not in ("2", "3"):
                await self._say("RSET")
                return answer
        stuffed = mail.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        writer.write(stuffed[: len(mail) // 2])
        await self.trigger.at("half a mail is sent")
        writer.write(stuffed[len(mail) // 2 :])
        self.dotted = True
        await self.trigger.at("dot")
        answers = [await _reply(reader) for _ in (rcpts if self.lmtp else rcpts[:1])]
        await self.trigger.at("250")
        return next((answer for answer in answers if not answer.startswith("250")), answers[0])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.streams = await asyncio.open_connection(self.hosts[0], self.port)
        await _reply(self.streams[0])
        await self._say("LHLO client.example.com" if self.lmtp else "EHLO client.example.com")
        return self.streams

    async def _say(self, line: str) -> str:
        assert self.streams
        self.streams[1].write(line.encode() + b"\r\n")
        return await _reply(self.streams[0])

    def hang_up(self) -> None:
        """Close without a word."""
        if self.streams:
            self.streams[1].close()
        self.streams = None
        self.hosts = (*self.hosts[1:], self.hosts[0])


async def _reply(reader: asyncio.StreamReader) -> str:
    while line := (await reader.readline()).decode():
        if line[3:4] != "-":
            if line.startswith("421"):
                raise EOFError
            return line.rstrip()
    raise EOFError


@dataclass
class Author:
    """Posts one mail after the other; each is repeated until it is answered, or given up unanswered."""

    name: str
    client: Client
    lists: Sequence[List]
    ledger: Ledger
    rng: random.Random
    backlog: int = 3000  # deliveries that may be owed before only small lists are written to
    pause: float = 0.03  # longest, in seconds, between two mails
    refused: list[str] = field(default_factory=list)

    async def write(self, stop: asyncio.Event) -> None:
        """Go on until `stop`; the last mail is carried to its end."""
        number = 0
        while not stop.is_set():
            number += 1
            await self._post(f"<mail{number}of{self.name}@example.com>")
            await asyncio.sleep(self.rng.uniform(0, self.pause))
        self.client.hang_up()

    async def _post(self, msgid: str) -> None:
        lists = self._choose()
        mail = self._mail(msgid)
        post = self.ledger.post(msgid, lists, mail.partition(b"\r\n\r\n")[2])
        rcpts = [f"{each.name}@{DOMAIN}" for each in lists]
        while True:
            answer = await self.client.send("author@example.com", rcpts, mail)
            if answer.startswith("250"):
                return self.ledger.accept(post)
            if answer.startswith("5"):
                return self.refused.append(f"{msgid}: {answer}")
            if answer == UNKNOWN and self.rng.random() < 0.1:
                return None  # somebody has emptied the sender's queue: all may get it, or nobody
            if len(self.client.hosts) > 1 and self.rng.random() < 0.3:
                self.client.hang_up()  # and tries the next host
            await asyncio.sleep(AGAIN)

    def _choose(self) -> tuple[List, ...]:
        """Small lists more often than large ones; now and then two lists in one mail."""
        if wished := [each for each in self.lists if each.name == self.ledger.wish]:
            self.ledger.wish = ""
            return tuple(wished)
        most = 20 if self.ledger.owed > self.backlog else 10**6
        lists = [each for each in self.lists if each.size <= most]
        weights = [1 / (1 + each.size / 20) for each in lists]
        chosen = self.rng.choices(lists, weights, k=self.rng.choice([1, 1, 1, 1, 2]))
        return tuple(dict.fromkeys(chosen))

    def _mail(self, msgid: str) -> bytes:
        token = msgid.strip("<>").partition("@")[0]
        head = f"From: author@example.com\r\nSubject: {token}\r\nMessage-ID: {msgid}\r\nMIME-Version: 1.0\r\n\r\n"
        size = int(self.rng.choice([1, 5, 40]) * self.rng.paretovariate(1.5))
        lines = [f"{'.' * (line % 3)}line {line} {self.rng.getrandbits(300):x}\r\n" for line in range(min(size, 4000))]
        return f"{head}{token}\r\n{''.join(lines)}the end of {token}\r\n".encode()


@dataclass
class People:
    """They join a list and leave it again, one after the other, each by answering what they are asked.

    `joined` and `left`: whose answer was taken. `inbox` has what the relay kept for each: (subject, reply-to).
    """

    name: str
    client: Client
    inbox: dict[str, list[tuple[str, str]]]
    rng: random.Random
    pause: float = 0.0
    joined: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    async def come_and_go(self, stop: asyncio.Event, club: str) -> None:
        """Go on until `stop`."""
        number = 0
        while not stop.is_set():
            await asyncio.sleep(self.pause)
            number += 1
            person = f"{self.name}.{number}@people.example.org"
            self.inbox[person] = []
            if await self._ask(stop, person, f"{club}-join@{DOMAIN}", "join"):
                self.joined.add(person)
            if (
                self.rng.random() < 0.5
                and person in self.joined
                and await self._ask(stop, person, f"{club}-leave@{DOMAIN}", "leave")
            ):
                self.left.add(person)
        self.client.hang_up()

    async def _ask(self, stop: asyncio.Event, person: str, to: str, word: str) -> bool:
        """Ask, wait for the question, answer it; say whether the answer was taken."""
        await self._insist(person, to, word)
        while not stop.is_set():
            for subject, reply_to in self.inbox[person]:
                if word in subject and "confirm" in reply_to:
                    await self._insist(person, reply_to, f"Re: {word}")
                    return True
            await asyncio.sleep(0.01)
        return False

    async def _insist(self, person: str, to: str, subject: str) -> None:
        msgid = f"<{subject[:2]}.{to.partition('@')[0]}.{person}>"
        mail = f"From: {person}\r\nSubject: {subject}\r\nMessage-ID: {msgid}\r\n\r\n"
        while not (await self.client.send(person, [to], mail.encode())).startswith("250"):
            await asyncio.sleep(AGAIN)


def opened(data: bytes) -> tuple[str, str]:
    """Return subject and reply-to of a notice."""
    return _field(data, b"Subject"), _field(data, b"Reply-To")


def _field(data: bytes, name: bytes) -> str:
    found = re.search(rb"^" + name + rb": (.*)\r$", data, re.MULTILINE)
    return found[1].decode() if found else ""


async def carried_to_the_end(tasks: Sequence[asyncio.Task[None]], patience: float) -> None:
    """Wait for those who write to end; whoever does not is stopped."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*tasks), patience)
