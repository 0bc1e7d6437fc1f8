import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import Deferred, Refused
from mailforum.model import Outcome
from mailforum.smtpd.shared import Limits
from mailforum.smtpd.syntax import one_outcome, reply, split_path, words
from tests.support.site import running_site

MAIL = b"From: Ann <ann@example.com>\r\nSubject: Lunch\r\n\r\nAt noon?\r\n"
LIST = "pmo@lists.example.org"
FALSE_ENDS = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "NUL before the dot": b"\r\n\0.\r\n",
    "NUL behind the dot": b"\r\n.\0\r\n",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
}


# -- a mail as it should be


async def test_a_mail_arrives_as_it_was_sent(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    assert await client.say(MAIL + b".") == f"250 2.0.0 Taken for {LIST}"
    ((envelope, raw),) = house.intake.mails
    assert raw == MAIL
    assert (envelope.mail_from, envelope.helo, envelope.peer) == ("ann@example.com", "client.example.com", "127.0.0.1")
    assert [route.rcpt for route in envelope.routes] == [LIST]
    assert not envelope.lmtp
    assert await client.say("QUIT") == "221 2.0.0 Bye"
    assert await client.read() == ""


async def test_the_greeting_to_ehlo_names_what_is_offered_and_no_login(serve):
    client = await (await serve(max_size=1234)).connect()
    assert await client.read() == "220 lists.example.org ESMTP mailforum"
    assert (await client.say("EHLO me.example.com")).split("\n") == [
        "250-lists.example.org",
        "250-PIPELINING",
        "250-SIZE 1234",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250 ENHANCEDSTATUSCODES",
    ]
    assert await client.say("HELO me.example.com") == "250 lists.example.org"


async def test_everything_in_one_packet_is_answered_in_order(serve):
    house = await serve()
    client = await house.ready()
    one = b"MAIL FROM:<ann@example.com>\r\nRCPT TO:<pmo@lists.example.org>\r\nDATA\r\n%b.\r\n"
    await client.send(one % MAIL + one % b"second\r\n" + b"QUIT\r\n")
    assert [(await client.read())[:3] for _ in range(9)] == ["250", "250", "354", "250"] * 2 + ["221"]
    assert [raw for _, raw in house.intake.mails] == [MAIL, b"second\r\n"]


async def test_a_client_that_talks_before_the_greeting_is_served(serve):
    house = await serve()
    client = await house.connect()
    await client.send(b"EHLO me.example.com\r\nMAIL FROM:<>\r\n")
    assert [(await client.read())[:3] for _ in range(3)] == ["220", "250", "250"]


async def test_what_is_said_behind_quit_does_not_cost_the_answers_before_it(serve):
    client = await (await serve()).ready()
    await client.send(b"NOOP\r\nQUIT\r\n" + b"x" * 100_000)
    assert [(await client.read())[:3] for _ in range(3)] == ["250", "221", ""]


async def test_the_null_sender_is_empty(serve):
    house = await serve()
    client = await house.ready()
    await client.say("MAIL FROM:<>")
    assert (await client.say("MAIL FROM:<>"))[:9] == "503 5.5.1"
    await client.say(f"RCPT TO:<{LIST}>")
    await client.say("DATA")
    await client.say(MAIL + b".")
    assert house.intake.mails[0][0].mail_from == ""


async def test_dots_that_were_doubled_are_single_again(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    await client.say(b"..\r\n...x\r\na.b\r\n..\r\n.")
    assert house.raw == b".\r\n..x\r\na.b\r\n.\r\n"


async def test_an_empty_mail_is_just_a_dot(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    assert (await client.say(b"."))[:3] == "250"
    assert house.raw == b"\r\n"


async def test_eight_bit_bodies_need_no_announcement(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    await client.say("Grüße\r\n.".encode("latin-1"))
    assert house.raw == "Grüße\r\n".encode("latin-1")


async def test_a_line_may_be_as_long_as_the_mail(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    assert (await client.say(b"x" * 99_998 + b"\r\n."))[:3] == "250"
    assert len(house.raw) == 100_000


async def test_bare_line_ends_are_made_whole_before_the_intake_sees_them(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    await client.say(b"a\nb\rc\0d\r\n.")
    assert house.raw == b"a\r\nb\r\ncd\r\n"


# -- smuggling (D1 to D11)


@pytest.mark.parametrize("false_end", FALSE_ENDS.values(), ids=FALSE_ENDS.keys())
async def test_only_crlf_dot_crlf_ends_a_mail(serve, false_end):
    house = await serve()
    client = await house.connect()
    await client.begin()
    smuggled = b"MAIL FROM:<boss@example.com>\r\nRCPT TO:<pmo@lists.example.org>\r\nDATA\r\nsmuggled\r\n.\r\n"
    await client.send(b"Subject: one\r\n\r\ntext" + false_end + smuggled + b"NOOP\r\n")
    assert [(await client.read())[:9] for _ in range(2)] == ["250 2.0.0", "250 2.0.0"]
    assert b"boss@example.com" in house.raw
    assert house.raw.endswith(b"smuggled\r\n")
    assert b"\n" not in house.raw.replace(b"\r\n", b"")


# -- what is too long or too large (D16 to D19)


async def test_a_mail_too_large_is_refused_behind_its_dot_and_the_session_goes_on(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    assert await client.say(b"x\r\n" * 40_000 + b".") == "552 5.3.4 The mail is too large"
    assert house.intake.mails == []
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == "250"
    await client.say(f"RCPT TO:<{LIST}>")
    await client.say("DATA")
    assert (await client.say(MAIL + b"."))[:3] == "250"


async def test_a_mail_of_exactly_the_limit_passes_and_one_byte_more_does_not(serve):
    house = await serve(max_size=1000)
    for size, code in ((1000, "250"), (1001, "552")):
        client = await house.connect()
        await client.begin()
        assert (await client.say(b"x" * (size - 2) + b"\r\n."))[:3] == code


async def test_who_sends_far_more_than_is_allowed_is_cut_off(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    for _ in range(10):
        await client.send(b"x" * 100_000)
    assert await client.read() == "552 5.3.4 The mail is far too large"
    assert await client.closed()


async def test_a_size_that_is_announced_too_large_is_refused_at_once(serve):
    client = await (await serve()).ready()
    assert (await client.say("MAIL FROM:<ann@example.com> SIZE=100001"))[:9] == "552 5.3.4"
    assert (await client.say("MAIL FROM:<ann@example.com> SIZE=10"))[:3] == "250"
    await client.say(f"RCPT TO:<{LIST}>")
    await client.say("DATA")
    assert (await client.say(MAIL + b"."))[:3] == "250"  # a false announcement harms nobody


async def test_a_long_command_is_refused_and_the_session_goes_on(serve):
    client = await (await serve()).ready()
    assert await client.say(b"NOOP " + b"x" * 5000) == "500 5.5.2 Line too long"
    assert (await client.say("NOOP"))[:3] == "250"


@pytest.mark.parametrize("end", [b"\r\n", b""])
async def test_a_command_of_ten_megabytes_is_answered_and_cut_off(serve, end):
    client = await (await serve()).ready()
    sending = asyncio.create_task(client.send(b"x" * 10_000_000 + end))
    assert await client.read() == "500 5.5.2 Line too long"
    client.close()
    await asyncio.gather(sending, return_exceptions=True)


async def test_recipients_beyond_the_limit_are_put_off(serve):
    house = await serve(max_recipients=100)
    client = await house.ready()
    await client.say("MAIL FROM:<ann@example.com>")
    await client.send(b"".join(b"RCPT TO:<pmo+%d@lists.example.org>\r\n" % n for n in range(200)))
    replies = [(await client.read())[:9] for _ in range(200)]
    assert replies == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 100
    await client.say("DATA")
    await client.say(MAIL + b".")
    assert len(house.intake.mails[0][0].routes) == 100


async def test_the_same_recipient_twice_is_one_route(serve):
    house = await serve()
    client = await house.connect()
    await client.begin("pmo@lists.example.org", "PMO@Lists.Example.org")
    await client.say(MAIL + b".")
    assert len(house.intake.mails[0][0].routes) == 1
    assert house.intake.routed == ["pmo@lists.example.org"]


async def test_large_mails_share_the_space_there_is_and_plain_mail_always_passes(serve, tmp_path):
    house = await serve(tmp_path, max_size=1_000_000, memory_per_mail=1000, max_spool=0)  # one of max_size, then
    large, plain = [await house.connect() for _ in range(2)], await house.connect()
    for client in large:
        await client.begin()
    house.intake.go = asyncio.Event()
    await large[0].send(b"x" * 990_000 + b"\r\n.\r\n")
    await asyncio.wait_for(house.intake.busy.wait(), 5)
    assert (await large[1].say(b"x" * 990_000 + b"\r\n."))[:9] == "452 4.3.1"
    await plain.begin()
    sent = asyncio.create_task(plain.say(MAIL + b"."))
    house.intake.go.set()
    assert (await sent)[:3] == "250"
    assert (await large[0].read())[:3] == "250"
    await large[1].say("MAIL FROM:<ann@example.com>")
    await large[1].say(f"RCPT TO:<{LIST}>")
    await large[1].say("DATA")
    assert (await large[1].say(b"x" * 990_000 + b"\r\n."))[:3] == "250"  # the room was given back
    assert list(tmp_path.iterdir()) == []


async def test_large_mails_are_worked_on_one_after_the_other_and_plain_mail_meanwhile(serve, tmp_path):
    house = await serve(tmp_path, memory_per_mail=1000)
    house.intake.go = asyncio.Event()
    clients = [await house.connect() for _ in range(3)]
    for client, data in zip(clients, (b"x" * 90_000, b"y" * 90_000, b"z"), strict=True):
        await client.begin()
        await client.send(data + b"\r\n.\r\n")
    async with asyncio.timeout(5):
        while house.intake.begun < 2:  # a large one, and the plain one
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert house.intake.begun == 2
    house.intake.go.set()
    assert [(await client.read())[:3] for client in clients] == ["250"] * 3
    assert {raw[:1] for _, raw in house.intake.mails} == {b"x", b"y", b"z"}


async def test_a_large_mail_cut_off_gives_its_space_back(serve, tmp_path):
    house = await serve(tmp_path, memory_per_mail=1000, max_spool=0)
    for _ in range(3):
        client = await house.connect()
        await client.begin()
        await client.send(b"x" * 90_000)
        _cut(client, reset=True)
    async with asyncio.timeout(5):
        while house.server._shared.inside:
            await asyncio.sleep(0.01)
    client = await house.connect()
    await client.begin()
    assert (await client.say(b"x" * 90_000 + b"\r\n."))[:3] == "250"


async def test_a_folder_that_cannot_be_written_puts_large_mail_off_and_plain_mail_passes(serve, tmp_path):
    house = await serve(tmp_path / "gone", memory_per_mail=1000)
    client = await house.connect()
    await client.begin()
    assert (await client.say(b"x" * 90_000 + b"\r\n."))[:9] == "452 4.3.1"
    await client.say("MAIL FROM:<ann@example.com>")
    await client.say(f"RCPT TO:<{LIST}>")
    await client.say("DATA")
    assert (await client.say(MAIL + b"."))[:3] == "250"


async def test_a_full_queue_puts_senders_off_before_the_mail_is_sent(serve):
    house = await serve()
    house.intake.full = True
    client = await house.ready()
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:9] == "452 4.3.1"
    house.intake.full = False
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == "250"


# -- commands that are wrong (D13, D14, D20 to D27)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"NO\0OP", "501 5.5.2"),
        (b"MAIL FROM:<a\x01@example.com>", "501 5.5.2"),
        (b"MAIL FROM:<a\r@example.com>", "501 5.5.2"),
        (b"MAIL FROM:<a\xff@example.com>", "501 5.5.2"),
        (b"EHLO \xc3\xa9", "501 5.5.2"),
        ("MAIL FROM:<é@example.com>".encode(), "553 5.6.7"),
        (b"MAIL FROM:", "501 5.5.4"),
        (b"MAIL", "501 5.5.4"),
        (b"MAIL TO:<a@example.com>", "501 5.5.4"),
        (b"MAIL FROM:<a@example.com>SIZE=1", "501 5.5.4"),
        (b"MAIL FROM:<a@example.com> SIZE=x", "501 5.5.4"),
        (b"MAIL FROM:<a@example.com> SIZE=1 SIZE=1", "501 5.5.4"),
        (b"MAIL FROM:<a@example.com> BODY=BINARYMIME", "501 5.5.4"),
        (b"MAIL FROM:<a@example.com> SMTPUTF8=yes", "501 5.5.4"),
        (b"MAIL FROM:<a@example.com> RET=FULL", "555 5.5.4"),
        (b"MAIL FROM:<a@example.com> AUTH=<>", "555 5.5.4"),
        (b"MAIL FROM:<" + b"a" * 65 + b"@example.com>", "501 5.1.3"),
        (b"MAIL FROM:<a@" + b"e" * 256 + b".com>", "501 5.1.3"),
        (b"MAIL FROM:<a b@example.com>", "501 5.1.3"),
        (b"RCPT TO:<pmo@lists.example.org>", "503 5.5.1"),
        (b"DATA", "503 5.5.1"),
        (b"EHLO", "501 5.5.4"),
        (b"LHLO me", "500 5.5.1"),
        (b"RSET now", "501 5.5.4"),
        (b"VRFY ann", "252 2.5.0"),
        (b"EXPN pmo", "502 5.5.1"),
        (b"AUTH PLAIN AGFubgBwYXNz", "502 5.5.1"),
        (b"STARTTLS", "503 5.5.1"),
        (b"HELLO", "500 5.5.1"),
        (b"", "500 5.5.1"),
        (b"__INIT__", "500 5.5.1"),
    ],
)
async def test_a_wrong_command_gets_a_clear_reply_and_the_session_goes_on(serve, line, code):
    client = await (await serve()).ready()
    assert (await client.say(line))[:9] == code
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == "250"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"<>", "501 5.1.3"),
        (b"<pmo @lists.example.org>", "501 5.1.3"),
        (b"<" + b"a" * 65 + b"@lists.example.org>", "501 5.1.3"),
        (b"<@relay.example.com:pmo@lists.example.org>", "550 5.7.1"),
        (b"@relay.example.com:pmo@lists.example.org", "550 5.7.1"),
        (b"<nobody@lists.example.org>", "550 5.1.1"),
        (b"<ann%example.com@lists.example.net>", "550 5.1.1"),
        (b"<example.com!ann@relay.example.com>", "550 5.1.1"),
        (b"<pmo@lists.example.org> NOTIFY=NEVER", "555 5.5.4"),
        ("<é@lists.example.org>".encode(), "553 5.6.7"),
        (b'<"a b"@lists.example.org>', "250 2.1.5"),
        (b'<"a>b"@lists.example.org>', "250 2.1.5"),
        (b" pmo@lists.example.org", "250 2.1.5"),
    ],
)
async def test_a_recipient_is_checked_at_once(serve, path, code):
    client = await (await serve()).ready()
    await client.say("MAIL FROM:<ann@example.com>")
    assert (await client.say(b"RCPT TO:" + path))[:9] == code


async def test_a_utf8_address_passes_with_smtputf8(serve):
    house = await serve()
    client = await house.ready()
    assert (await client.say("MAIL FROM:<é@example.com> BODY=8BITMIME SMTPUTF8"))[:3] == "250"
    assert (await client.say("RCPT TO:<ö@lists.example.org>"))[:3] == "250"
    await client.say("DATA")
    await client.say(MAIL + b".")
    envelope = house.intake.mails[0][0]
    assert (envelope.mail_from, envelope.routes[0].rcpt) == ("é@example.com", "ö@lists.example.org")
    assert envelope.smtputf8


async def test_mail_before_hello_is_out_of_order(serve):
    client = await (await serve()).connect()
    await client.read()
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:9] == "503 5.5.1"
    await client.say("HELO me.example.com")
    assert (await client.say("MAIL FROM:<ann@example.com> SIZE=1"))[:9] == "555 5.5.4"


async def test_a_mail_behind_a_refused_data_is_not_read_as_commands(serve):
    house = await serve()
    client = await house.ready()
    await client.send(b"DATA\r\nMAIL FROM:<ann@example.com>\r\nRCPT TO:<pmo@lists.example.org>\r\n.\r\n")
    assert (await client.read())[:9] == "503 5.5.1"
    assert await client.read() == ""
    assert house.intake.routed == []


async def test_a_line_without_cr_is_refused_in_words(serve):
    client = await (await serve()).connect()
    await client.read()
    await client.send(b"EHLO me.example.com\n")
    assert await client.read() == "500 5.5.2 Lines must end with CR LF"


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST /send HTTP/1.1", "CONNECT a.example.com:25 HTTP/1.1"])
async def test_a_browser_is_sent_away_at_once(serve, line):
    house = await serve()
    client = await house.connect()
    await client.read()
    await client.send(line.encode() + b"\r\nHost: x\r\n\r\nMAIL FROM:<ann@example.com>\r\n")
    assert (await client.read())[:9] == "421 4.7.0"
    assert await client.read() == ""


@pytest.mark.parametrize("line", ["HELLO", "NOOP", "RSET", "VRFY ann", "HELP", "EHLO again", "DATA", "MAIL FROM:x y"])
async def test_who_only_talks_is_sent_away(serve, line):
    client = await (await serve()).ready()
    await client.send(line.encode() + b"\r\n")
    replies = [await client.read()]
    while replies[-1] and replies[-1][:3] != "421":
        replies.append(await client.say(line))
    assert len(replies) == 20
    assert await client.read() == ""


async def test_a_mail_that_is_taken_makes_up_for_idle_talk(serve):
    client = await (await serve()).ready()
    for _ in range(4):
        for _ in range(15):
            assert (await client.say("NOOP"))[:3] == "250"
        await client.say("MAIL FROM:<ann@example.com>")
        await client.say(f"RCPT TO:<{LIST}>")
        await client.say("DATA")
        assert (await client.say(MAIL + b"."))[:3] == "250"


async def test_many_dead_recipients_do_not_end_the_session(serve):
    client = await (await serve()).ready()
    await client.say("MAIL FROM:<ann@example.com>")
    for _ in range(30):
        assert (await client.say("RCPT TO:<nobody@lists.example.org>"))[:9] == "550 5.1.1"
    assert (await client.say(f"RCPT TO:<{LIST}>"))[:3] == "250"


async def test_bdat_ends_the_session_because_its_data_is_no_command(serve):
    client = await (await serve()).ready()
    await client.send(b"BDAT 5 LAST\r\nNOOP\r\n")
    assert (await client.read())[:9] == "502 5.5.1"
    assert await client.read() == ""


# -- time (D28)


async def test_silence_ends_with_421(serve):
    client = await (await serve(command_timeout=0.1)).ready()
    assert (await client.read())[:9] == "421 4.4.2"
    assert await client.read() == ""


async def test_a_command_that_comes_byte_by_byte_does_not_count_as_talk(serve):
    client = await (await serve(command_timeout=0.3)).ready()
    answer = asyncio.create_task(client.read())
    while not answer.done():
        client.writer.write(b"x")
        await asyncio.wait([answer], timeout=0.02)
    assert answer.result()[:9] == "421 4.4.2"


async def test_silence_in_a_mail_ends_with_421(serve):
    house = await serve(data_timeout=0.1)
    client = await house.connect()
    await client.begin()
    await client.send(b"Subject: x\r\n")
    assert (await client.read())[:9] == "421 4.4.2"
    assert house.intake.mails == []


async def test_a_mail_that_crawls_ends_with_421(serve):
    client = await (await serve(min_rate=10_000, limits=Limits(grace=0.2))).connect()
    await client.begin()
    answer = asyncio.create_task(client.read())
    while not answer.done():
        client.writer.write(b"x")
        await asyncio.wait([answer], timeout=0.02)
    assert answer.result() == "421 4.4.2 Too slow, try again later"


async def test_a_slow_honest_sender_is_not_cut_by_a_fixed_clock(serve):
    house = await serve(command_timeout=0.25, data_timeout=0.25, min_rate=100, limits=Limits(grace=0.1))
    client = await house.connect()
    await client.begin()
    for _ in range(12):
        await client.send(b"x" * 50 + b"\r\n")
        await asyncio.sleep(0.05)
    assert (await client.say("."))[:3] == "250"
    assert len(house.raw) == 12 * 52


async def test_a_client_waits_for_the_intake_longer_than_for_its_own_time_out(serve):
    house = await serve(command_timeout=0.1, data_timeout=0.1)
    house.intake.go = asyncio.Event()
    client = await house.connect()
    await client.begin()
    asyncio.get_running_loop().call_later(0.4, house.intake.go.set)
    assert (await client.say(MAIL + b"."))[:3] == "250"


async def test_a_client_that_never_reads_is_cut_off(serve):
    house = await serve(command_timeout=0.2, max_errors=10**9, limits=Limits(linger=0.1))
    client = await house.ready()
    client.writer.transport.pause_reading()

    async def flood():
        while True:
            await client.send(b"EHLO x\r\n" * 1000)

    with pytest.raises(OSError):
        await asyncio.wait_for(flood(), 20)


# -- cut off (D30)


async def test_a_client_that_closes_its_side_behind_the_dot_gets_its_answer(serve):
    house = await serve()
    house.intake.go = asyncio.Event()
    client = await house.connect()
    await client.begin()
    await client.send(MAIL + b".\r\n")
    client.writer.write_eof()
    await asyncio.wait_for(house.intake.busy.wait(), 5)
    house.intake.go.set()
    assert (await client.read())[:3] == "250"
    assert await client.read() == ""


@pytest.mark.parametrize("reset", [False, True])
async def test_a_mail_cut_off_in_the_middle_is_nothing(serve, reset):
    house = await serve()
    client = await house.connect()
    await client.begin()
    await client.send(MAIL)
    _cut(client, reset)
    other = await house.connect()
    await other.begin()
    await other.say(b"whole\r\n.")
    assert house.raw == b"whole\r\n"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_goes_while_its_mail_is_worked_on_does_not_stop_the_work(serve, reset):
    house = await serve()
    house.intake.go = asyncio.Event()
    client = await house.connect()
    await client.begin()
    await client.send(MAIL + b".\r\n")
    await asyncio.wait_for(house.intake.busy.wait(), 5)
    _cut(client, reset)
    await (await house.ready()).say("NOOP")  # by now the server has seen it
    house.intake.go.set()
    await house.server.stop(5)
    assert house.raw == MAIL


def _cut(client, reset: bool) -> None:
    if reset:
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


# -- answers behind the dot, and our own faults (D31)


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([250], 250),
        ([250, 451], 451),
        ([550, 452, 451, 250], 452),
        ([550, 250], 250),
        ([552, 550], 552),
    ],
)
def test_smtp_has_one_answer_for_all(codes, told):
    outcomes = [Outcome(f"{code}@lists.example.org", code, "", "") for code in codes]
    assert one_outcome(outcomes).code == told


async def test_lmtp_answers_for_each_recipient_in_the_order_they_were_named(serve):
    house = await serve()
    house.intake.answers["b@lists.example.org"] = Outcome("b@lists.example.org", 550, "5.7.1", "Members only")
    client = await house.connect(lmtp=True)
    rcpts = [f"{name}@lists.example.org" for name in ("a", "b", "A", "c")]
    await client.begin(*rcpts, verb="LHLO")
    await client.send(MAIL + b".\r\n")
    assert [await client.read() for _ in rcpts] == [
        "250 2.0.0 Taken for a@lists.example.org",
        "550 5.7.1 Members only",
        "250 2.0.0 Taken for a@lists.example.org",  # RFC 2033 section 4.2: repeated, and answered again
        "250 2.0.0 Taken for c@lists.example.org",
    ]
    assert house.intake.mails[0][0].lmtp
    assert (await client.say("NOOP"))[:3] == "250"


@pytest.mark.parametrize("failure", [Deferred("Disk full"), RuntimeError("secret")])
async def test_lmtp_answers_for_each_recipient_when_the_mail_fails(serve, failure):
    house = await serve()
    house.intake.failure = failure
    client = await house.connect(lmtp=True)
    await client.begin("a@lists.example.org", "b@lists.example.org", verb="LHLO")
    await client.send(MAIL + b".\r\nNOOP\r\n")
    assert [(await client.read())[:9] for _ in range(3)] == ["451 4.3.0", "451 4.3.0", "250 2.0.0"]


async def test_lmtp_answers_for_each_recipient_when_the_mail_is_too_large(serve):
    client = await (await serve(max_size=100)).connect(lmtp=True)
    await client.begin("a@lists.example.org", "b@lists.example.org", verb="LHLO")
    await client.send(b"x" * 200 + b"\r\n.\r\nNOOP\r\n")
    assert [(await client.read())[:3] for _ in range(3)] == ["552", "552", "250"]


async def test_lmtp_is_greeted_with_lhlo_only(serve):
    client = await (await serve()).connect(lmtp=True)
    assert await client.read() == "220 lists.example.org LMTP mailforum"
    assert (await client.say("EHLO me"))[:9] == "500 5.5.1"
    assert (await client.say("HELO me"))[:9] == "500 5.5.1"
    assert "250-PIPELINING" in await client.say("LHLO me")


async def test_a_refusal_of_the_whole_mail_is_the_answer(serve, caplog):
    house = await serve()
    house.intake.failure = Refused("Too many parts", "1,001 parts", code=550, enhanced="5.6.0")
    client = await house.connect()
    await client.begin()
    with caplog.at_level("INFO"):
        assert await client.say(MAIL + b".") == "550 5.6.0 Too many parts"
    assert "1,001 parts" in caplog.text


async def test_our_own_fault_is_temporary_and_told_with_an_id_only(serve, caplog):
    house = await serve()
    house.intake.failure = RuntimeError("password=hunter2")
    client = await house.connect()
    await client.begin()
    answer = await client.say(MAIL + b".")
    assert answer.startswith("451 4.3.0 ")
    assert "hunter2" not in answer
    fault = answer.partition("(id ")[2].rstrip(")")
    assert f"id={fault}" in caplog.text
    assert "hunter2" in caplog.text
    assert (await client.say("NOOP"))[:3] == "250"


async def test_a_fault_in_routing_is_temporary_too(serve):
    house = await serve()
    house.intake.answers[LIST] = OSError("database is gone")
    client = await house.ready()
    await client.say("MAIL FROM:<ann@example.com>")
    assert (await client.say(f"RCPT TO:<{LIST}>"))[:9] == "451 4.3.0"
    assert (await client.say("NOOP"))[:3] == "250"


async def test_an_intake_that_forgets_a_recipient_is_our_own_fault(serve, monkeypatch):
    house = await serve()

    async def receive(envelope, raw):
        return ()

    monkeypatch.setattr(house.intake, "receive", receive)
    client = await house.connect()
    await client.begin()
    assert (await client.say(MAIL + b"."))[:9] == "451 4.3.0"


def test_a_reply_is_one_line_of_ascii():
    assert reply(550, "5.7.1", "Don’t\r\n250 ok\0 é") == "550 5.7.1 Don't 250 ok ?"
    assert len(reply(550, "5.7.1", "x" * 2000)) < 510


@given(st.binary(max_size=100))
def test_any_bytes_are_a_command_or_refused(line):
    try:
        verb, argument = words(line)
        split_path("FROM:", argument)
    except Refused as error:
        assert error.code == 501
    else:
        assert verb == verb.upper()


async def test_any_number_of_mails_may_be_refused_on_one_connection(tmp_path):
    """A mail server in front of us brings all that is meant for us, and clients say RSET behind a refusal."""
    async with running_site(tmp_path) as site:
        await site.cli("list", "create", "pmo")
        mail = b"MAIL FROM:<eve@example.net>\r\nRCPT TO:<pmo@lists.example.test>\r\nDATA\r\n"
        text = b"From: eve@example.net\r\nSubject: %d\r\n\r\nHello.\r\n.\r\nRSET\r\n"
        dialogue = b"EHLO x\r\n" + b"".join(mail + text % number for number in range(40)) + b"QUIT\r\n"
        answers = (await site.raw(dialogue)).split(b"\r\n")
        assert sum(answer.startswith(b"550 5.7.1 Only members post") for answer in answers) == 40
        assert answers[-2].startswith(b"221")
