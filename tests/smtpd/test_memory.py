"""What large mails cost: a server in a process of its own, and what the kernel says of it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.site import run_cli, write_config

LIST = "pmo@lists.example.test"
LINE = b"QUJD" * 19 + b"\r\n"
PLAIN = b"From: ada@example.org\r\nMessage-ID: <plain@example.org>\r\nSubject: x\r\n\r\nHello.\r\n"


@dataclass
class Server:
    pid: int
    port: int

    def memory(self, what: str) -> float:
        """MiB in memory now (VmRSS), or at the peak (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024

    async def send(self, mail: bytes) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n" % LIST.encode())
        async with asyncio.timeout(60):
            while not (await reader.readline()).startswith(b"354"):
                pass
            writer.write(mail + b".\r\n")
            await writer.drain()
            answer = (await reader.readline()).decode()
        writer.close()
        return answer


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    file = write_config(folder, "smtp://127.0.0.1:1", smtp_lmtp="[]", web_listen="[]")
    for words in (["list", "create", "pmo"], ["list", "set", "pmo", "posting=anyone"]):
        assert run_cli(["--config", str(file), *words]).code == 0
    command = [sys.executable, "-m", "mailforum", "--config", str(file), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = re.search(r"SMTP on 127\.0\.0\.1:(\d+)", process.stdout.readline())[1]
            yield Server(process.pid, int(port))
        finally:
            process.terminate()


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
