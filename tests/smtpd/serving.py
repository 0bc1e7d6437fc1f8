"""`mailforum serve` in a process of its own, and what the kernel says of it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.site import run_cli, write_config

LIST = "pmo@lists.example.test"


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
def serving(folder: Path, relay: str = "smtp://127.0.0.1:1", **options: str) -> Iterator[Server]:
    """Serve a list that anyone may post to; it has no members where there is no relay."""
    file = write_config(folder, relay, smtp_lmtp="[]", web_listen="[]", **options)
    for words in (["list", "create", "pmo"], ["list", "set", "pmo", "posting=anyone"]):
        assert run_cli(["--config", str(file), *words]).code == 0
    if not relay.endswith(":1"):
        words = ["member", "add", "pmo", "bob@example.com", "cat@example.com", "--no-welcome"]
        assert run_cli(["--config", str(file), *words]).code == 0
    command = [sys.executable, "-m", "mailforum", "--config", str(file), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = re.search(r"SMTP on 127\.0\.0\.1:(\d+)", process.stdout.readline())[1]
            yield Server(process.pid, int(port))
        finally:
            process.terminate()
