"""The order of things on the way to the disk, as the kernel sees it."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.site import _send, free_port, run_cli, write_config

POST = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <%d@example.org>\r\n\r\nHello, all.\r\n"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_250_is_written_after_the_fsync_of_its_mail(tmp_path: Path) -> None:
    port = free_port()
    options = {"smtp_listen": f'["127.0.0.1:{port}"]', "smtp_lmtp": "[]", "web_listen": "[]"}
    file = write_config(tmp_path, "maildir:outbox", **options)
    for words in (["list", "create", "pmo"], ["list", "set", "pmo", "posting=anyone"]):
        assert run_cli(["--config", str(file), *words]).code == 0
    trace = tmp_path / "trace"
    watch = ["strace", "-D", "-f", "-o", str(trace), "-s", "40", "-e", "trace=fsync,fdatasync,write,sendto,pwrite64"]
    server = subprocess.Popen(
        [*watch, sys.executable, "-m", "mailforum", "--config", str(file), "serve"], stderr=subprocess.DEVNULL
    )
    try:
        for number in range(5):
            assert _patiently(port, POST % number).startswith("250")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    _wait_for(trace, f"{server.pid} +++ exited with 0 +++")
    _check_order(trace.read_text())


def _wait_for(trace: Path, line: str) -> None:
    end = time.monotonic() + 20
    while line not in re.sub(r" +", " ", trace.read_text()):
        assert time.monotonic() < end, trace.read_text()[-500:]
        time.sleep(0.05)


def _check_order(trace: str) -> None:
    """Between two answers there is a write to the log of the database, and then an fsync."""
    answers, written, synced = 0, False, False
    for line in trace.splitlines():
        if "pwrite64(" in line:
            written, synced = True, False
        elif re.search(r"f(data)?sync\(\d+\) += 0", line) or re.search(r"resumed.*\) += 0", line):
            synced = written
        elif "250 2.0.0 Taken" in line:
            assert synced, line
            answers, written, synced = answers + 1, False, False
    assert answers == 5


def _patiently(port: int, mail: bytes) -> str:
    """Send, waiting for a server that is still starting."""
    end = time.monotonic() + 20
    while True:
        try:
            return _send(("127.0.0.1", port), "ada@example.org", ["pmo@lists.example.test"], mail)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
