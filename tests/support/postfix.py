"""The real Postfix, with a configuration, a queue and a port of its own, for as long as a test needs it.

    postfix = Postfix()
    postfix.configure(lines, sink.port)
    async with postfix:
        ...                     # speak SMTP to 127.0.0.1:postfix.port

`lines` is what is tested: they are put behind settings that keep Postfix on this machine and in its own
folder. Whatever no transport is named for goes to the sink. Postfix's master needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

DEPLOY = Path(__file__).parent.parent.parent / "deploy" / "postfix"
# The second two: the kernel's clock of files is not read in the same moment as the other one.
_OF_THE_MACHINE = ("NIS domain name not set", "file system clock is", "resetting file time stamps")
PATIENCE = 60.0

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.test
mydestination = {mailboxes}
mynetworks = 127.0.0.0/8
alias_maps =
smtpd_peername_lookup = no
default_transport = smtp:[127.0.0.1]:{sink}
relay_transport = $default_transport
local_transport = $default_transport
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
lmtp      unix  - - n - - lmtp
error     unix  - - n - - error
retry     unix  - - n - - error
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""


def missing() -> str:
    """Say why Postfix cannot be started here; "" if it can."""
    if not shutil.which("postfix"):
        return "Postfix is not installed"
    return "" if os.geteuid() == 0 else "Postfix's master has to be started by root"


def deployed(name: str, instead: Mapping[str, str]) -> str:
    """Return the lines of a file in deploy/postfix, with each key of `instead` replaced by its value."""
    text = (DEPLOY / name).read_text()
    for old, new in instead.items():
        text = text.replace(old, new)
    return text


def _port() -> int:
    """Return a free port below those that the kernel gives out, so that nobody takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Postfix:
    """A Postfix of our own. `port` is known before it starts; `folder` is its to write to.

    `parent` says where that is made; the user `postfix` must be able to enter it.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.port = _port()
        # Not pytest's tmp_path: the user `postfix` may not enter the folders above that.
        self._home = tempfile.TemporaryDirectory(prefix="mailforum-postfix-", dir=parent)
        self.folder = Path(self._home.name)

    def configure(self, lines: str, sink: int, mailboxes: str = "") -> None:
        """Write the configuration; `sink` is the port to which all other mail goes.

        `mailboxes` is a domain of which the machine's users are the mailboxes.
        """
        self.folder.chmod(0o755)
        (self.folder / "etc").mkdir()
        (self.folder / "queue").mkdir()
        (self.folder / "data").mkdir(mode=0o700)
        shutil.chown(self.folder / "data", "postfix")
        main = _MAIN.format(folder=self.folder, sink=sink, mailboxes=mailboxes) + lines
        (self.folder / "etc" / "main.cf").write_text(main)
        (self.folder / "etc" / "master.cf").write_text(_MASTER.format(port=self.port))

    @property
    def log(self) -> str:
        """What Postfix has logged."""
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def complaints(self) -> list[str]:
        """The warnings and errors in the log, but for those about this machine."""
        lines = re.findall(r".*(?:warning|error|fatal|panic): .*", self.log)
        return [line for line in lines if not any(words in line for words in _OF_THE_MACHINE)]

    async def _run(self, command: str) -> None:
        arguments = ["postfix", "-c", str(self.folder / "etc"), command]
        done = await asyncio.to_thread(
            subprocess.run, arguments, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}{self.log}"

    async def __aenter__(self) -> Postfix:
        try:
            await self._run("start")
        except BaseException:
            with contextlib.suppress(AssertionError):  # there may be nothing to stop
                await self._run("stop")
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run("stop")
        self._home.cleanup()
