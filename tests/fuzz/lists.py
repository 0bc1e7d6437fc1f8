"""Lists with whatever mails: what is exported and imported again gives the same export, to the byte."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import BinaryIO, TypeAlias, cast

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from mailforum.archives import packed
from mailforum.archives.source import Mail, Reading
from mailforum.core import Core
from mailforum.forum import archive, export
from mailforum.mail import jsonl, mbox
from mailforum.mail.message import normalise
from mailforum.model import MailingList, Post, Selection
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store.database import Tx
from tests.fuzz.house import House
from tests.fuzz.model import DOMAIN

FROM_ = b"From ada@example.org Thu Jan  1 12:30:00 2015\n"
_FIELDS = st.lists(
    st.sampled_from(
        [
            *(b"Content-Length: %d\n" % size for size in (0, 3, 5, 9, 17, 60, 99_999)),
            *(b"X-Status: D\n", b"X-Mozilla-Status: 0009\n", b"X-Gmail-Labels: Trash\n", b"Status: RO\n", FROM_),
            *(b">From x\n", b"junk\n", b"X: \xff\xc3\xa9\0\n", b" folded\n", b"Subject: Re: x\n", b"Subject: x\n"),
            *(b"Message-ID: <%d@example.org>\n" % number for number in range(4)),
            *(b"In-Reply-To: <%d@example.org>\n" % number for number in range(6)),
            *(b"References: <%d@example.org> <%d@example.org>\n" % (number, number + 1) for number in range(4)),
            *(b"Date: Thu, %d Jan 2015 12:30:00 +0000\n" % day for day in (1, 2, 9)),
            *(b"Date: Thu, 1 Jan 2055 00:00:00 +0000\n", b"Date: Mon, 17 Sep 2001 00:00:00 +0000\n", b"Date: soon\n"),
        ]
    ),
    max_size=7,
)
_LINES = st.lists(
    st.sampled_from(
        [
            *(b"From me\n", b">From you\n", b">>From\n", b"\n", b"text\n", b"a", b"\r", b"\0", b"\xff", b"From "),
            *(
                FROM_,
                b">" + FROM_,
                b"x " + FROM_,
                mbox.MBOXRD + FROM_,
                "\u2028é".encode(),
                b"\x1a\x0c\x85",
                b"> quoted\n",
            ),
        ]
    ),
    max_size=12,
)
_WRITTEN = st.builds(
    lambda fields, lines: b"".join([b"From: ada@example.org\n", *fields, b"\n", *lines]), _FIELDS, _LINES
)
MAILS = st.lists(st.one_of(st.binary(max_size=80), _WRITTEN).map(normalise), min_size=1, max_size=6)
TIMES = st.lists(
    st.one_of(st.just(1420115400.0), st.floats(400_000_000, 1_700_000_000)), min_size=6, max_size=6
)  # when each mail was received

_Write: TypeAlias = Callable[[BinaryIO, Post, bytes], object]


def _in_mbox(out: BinaryIO, post: Post, raw: bytes) -> None:
    mbox.write(out, raw, received=post.received_at)


async def check(core: Core, name: str, mails: Sequence[bytes], times: Sequence[float]) -> None:
    """Fill a list, and see whether its exports of both kinds lead to a second list that is the same."""
    writers: list[_Write] = [_in_mbox, jsonl.write]
    found = (Mail(str(number), raw, at) for number, (raw, at) in enumerate(zip(mails, times, strict=False)))
    mlist = await _new_list(core, name)
    filled = await archive.take_in(core.db, mlist, found, core.clock)
    for number, write in enumerate(writers):
        first, other = await _exported(core, mlist, write), await _new_list(core, f"{name}-{number}")
        report = await archive.take_in(core.db, other, _read(first), core.clock)
        assert (report.imported, report.mails) == (filled.imported, filled.imported)
        assert await _exported(core, other, write) == first


async def _new_list(core: Core, name: str) -> MailingList:
    def add(tx: Tx) -> MailingList:
        lists.add(tx, f"{name}@{DOMAIN}", "", ListSettings(), core.clock.now())
        made = lists.by_address(tx, f"{name}@{DOMAIN}")
        assert made
        return made

    return await core.db.write(add)


async def _exported(core: Core, mlist: MailingList, write: _Write) -> bytes:
    out = io.BytesIO()
    async for post, raw in export.give_out(core.db, mlist, Selection()):
        write(out, post, raw)
    return out.getvalue()


def _read(data: bytes) -> Iterator[Mail]:
    return packed.stream(cast(BinaryIO, io.BufferedReader(io.BytesIO(data))), "export", Reading())


def play(house: House, number: int, examples: int) -> None:
    """Try `examples` lists, the same for the same seed."""
    options = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    names = count()

    @seed(number)
    @options
    @given(MAILS, TIMES)
    def one(mails: list[bytes], times: list[float]) -> None:
        house.run(check(house.core, f"r{number}-{next(names)}", mails, times))

    one()
