"""The real HAProxy in front of two servers, with the configuration of deploy/."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from mailforum.smtpd.shared import Limits
from tests.smtpd.conftest import Client, House, build
from tests.support.certificate import make_certificate
from tests.support.site import free_port

CONFIG = Path(__file__).parent.parent.parent / "deploy" / "haproxy" / "haproxy.cfg"
PROXY = {"proxy_from": ("127.0.0.1/32",), "trusted": (), "max_connections_per_client": 2, "lmtp": ()}
CLIENT = "127.0.0.9"
MAIL = b"Subject: Lunch\r\n\r\nAt noon?\r\n."

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="NOT TESTED: haproxy is not installed")


SOCKET = "/var/lib/haproxy/admin.sock"


def prepared(ports: list[int], own: int, **other: str) -> str:
    """Return the configuration with other ports and the words in `other`, checked more often; without the web."""
    text = CONFIG.read_text().partition("# The unsubscribe links")[0]
    changes = {"bind :25": f"bind 127.0.0.1:{own}", "inter 2s": "inter 50ms", **other}
    for name, port in zip(("10.0.0.11:8025", "10.0.0.12:8025"), ports, strict=True):
        changes[name] = f"127.0.0.1:{port}"
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text.replace("option tcplog", "option tcplog\n    option log-health-checks")


@contextmanager
def haproxy(folder: Path, text: str) -> Iterator[Path]:
    """Run it; yields its log."""
    config, log = folder / "haproxy.cfg", folder / "haproxy.log"
    text = text.replace(SOCKET, str(folder / "admin.sock"))
    if os.geteuid():  # only root can become another
        text = re.sub(r"^ *(user|group) haproxy$", "", text, flags=re.MULTILINE)
    config.write_text(text)
    with log.open("ab") as out, subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=out, stderr=out) as one:
        try:
            yield log
        finally:
            one.terminate()


@asynccontextmanager
async def house(**options: object) -> AsyncIterator[House]:
    made = await build(limits=Limits(linger=0.2), **{**PROXY, **options})
    try:
        yield made
    finally:
        await made.close()


async def come(port: int, address: str = CLIENT) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))


async def logged(log: Path, words: str) -> None:
    async with asyncio.timeout(10):
        while words not in log.read_text():
            await asyncio.sleep(0.01)


async def both_up(log: Path) -> None:
    for name in ("one", "two"):
        await logged(log, f"Health check for server mailforum/{name} succeeded, reason: Layer7 check passed")


@pytest.mark.parametrize("version", ["send-proxy-v2", "send-proxy"])
async def test_the_servers_see_the_client_and_checks_are_nobody(tmp_path: Path, caplog, version: str) -> None:
    with contextlib.ExitStack() as stack, caplog.at_level(logging.INFO, "mailforum"):
        async with house() as one, house() as two:
            ports = [each.server.addresses[0].port for each in (one, two)]
            own = free_port()
            log = stack.enter_context(haproxy(tmp_path, prepared(ports, own, **{"send-proxy-v2": version})))
            await both_up(log)
            clients = [await come(own) for _ in range(4)]
            for client in clients:
                await client.begin()
                assert (await client.say(MAIL))[:3] == "250"
            taken = [[envelope.peer for envelope, _ in each.intake.mails] for each in (one, two)]
            assert taken == [[CLIENT] * 2] * 2  # half of them each, and two is what one client may have
            refused = await come(own)
            assert await refused.read() == "421 4.7.0 Too many connections from your address, try again later"
            assert (await (await come(own, "127.0.0.8")).hello())[:3] == "250"
            for client in clients:
                client.close()
    lines = [str(record.msg) for record in caplog.records]
    assert [line for line in lines if "turned_away" in line] == [
        f'event=turned_away peer={CLIENT} reason="Too many connections from your address"'
    ]


async def test_when_one_host_is_gone_the_other_takes_all_and_its_return_is_seen(tmp_path: Path) -> None:
    async with house() as one, house() as two:
        addresses = [each.server.addresses[0] for each in (one, two)]
        own = free_port()
        with haproxy(tmp_path, prepared([address.port for address in addresses], own)) as log:
            await both_up(log)
            await one.close()
            for number in range(4):  # before it is known as well: who is not let in at one is sent to the other
                client = await come(own, f"127.0.0.{10 + number}")
                await client.begin()
                assert (await client.say(MAIL))[:3] == "250"
            assert len(two.intake.mails) == 4
            await logged(log, "Server mailforum/one is DOWN")
            async with house(listen=(addresses[0],)) as again:
                await logged(log, "Server mailforum/one is UP")
                client = await come(own)
                await client.begin()
                assert (await client.say(MAIL))[:3] == "250"
                assert len(again.intake.mails) == 1


async def test_tls_is_between_the_client_and_the_server(tmp_path: Path) -> None:
    make_certificate(tmp_path, "tls")
    tls = {"base": tmp_path, "tls_cert": "tls.pem", "tls_key": "tls.key"}
    async with house(**tls) as one, house(**tls) as two:
        own = free_port()
        ports = [each.server.addresses[0].port for each in (one, two)]
        with haproxy(tmp_path, prepared(ports, own)) as log:
            await both_up(log)
            swaks = await asyncio.create_subprocess_exec(
                *(shutil.which("swaks") or pytest.skip("NOT TESTED: swaks is not installed"), "--tls"),
                *("--server", f"127.0.0.1:{own}", "--local-interface", CLIENT),
                *("--from", "ann@example.com", "--to", "pmo@lists.example.org"),
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await swaks.communicate()
            assert swaks.returncode == 0, said.decode()
            (envelope,) = [envelope for each in (one, two) for envelope, _ in each.intake.mails]
            assert envelope.peer == CLIENT


def test_haproxy_understands_every_line_of_the_configuration() -> None:
    done = subprocess.run(["haproxy", "-c", "-f", str(CONFIG)], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_socket_is_where_haproxys_own_user_may_make_it() -> None:
    """In the image of HAProxy for Docker it never is root, and has no other folder."""
    assert Path(SOCKET).parent == Path(pwd.getpwnam("haproxy").pw_dir)
    assert f"stats socket {SOCKET} mode 660 level admin\n" in CONFIG.read_text()
    assert f"| socat - {SOCKET}\n" in (CONFIG.parent.parent.parent / "docs" / "scaling.md").read_text()


async def told(folder: Path, words: str) -> str:
    """Say something to HAProxy on its socket, as `socat` does; return its answer."""
    reader, writer = await asyncio.open_unix_connection(folder / "admin.sock")
    writer.write(words.encode() + b"\n")
    answer = await reader.read()
    writer.close()
    return answer.decode().strip()


async def test_a_host_that_is_drained_gets_no_new_client_and_keeps_those_that_it_has(tmp_path: Path) -> None:
    async with house(max_connections_per_client=9) as one, house(max_connections_per_client=9) as two:
        own = free_port()
        with haproxy(tmp_path, prepared([each.server.addresses[0].port for each in (one, two)], own)) as log:
            await both_up(log)
            clients = [await come(own) for _ in range(2)]
            for client in clients:
                await client.begin()
            assert await told(tmp_path, "set server mailforum/one state drain") == ""
            for client in [*clients, *[await come(own) for _ in range(3)]]:
                if client not in clients:
                    await client.begin()
                assert (await client.say(MAIL))[:3] == "250"
            assert (len(one.intake.mails), len(two.intake.mails)) == (1, 4)
