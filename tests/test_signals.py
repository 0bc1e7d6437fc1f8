"""What an admin does to a running server: stop it, reload it, freeze it, start a second one."""

from __future__ import annotations

import asyncio
import signal
import smtplib
import ssl
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.certificate import make_certificate
from tests.support.process import Server, serving
from tests.support.sink import Mail, Sink
from tests.support.site import DOMAIN, run_cli, write_config

LIST = f"pmo@{DOMAIN}"


def make_site(folder: Path, relay: str, members: int, **options: str) -> Path:
    """Make a site with the list pmo, to which anyone may post."""
    file = write_config(folder, relay, web_listen="[]", **options)
    (folder / "members.txt").write_text("\n".join(f"reader{number}@example.org" for number in range(members)))
    for words in (
        ["list", "create", "pmo"],
        ["list", "set", "pmo", "posting=anyone"],
        ["member", "import", "pmo", str(folder / "members.txt")],
    ):
        assert run_cli(["--config", str(file), *words]).code == 0
    return file


class Client:
    """An SMTP session, step by step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def greeted(cls, port: int) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        assert (await client.read()).startswith("220")
        assert (await client.say("EHLO client.example.com")).startswith("250")
        return client

    async def read(self) -> str:
        """Return the next reply's last line, "" at the end."""
        async with asyncio.timeout(30):
            while line := (await self.reader.readline()).decode():
                if line[3:4] != "-":
                    return line.rstrip()
        return ""

    async def say(self, *lines: str) -> str:
        """Send each line and return the reply to the last."""
        answer = ""
        for line in lines:
            self.writer.write(line.encode() + b"\r\n")
            answer = await self.read()
        return answer

    async def begin(self) -> None:
        """Say everything up to the 354."""
        answer = await self.say("MAIL FROM:<ada@example.org>", f"RCPT TO:<{LIST}>", "DATA")
        assert answer.startswith("354")

    async def finish(self, number: int) -> str:
        """Send the mail; return the answer."""
        return await self.say(f"From: ada@example.org\r\nMessage-ID: <{number}@example.org>\r\n\r\nHello.\r\n.")

    async def post(self, number: int) -> None:
        await self.begin()
        assert (await self.finish(number)).startswith("250")


def copies(sink: Sink) -> Counter[tuple[str, bytes]]:
    """How often the sink has kept each mail, by recipient and Message-ID."""
    return Counter(
        (rcpt, mail.data.partition(b"\nMessage-ID: ")[2].partition(b"\r")[0])
        for mail in sink.mails
        for rcpt in mail.rcpts
    )


# -- SIGTERM


async def test_sigterm_in_the_middle_of_a_fan_out_repeats_nothing_and_loses_nothing(tmp_path: Path) -> None:
    async def dot(mail: Mail) -> None:
        await asyncio.sleep(0.02)

    async with Sink(dot=dot) as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1000, delivery_connections="8")
        async with serving(file) as server:
            await (await Client.greeted(await server.port())).post(1)
            await sink.wait(100)
            server.signal(signal.SIGTERM)
            assert await server.ended(15) == 0
            assert 100 <= len(sink.mails) < 900
            await server.start()
            await sink.wait(1000, 60)
            server.signal(signal.SIGTERM)
            assert await server.ended(15) == 0
        assert set(copies(sink).values()) == {1}
        assert len(copies(sink)) == 1000
        assert "event=uncertain" not in server.log_file(2).read_text()


async def test_sigterm_takes_no_new_mail_and_lets_what_is_under_way_be_finished(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def dot(mail: Mail) -> None:
        await release.wait()

    async with Sink(dot=dot) as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1)
        async with serving(file) as server:
            port = await server.port()
            idle, busy = await Client.greeted(port), await Client.greeted(port)
            await idle.post(1)
            async with asyncio.timeout(10):
                while not sink.seen:
                    await asyncio.sleep(0.01)
            await busy.begin()
            server.signal(signal.SIGTERM)
            assert (await idle.read()).startswith("421 4.3.2")
            with pytest.raises(ConnectionError):
                await Client.greeted(port)
            assert (await busy.finish(2)).startswith("250")
            assert (await busy.read()).startswith("421 4.3.2")
            release.set()
            assert await server.ended(15) == 0
            assert len(sink.mails) == 1
            await server.start()
            await sink.wait(2)
        assert set(copies(sink).values()) == {1}


async def test_nobody_is_waited_for_longer_than_ten_seconds_in_all(tmp_path: Path) -> None:
    async with Sink(dot="hang") as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1)
        async with serving(file) as server:
            client = await Client.greeted(await server.port())
            await client.post(1)
            async with asyncio.timeout(10):
                while not sink.seen:
                    await asyncio.sleep(0.01)
            await client.begin()  # neither this mail nor the relay's answer will ever come
            started = time.monotonic()
            server.signal(signal.SIGTERM)
            assert await server.ended(30) == 0
            assert 9 < time.monotonic() - started < 18  # and not ten for each part
            assert (await client.read()).startswith("421")


# -- SIGHUP


async def test_sighup_takes_over_a_good_configuration_and_refuses_a_bad_one(tmp_path: Path) -> None:
    async with Sink() as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1)
        good = file.read_text()
        async with serving(file) as server:
            client = await Client.greeted(await server.port())
            for times, bad in enumerate(("[smtp\n", good.replace("[smtp]", "[smtp]\nlisten_to = 1"), ""), 1):
                if bad:
                    file.write_text(bad)
                else:
                    file.unlink()
                server.signal(signal.SIGHUP)
                await server.logged("the configuration was not taken over", times)
                await client.post(times)
            await server.logged("event=sent", 3)
            assert "event=reloaded" not in server.log
            file.write_text(good.replace("[site]", '[site]\nlog_level = "warning"', 1))
            server.signal(signal.SIGHUP)
            await server.logged("event=reloaded")
            said = len(server.log)
            await client.post(9)
            await sink.wait(4)
            assert server.log[said:] == ""  # it was told to say less


async def test_sighup_reads_texts_and_keys_again(tmp_path: Path) -> None:
    async with Sink() as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1)
        async with serving(file) as server:
            port = await server.port()
            client = await Client.greeted(port)
            await _ask_for_help(client, port, 1)
            await sink.wait(1)
            folder = tmp_path / "templates" / "en" / "notice"
            folder.mkdir(parents=True)
            (folder / "help.txt").write_text("Subject: Our own words\n\nAsk Ada.\n")
            made = await asyncio.to_thread(run_cli, ["--config", str(file), "dkim", "new", DOMAIN, "--type", "ed25519"])
            lines = "\n".join(line for line in made.out.splitlines() if line.startswith("extra_"))
            file.write_text(file.read_text().replace("[dkim]\n", f"[dkim]\n{lines}\n"))
            server.signal(signal.SIGHUP)
            await server.logged("event=reloaded")
            await _ask_for_help(client, port, 2)
            await sink.wait(2)
        assert b"Our own words" not in sink.mails[0].data
        assert b"DKIM-Signature" not in sink.mails[0].data
        assert b"Subject: Our own words\r\n" in sink.mails[1].data
        assert sink.mails[1].data.startswith(b"DKIM-Signature")


async def _ask_for_help(client: Client, port: int, number: int) -> None:
    await client.say("MAIL FROM:<ada@example.org>", f"RCPT TO:<pmo-help@{DOMAIN}>", "DATA")
    assert (await client.finish(number)).startswith("250")


async def test_sighup_reads_the_certificate_again_and_keeps_the_old_one_if_it_cannot_be_used(tmp_path: Path) -> None:
    def install(name: str) -> None:
        make_certificate(tmp_path, name)
        (tmp_path / f"{name}.pem").replace(tmp_path / "server.pem")
        (tmp_path / f"{name}.key").replace(tmp_path / "server.key")

    install("first.example.org")
    tls = {"smtp_tls_cert": '"server.pem"', "smtp_tls_key": '"server.key"'}
    file = await asyncio.to_thread(make_site, tmp_path, "maildir:outbox", 1, **tls)
    async with serving(file) as server:
        port = await server.port()
        first = await asyncio.to_thread(_presented, port)
        install("second.example.org")
        server.signal(signal.SIGHUP)
        await server.logged("event=reloaded")
        second = await asyncio.to_thread(_presented, port)
        (tmp_path / "server.key").write_text("no key")
        server.signal(signal.SIGHUP)
        await server.logged("the configuration was not taken over")
        assert await asyncio.to_thread(_presented, port) == second
    assert (b"first.example.org" in first, b"second.example.org" in second) == (True, True)


def _presented(port: int) -> bytes:
    """Return the certificate that a client is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=30) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b""


async def test_sighup_reads_the_keys_of_tokens_again(tmp_path: Path) -> None:
    """A new key on top signs; what the old ones have signed is still good."""
    async with Sink() as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1)
        secret = tmp_path / "secret.key"
        async with serving(file) as server:
            client = await Client.greeted(await server.port())
            await client.post(1)
            old = (await sink.wait(1))[0]
            secret.write_text("no key\n")
            server.signal(signal.SIGHUP)
            await server.logged("the configuration was not taken over")
            secret.write_text("ab" * 32 + "\n")
            server.signal(signal.SIGHUP)
            await server.logged("event=reloaded")
            await client.post(2)
            new = (await sink.wait(2))[1]
            assert _leave(old) != _leave(new)
            await client.say("MAIL FROM:<reader0@example.org>", f"RCPT TO:<{_leave(new)}>", "DATA")
            assert (await client.finish(3)).startswith("250")
            await server.logged("what=left")


def _leave(mail: Mail) -> str:
    return mail.data.partition(b"List-Unsubscribe: <mailto:")[2].partition(b">")[0].decode()


# -- SIGSTOP, as when a virtual machine is moved (A12)


@pytest.mark.parametrize("closes", [False, True], ids=["the relay waits", "the relay closes"])
async def test_a_pause_longer_than_every_timeout_sends_nothing_twice(tmp_path: Path, closes: bool) -> None:
    paused = asyncio.Event()

    async def dot(mail: Mail) -> str:
        await paused.wait()
        return "close-after-reply" if closes else "250 2.0.0 kept"

    async with Sink(dot=dot) as sink:
        options = {"delivery_connections": "4", "delivery_data_timeout": '"1s"', "delivery_command_timeout": '"1s"'}
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 4, delivery_retry='["1s"]', **options)
        async with serving(file) as server:
            await (await Client.greeted(await server.port())).post(1)
            async with asyncio.timeout(10):
                while len(sink.seen) < 4:
                    await asyncio.sleep(0.002)
            server.signal(signal.SIGSTOP)
            paused.set()
            await asyncio.sleep(2)  # the answers come in time, but nobody reads them
            server.signal(signal.SIGCONT)
            await server.logged("event=sent", 4)
            server.signal(signal.SIGTERM)
            assert await server.ended(15) == 0
        assert list(copies(sink).values()) == [1] * 4


# -- two of them (A11)


async def test_a_second_server_on_the_same_database_does_not_start_by_whatever_name(tmp_path: Path) -> None:
    async with Sink() as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 1)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "link.db").symlink_to(tmp_path / "mailforum.db")
        other = write_config(tmp_path / "other", sink.url, store_url='"sqlite:link.db"', web_listen="[]")
        async with serving(file) as server:
            for config_file in (file, other):
                second = Server(config_file)
                second.life = 1
                await second.start()
                assert await second.ended() == 1
                assert "is already being served by another mailforum" in second.log
            await (await Client.greeted(await server.port())).post(1)
            await sink.wait(1)


# -- more than one process that sends


async def test_a_killed_server_with_several_processes_can_be_started_again_though_the_relay_hangs(
    tmp_path: Path,
) -> None:
    """What its other processes have on their way keeps them, and the lock, for some seconds and no longer."""
    answer: dict[str, str | None] = {"dot": "hang"}
    async with Sink(dot=lambda _: answer["dot"]) as sink:
        file = await asyncio.to_thread(make_site, tmp_path, sink.url, 20, delivery_processes="3")
        async with serving(file) as server:
            client = await Client.greeted(await server.port())
            await asyncio.sleep(1)  # the other processes have begun
            await client.post(1)
            async with asyncio.timeout(20):
                while len(sink.seen) < 9:  # of each process a few
                    await asyncio.sleep(0.01)
            server.signal(signal.SIGKILL)  # the first process only
            await server.ended()
            answer["dot"] = None
            async with asyncio.timeout(20):
                await server.start()
                while not await server.ready():
                    assert "is already being served" in server.log
                    await asyncio.sleep(0.5)
                    await server.start()
            await sink.wait(20)
            server.signal(signal.SIGTERM)
            assert await server.ended(15) == 0
        assert set(copies(sink).values()) == {1}
        assert len(copies(sink)) == 20
