"""What an admin is told of several hosts on one PostgreSQL, and of that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mailforum import alike, config
from mailforum.app import Service
from mailforum.cli import hosts
from mailforum.cli.finding import Finding
from mailforum.store.hosts import Living
from mailforum.store.server import Settings
from tests.cli.conftest import Forum
from tests.support.forward import NOWHERE, Way
from tests.support.postgres import database_url
from tests.support.site import run_cli, write_config


@pytest.fixture
def url() -> Iterator[str]:
    with database_url() as made:
        yield made


def host(folder: Path, url: str, secret: str = "5e" * 32, **options: str) -> Forum:
    """A host with a configuration of its own."""
    folder.mkdir()
    write_config(folder, "maildir:outbox", store_url=f'"{url}"', **options)
    (folder / "secret.key").write_text(f"{secret}\n")
    return Forum(folder)


@asynccontextmanager
async def serving(forum: Forum, *roles: str) -> AsyncIterator[Service]:
    async with Service(config.load(Path(forum.config), {}), roles=roles) as service:
        yield service


def age_hosts(url: str, seconds: float) -> None:
    """Have all hosts seem not to have been heard of for so long."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE host SET seen_at = extract(epoch FROM clock_timestamp()) - %s", [seconds])


async def rows(forum: Forum) -> list[dict[str, Any]]:
    return await asyncio.to_thread(forum.rows, "hosts")


async def found(forum: Forum, *words: str, code: int = 1) -> list[str]:
    """The findings about hosts; with fsync off, as the tests' own server has it, there is always an error."""
    answer = await asyncio.to_thread(forum.run, "check", *words, code=code)
    return [line for line in answer.out.splitlines() if "host: " in line or "hosts: " in line]


async def test_who_serves_is_shown_with_roles_and_who_has_stopped_is_not(tmp_path: Path, url: str) -> None:
    one = host(tmp_path / "one", url)
    async with serving(one, "smtp", "web"), serving(one, "deliver"):
        first, second = await rows(one)
        assert (first["roles"], second["roles"]) == ("smtp,web", "deliver")
        assert first["seen_seconds_ago"] < 10 and first["differs"] == []
        assert await found(one) == [
            "warning: hosts: no process has the role clock: no digest is made",
            f"ok:      hosts: {first['host']}; keys and options are the same as here",
        ]
        refused = (await asyncio.to_thread(one.run, "check", "--repair", code=1)).out
        assert "serves it; stop all that do" in refused
    assert await rows(one) == []
    assert await found(one, "--repair") == ["ok:      hosts: nobody serves"]


async def test_a_host_that_was_killed_is_no_hindrance_when_its_lease_has_ended(tmp_path: Path, url: str) -> None:
    one = host(tmp_path / "one", url, store_lease='"1h"')
    async with serving(one) as service:
        await asyncio.to_thread(age_hosts, url, 3599)
        assert [row["state"] for row in await rows(one)] == ["serves"]
        await asyncio.to_thread(age_hosts, url, 3601)
        assert [row["state"] for row in await rows(one)] == ["silent"]
        assert await found(one) == ["ok:      hosts: nobody serves"]
        assert not service.failed


async def test_what_hosts_do_not_have_the_same_is_named(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = host(tmp_path / "one", url)
    other = host(tmp_path / "other", url, secret="0f" * 32)
    text = Path(other.config).read_text().replace("# answers_per_day = 20", "answers_per_day = 7")
    Path(other.config).write_text(text)
    async with serving(one):
        error, warning = await found(other)
        assert error.startswith("error: ") and error.endswith("as this configuration: [site] secret_file")
        assert warning.startswith("warning: ") and warning.endswith(": [limits] answers_per_day")
        assert (await rows(other))[0]["differs"] == ["[limits] answers_per_day", "[site] secret_file"]
        with caplog.at_level(logging.WARNING, "mailforum"):
            async with serving(other) as second:
                (said,) = [record for record in caplog.records if "hosts_differ" in str(record.msg)]
                assert said.levelno == logging.ERROR
                # One that reads the right key shows that it has it.
                (other.folder / "secret.key").write_text("5e" * 32 + "\n")
                second.reload(config.load(Path(other.config), {}))
                async with asyncio.timeout(10):
                    while (await rows(one))[1]["differs"] != ["[limits] answers_per_day"]:
                        await asyncio.sleep(0.05)


def test_others_are_shown_hashes_and_no_more(tmp_path: Path) -> None:
    one = host(tmp_path / "one", "postgresql://me:hunter2@db/forum", secret="c0ffee" * 8)
    settings = config.load(Path(one.config), {})
    text = alike.to_text(alike.marks_of(settings))
    assert "c0ffee" not in text and "hunter2" not in text and "lists.example.test" not in text
    assert alike.from_text(text) == alike.marks_of(settings)


def test_keys_may_be_changed_one_host_after_the_other() -> None:
    old, both, turned = ({alike.TOKENS: keys} for keys in (("a",), ("a", "b"), ("b", "a")))
    assert [each.grave for each in alike.differences(old, both)] == [False]
    assert [each.grave for each in alike.differences(both, turned)] == [False]
    assert [each.grave for each in alike.differences(old, turned)] == [True]
    assert list(alike.differences(turned, turned)) == []


def test_nothing_is_said_of_what_only_one_version_knows() -> None:
    assert list(alike.differences({"[site] domain": ("a",)}, {"[site] domain": ("a",), "[new] option": ("b",)})) == []
    assert list(alike.differences({"[site] domain": ("a",)}, alike.from_text("nonsense"))) == []


def test_a_file_has_no_hosts(forum: Forum) -> None:
    assert forum.fails("hosts").startswith("a database file is served by one process")


# -- the server


GOOD = Settings(150004, "15.4", "UTF8", False, True, True, "on", 97, 0.0)


@pytest.mark.parametrize(
    ("settings", "level", "words"),
    [
        (replace(GOOD, number=130023, version="13.23"), "error", "PostgreSQL 13.23 is too old; 14 or newer"),
        (replace(GOOD, encoding="SQL_ASCII"), "error", "encoding is SQL_ASCII"),
        (replace(GOOD, standby=True), "error", "target_session_attrs=read-write"),
        (replace(GOOD, fsync=False), "error", "fsync is off"),
        (replace(GOOD, synchronous_commit="off"), "error", "synchronous_commit is off"),
        (replace(GOOD, full_page_writes=False), "warning", "full_page_writes is off"),
    ],
)
def test_a_server_that_would_lose_mail_is_found(settings: Settings, level: str, words: str) -> None:
    (finding,) = hosts._settings(settings)
    assert finding.level == level and words in finding.text
    assert list(hosts._settings(GOOD)) == []


def test_a_clock_that_differs_is_found_as_far_as_that_is_certain() -> None:
    assert list(hosts._clock(0.9, 0.0)) == list(hosts._clock(-3.0, 2.5)) == []
    assert "2.0 s behind that of the database" in next(hosts._clock(2.0, 0.1)).text
    assert "2.0 s ahead of that of the database" in next(hosts._clock(-2.0, 0.1)).text


def test_too_few_connections_for_all_processes_are_found() -> None:
    living = [Living(number, "a", ("smtp",), "1", "", 0.0, 0.0, 0.0) for number in range(10)]
    assert [finding.level for finding in hosts._places(GOOD, living)] == ["warning"]
    assert list(hosts._places(GOOD, living[:2])) == []


async def test_the_tests_own_server_is_found_to_sync_nothing(tmp_path: Path, url: str) -> None:
    one = host(tmp_path / "one", url)
    answer = await asyncio.to_thread(one.run, "check", code=1)
    errors = [line for line in answer.out.splitlines() if line.startswith("error:")]
    assert errors == ["error:   server: fsync is off: a power cut loses mail that was answered with 250"]
    assert f"ok:      database: {url}" in answer.out


def test_no_command_shows_the_password(tmp_path: Path) -> None:
    one = host(tmp_path / "one", Way(NOWHERE).url.replace("mailforum@", "mailforum:hunter2@"))
    for words, code in (
        (["config"], 0),
        (["check"], 1),
        (["hosts"], 1),
        (["list", "ls"], 1),
        (["store", "migrate"], 1),
    ):
        answer = one.run(*words, code=code)
        assert "hunter2" not in answer.out + answer.err, words
        assert "Traceback" not in answer.err


# -- a site that begins with a server


def test_init_writes_the_password_into_a_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    answer = run_cli(["init", str(folder), "--store", "postgresql://me:hunter%202@db/forum?sslmode=require"])
    assert answer.code == 0 and "hunter" not in answer.out
    assert (folder / "database.password").read_text() == "hunter 2\n"
    assert (folder / "database.password").stat().st_mode & 0o777 == 0o600
    assert "hunter" not in (folder / "mailforum.toml").read_text()
    read = config.load(folder / "mailforum.toml", {})
    assert read.store.url == "postgresql://me@db/forum?sslmode=require"
    assert read.database == "postgresql://me@db/forum?sslmode=require&password=hunter%202"
    assert (folder / "secret.key").exists()


def test_init_refuses_an_address_that_is_none(tmp_path: Path) -> None:
    answer = run_cli(["init", str(tmp_path / "site"), "--store", "mysql://db/forum"])
    assert answer.err == "mailforum: --store: Expected sqlite:FILE, or postgresql://user@host/name\n"
    assert not (tmp_path / "site").exists()


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    one = host(tmp_path / "one", "postgresql://db/forum", store_folder='"gone"')
    assert one.fails("serve") == f"[store] folder: there is no folder {one.folder / 'gone'}"


def test_a_second_host_does_not_make_a_key_of_its_own(tmp_path: Path) -> None:
    one = host(tmp_path / "one", "postgresql://db/forum")
    (one.folder / "secret.key").unlink()
    assert "copy it from another host" in one.fails("serve")
    assert not (one.folder / "secret.key").exists()


def test_of_findings_the_error_comes_before_the_warning() -> None:
    ours = {"[dkim] keys": ("a",), "[limits] same_text": ("a",)}
    theirs = {"[dkim] keys": ("b",), "[limits] same_text": ("b",)}
    one = Living(1, "mx2", ("smtp", "web"), "1", alike.to_text(theirs), 0.0, 0.0, 0.0)
    assert list(hosts._compared(one, ours)) == [
        Finding("error", "host: mx2 (smtp,web) has not the same as this configuration: [dkim] keys"),
        Finding("warning", "host: mx2 (smtp,web) has not the same as this configuration: [limits] same_text"),
    ]
