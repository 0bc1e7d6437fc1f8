"""What large mails cost: a server in a process of its own, and what the kernel says of it."""

import asyncio
import contextlib
import sys

import pytest

from tests.smtpd.serving import Server, serving
from tests.support.sink import Sink

LINE = b"QUJD" * 19 + b"\r\n"
PLAIN = b"From: ada@example.org\r\nMessage-ID: <plain@example.org>\r\nSubject: x\r\n\r\nHello.\r\n"


def _large(number: int) -> bytes:
    head = (
        b"From: ada@example.org\r\nMessage-ID: <%d@example.org>\r\nSubject: Plans\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee below.\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" % number
    )
    return head + LINE * ((25 * 1024**2 - 1000) // len(LINE)) + b"--b--\r\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_mail_of_25_mib_costs_less_than_100_and_six_at_once_not_much_more(tmp_path):
    with serving(tmp_path) as server:
        asyncio.run(_send_large_mails(server))
    assert list(tmp_path.glob("tmp*")) == []


async def _send_large_mails(server: Server) -> None:
    assert (await server.send(PLAIN)).startswith("250")
    idle = server.memory("VmRSS")
    assert (await server.send(_large(0))).startswith("250")
    assert server.memory("VmHWM") - idle < 100
    assert server.memory("VmRSS") - idle < 40
    answers = await asyncio.gather(*[server.send(_large(number)) for number in range(1, 7)])
    assert {answer[:3] for answer in answers} <= {"250", "452"}
    assert server.memory("VmHWM") < 256
    assert server.memory("VmRSS") - idle < 64


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_a_mail_of_25_mib_that_is_sent_on_costs_less_than_100(tmp_path):
    async with Sink() as sink:
        with contextlib.ExitStack() as stack:
            server = await asyncio.to_thread(stack.enter_context, serving(tmp_path, sink.url))
            assert (await server.send(PLAIN)).startswith("250")
            await sink.wait(2)
            idle = server.memory("VmRSS")
            assert (await server.send(_large(0))).startswith("250")
            large = (await sink.wait(4, timeout=60))[2:]
            assert all(len(mail.data) > 25 * 1024**2 - 1000 for mail in large)
            assert server.memory("VmHWM") - idle < 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_line_without_end_takes_no_memory_and_ends_the_session(tmp_path):
    with serving(tmp_path, smtp_max_size='"5M"') as server:
        asyncio.run(_send_endless_lines(server))


async def _send_endless_lines(server: Server) -> None:
    assert (await server.send(PLAIN)).startswith("250")
    idle = server.memory("VmRSS")
    for said in (b"", b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<pmo@lists.example.test>\r\nDATA\r\n"):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                writer.write(b"x" * 1_000_000)
                await writer.drain()
        writer.close()
    assert server.memory("VmHWM") - idle < 16
    assert (await server.send(PLAIN)).startswith("250")
