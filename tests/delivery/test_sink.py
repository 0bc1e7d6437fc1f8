"""The sink is what other tests believe in, so what they rely on is tested here."""

import asyncio
import smtplib

import pytest

from tests.support.sink import Mail, Sink


def send(sink: Sink, *rcpts: str, data: bytes = b"Subject: x\r\n\r\nx\r\n") -> dict:
    with smtplib.SMTP(sink.host, sink.port, timeout=5) as client:
        return client.sendmail("ann@example.org", rcpts or ("bob@example.com",), data)


async def test_it_keeps_mail_as_another_client_sent_it():
    async with Sink() as sink:
        await asyncio.to_thread(send, sink, "bob@example.com", "eve@example.com", data=b"a\r\n.\r\n..b\r\n")
        [mail] = await sink.wait(1)
    assert (mail.mail_from, mail.rcpts) == ("ann@example.org", ("bob@example.com", "eve@example.com"))
    assert mail.data == b"a\r\n.\r\n..b\r\n"
    assert sink.to("eve@example.com") == [mail]
    assert sink.url == f"smtp://127.0.0.1:{sink.port}"


async def test_hooks_may_be_texts_functions_and_coroutines():
    async def slowly(mail: Mail) -> str:
        await asyncio.sleep(0)
        return f"250 2.0.0 for {len(mail.rcpts)}"

    async with Sink(mail="250 fine", rcpt=lambda address: "550 no" if address[0] == "x" else None, dot=slowly) as sink:
        refused = await asyncio.to_thread(send, sink, "bob@example.com", "x@example.com")
    assert refused == {"x@example.com": (550, b"no")}


@pytest.mark.parametrize("answer", ["close-after-reply", "close-after-reply 250 2.0.0 bye"])
async def test_it_can_answer_and_close(answer: str):
    async with Sink(dot=answer) as sink:
        await asyncio.to_thread(send, sink)
    assert len(sink.mails) == 1


@pytest.mark.parametrize("answer", ["drop", "reset", "451 4.3.0 later"])
async def test_a_mail_that_was_not_answered_with_a_yes_was_seen_but_not_kept(answer: str):
    async with Sink(dot=answer) as sink:
        with pytest.raises((smtplib.SMTPException, OSError)):
            await asyncio.to_thread(send, sink)
    assert (len(sink.seen), len(sink.mails)) == (1, 0)


async def test_it_can_go_away_and_come_back():
    async with Sink() as sink:
        await sink.stop()
        with pytest.raises(OSError):
            await asyncio.to_thread(send, sink)
        await sink.start()
        await asyncio.to_thread(send, sink)
        assert len(sink.mails) == 1


async def test_a_mistake_in_a_hook_fails_the_test():
    with pytest.raises(ZeroDivisionError):
        async with Sink(rcpt=lambda _: 1 // 0) as sink:
            with pytest.raises((smtplib.SMTPException, OSError)):
                await asyncio.to_thread(send, sink)
