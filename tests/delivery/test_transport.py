"""The SMTP and LMTP client against a sink that misbehaves by script."""

import asyncio
import datetime
import ipaddress
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from mailforum.delivery.hello import Relay, Session
from mailforum.delivery.nexthop import transport_for
from mailforum.delivery.smtp import SmtpTransport
from mailforum.delivery.transport import Content, Job, NoSession, RelayDown
from mailforum.delivery.wire import CHUNK, KEPT, MOST_LINES, Reply, Wire
from mailforum.model import State, Status
from mailforum.options import Config, DeliveryOptions, Site
from tests.support.sink import Mail, Sink

SENDER = "pmo-bounces@lists.example.org"
BODY = b"From: ann@example.org\r\nSubject: Budget\r\n\r\nHello.\r\n"
ONE_BY_ONE = ("SIZE", "8BITMIME", "SMTPUTF8")


def job(*rcpts: str, data: bytes = BODY, mail_from: str = SENDER, smtputf8: bool = False) -> Job:
    return Job(mail_from, rcpts, tuple(range(len(rcpts))), Content(data), smtputf8=smtputf8)


def jobs(count: int) -> list[Job]:
    return [job(f"r{number}@example.com", data=BODY + b"%d\r\n" % number) for number in range(count)]


class Desk:
    """The worker's side: hands jobs out and writes down how they ended, in `ended` and `log`."""

    def __init__(self, *todo: Job) -> None:
        self.todo = deque(todo)
        self.ended: list[tuple[Job, tuple[Status, ...]]] = []
        self.flying: Job | None = None  # what it is written down that it may be on its way

    async def take(self, wait: bool) -> Job | None:
        job = self.todo.popleft() if self.todo else None
        if wait:
            self.flying = job
        return job

    async def settle(self, ended: Job, statuses: tuple[Status, ...], following: Job | None = None) -> None:
        self.ended.append((ended, statuses))
        self.flying = following

    async def run(self, sink: Sink, **options: object) -> None:
        relay = Relay(
            **{"host": sink.host, "port": sink.port, "lmtp": sink.lmtp, "helo": "lists.example.org", **options}
        )
        async with asyncio.timeout(10):
            await SmtpTransport(relay).run(self.take, self.settle)

    @property
    def statuses(self) -> list[tuple[Status, ...]]:
        return [statuses for _, statuses in self.ended]

    @property
    def states(self) -> list[State]:
        return [status.state for statuses in self.statuses for status in statuses]


async def deliver(sink: Sink, *todo: Job, **options: object) -> list[tuple[Status, ...]]:
    """Send jobs; return their statuses in the order in which they were settled."""
    desk = Desk(*todo)
    await desk.run(sink, **options)
    return desk.statuses


async def fail(sink: Sink, *todo: Job, **options: object) -> tuple[Desk, RelayDown]:
    """Send jobs; return how they ended, and the RelayDown that came out."""
    desk = Desk(*todo)
    with pytest.raises(RelayDown) as caught:
        await desk.run(sink, **options)
    return desk, caught.value


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, **options: object) -> AsyncIterator[SmtpTransport]:
    """Run a hand-made server for what the sink does not do; yields a transport to it."""
    async with await asyncio.start_server(talk, "127.0.0.1", 0, limit=65536) as listening:
        yield SmtpTransport(Relay("127.0.0.1", listening.sockets[0].getsockname()[1], **options))


async def until_data(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take one envelope with one recipient, and ask for the mail."""
    writer.write(b"220 hello\r\n")
    await reader.readline()
    writer.write(b"250-x\r\n250 PIPELINING\r\n")
    while b"DATA" not in await reader.readline():
        pass
    writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")


# what goes over the wire


async def test_a_mail_arrives_as_it_was_given():
    async with Sink() as sink:
        [[status]] = await deliver(sink, job("bob@example.com"))
    [mail] = sink.mails
    assert (mail.mail_from, mail.rcpts, mail.data) == (SENDER, ("bob@example.com",), BODY)
    assert status == Status(State.SENT, "2.0.0", "250 2.0.0 kept as 1")
    assert sink.lines[0] == (1, "EHLO lists.example.org")
    assert sink.lines[-1] == (1, "QUIT")


async def test_no_connection_is_made_while_there_is_nothing_to_send():
    async with Sink() as sink:
        assert await deliver(sink) == []
    assert sink.connections == 0


async def test_the_null_sender_is_written_as_empty_brackets():
    async with Sink() as sink:
        await deliver(sink, job("bob@example.com", mail_from=""))
    assert sink.mails[0].mail_from == ""
    assert any(line.startswith("MAIL FROM:<> ") for _, line in sink.lines)


async def test_body_dot_and_the_next_envelope_go_out_in_one_write():
    async with Sink() as sink:
        await deliver(sink, *jobs(4))
    writes = [chunk for _, chunk in sink.chunks]
    assert writes[1].startswith(b"MAIL FROM:<") and writes[1].endswith(b"DATA\r\n")
    assert writes[2] == BODY + b"0\r\n.\r\n"  # a connection that has not proved itself gets no second mail
    assert writes[3].startswith(b"MAIL FROM:<") and writes[3].endswith(b"<r1@example.com>\r\nDATA\r\n")
    assert writes[4].startswith(BODY + b"1\r\n.\r\nMAIL FROM:<")
    assert writes[4].endswith(b"RCPT TO:<r2@example.com>\r\nDATA\r\n")
    assert writes[5].startswith(BODY + b"2\r\n.\r\nMAIL FROM:<")
    assert len(writes) == 8  # EHLO, four envelopes and mails as above, the last mail, QUIT


async def test_without_pipelining_each_command_waits_for_its_reply():
    async with Sink(features=ONE_BY_ONE) as sink:
        statuses = await deliver(sink, job("bob@example.com", "eve@example.com"), job("joe@example.com"))
    writes = [chunk for _, chunk in sink.chunks]
    assert [len(one) for one in statuses] == [2, 1]
    assert all(write.count(b"\r\n") == 1 for write in writes if not write.startswith(b"From: "))
    assert sink.connections == 1 and len(sink.mails) == 2


async def test_the_next_body_waits_until_the_mark_of_the_last_is_durable():
    async with Sink() as sink:
        desk, gate, marking = Desk(*jobs(4)), asyncio.Event(), asyncio.Event()

        async def settle(ended: Job, statuses: tuple[Status, ...], _: Job | None) -> None:
            await Desk.settle(desk, ended, statuses)
            if len(desk.ended) == 2:
                marking.set()
                await gate.wait()

        desk.settle = settle
        running = asyncio.create_task(desk.run(sink))
        await marking.wait()
        async with asyncio.timeout(5):  # the envelope of the third mail has gone out meanwhile
            while not any("<r2@example.com>" in line for _, line in sink.lines):
                await asyncio.sleep(0)
            while sink.lines[-1][1] != "DATA":
                await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(sink.seen) == 2
        gate.set()
        await running
    assert len(sink.mails) == 4


async def test_sending_stops_when_a_mark_cannot_be_made():
    class DiskFull(Exception):
        pass

    async def settle(ended: Job, statuses: tuple[Status, ...], _: Job | None) -> None:
        raise DiskFull

    async with Sink() as sink:
        desk = Desk(*jobs(3))
        desk.settle = settle
        with pytest.raises(DiskFull):
            await desk.run(sink)
    assert len(sink.seen) == 1
    assert len(desk.todo) == 2


@pytest.mark.parametrize(
    "data",
    [
        b".\r\n",
        b"..\r\n.\r\n",
        b"a\r\n.\r\n.\r\n..\r\n",
        b".leading\r\n\r\n.b\r\n",
        b"no end",
        b"a\r\n.",
        b"",
        b"\r\n",
        b"trailing blanks  \r\n\t\r\n",
        b"MAIL FROM:<x@example.com>\r\n.\r\nRSET\r\n",
    ],
)
async def test_dots_at_line_starts_survive(data: bytes):
    async with Sink() as sink:
        await deliver(sink, job("bob@example.com", data=data))
    expected = data if data.endswith(b"\r\n") or not data else data + b"\r\n"
    assert [mail.data for mail in sink.mails] == [expected]


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"..", b"\r\n."])).map(b"".join))
def test_stuffed_data_ends_once_and_unstuffs_to_itself(data: bytes):
    wire = b"\r\n" + b"".join(Content(data).wire)
    assert wire.endswith(b"\r\n.\r\n")
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5
    text = wire[2:-3].replace(b"\r\n.", b"\r\n")
    text = text.removeprefix(b".")
    assert text == (data if data.endswith(b"\r\n") or not data else data + b"\r\n")


@pytest.mark.parametrize(
    "data", [b"a\nb\r\n", b"a\rb\r\n", b"a\n.\r\nMAIL FROM:<x@example.com>\r\n", b"a\r\r\n", b"a\n\r"]
)
async def test_a_bare_cr_or_lf_never_goes_out(data: bytes):
    async with Sink() as sink:
        [[status], _] = await deliver(sink, job("bob@example.com", data=data), job("eve@example.com"))
    assert (status.state, status.enhanced) == (State.DEFERRED, "4.6.0")
    assert [mail.data for mail in sink.seen] == [BODY]


@pytest.mark.parametrize("address", ["bob@example.com>\r\nDATA\r\n", "bob\0@example.com", "bob\udcff@example.com"])
async def test_an_address_cannot_smuggle_a_line(address: str):
    async with Sink() as sink:
        [(bad, good), [whole]] = await deliver(
            sink, job(address, "eve@example.com"), job("joe@example.com", mail_from=address)
        )
    assert (bad.state, bad.enhanced, good.state) == (State.FAILED, "5.1.3", State.SENT)
    assert whole.state is State.FAILED
    assert [mail.rcpts for mail in sink.seen] == [("eve@example.com",)]


# replies


async def test_each_recipient_gets_its_own_answer():
    answers = {
        "b": "450 4.2.0 greylisted",
        "c": "550 5.1.1 no such user",
        "d": "550-5.7.1 you are\r\n550 5.7.1 not liked",
    }
    async with Sink(rcpt=lambda address: answers.get(address[0])) as sink:
        [statuses, after] = await deliver(
            sink, job(*(f"{letter}@example.com" for letter in "abcd")), job("e@example.com")
        )
    assert statuses == (
        Status(State.SENT, "2.0.0", "250 2.0.0 kept as 1"),
        Status(State.DEFERRED, "4.2.0", "450 4.2.0 greylisted"),
        Status(State.FAILED, "5.1.1", "550 5.1.1 no such user"),
        Status(State.FAILED, "5.7.1", "550 5.7.1 you are not liked"),
    )
    assert after[0].state is State.SENT
    assert sink.connections == 1


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
async def test_when_all_recipients_are_refused_the_connection_goes_on(features: tuple[str, ...]):
    async with Sink(features=features, rcpt=lambda address: "550 no" if address[0] == "x" else None) as sink:
        [first, second, third] = await deliver(sink, job("x1@example.com", "x2@example.com"), *jobs(2))
    assert [status.enhanced for status in first] == ["5.0.0", "5.0.0"]
    assert second[0].state is third[0].state is State.SENT
    assert sink.connections == 1
    assert len(sink.seen) == 2


async def test_a_354_for_nobody_is_answered_by_a_lone_dot_that_settles_nothing():
    async with Sink(
        rcpt=lambda address: "550 5.1.1 no" if address[0] == "x" else None,
        data="354 go ahead",
        dot=lambda mail: None if mail.rcpts else "554 5.5.1 no valid recipients",
    ) as sink:
        [first, second, third] = await deliver(sink, job("x@example.com"), *jobs(2))
    assert first[0] == Status(State.FAILED, "5.1.1", "550 5.1.1 no")
    assert second[0].state is third[0].state is State.SENT
    assert [mail.data for mail in sink.seen if not mail.rcpts] == [b""]
    assert sink.connections == 1


async def test_a_354_after_a_refused_mail_never_sends_an_empty_mail():
    """A server that refuses MAIL and takes the rest all the same would deliver what a lone dot ends."""

    async def confused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            seen.append(line)
            replies = {b"EHLO": b"250-x\r\n250 PIPELINING\r\n", b"MAIL": b"550 5.7.1 no\r\n", b"DATA": b"354 go\r\n"}
            writer.write(replies.get(line[:4], b"250 ok\r\n"))
        writer.close()

    seen: list[bytes] = []
    desk = Desk(job("bob@example.com"))
    async with server(confused) as transport:
        await transport.run(desk.take, desk.settle)
    assert desk.statuses == [(Status(State.FAILED, "5.7.1", "550 5.7.1 no"),)]
    assert b".\r\n" not in seen


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
@pytest.mark.parametrize(("reply", "state"), [("451 4.3.0 later", State.DEFERRED), ("554 5.3.0 never", State.FAILED)])
@pytest.mark.parametrize("where", ["mail", "rcpt", "data", "dot"])
async def test_a_no_at_any_command_is_for_that_mail_alone(where, reply, state, features):
    count = 0

    def second_time(_: object) -> str | None:
        nonlocal count
        count += 1
        return reply if count == 2 else None

    async with Sink(features=features, **{where: second_time}) as sink:
        desk = Desk(*jobs(4))
        await desk.run(sink)
    assert desk.states == [State.SENT, state, State.SENT, State.SENT]
    assert desk.statuses[1][0].reply == reply
    assert [mail.rcpts for mail in sink.mails] == [("r0@example.com",), ("r2@example.com",), ("r3@example.com",)]
    assert sink.connections == 1


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
async def test_too_many_recipients_go_in_the_next_transaction(features):
    room = 0

    def begin(_: str) -> None:
        nonlocal room
        room = 3

    def three_at_a_time(_: str) -> str | None:
        nonlocal room
        room -= 1
        return "452 4.5.3 too many recipients" if room < 0 else None

    todo, last = job(*(f"r{number}@example.com" for number in range(7))), job("last@example.com")
    async with Sink(features=features, mail=begin, rcpt=three_at_a_time) as sink:
        desk = Desk(todo, last)
        await desk.run(sink)
    assert [len(mail.rcpts) for mail in sink.mails] == [3, 3, 1, 1]
    assert [ended for ended, _ in desk.ended] == [todo, last]
    assert desk.states == [State.SENT] * 8
    assert sink.connections == 1


async def test_a_full_mailbox_is_not_taken_for_too_many_recipients():
    async with Sink(rcpt=lambda address: "452 4.2.2 mailbox full" if address[0] == "x" else None) as sink:
        [[full, fine]] = await deliver(sink, job("x@example.com", "bob@example.com"))
    assert (full.state, full.enhanced, fine.state) == (State.DEFERRED, "4.2.2", State.SENT)
    assert [line for _, line in sink.lines].count("RCPT TO:<x@example.com>") == 1


async def test_too_many_recipients_with_nobody_taken_is_a_deferral():
    async with Sink(rcpt="452 too many recipients") as sink:
        [[first, second]] = await deliver(sink, job("bob@example.com", "eve@example.com"))
    assert first == second == Status(State.DEFERRED, "4.0.0", "452 too many recipients")


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
async def test_replies_may_come_byte_by_byte(features):
    async with Sink(byte_by_byte=True, features=features) as sink:
        statuses = await deliver(sink, *jobs(3))
    assert [status.state for [status] in statuses] == [State.SENT] * 3


@pytest.mark.parametrize(
    ("reply", "enhanced", "text"),
    [
        ("250 2.6.0 taken", "2.6.0", "250 2.6.0 taken"),
        ("250 ok", "2.0.0", "250 ok"),
        ("250", "2.0.0", "250"),
        ("250 5.1.1 contradiction", "2.0.0", "250 5.1.1 contradiction"),
        ("550 5.7.515 access denied", "5.7.515", "550 5.7.515 access denied"),
        ("554 5.1 short", "5.0.0", "554 5.1 short"),
        ("451 4.7.1", "4.7.1", "451 4.7.1"),
        ("550-5.7.1 one\r\n550-5.7.1\r\n550 5.7.1 three", "5.7.1", "550 5.7.1 one three"),
        ("550 grüße \udcff", "5.0.0", "550 grüße \ufffd"),
    ],
)
async def test_status_and_words_are_taken_from_the_reply(reply: str, enhanced: str, text: str):
    async with Sink(dot=reply) as sink:
        [[status]] = await deliver(sink, job("bob@example.com"))
    assert status.enhanced == enhanced
    assert " ".join(status.reply.split()) == text


async def test_a_long_reply_is_cut():
    async with Sink(dot="550 5.0.0 " + "x" * 10_000) as sink:
        [[status]] = await deliver(sink, job("bob@example.com"))
    assert status.state is State.FAILED
    assert len(status.reply) == KEPT


async def test_a_long_multi_line_reply_is_read_to_its_end():
    async with Sink(dot="\r\n".join(["250-line"] * (MOST_LINES - 1) + ["250 end"])) as sink:
        statuses = await deliver(sink, *jobs(2))
    assert [status.state for [status] in statuses] == [State.SENT] * 2


@pytest.mark.parametrize(
    "garbage",
    [
        "HTTP/1.1 400 Bad Request",
        "25 ok",
        "abc",
        " ",
        "\0\1\2",
        "999 what",
        "150 what",
        "250_ok",
        "250 " + "x" * 1_000_000,
        "x" * 1_000_000,
        "\r\n".join(["250-line"] * 2000),
        "\r\n".join(["250-" + "x" * 4000] * 20),
    ],
)
@pytest.mark.parametrize("where", ["rcpt", "dot"])
async def test_garbage_is_a_deferral_and_ends_the_connection(where: str, garbage: str):
    async with Sink(**{where: garbage}) as sink:
        desk, down = await fail(sink, *jobs(2))
    assert desk.states == [State.DEFERRED]
    assert desk.statuses[0][0].enhanced == down.enhanced == "4.5.0"
    assert len(desk.statuses[0][0].reply) < 200
    assert len(desk.todo) == 1


@pytest.mark.parametrize("data", [b"x" * 70_000, b"250-" + b"x" * 70_000 + b"\r\n250 ok\r\n", b"250-x\r\n" * 1500])
async def test_what_a_reply_may_take_is_bounded(data: bytes):
    wire = Wire()
    wire.data_received(data)
    assert wire.failure and wire.failure.text == "the relay's answer is too long"
    assert await wire.replies(1, 1) == []


async def test_a_reply_that_nobody_asked_for_is_not_taken_for_an_answer():
    async with Sink(data=lambda _: "354 go\r\n250 2.0.0 liar") as sink:
        desk, _ = await fail(sink, *jobs(2))
    assert desk.statuses[0][0].state is State.DEFERRED
    assert desk.statuses[0][0].enhanced == "4.5.0"
    assert sink.mails == []


@given(st.binary(max_size=300), st.integers(1, 40))
def test_whatever_comes_the_wire_never_raises_and_never_cares_how_it_is_split(data: bytes, step: int):
    async def read(pieces: list[bytes]) -> tuple[list[Reply], str]:
        wire = Wire()
        for piece in pieces:
            wire.data_received(piece)
        wire.connection_lost(None)
        assert wire.failure
        return await wire.replies(1000, 1), wire.failure.text

    whole = asyncio.run(read([data]))
    split = asyncio.run(read([data[i : i + step] for i in range(0, len(data), step)]))
    assert whole == split


@given(
    st.lists(
        st.tuples(st.integers(200, 599), st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20)).filter(
            lambda pair: pair[0] != 421
        )
    )
)
def test_every_well_formed_reply_is_read(pairs: list[tuple[int, str]]):
    async def read() -> list[Reply]:
        wire = Wire()
        wire.data_received("".join(f"{code}-first\r\n{code} {text}\r\n" for code, text in pairs).encode())
        return await wire.replies(len(pairs), 1)

    replies = asyncio.run(read())
    assert [(reply.code, reply.lines[1].decode()) for reply in replies] == [
        (code, text.rstrip()) for code, text in pairs
    ]


# connections that end


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_server_that_closes_after_so_many_mails_gets_the_rest_on_new_connections(number, features):
    async with Sink(close_after=number, features=features) as sink:
        desk = Desk(*jobs(7))
        await desk.run(sink)
    assert desk.states == [State.SENT] * 7
    assert [mail.rcpts[0] for mail in sink.seen] == [f"r{n}@example.com" for n in range(7)]
    assert sink.connections == -(-7 // number)


@pytest.mark.parametrize("how", ["421 4.3.2 going down", "drop", "reset"])
@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_an_innocent_mail_is_sent_on_the_next_connection(where: str, how: str):
    count = 0

    def third_time(_: object) -> str | None:
        nonlocal count
        count += 1
        return how if count == 3 else None

    async with Sink(**{where: third_time}) as sink:
        desk = Desk(*jobs(5))
        await desk.run(sink)
    assert desk.states == [State.SENT] * 5
    assert len(sink.seen) == 5
    assert sink.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_replaced():
    async with Sink(features=("PIPELINING",)) as sink:
        desk, idle = Desk(), asyncio.Event()
        todo = jobs(2)

        async def take(wait: bool) -> Job | None:
            if not wait:
                return None
            if len(todo) == 1:
                await idle.wait()
            return todo.pop(0) if todo else None

        desk.take = take
        running = asyncio.create_task(desk.run(sink))
        await sink.wait(1)
        await sink.stop()
        await sink.start()
        idle.set()
        await running
    assert desk.states == [State.SENT] * 2
    assert sink.connections == 2


@pytest.mark.parametrize("back", [True, False])
async def test_a_connection_that_breaks_while_the_next_job_is_looked_for_leaves_both_mails_innocent(
    back: bool, monkeypatch: pytest.MonkeyPatch
):
    count, wires, made = 0, [], Wire.connection_made

    def third_time(_: object) -> str | None:
        nonlocal count
        count += 1
        return "close-after-reply 354 go" if count == 3 else None

    def noted(wire: Wire, transport: asyncio.BaseTransport) -> None:
        wires.append(wire)
        made(wire, transport)

    async def take(wait: bool) -> Job | None:
        if not wait and len(desk.todo) == 2:
            while wires[-1].failure is None:
                await asyncio.sleep(0)
            if not back:
                sink.hooks["greeting"] = "421 4.3.2 closed"
        return await Desk.take(desk, wait)

    def dot(mail: Mail) -> None:
        flying.append((mail.rcpts, desk.flying and desk.flying.rcpts))

    flying: list[tuple[object, object]] = []
    monkeypatch.setattr(Wire, "connection_made", noted)
    async with Sink(data=third_time, dot=dot) as sink:
        desk = Desk(*jobs(5))
        desk.take = take
        if back:
            await desk.run(sink)
            assert desk.states == [State.SENT] * 5
        else:
            with pytest.raises(RelayDown):
                await desk.run(sink)
            assert desk.states == [State.SENT, State.SENT]
    assert [mail.rcpts[0] for mail in sink.seen] == [f"r{n}@example.com" for n in range(5 if back else 2)]
    assert all(sent == written for sent, written in flying)
    assert sink.connections == 2


@pytest.mark.parametrize("how", ["421 4.3.2 going down", "drop", "reset"])
@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_a_connection_that_breaks_without_progress_postpones_one_mail_and_ends_the_run(where, how):
    async with Sink(**{where: how}) as sink:
        desk, down = await fail(sink, *jobs(3))
    assert desk.states == [State.DEFERRED]
    assert len(desk.todo) == 2
    assert desk.statuses[0][0].reply == down.text
    assert "delivered" not in down.text
    if how.startswith("421"):
        assert (down.text, down.enhanced) == (how, "4.3.2")
    assert sink.seen == [] and sink.connections == 1


@pytest.mark.parametrize("how", ["drop", "reset"])
async def test_a_connection_that_breaks_at_the_dot_leaves_the_mail_uncertain_and_the_next_innocent(how: str):
    async with Sink(dot=lambda mail: how if mail.rcpts == ("r1@example.com",) else None) as sink:
        desk = Desk(*jobs(4))
        await desk.run(sink)
    assert desk.states == [State.SENT, State.DEFERRED, State.SENT, State.SENT]
    status = desk.statuses[1][0]
    assert status.enhanced == "4.4.2"
    assert status.reply.endswith("may have been delivered")
    assert len(sink.seen) == 4  # the uncertain one was not tried again here
    assert sink.connections == 2


async def test_a_421_to_the_dot_is_the_answer_for_that_mail():
    async with Sink(dot=lambda mail: "421 4.7.0 enough" if mail.rcpts == ("r1@example.com",) else None) as sink:
        desk = Desk(*jobs(3))
        await desk.run(sink)
    assert desk.statuses[1] == (Status(State.DEFERRED, "4.7.0", "421 4.7.0 enough"),)
    assert desk.states == [State.SENT, State.DEFERRED, State.SENT]


async def test_a_421_to_the_first_dot_ends_the_run():
    async with Sink(dot="421 4.7.0 enough") as sink:
        desk, down = await fail(sink, *jobs(2))
    assert desk.statuses == [(Status(State.DEFERRED, "4.7.0", "421 4.7.0 enough"),)]
    assert down.text == "421 4.7.0 enough"


async def test_left_over_recipients_are_postponed_when_the_connection_breaks_for_good():
    async with Sink(
        rcpt=lambda address: "452 4.5.3 too many" if address[0] == "x" and sink.connections == 1 else None
    ) as sink:
        sink.hooks["dot"] = lambda mail: sink.hooks.update(greeting="554 5.3.2 closed")
        sink.close_after = 1
        desk, down = await fail(sink, job("bob@example.com", "x@example.com"))
    assert desk.states == [State.SENT, State.DEFERRED]
    assert desk.statuses[0][1].enhanced == "4.3.2"
    assert "554 5.3.2 closed" in down.text


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"greeting": "421 4.3.2 busy"}, "421 4.3.2 busy"),
        ({"greeting": "554 5.7.1 go away"}, "554 5.7.1 go away"),
        ({"greeting": "drop"}, "closed the connection"),
        ({"greeting": "reset"}, ""),
        ({"greeting": "hang"}, "no answer within 0.05 seconds"),
        ({"ehlo": "451 4.3.0 later"}, "451 4.3.0 later"),
        ({"ehlo": "drop"}, "closed the connection"),
    ],
)
async def test_a_server_that_is_not_there_for_us_was_not_offered_the_mail_in_hand(script: dict[str, str], words: str):
    async with Sink(**script) as sink:
        desk, down = await fail(sink, *jobs(2), command_timeout=0.05)
    assert desk.states == []
    assert isinstance(down, NoSession) and down.enhanced.startswith("4.")
    assert words in down.text
    assert len(desk.todo) == 1


@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_a_server_that_falls_silent_postpones_the_mail_in_hand(where: str):
    async with Sink(**{where: "hang"}) as sink:
        desk, down = await fail(sink, *jobs(2), command_timeout=0.05)
    assert desk.states == [State.DEFERRED]
    assert desk.statuses[0][0].reply == down.text == "no answer within 0.05 seconds"
    assert desk.statuses[0][0].enhanced.startswith("4.")
    assert len(desk.todo) == 1


async def test_silence_after_the_dot_may_have_been_a_delivery():
    async with Sink(dot=lambda mail: "hang" if mail.rcpts == ("r1@example.com",) else None) as sink:
        desk = Desk(*jobs(3))
        await desk.run(sink, data_timeout=0.05)
    assert desk.states == [State.SENT, State.DEFERRED, State.SENT]
    assert desk.statuses[1][0] == Status(
        State.DEFERRED, "4.4.2", "no answer within 0.05 seconds; the mail may have been delivered"
    )


async def test_only_silence_is_timed_and_not_a_long_row_of_slow_answers():
    async with Sink(delay=0.02) as sink:
        [statuses] = await deliver(sink, job(*(f"r{number}@example.com" for number in range(20))), command_timeout=0.2)
    assert {status.state for status in statuses} == {State.SENT}


@pytest.mark.parametrize("piece", [b"2", b"220-hello\r\n"])
async def test_a_reply_that_trickles_is_silence(piece: bytes):
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)
        except OSError:
            writer.close()

    desk = Desk(*jobs(1))
    async with server(trickle, command_timeout=0.05) as transport:
        with pytest.raises(RelayDown, match="no answer"):
            await transport.run(desk.take, desk.settle)


async def test_a_port_where_nobody_listens_was_not_offered_the_mail_in_hand():
    async with Sink() as sink:
        pass
    desk, down = await fail(sink, *jobs(2))
    assert desk.states == []
    assert down.enhanced == "4.4.1"
    assert "no connection to 127.0.0.1:" in down.text
    assert len(desk.todo) == 1


async def test_a_slow_reader_slows_us_down_and_gets_everything(monkeypatch: pytest.MonkeyPatch):
    received, buffered, wires = bytearray(), [], []
    made = Wire.connection_made

    def noted(wire: Wire, transport: asyncio.BaseTransport) -> None:
        wires.append(transport)
        made(wire, transport)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_data(reader, writer)
        while not received.endswith(b"\r\n.\r\n"):
            received.extend(await reader.read(65536))
            buffered.append(wires[0].get_write_buffer_size())
        writer.write(b"250 ok\r\n")
        await reader.readline()
        writer.close()

    monkeypatch.setattr(Wire, "connection_made", noted)
    data = (b"x" * 70 + b"\r\n") * 200_000
    desk = Desk(job("bob@example.com", data=data))
    async with server(slow) as transport:
        await transport.run(desk.take, desk.settle)
    assert received == data + b".\r\n"
    assert desk.states == [State.SENT]
    assert 0 < max(buffered) <= 2 * CHUNK


async def test_a_reader_that_stops_is_given_up():
    stop = asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_data(reader, writer)
        await stop.wait()
        writer.transport.abort()

    desk = Desk(job("bob@example.com", data=b"x\r\n" * 8_000_000))
    async with server(stuck, data_timeout=0.1) as transport:
        with pytest.raises(RelayDown, match="took no data"):
            await transport.run(desk.take, desk.settle)
        stop.set()
    [[status]] = desk.statuses
    assert status.state is State.DEFERRED
    assert "delivered" not in status.reply  # its dot was never handed over


async def test_an_early_no_in_the_middle_of_a_large_mail_is_heard():
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_data(reader, writer)
        end = await reader.readexactly(1024)
        writer.write(b"552 5.3.4 too big after all\r\n")
        while not end.endswith(b"\r\n.\r\nQUIT\r\n"):
            end = end[-16:] + await reader.read(65536)
        writer.write(b"221 bye\r\n")
        writer.close()

    desk = Desk(job("bob@example.com", data=b"x\r\n" * 2_000_000))
    async with server(early) as transport:
        await transport.run(desk.take, desk.settle)
    assert desk.statuses == [(Status(State.FAILED, "5.3.4", "552 5.3.4 too big after all"),)]


async def test_a_server_that_closes_in_the_middle_of_a_large_mail_leaves_no_doubt():
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_data(reader, writer)
        await reader.readexactly(1024)
        writer.close()

    desk = Desk(job("bob@example.com", data=b"x\r\n" * 8_000_000))
    async with server(rude) as transport:
        with pytest.raises(RelayDown, match="closed the connection"):
            await transport.run(desk.take, desk.settle)
    [[status]] = desk.statuses
    assert status.state is State.DEFERRED
    assert "delivered" not in status.reply


async def test_cancelling_a_run_closes_its_connection():
    async with Sink(dot="hang") as sink:
        desk = Desk(*jobs(1))
        running = asyncio.create_task(desk.run(sink))
        async with asyncio.timeout(5):
            while not sink.seen:
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert desk.ended == []


# what the server can do


async def test_a_mail_larger_than_announced_is_not_sent():
    async with Sink(features=("PIPELINING", "SIZE 1000")) as sink:
        statuses = await deliver(
            sink, job("a@example.com"), job("b@example.com", data=b"x" * 1001), job("c@example.com")
        )
    assert [status.state for [status] in statuses] == [State.SENT, State.FAILED, State.SENT]
    assert statuses[1][0] == Status(State.FAILED, "5.3.4", "the mail has 1001 bytes, and the relay takes 1000")
    assert len(sink.seen) == 2
    assert sink.mails[0].parameters == (f"SIZE={len(BODY)}",)


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE many", "SIZE " + "9" * 5000])
async def test_a_server_that_names_no_size_takes_any(size: str):
    async with Sink(features=("PIPELINING", size)) as sink:
        [[status]] = await deliver(sink, job("a@example.com", data=b"x\r\n" * 100_000))
    assert status.state is State.SENT


async def test_an_eight_bit_mail_is_declared():
    async with Sink() as sink:
        await deliver(sink, job("a@example.com", data="Grüße\r\n".encode()), job("b@example.com"))
    assert "BODY=8BITMIME" in sink.mails[0].parameters
    assert "BODY=8BITMIME" not in sink.mails[1].parameters


async def test_an_eight_bit_mail_does_not_go_to_a_server_that_takes_none():
    async with Sink(features=("PIPELINING",)) as sink:
        [[status], [after]] = await deliver(sink, job("a@example.com", data="Grüße\r\n".encode()), job("b@example.com"))
    assert status == Status(State.FAILED, "5.6.3", "the mail has 8-bit characters, and the relay takes none")
    assert after.state is State.SENT
    assert [mail.rcpts for mail in sink.seen] == [("b@example.com",)]


async def test_smtputf8_is_asked_for_where_an_address_or_the_header_needs_it():
    async with Sink() as sink:
        await deliver(
            sink,
            job("jürgen@example.com"),
            job("b@example.com", mail_from="grüße@lists.example.org"),
            job("c@example.com", smtputf8=True),
            job("d@example.com"),
        )
    assert ["SMTPUTF8" in mail.parameters for mail in sink.mails] == [True, True, True, False]
    assert sink.mails[0].rcpts == ("jürgen@example.com",)


async def test_without_smtputf8_only_those_who_need_it_fail():
    async with Sink(features=("PIPELINING",)) as sink:
        statuses = await deliver(
            sink,
            job("jürgen@example.com", "a@example.com"),
            job("b@example.com", mail_from="grüße@lists.example.org"),
            job("c@example.com", smtputf8=True),
            job("d@example.com"),
        )
    assert [[status.enhanced for status in one] for one in statuses] == [
        ["5.6.7", "2.0.0"],
        ["5.6.7"],
        ["5.6.7"],
        ["2.0.0"],
    ]
    assert [mail.rcpts for mail in sink.seen] == [("a@example.com",), ("d@example.com",)]


async def test_a_server_that_only_knows_helo_is_greeted_so():
    async with Sink(ehlo="502 5.5.1 what") as sink:
        [[status]] = await deliver(sink, job("a@example.com"))
    assert status.state is State.SENT
    assert [line for _, line in sink.lines[:3]] == [
        "EHLO lists.example.org",
        "HELO lists.example.org",
        f"MAIL FROM:<{SENDER}>",
    ]


# LMTP


async def test_lmtp_gives_each_accepted_recipient_its_own_answer():
    answers = {"b": "452 4.2.2 mailbox full", "c": "550 5.2.1 disabled"}
    async with Sink(
        lmtp=True,
        rcpt=lambda address: "550 5.1.1 no" if address[0] == "x" else None,
        dot=lambda mail: answers.get(mail.rcpts[0][0]),
    ) as sink:
        desk = Desk(job(*(f"{letter}@example.com" for letter in "axbc")), job("d@example.com"), job("e@example.com"))
        await desk.run(sink)
    assert [status.enhanced for status in desk.statuses[0]] == ["2.0.0", "5.1.1", "4.2.2", "5.2.1"]
    assert desk.states == [State.SENT, State.FAILED, State.DEFERRED, State.FAILED, State.SENT, State.SENT]
    assert sink.lines[0] == (1, "LHLO lists.example.org")
    assert sink.connections == 1


async def test_lmtp_with_a_break_between_the_answers_leaves_only_the_rest_uncertain():
    async with Sink(lmtp=True, dot=lambda mail: "drop" if mail.rcpts[0][0] == "b" else None) as sink:
        [[first, second, third], [after]] = await deliver(
            sink, job("a@example.com", "b@example.com", "c@example.com"), job("d@example.com")
        )
    assert (first.state, second.state, third.state) == (State.SENT, State.DEFERRED, State.DEFERRED)
    assert second.enhanced == third.enhanced == "4.4.2"
    assert after.state is State.SENT


async def test_lmtp_with_a_354_for_nobody_goes_on_with_a_new_connection():
    async with Sink(
        lmtp=True, rcpt=lambda address: "550 5.1.1 no" if address[0] == "x" else None, data="354 go"
    ) as sink:
        [[first], [second]] = await deliver(sink, job("x@example.com"), job("a@example.com"))
    assert (first.enhanced, second.state) == ("5.1.1", State.SENT)
    assert sink.connections == 2


# TLS and login


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "sink.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


@pytest.fixture(scope="module")
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("mode", ["opportunistic", "required"])
async def test_starttls_is_used_where_it_is_offered(mode: str, tls: ssl.SSLContext, certificate: Path):
    trust = ssl.create_default_context(cafile=str(certificate))
    async with Sink(tls=tls) as sink:
        statuses = await deliver(sink, *jobs(3), tls=mode, trust=trust)
    assert [status.state for [status] in statuses] == [State.SENT] * 3
    assert all(mail.tls for mail in sink.mails)
    assert sink.connections == 1
    assert [line for _, line in sink.lines].count("EHLO lists.example.org") == 2


async def test_starttls_is_not_used_when_it_is_off(tls: ssl.SSLContext):
    async with Sink(tls=tls) as sink:
        await deliver(sink, *jobs(1), tls="off")
    assert not sink.mails[0].tls


async def test_required_tls_checks_the_certificate(tls: ssl.SSLContext):
    async with Sink(tls=tls) as sink:
        desk, down = await fail(sink, *jobs(1), tls="required")
    assert desk.states == []
    assert down.enhanced == "4.7.5"
    assert "self-signed certificate" in down.text
    assert sink.seen == []


async def test_required_tls_checks_the_name_in_the_certificate(tls: ssl.SSLContext, certificate: Path):
    trust = ssl.create_default_context(cafile=str(certificate))
    async with Sink(tls=tls) as sink:
        _, down = await fail(sink, *jobs(1), tls="required", trust=trust, host="localhost")
    assert down.enhanced == "4.7.5"
    assert "Hostname mismatch" in down.text
    assert sink.seen == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({}, "offers no TLS"),
        ({"features": ("STARTTLS",)}, "TLS with the relay failed"),
        (
            {"features": ("STARTTLS",), "behind_starttls": b"this is no TLS, as everybody can see\r\n"},
            "TLS with the relay failed",
        ),
    ],
)
async def test_required_tls_that_cannot_be_had_keeps_the_mail_back(script: dict, words: str):
    async with Sink(**script) as sink:
        desk, down = await fail(sink, *jobs(1), tls="required")
    assert (desk.states, down.enhanced) == ([], "4.7.5")
    assert words in down.text
    assert sink.seen == []


async def test_broken_opportunistic_tls_falls_back_to_a_new_connection_without():
    async with Sink(features=("PIPELINING", "STARTTLS")) as sink:
        [[status]] = await deliver(sink, *jobs(1))
    assert status.state is State.SENT
    assert (sink.mails[0].tls, sink.mails[0].connection) == (False, 2)


async def test_bytes_behind_the_starttls_reply_are_dropped(tls: ssl.SSLContext):
    """What somebody puts behind the plain-text reply must not be read as the answer to EHLO in TLS."""
    injected = b"250-evil\r\n250 AUTH PLAIN\r\n250 2.0.0 "
    async with Sink(tls=tls, behind_starttls=injected) as sink:
        [[status]] = await deliver(sink, *jobs(1), tls="opportunistic")
    assert status.state is State.SENT
    assert [mail.tls for mail in sink.mails] == [True]
    assert sink.connections == 1


@pytest.mark.parametrize("features", [("PIPELINING",), ("PIPELINING", "AUTH LOGIN")])
async def test_login_by_plain_and_by_login(features: tuple[str, ...], tls: ssl.SSLContext):
    async with Sink(tls=tls, users={"jörg": "päss word"}, features=features) as sink:
        [[status]] = await deliver(sink, *jobs(1), user="jörg", password="päss word")
    assert status.state is State.SENT
    assert (sink.mails[0].user, sink.mails[0].tls) == ("jörg", True)


async def test_a_wrong_password_keeps_the_mail_back():
    async with Sink(users={"joe": "right"}) as sink:
        desk, down = await fail(sink, *jobs(1), user="joe", password="wrong")
    assert (desk.states, down.enhanced) == ([], "4.7.8")
    assert down.text == "the relay refused our login: 535 5.7.8 wrong name or password"
    assert "wrong" not in repr(Relay("x", 1, password="wrong"))


async def test_a_relay_without_login_keeps_the_mail_back():
    async with Sink() as sink:
        _, down = await fail(sink, *jobs(1), user="joe", password="secret")
    assert "neither AUTH PLAIN nor AUTH LOGIN" in down.text


async def test_a_password_goes_to_another_machine_only_in_tls(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Wire, "loopback", property(lambda _: False))
    async with Sink(users={"joe": "secret"}) as sink:
        _, down = await fail(sink, *jobs(1), user="joe", password="secret")
    assert down.enhanced == "4.7.11"
    assert not any(line.startswith("AUTH") for _, line in sink.lines)


# from the configuration


def test_the_configuration_names_the_relay():
    options = DeliveryOptions(relay="smtp://[::1]:2525", user="joe", password="secret", tls="required")
    transport = transport_for(Config(site=Site(domain="lists.example.org"), delivery=options))
    assert isinstance(transport, SmtpTransport)
    relay = transport.relay
    assert (relay.host, relay.port, relay.lmtp, relay.helo) == ("::1", 2525, False, "lists.example.org")
    assert (relay.tls, relay.user, relay.password) == ("required", "joe", "secret")
    assert (relay.connect_timeout, relay.command_timeout, relay.data_timeout) == (30, 300, 600)


@pytest.mark.parametrize(
    ("url", "port", "lmtp"), [("smtp://mx.example.org", 25, False), ("lmtp://mx.example.org", 24, True)]
)
def test_a_relay_without_a_port_has_the_usual_one(url: str, port: int, lmtp: bool):
    transport = transport_for(Config(delivery=DeliveryOptions(relay=url)))
    assert isinstance(transport, SmtpTransport)
    assert (transport.relay.port, transport.relay.lmtp) == (port, lmtp)


async def test_many_connections_deliver_everything_once():
    async with Sink(close_after=7) as sink:
        desk = Desk(*jobs(200))
        await asyncio.gather(*(desk.run(sink) for _ in range(8)))
    assert desk.states == [State.SENT] * 200
    assert len({mail.rcpts for mail in sink.seen}) == len(sink.seen) == 200


def test_a_session_knows_its_features():
    async def make() -> Session:
        return Session(Wire(), {"PIPELINING": "", "SIZE": "10240000"})

    session = asyncio.run(make())
    assert session.pipelining
    assert session.size == 10240000
