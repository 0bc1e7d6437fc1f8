"""Processes that share a PostgreSQL, each with roles of its own, as an admin starts, watches and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from mailforum import app, chores, config, health, hosting
from mailforum.app import Service
from mailforum.cli import operate
from mailforum.errors import ConfigError, Deferred
from mailforum.store.postgres import database
from mailforum.store.trouble import kind_of
from tests.support.forward import NOWHERE, way_to
from tests.support.postgres import database_url
from tests.support.process import Server
from tests.support.sink import Sink
from tests.support.site import DOMAIN, _send, run_cli, write_config


@pytest.fixture
def url() -> Iterator[str]:
    with database_url() as made:
        yield made


@contextlib.asynccontextmanager
async def serving(folder: Path, url: str, *roles: str, **options: str) -> AsyncIterator[Service]:
    folder.mkdir(exist_ok=True)
    file = write_config(folder, "maildir:outbox", store_url=f'"{url}"', web_health='["127.0.0.1:0"]', **options)
    async with Service(config.load(file, {}), roles=roles) as service:
        yield service


async def page(service: Service, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{service.addresses['web'][0]}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def until(service: Service, path: str, *, status: int, has: str = "") -> None:
    async with asyncio.timeout(30):
        while (found := await page(service, path))[0] != status or has not in found[1]:
            await asyncio.sleep(0.05)


def test_a_file_is_served_by_one_process_that_does_everything(tmp_path: Path) -> None:
    file = write_config(tmp_path, "maildir:outbox")
    answer = run_cli(["--config", str(file), "serve", "--role", "smtp,web"])
    assert (answer.code, answer.err) == (1, f"mailforum: {app.ALL_OF_A_FILE}\n")
    with pytest.raises(ConfigError, match="needs PostgreSQL"):
        Service(config.load(file, {}), roles=["clock"])


def test_a_role_that_there_is_not_is_named(tmp_path: Path) -> None:
    file = write_config(tmp_path, "maildir:outbox")
    answer = run_cli(["--config", str(file), "serve", "--role", "smtp", "--role", "clock,postman"])
    assert answer.err == "mailforum: there is no role `postman`; there are smtp, deliver, clock, web, and all\n"


def test_the_command_knows_the_roles_that_there_are() -> None:
    assert operate.ROLES == app.ROLES
    assert set(app._STARTS) == set(app.ROLES)


async def test_a_process_has_the_parts_of_its_roles_and_speaks_of_no_others(tmp_path: Path, url: str) -> None:
    parts = {
        "smtp": ({"smtp", "lmtp", "web"}, {"clients"}),
        "deliver": ({"web"}, {"connections", "relay_down_seconds", "resting_destinations"}),
        "clock": ({"web"}, {"digest_lag_seconds"}),
        "web": ({"web"}, set[str]()),
    }
    every = set[str]().union(*(measured for _, measured in parts.values()))
    for role, (spoken, measured) in parts.items():
        async with serving(tmp_path, url, role) as service:
            assert {name for name, where in service.addresses.items() if where} == spoken
            assert len(service.addresses["web"]) == 1 + (role == "web")  # its health, and the pages
            await until(service, "/readyz", status=200)
            await until(service, "/metrics", status=200, has=f"mailforum_{min(measured, default='deliveries')}")
            found = (await page(service, "/metrics"))[1]
            assert {name for name in every if f"\nmailforum_{name} " in found} == measured
            assert "\nmailforum_hosts 1\n" in found
            assert f'mailforum_roles{{role="{role}"}} 1\n' in found and found.count("mailforum_roles{") == 1
            assert (await page(service, "/leave/" + "a" * 26))[0] == 404  # that is for the role web, elsewhere
            service.reload(service.config)


async def test_one_of_many_does_the_clocks_jobs_and_another_goes_on_when_it_has_stopped(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "TICK", 0.05)
    async with contextlib.AsyncExitStack() as first:
        one = await first.enter_async_context(serving(tmp_path / "one", url, "clock"))
        await until(one, "/metrics", status=200, has="digest_lag_seconds")
        async with serving(tmp_path / "two", url, "clock", "web") as two:
            await asyncio.sleep(0.3)  # several ticks
            assert two.chores and one.chores
            assert (two.chores.digest_lag, one.chores.digest_lag is None) == (None, False)
            await first.aclose()
            async with asyncio.timeout(10):
                while two.chores.digest_lag is None:
                    await asyncio.sleep(0.01)


# -- a server that is not there


async def test_a_start_waits_for_a_server_that_is_about_to_come(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "AGAIN", 0.05)
    async with way_to(url) as way, contextlib.AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(serving(tmp_path, way.url)))
        await asyncio.sleep(0.3)
        assert not starting.done()
        await way.open()
        service = await asyncio.wait_for(starting, 20)
        await until(service, "/readyz", status=200)


async def test_who_waits_for_a_server_ends_when_asked_to(tmp_path: Path) -> None:
    async with way_to(NOWHERE) as way:
        server = Server(write_config(tmp_path, "maildir:outbox", store_url=f'"{way.url}"'))
        await server.start()
        await server.logged("event=waiting")
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert "Traceback" not in server.log


async def test_a_server_that_does_not_come_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "WAIT", 0.0)
    monkeypatch.setattr(app, "AGAIN", 0.01)
    async with way_to(NOWHERE) as way:
        with pytest.raises(Deferred) as caught:
            async with serving(tmp_path, way.url):
                pass
    assert "Connection refused" in caught.value.reason


async def test_who_is_not_let_in_says_what_to_mend_and_does_not_wait_as_for_an_outage(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MENDED", 0.0)
    for good, bad, said in (
        (r"/[^/?]*(?=\?host)", "/nobase", 'database "nobase" does not exist)'),
        ("//mailforum@", "//stranger:x@", 'role "stranger" does not exist)'),
    ):
        with pytest.raises(Deferred) as caught:
            async with serving(tmp_path, re.sub(good, bad, url)):
                pass
        assert caught.value.reason.startswith("database: the server does not let us in; please mend user, password or")
        assert caught.value.reason.endswith(said)


def test_a_server_that_does_not_let_us_in_is_told_from_one_that_is_away() -> None:
    def kind(words: str) -> str:
        return kind_of(psycopg.OperationalError(words))

    to = 'connection to server at "{}", port 5432 failed: '
    wrong = to.format("db1") + 'FATAL:  password authentication failed for user "mailforum"'
    tls = to.format("db1") + 'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "m", database "d", no encryption'
    away = to.format("db2") + "Connection refused"
    assert [kind(words) for words in (wrong, f"{wrong}\n{wrong}", f"{tls}\n{tls}")] == ["REFUSED"] * 3
    assert [kind(words) for words in (away, f"{wrong}\n{away}", "SSL connection has been closed")] == ["GONE"] * 3


async def test_a_server_that_takes_connections_and_says_nothing_is_no_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "WAIT", 0.0)
    async with way_to(NOWHERE) as way:
        way.silence()
        await way.open()
        with pytest.raises(Deferred, match="451"):
            async with serving(tmp_path, f"{way.url}?connect_timeout=2"):
                pass


async def test_a_server_that_stands_still_does_not_keep_us_from_stopping(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((app, "STOP"), (hosting, "LEAVE"), (database, "LET_GO"), (health, "PATIENCE")):
        monkeypatch.setattr(module, name, 0.2)
    async with way_to(url) as way, asyncio.timeout(20):
        await way.open()
        async with serving(tmp_path, f"{way.url}?connect_timeout=2") as service:
            await until(service, "/readyz", status=200)
            way.silence()
            await until(service, "/readyz", status=503)
        assert not service.failed


async def test_all_roles_live_through_a_time_without_the_server(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "TICK", 0.05)
    async with way_to(url) as way:
        await way.open()
        async with serving(tmp_path, way.url) as service:
            await until(service, "/metrics", status=200, has="digest_lag_seconds")
            await way.cut()
            await until(service, "/readyz", status=503, has="cannot be read: there is no connection to the server")
            assert (await page(service, "/healthz"))[0] == 200  # to be started again would not bring it back
            assert await service.health.status() == "waiting for the database"  # and systemd leaves us alone
            service.reload(service.config)
            await way.open()
            await until(service, "/readyz", status=200)
            assert service.chores
            async with asyncio.timeout(10):
                while (service.chores.digest_lag or 60) > 1:
                    await asyncio.sleep(0.01)
            assert not service.failed


# -- together


async def test_a_mail_comes_in_at_one_process_leaves_by_another_and_its_button_works_at_a_third(
    tmp_path: Path, url: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sink = await stack.enter_async_context(Sink())
        options = {"delivery_relay": f'"{sink.url}"', "web_url": '"https://lists.example.test"'}
        smtp, web, _ = [
            await stack.enter_async_context(serving(tmp_path / role, url, role, **options))
            for role in ("smtp", "web", "deliver")
        ]
        for words in (["list", "create", "pmo"], ["member", "add", "pmo", "ada@example.org", "--no-welcome"]):
            done = await asyncio.to_thread(run_cli, ["--config", str(tmp_path / "web" / "mailforum.toml"), *words])
            assert done.code == 0, done
        where = (smtp.addresses["smtp"][0].host, smtp.addresses["smtp"][0].port)
        mail = b"From: ada@example.org\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n\r\nHello, all.\r\n"
        answer = await asyncio.to_thread(_send, where, "ada@example.org", [f"pmo@{DOMAIN}"], mail)
        assert answer.startswith("250")
        await sink.wait(1)
        (button,) = re.findall(rb"<https://lists\.example\.test(/leave/\w+)>", sink.mails[0].data)
        at = web.addresses["web"][1]

        def press() -> int:
            request = urllib.request.Request(f"http://{at}{button.decode()}", b"List-Unsubscribe=One-Click")
            with urllib.request.urlopen(request, timeout=20) as page:
                return int(page.status)

        assert await asyncio.to_thread(press) == 200
        await sink.wait(2)  # the goodbye
        assert sink.mails[1].rcpts == ("ada@example.org",)
