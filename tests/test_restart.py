"""Starting again: after a kill in the middle of the first start, and with a long queue."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailforum import config
from mailforum.core import open_core, site_of
from mailforum.model import Envelope, Mode, Role
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store.database import Tx
from mailforum.store.migrate import migrate
from mailforum.store.schema import steps
from tests.chaos.doomed import Moment, doom
from tests.chaos.relay import Relay
from tests.support.process import serving
from tests.support.site import DOMAIN, write_config
from tests.test_signals import Client

# -- the first start (A5)


def killed(work: Callable[[], object]) -> bool:
    """Do `work` in a process of its own; say whether it was killed by its own hand."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def schema(path: Path) -> tuple[int, set[tuple[str, ...]]]:
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version, set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"))
    finally:
        connection.close()


def test_a_kill_at_any_statement_of_the_first_start_or_an_upgrade_leaves_a_database_that_the_next_start_completes(
    tmp_path: Path,
) -> None:
    migrate(tmp_path / "whole.db")
    whole = schema(tmp_path / "whole.db")
    assert whole[0] == steps()[-1].number
    last, found, number, left = tmp_path / "0.db", schema(tmp_path / "0.db"), 0, True  # after the last whole step
    while left:
        number += 1
        path = Path(shutil.copy(last, tmp_path / "killed.db"))
        moment = Moment(("before", "after")[number % 2], "", count=number)
        left = killed(lambda path=path, moment=moment: (doom(moment), migrate(path)))  # type: ignore[misc]
        after = schema(path)
        if after[0] == found[0]:
            assert after == found, (found[0], number)
            continue
        # A step was whole: from there on the next start completes it, whatever kills the steps that follow.
        last, found, number = path.rename(tmp_path / f"{after[0]}.db"), after, 0
        migrate(Path(shutil.copy(last, path)))
        assert schema(path) == whole, found[0]
    assert found == whole
    assert {int(path.stem) for path in tmp_path.glob("[0-9]*.db")} == set(range(whole[0] + 1))


def test_a_kill_while_the_secret_key_is_made_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    settings = config.load(write_config(tmp_path, "maildir:outbox"), {})

    def make_half() -> None:
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        site_of(settings)

    assert killed(make_half)
    assert not (tmp_path / "secret.key").exists()
    (key,) = site_of(settings).signer.keys
    assert len(key) == 32
    assert site_of(settings).signer.keys == (key,)


# -- a long queue

POSTS, READERS = 100, 1000


@dataclass
class Kept:
    """What the relay has kept, in order: (recipient's list, Message-ID), and when."""

    mails: list[tuple[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def keep(self, life: int, transaction: object, mail_from: str, rcpts: list[str], data: bytes) -> str:
        msgid = data.partition(b"\nMessage-ID: ")[2].partition(b"\r")[0].decode()
        self.mails.append((rcpts[0].partition("@")[2].partition(".")[0], msgid))
        self.times.append(time.monotonic())
        return msgid


async def _fill(file: Path) -> None:
    """Put 100 posts to a list of 1,000 into the queue, and make a small list."""
    async with open_core(config.load(file, {})) as site:
        big = await site.db.write(lambda tx: _list(tx, "big", READERS))
        await site.db.write(lambda tx: _list(tx, "small", 2))
        for number in range(POSTS):
            raw = f"From: ada@example.org\r\nMessage-ID: <{number}@example.org>\r\n\r\nHello.\r\n".encode()
            way = await site.intake.route(f"big@{DOMAIN}")
            (outcome,) = await site.intake.receive(Envelope("ada@example.org", (way,), "127.0.0.1"), raw)
            assert outcome.code == 250
        assert big


def _list(tx: Tx, name: str, size: int) -> int:
    list_id = lists.add(tx, f"{name}@{DOMAIN}", name, ListSettings(posting="anyone"), time.time())
    for number in range(size):
        address = f"reader{number}@{name}.example.org"
        lists.add_member(tx, list_id, address, address, "", Role.MEMBER, Mode.EACH, 0.0)
    return list_id


@pytest.mark.timeout(180)
async def test_with_100_000_deliveries_pending_it_takes_mail_and_sends_at_once_the_oldest_first_and_new_mail_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Kept()
    relay = Relay(kept.keep, random.Random(1), refusals=0)
    await relay.start()
    file = write_config(tmp_path, f"smtp://127.0.0.1:{relay.port}", web_listen="[]", site_log_level='"warning"')
    await asyncio.to_thread(asyncio.run, _fill(file))
    started = time.monotonic()
    async with serving(file) as server:
        client = await Client.greeted(await server.port())
        accepting = time.monotonic() - started
        while len(kept.mails) < 500:
            await asyncio.sleep(0.005)
        sending = kept.times[0] - started
        before = len(kept.mails)
        await client.say("MAIL FROM:<ada@example.org>", f"RCPT TO:<small@{DOMAIN}>", "DATA")
        asked = time.monotonic()
        assert (await client.finish(1000)).startswith("250")
        answered = time.monotonic() - asked
        async with asyncio.timeout(60):
            while sum(name == "small" for name, _ in kept.mails) < 2:
                await asyncio.sleep(0.005)
        new = kept.mails.index(("small", "<1000@example.org>"))
        fair = kept.times[new] - asked
    await relay.stop()
    with capsys.disabled():
        print(
            f"\n100,000 pending: accepting after {accepting:.2f} s, sending after {sending:.2f} s; "
            f"a new post answered in {answered:.3f} s, out after {fair:.2f} s and {new - before} others"
        )
    order = [int(msgid.strip("<>").partition("@")[0]) for _, msgid in kept.mails[:500]]
    assert order[0] == 0
    # The oldest of a hundred go first; only the newest, which wait least, take turns with them.
    assert {number for number in order if number < POSTS - 1} <= set(range(5)), Counter(order)
    assert sum(number < 5 for number in order) >= 250, Counter(order)
    assert new - before < POSTS * READERS / 10
    assert accepting < 15
    assert sending < 20
