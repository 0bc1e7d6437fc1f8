"""Clients that say all kinds of things, in pieces of any size, and go as they like; three at once.

Each rule does one thing on one connection. What the server answers is held against the model; at the end
of an example the server has taken exactly the mails that the model has, no fault of ours is in the log,
and a plain mail passes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.fuzz.house import Client, House
from tests.fuzz.model import DOMAIN, Model

_LINE = re.compile(rb"[1-5][0-9][0-9][ -][ -~]*\r\n")
_SENDERS = (b"<ann@example.org>", b"<ben@example.com> SIZE=100", b"<>", b"<ann@example.org> BODY=8BITMIME")
_RCPTS = (b"pmo", b"pmo", b"dev", b"PMO", b"nobody")
_GOOD = (
    b"EHLO me.example.org", b"HELO me.example.org", b"LHLO me.example.org",
    *(b"MAIL FROM:" + sender for sender in _SENDERS),
    *(b"RCPT TO:<%s@lists.example.test>" % name for name in _RCPTS), b"RCPT TO:<ann@example.org>",
    b"DATA", b"DATA", b"RSET", b"NOOP", b"HELP", b"VRFY ann", b"EXPN pmo", b"AUTH PLAIN AGEAYg==",
    b"mail from:<x@example.org>",
)  # fmt: skip
_RARE = (
    b"QUIT", b"BDAT 5 LAST", b"GET / HTTP/1.1", b"RSET now", b"DATA now", b"EHLO", b"STARTTLS now", b"",
    b"MAIL FROM:<a@example.org> SIZE=99999999", b"MAIL FROM:<ann@example.org> RET=FULL", b"RCPT TO:<>",
    "RCPT TO:<ü@lists.example.test>".encode(), "EHLO ü".encode(), b"NOOP " + b"x" * 5000, b"\xff\xfe", b"NO\0OP",
)  # fmt: skip
_JUNK = (
    b"\r", b"\n", b"\0", b".", b" ", b"\r\n", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"<", b">",
    b":", b'"', b"\\", b"@", b"\xc3\xa9", b"\xff", b"=",
)  # fmt: skip
_BODIES = (
    b"Hello.\r\n", b"..\r\n", b"...two\r\n", b"\r\n\r\n", b"bare\nlf\r\n", b"bare\rcr\r\n", b"nul\0\r\n", b"\n.\n",
    b"\r.\r", b"\n.\r\n", b"\r\n.\r", b"\r\n.\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\r\n",
    b"MAIL FROM:<eve@example.com>\r\n", b"RCPT TO:<pmo@lists.example.test>\r\nDATA\r\n", b"QUIT\r\n", b"\xff\xfe\r\n",
    b"long", b"many", b"too large", b"too large",
)  # fmt: skip
_LARGE = {b"long": b"x" * 3000, b"many": b"y\r\n" * 2000, b"too large": b"z" * 110_000 + b"\r\n"}

number = count()
which = st.integers(0, 2)
lines = st.one_of(
    st.sampled_from(_GOOD).map(lambda line: line + b"\r\n"),
    st.sampled_from(_GOOD).map(lambda line: line + b"\r\n"),
    st.sampled_from(_RARE).map(lambda line: line + b"\r\n"),
    st.tuples(st.sampled_from(_GOOD + _RARE), st.integers(0, 40), st.sampled_from(_JUNK)).map(
        lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] :] + b"\r\n"
    ),
    st.binary(max_size=60),
)


def mail(fragments: list[bytes]) -> bytes:
    """Return a mail that is like no other."""
    name = next(number)
    head = b"From: ann@example.org\r\nSubject: Number %d\r\nMessage-ID: <%d@example.org>\r\n\r\n" % (name, name)
    return head + b"This is %d.\r\n" % name + b"".join(_LARGE.get(fragment, fragment) for fragment in fragments)


class Sessions(RuleBasedStateMachine):
    """Three places for connections; `house` is set by whoever runs this."""

    house: House

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[int, tuple[Client, Model]] = {}
        self.taken: list[tuple[bytes, int | None]] = []
        self.maybe: list[bytes] = []
        self.house.intake.taken.clear()
        self.posts = self.house.posts()

    def _at(self, place: int) -> tuple[Client, Model]:
        """Return the connection at a place, a new one if there is none; the last place is for LMTP."""
        if place not in self.open:
            lmtp = place == 2
            self.open[place] = Client(self.house, lmtp=lmtp), Model(lmtp)
        return self.open[place]

    # -- what clients do

    @rule(place=which)
    def connect(self, place: int) -> None:
        """Connect, and say hello as one should."""
        _, model = self._at(place)
        self._send(place, b"LHLO me\r\n" if model.lmtp else b"EHLO me\r\n")

    @rule(place=which, said=st.lists(lines, min_size=1, max_size=6), listen=st.booleans())
    def say(self, place: int, said: list[bytes], listen: bool) -> None:
        """Say several things at once."""
        self._at(place)
        self._send(place, b"".join(said))
        if listen:
            self._listen(place)

    @rule(place=which, line=lines, cut=st.integers(0, 40))
    def say_half(self, place: int, line: bytes, cut: int) -> None:
        """Leave a line unfinished."""
        self._at(place)
        self._send(place, line[:cut])

    @rule(
        place=which,
        rcpts=st.lists(st.sampled_from(_RCPTS), min_size=1, max_size=3),
        sender=st.sampled_from(_SENDERS),
        fragments=st.lists(st.sampled_from(_BODIES), max_size=4),
        cuts=st.lists(st.integers(0, 2000), max_size=3),
        ended=st.sampled_from([True, True, True, False]),
        twice=st.booleans(),
    )
    def post(
        self,
        place: int,
        rcpts: list[bytes],
        sender: bytes,
        fragments: list[bytes],
        cuts: list[int],
        ended: bool,
        twice: bool,
    ) -> None:
        """Send a whole mail, in some pieces; perhaps without its end; perhaps after another was begun."""
        _, model = self._at(place)
        hello = b"RSET\r\n" if model.hello else b"LHLO me\r\n" if model.lmtp else b"EHLO me\r\n"
        if twice:
            hello += b"MAIL FROM:<ben@example.com>\r\nRCPT TO:<dev@lists.example.test>\r\nRSET\r\n"
        envelope = [b"MAIL FROM:" + sender, *(b"RCPT TO:<%s@lists.example.test>" % name for name in rcpts), b"DATA"]
        wire = (
            hello + b"".join(line + b"\r\n" for line in envelope) + mail(fragments) + (b"\r\n.\r\n" if ended else b"")
        )
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(wire)], strict=True):
            self._send(place, wire[start:end])
        self._listen(place)

    @rule(place=which)
    def end_data(self, place: int) -> None:
        """Send what ends a mail, whether there is one or not."""
        self._at(place)
        self._send(place, b"\r\n.\r\n")
        self._listen(place)

    @rule(
        place=which,
        behind=st.sampled_from([b"", b"EHLO eve\r\nMAIL FROM:<eve@example.com>\r\n"]),
        then=st.sampled_from([b"", b"MAIL FROM:<ann@example.org>\r\n"]),
    )
    def start_tls(self, place: int, behind: bytes, then: bytes) -> None:
        """Begin TLS; what is sent in the clear before and behind it must be forgotten."""
        client, model = self._at(place)
        self._listen(place)
        if not model.hello and model.owed is None and model.waits:
            self._send(place, b"LHLO me\r\n" if model.lmtp else b"EHLO me\r\n")
            self._listen(place)
        if place not in self.open or model.encrypted or not model.waits or model.owed is not None:
            return
        self._send(place, b"STARTTLS\r\n" + behind)
        assert client.reply()[0][:4] == b"220 "
        client.start_tls()
        model.encrypt()
        self._send(place, then)

    @rule(place=which, size=st.sampled_from([70_000, 300_000]))
    def say_something_endless(self, place: int, size: int) -> None:
        """Send a line that has no end."""
        _, model = self._at(place)
        self._listen(place)
        if place in self.open and model.owed is None and model.waits:
            self._send(place, b"x" * (size if size > 200_000 else 5000) + b"\r\n" * (size < 200_000))
            self._listen(place)

    @rule(place=which)
    def close_its_side(self, place: int) -> None:
        """Half-close: what was said before is still answered, and nothing else."""
        if place in self.open:
            self._finish(place)

    @rule(place=which, reset=st.booleans())
    def vanish(self, place: int, reset: bool) -> None:
        """Go without a word, once everything has been answered."""
        if place in self.open:
            self._listen(place)
        if place in self.open:
            client, model = self.open.pop(place)
            client.close(reset=reset)
            self.taken += model.taken

    @rule(place=which, reset=st.booleans())
    def vanish_behind_the_dot(self, place: int, reset: bool) -> None:
        """Go without waiting for the answer: the mail may be there or not, but not in part."""
        if place in self.open:
            self._finish(place)
        client = Client(self.house, lmtp=False)
        content = mail([])
        client.send(b"EHLO me\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<pmo@lists.example.test>\r\nDATA\r\n")
        client.send(content + b".\r\n")
        client.close(reset=reset)
        self.maybe.append(content)

    # -- what the server answers

    def _send(self, place: int, data: bytes) -> None:
        if place not in self.open:  # it has ended, on the last piece already
            return None
        client, model = self.open[place]
        if model.leaving:  # or the kernel answers what comes too late with a reset, and replies are lost
            self._listen(place)
            return self._send(place, data)
        model.sent(data)
        try:
            client.send(data)
        except ConnectionError:
            self._listen(place)  # it had reason to close, or this fails

    def _listen(self, place: int) -> None:
        """Read every reply that is due."""
        if place not in self.open:
            return
        client, model = self.open[place]
        while due := model.next():
            lines = client.reply()
            if not lines:
                assert model.may_close, f"closed instead of {due}"
                self._over(place)
                return
            assert all(_LINE.fullmatch(line) and len(line) <= 512 for line in lines), lines
            assert len({line[:3] for line in lines}) == 1, lines
            code = int(lines[0][:3])
            assert code in due.codes, f"{lines} instead of {due}; {bytes(model.stream[-300:])}"
            model.answered(code)
        if model.over:
            assert client.rest() == b""
            self._over(place)

    def _over(self, place: int) -> None:
        client, model = self.open.pop(place)
        client.close()
        self.taken += model.taken

    def _finish(self, place: int) -> None:
        """Half-close, or where there is TLS, close; nothing may come that was not due."""
        self._listen(place)
        if place not in self.open:
            return
        client, model = self.open[place]
        if not model.encrypted:
            client.half_close()
            assert client.rest() == b""
        self._over(place)

    # -- what must be true in the end

    def teardown(self) -> None:
        try:
            for place in list(self.open):
                self._finish(place)
        finally:
            for client, _ in self.open.values():
                client.close()
        house = self.house
        house.run(_emptied(house))
        got, sure, maybe = Counter(house.intake.taken), Counter(content for content, _ in self.taken), self.maybe
        assert not sure - got, "a mail that was accepted is not there"
        assert not (got - sure) - Counter(maybe), "a mail is there that nobody has sent"
        if all(posts is not None for _, posts in self.taken):
            extra = (got - sure).total()
            assert house.posts() - self.posts == sum(posts or 0 for _, posts in self.taken) + extra
        assert house.faults.lines == []
        _plain_mail_passes(house)


async def _emptied(house: House) -> None:
    """Wait until the server has seen that all have gone, and has let go of everything."""
    shared = house.server._shared
    async with asyncio.timeout(10):
        while shared.inside:
            await asyncio.sleep(0.001)
    assert not shared._at_once
    assert shared._space == max(shared.options.max_spool, shared.options.max_size)


def _plain_mail_passes(house: House) -> None:
    started = time.monotonic()
    client, model = Client(house, lmtp=False), Model(lmtp=False)
    said = b"EHLO me\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<pmo@%s>\r\nDATA\r\n" % DOMAIN.encode()
    model.sent(said + mail([]) + b".\r\nQUIT\r\n")
    client.send(bytes(model.stream))
    answers = []
    while due := model.next():
        answers.append(int(client.reply()[0][:3]))
        assert answers[-1] in due.codes, answers
        model.answered(answers[-1])
    assert answers == [220, 250, 250, 250, 354, 250, 221]
    assert time.monotonic() - started < 5
    client.close()
