"""Plays the table of nasty mails to a running site, and keeps what came of each.

The list `pmo` gets them by SMTP and changes nothing in them; the list `dev` gets them by LMTP and has
a prefix and a footer. Behind each mail by SMTP a plain one is sent on the same connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailforum.chores import send_due_digests
from mailforum.cli.posts import show_post
from mailforum.model import Shunted
from mailforum.store import intake
from tests.hostile.kinds import Nasty
from tests.support.mails import AUTHOR, mail
from tests.support.sink import Mail
from tests.support.site import DOMAIN, Answer, Site, running_site

LISTS = {"pmo": "smtp", "dev": "lmtp"}
READER, DIGESTED = "bob-{}@example.com", "dora-{}@example.com"
EASTERN = "Pacific/Kiritimati"  # the first to see a new year, the year 10000 too


@dataclass
class Tried:
    """What came of one mail on one list; `plain_after` is in seconds."""

    mlist: str
    answer: str
    plain: str
    plain_after: float
    rest: str


@dataclass
class Played:
    """What came of all of them; the names of mails and lists are keys. `stalls` of the event loop are in seconds."""

    stalls: dict[str, float] = field(default_factory=dict)
    tried: dict[tuple[str, str], Tried] = field(default_factory=dict)
    arrived: dict[str, list[Mail]] = field(default_factory=dict)
    digests: dict[str, list[Mail]] = field(default_factory=dict)
    posts: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    archived: dict[str, Answer] = field(default_factory=dict)
    shunted: list[Shunted] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class _Pulse(logging.Handler):
    """Notes what is logged, errors apart, and how long the event loop stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.longest = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if record.levelno >= logging.ERROR:
            self.errors.append(self.format(record))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the log for as long as this lasts."""
        loggers = [logging.getLogger(name) for name in ("mailforum", "asyncio")]
        level = loggers[0].level
        for logger in loggers:
            logger.addHandler(self)
        loggers[0].setLevel(logging.INFO)
        yield
        loggers[0].setLevel(level)
        for logger in loggers:
            logger.removeHandler(self)

    async def beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, time.monotonic() - before - 0.005)


async def play(folder: Path, table: Sequence[Nasty]) -> Played:
    """Send every mail of `table` to both lists, then have digests made, posts shown and archives written."""
    played, pulse = Played(), _Pulse()
    with pulse.listening():
        async with running_site(folder) as site:
            beating = asyncio.create_task(pulse.beat())
            await _lists(site)
            for nasty in table:
                pulse.longest = 0.0
                for tried in await asyncio.gather(*(_try(site, nasty, name) for name in LISTS)):
                    played.tried[nasty.name, tried.mlist] = tried
                played.stalls[nasty.name] = pulse.longest
            await _delivered(site)
            await _digested(site)
            await _read(site, played)
            await _archived(site, folder, played)
            played.shunted = await site.service.core.db.read(intake.shunts)
            beating.cancel()
    played.log, played.errors = pulse.lines, pulse.errors
    return played


async def _lists(site: Site) -> None:
    await site.cli("list", "create", "plain")
    await site.cli("member", "add", "plain", AUTHOR, "--no-welcome", "--mode", "none")
    for name in LISTS:
        await site.cli("list", "create", name, "--title", "A <List>")
        await site.cli("list", "set", name, f"timezone={EASTERN}", f"archive_url=https://{DOMAIN}/{{msgid}}/{{id}}")
        await site.cli("member", "add", name, AUTHOR, "--no-welcome", "--mode", "none")
        await site.cli("member", "add", name, READER.format(name), "--no-welcome")
        await site.cli("member", "add", name, DIGESTED.format(name), "--no-welcome", "--mode", "digest")
    await site.cli("list", "set", "dev", "prefix=[dev]", "footer=on", "reply_to=author")


async def _try(site: Site, nasty: Nasty, name: str) -> Tried:
    lmtp = LISTS[name] == "lmtp"
    reader, writer = await asyncio.open_connection(*(site.lmtp if lmtp else site.smtp))
    data = nasty.data.replace(b"LIST", f"{name}@{DOMAIN}".encode())
    plain = mail(name=f"plain-{nasty.name}")
    async with asyncio.timeout(30):
        await _say(reader, writer, b"", b"LHLO client\r\n" if lmtp else b"EHLO client\r\n")
        answer = await _send(reader, writer, f"{name}@{DOMAIN}", data)
        before = time.monotonic()
        plain_answer = "" if lmtp else await _send(reader, writer, f"plain@{DOMAIN}", plain)
        plain_after = time.monotonic() - before
        writer.write(b"QUIT\r\n")
        rest = await reader.read()
    writer.close()
    return Tried(name, answer, plain_answer, plain_after, rest.decode())


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *commands: bytes) -> str:
    """Send commands; return the last answer."""
    line = b""
    for command in commands:
        writer.write(command)
        while (line := await reader.readline())[3:4] == b"-":
            pass
    return line.decode()


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str, data: bytes) -> str:
    envelope = (f"MAIL FROM:<{AUTHOR}> BODY=8BITMIME\r\n".encode(), f"RCPT TO:<{to}>\r\n".encode(), b"DATA\r\n")
    assert (await _say(reader, writer, *envelope)).startswith("354")
    end = b".\r\n" if not data or data.endswith(b"\r\n") else b"\r\n.\r\n"
    return await _say(reader, writer, data + end)


async def _delivered(site: Site) -> None:
    async with asyncio.timeout(60):
        while await site._busy():
            await asyncio.sleep(0.05)


async def _digested(site: Site) -> None:
    site.clock.shift += 86400
    await send_due_digests(site.service.core, site.clock.now())
    await _delivered(site)


async def _read(site: Site, played: Played) -> None:
    for name in LISTS:
        played.arrived[name] = site.sink.to(READER.format(name))
        played.digests[name] = site.sink.to(DIGESTED.format(name))
        listed = (await site.cli("post", "ls", name, "--json")).out
        played.posts[name] = [json.loads(line) for line in listed.splitlines()]
    for number, post in enumerate(played.posts["pmo"]):
        label, as_json = str(post["id"]), bool(number % 2)
        played.shown[label] = await asyncio.to_thread(_show, site.config_file, label, as_json)


def _show(config_file: Path, label: str, as_json: bool) -> str:
    """Do what `mailforum post show` does, without reading a command line each time."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show_post(argparse.Namespace(config=str(config_file), list="pmo", id=label, raw=False, json=as_json))
    return out.getvalue()


async def _archived(site: Site, folder: Path, played: Played) -> None:
    file = folder / "pmo.mbox"
    played.archived["export"] = await site.cli("export", "pmo", str(file), check=False)
    await site.cli("list", "create", "copy")
    played.archived["import"] = await site.cli("import", "copy", str(file), check=False)
    played.archived["copied"] = await site.cli("post", "ls", "copy", "--json")
