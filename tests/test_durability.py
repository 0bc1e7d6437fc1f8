"""The order of things on the way to the disk, as the kernel sees it: `strace` follows a whole server.

Every mail has a word of its own, and so has every answer of the relay. Both are found again in what
is written to the log of the database, as is the number of each delivery that may be on its way; so each
250 and each dot can be held against the fsync that has to come before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import smtplib
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.sink import Mail, Sink
from tests.support.site import DOMAIN, free_port, run_cli, write_config

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

CALLS = "pwrite64,fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"
NEVER = sys.maxsize
DOT = r"\r\n.\r\n"  # as strace writes it
SENDERS, POSTS, MEMBERS, CONNECTIONS = 3, 8, 4, 3


@dataclass(frozen=True)
class Call:
    """A system call: the lines of the trace where it began and where it had returned, what it was about."""

    began: int
    ended: int
    name: str
    file: str
    text: str
    good: bool


_WHOLE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<text>.*)\) += (?P<result>-?\d+).*")
_BEGUN = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<text>.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<text>.*)\) += (?P<result>-?\d+).*")


def calls(trace: str) -> Iterator[Call]:
    """Yield the calls in the order of their ends. A call that another thread's came between is on two lines."""
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        if found := _BEGUN.fullmatch(line):
            begun[found["pid"]] = number, found["text"]
        elif found := _ENDED.fullmatch(line):
            start, text = begun.pop(found["pid"])
            yield _call(start, number, found, text + found["text"])
        elif found := _WHOLE.fullmatch(line):
            yield _call(number, number, found, found["text"])


def _call(began: int, ended: int, found: re.Match[str], text: str) -> Call:
    file = re.match(r"\d+<(.*?[^-])>", text)
    pieces = re.findall(r'(?:iov_base=|, )"((?:[^"\\]|\\.)*)"', text)
    return Call(began, ended, found["name"], file[1] if file else "", "".join(pieces), int(found["result"]) >= 0)


class Order:
    """What came before what."""

    def __init__(self, trace: str) -> None:
        self.calls = list(calls(trace))
        self.syncs = [call for call in self.calls if "sync" in call.name and call.file.endswith("-wal") and call.good]
        self.writes = [call for call in self.calls if call.name == "pwrite64" and call.file.endswith("-wal")]

    def durable(self, word: str) -> int:
        """Return the line at which the first page with `word` was on the disk; NEVER if it was not."""
        written = min((call.ended for call in self.writes if word in call.text), default=NEVER)
        return min((call.ended for call in self.syncs if call.began > written), default=NEVER)

    def on_sockets(self, port: int, sending: bool) -> Iterator[Call]:
        """Yield what was sent or read on connections that have `port` at the peer's or at our end."""
        names = ("write", "writev", "sendto", "sendmsg") if sending else ("read", "recvfrom", "recvmsg")
        for call in self.calls:
            if call.name in names and call.file.startswith("TCP") and f":{port}" in call.file:
                yield call

    def answers(self, port: int) -> list[tuple[str, int]]:
        """Return (word, line) for each mail that came in on `port` and the answer to its dot."""
        inside: dict[str, str] = {}
        found = []
        both = [*self.on_sockets(port, False), *self.on_sockets(port, True)]
        for call in sorted(both, key=lambda call: call.ended):
            if call.name in ("read", "recvfrom", "recvmsg"):
                if words := re.findall(r"word\d+x\d+", call.text):
                    inside[call.file] = words[-1]
            elif "Taken as #" in call.text:
                found.append((inside.pop(call.file), call.began))
        return found

    def dots(self, port: int) -> Iterator[Dot]:
        """Yield every dot that was sent to `port`."""
        last: dict[str, str] = defaultdict(str)
        sent: dict[str, str] = defaultdict(str)
        both = [*self.on_sockets(port, False), *self.on_sockets(port, True)]
        for call in sorted(both, key=lambda call: call.ended):
            if call.name in ("read", "recvfrom", "recvmsg"):
                if answers := re.findall(r"answer\d+x", call.text):
                    last[call.file] = answers[-1]
                continue
            sent[call.file] += call.text  # a mail may leave in several writes
            if DOT in sent[call.file]:
                mail, _, sent[call.file] = sent[call.file].rpartition(DOT)
                (rcpt,) = re.findall(r"RCPT TO:<(\S+)>", mail)
                (word,) = set(re.findall(r"word\d+x\d+", mail))
                yield Dot(last[call.file], rcpt, word, call.began)


@dataclass(frozen=True)
class Dot:
    """The end of a mail to the relay: the answer to the one before it on its connection, and what it ends."""

    answer_before: str
    rcpt: str
    word: str
    began: int


@pytest.mark.timeout(180)
async def test_every_250_comes_after_the_fsync_of_its_mail_and_every_dot_after_the_fsync_of_the_last_mark(
    tmp_path: Path,
) -> None:
    smtp, lmtp = free_port(), free_port()
    numbers: Counter[str] = Counter()

    async def dot(mail: Mail) -> str:
        numbers["answer"] += 1
        await asyncio.sleep(0.002)
        return f"250 2.0.0 answer{numbers['answer']}x"

    async with Sink(dot=dot) as sink:
        file = write_config(
            tmp_path,
            sink.url,
            smtp_listen=f'["127.0.0.1:{smtp}"]',
            smtp_lmtp=f'["127.0.0.1:{lmtp}"]',
            web_listen="[]",
            delivery_connections=str(CONNECTIONS),
        )
        await asyncio.to_thread(_make_list, file)
        trace = tmp_path / "trace"
        server = await _traced(file, trace)
        await asyncio.gather(
            *(asyncio.to_thread(_send_all, smtp, sender, smtplib.SMTP) for sender in range(SENDERS)),
            asyncio.to_thread(_send_all, lmtp, SENDERS, smtplib.LMTP),
        )
        await sink.wait((SENDERS + 1) * POSTS * MEMBERS, 60)
        server.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait, 30)
        await _until(trace, f"{server.pid} +++ exited with 0 +++")
        order = Order(await asyncio.to_thread(trace.read_text))
        _judge_answers(order, smtp, lmtp)
        _judge_dots(order, sink.port, _deliveries(tmp_path / "mailforum.db"))


def _judge_answers(order: Order, smtp: int, lmtp: int) -> None:
    taken = [*order.answers(smtp), *order.answers(lmtp)]
    assert len({word for word, _ in taken}) == (SENDERS + 1) * POSTS
    assert len(order.answers(lmtp)) == POSTS
    assert [word for word, answered in taken if order.durable(word) > answered] == []


def _judge_dots(order: Order, relay: int, deliveries: dict[tuple[str, str], int]) -> None:
    """Before each dot: the mark of the last mail of its connection, and that this one may be on its way."""
    dots = list(order.dots(relay))
    assert len(dots) == (SENDERS + 1) * POSTS * MEMBERS == len(deliveries)
    followers = [dot for dot in dots if dot.answer_before]
    assert len(followers) >= len(dots) - 5 * CONNECTIONS
    assert [dot for dot in followers if order.durable(dot.answer_before) > dot.began] == []
    assert [dot for dot in dots if order.durable(f"[{deliveries[dot.rcpt, dot.word]}]") > dot.began] == []


def _deliveries(database: Path) -> dict[tuple[str, str], int]:
    sql = """SELECT rcpt, subject, delivery.id FROM delivery
             JOIN mailing ON mailing.id = mailing_id JOIN post ON post.id = ref_id"""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {(rcpt, subject): delivery for rcpt, subject, delivery in connection.execute(sql)}


def _make_list(file: Path) -> None:
    members = [f"reader{number}@example.org" for number in range(MEMBERS)]
    for words in (["list", "create", "pmo"], ["list", "set", "pmo", "posting=anyone"], ["member", "add", "pmo"]):
        more = [*members, "--no-welcome"] if words[0] == "member" else []
        assert run_cli(["--config", str(file), *words, *more]).code == 0


async def _traced(file: Path, trace: Path) -> subprocess.Popen[str]:
    """Start a server under strace (which keeps out of the way: the process is the server's own) and wait for it."""
    watch = ["strace", "-D", "-f", "--seccomp-bpf", "-yy", "-o", str(trace), "-s", "8192", "-e", f"trace={CALLS}"]
    command = [*watch, sys.executable, "-m", "mailforum", "--config", str(file), "serve"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout
    assert "ready" in await asyncio.to_thread(server.stdout.readline)
    return server


def _send_all(port: int, sender: int, client_class: type[smtplib.SMTP]) -> None:
    with client_class("127.0.0.1", port, local_hostname="client.example.org", timeout=60) as client:
        for number in range(POSTS):
            word = f"word{sender}x{number}"
            mail = f"From: ada@example.org\r\nSubject: {word}\r\nMessage-ID: <{word}@example.org>\r\n\r\nHello.\r\n"
            client.sendmail("ada@example.org", [f"pmo@{DOMAIN}"], mail)


async def _until(trace: Path, line: str) -> None:
    async with asyncio.timeout(30):
        while line not in re.sub(" +", " ", await asyncio.to_thread(trace.read_text)):
            await asyncio.sleep(0.1)


# -- the reading of a trace

SAMPLE = r"""
7  pwrite64(9</x/mailforum.db-wal>, "\27word1x1 \0", 4096, 56) = 4096
8  read(12<TCP:[127.0.0.1:25->127.0.0.1:4000]>,  <unfinished ...>
7  fdatasync(9</x/mailforum.db-wal> <unfinished ...>
8  <... read resumed>"NOOP\r\n", 65536) = 6
8  write(12<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "250 2.0.0 Taken as #1.1.\r\n", 26) = 26
7  <... fdatasync resumed>) = 0
""".lstrip()


def test_an_fsync_that_returns_after_the_answer_was_sent_is_seen() -> None:
    order = Order(SAMPLE)
    (answer,) = [call for call in order.calls if call.name == "write"]
    assert order.durable("word1x1") == 5 > answer.began
    assert [(call.name, call.began, call.ended) for call in order.calls] == [
        ("pwrite64", 0, 0),
        ("read", 1, 3),
        ("write", 4, 4),
        ("fdatasync", 2, 5),
    ]
