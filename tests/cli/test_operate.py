from __future__ import annotations

import os
import select
import signal
import smtplib
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailforum import config
from mailforum.cli import operate
from mailforum.cli.common import explain
from mailforum.delivery.sign import load_key
from mailforum.store.trouble import unavailable
from tests.cli.conftest import Forum, as_process
from tests.support.site import run_cli, write_config


@pytest.fixture(autouse=True)
def _no_site_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MAILFORUM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def test_init_makes_a_site_that_works(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "site"
    answer = run_cli(["init", str(folder), "--domain", "Lists.Example.ORG"])
    assert answer.code == 0
    assert "mailforum serve" in answer.out
    file = folder / "mailforum.toml"
    assert config.load(file, {}).site.domain == "lists.example.org"
    assert "# Largest mail taken in (size)." in file.read_text()
    secret = folder / "secret.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(bytes.fromhex(secret.read_text())) == 32
    assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0
    assert run_cli(["--config", str(file), "check"]).code == 0
    assert run_cli(["--config", str(file), "list", "create", "pmo"]).out == "created pmo@lists.example.org\n"


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    assert run_cli(["init", str(tmp_path)]).code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    answer = run_cli(["init", str(tmp_path), "--domain", "other.example.org"])
    assert answer.code == 1
    assert "is there already; nothing was changed" in answer.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_init_keeps_a_secret_key_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("ab" * 32 + "\n")
    assert run_cli(["init", str(tmp_path)]).code == 0
    assert (tmp_path / "secret.key").read_text() == "ab" * 32 + "\n"


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("lists.example.com", "lists.example.com"),
        ("laptop", "lists.example.org"),
        ("mac.local", "lists.example.org"),
        ("x.localdomain", "lists.example.org"),
    ],
)
def test_init_takes_the_hosts_name_where_mail_can_be_sent_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, domain: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    run_cli(["init", str(tmp_path)])
    assert config.load(tmp_path / "mailforum.toml", {}).site.domain == domain


def test_init_refuses_what_is_no_domain_or_no_folder(tmp_path: Path) -> None:
    assert "is no domain" in run_cli(["init", str(tmp_path), "--domain", 'x"\ny']).err
    (tmp_path / "file").write_text("")
    answer = run_cli(["init", str(tmp_path / "file")])
    assert (answer.code, answer.err) == (1, f"mailforum: {tmp_path / 'file'}: File exists\n")


def test_config_shows_what_is_in_force_and_where_it_came_from(forum: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILFORUM_SMTP_MAX_SIZE", "3M")
    out = forum.run("config").out
    assert f"# {forum.config}\n" in out
    assert "# and from the environment: MAILFORUM_SMTP_MAX_SIZE\n" in out
    shown = tomllib.loads(out)
    assert shown["smtp"]["max_size"] == "3M"
    assert shown["site"]["domain"] == "lists.example.test"


def test_config_never_shows_the_password(forum: Forum) -> None:
    write_config(forum.folder, "smtp://127.0.0.1:25", delivery_password='"s3cret"')
    assert "s3cret" not in forum.run("config").out


def test_backup_is_a_whole_copy_and_overwrites_nothing(pmo: Forum) -> None:
    pmo.post()
    path = pmo.folder / "copy.db"
    assert pmo.run("backup", str(path)).out.startswith(f"wrote {path} (")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as copy:
        assert copy.execute("SELECT count(*) FROM post").fetchone() == (1,)
    copy.close()
    before = path.read_bytes()
    assert "is there already" in pmo.fails("backup", str(path))
    assert path.read_bytes() == before
    assert pmo.fails("backup", str(pmo.folder / "gone" / "copy.db")).endswith("No such file or directory")


def test_a_database_that_cannot_be_written_is_named_and_no_mail_is_spoken_of() -> None:
    error = unavailable(_Full("database or disk is full"))
    assert explain(error) == "the database cannot be used: the disk is full (database or disk is full)"


class _Full(sqlite3.OperationalError):
    sqlite_errorname = "SQLITE_FULL"


def test_a_backup_that_fails_leaves_nothing_behind(forum: Forum) -> None:
    forum.file("mailforum.db", b"no database at all" * 1000)
    assert "not a database" in forum.fails("backup", str(forum.folder / "copy.db"))
    assert not (forum.folder / "copy.db").exists()


@pytest.mark.parametrize(("kind", "selector"), [("rsa", "mailforum"), ("ed25519", "mailforum-ed25519")])
def test_dkim_new_prints_what_goes_into_dns_and_the_configuration(forum: Forum, kind: str, selector: str) -> None:
    out = forum.run("dkim", "new", "example.org", "--type", kind).out
    path = forum.folder / f"dkim-{selector}.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = load_key(path.read_bytes(), "example.org", selector)
    assert f"{selector}._domainkey.example.org. IN TXT" in out
    assert key.txt in out.replace('" "', "")
    config = forum.folder / "mailforum.toml"
    lines = "\n".join(line for line in out.splitlines() if "_domainkey" not in line)
    config.write_text(config.read_text().replace("[dkim]\n", f"[dkim]\n{lines}\n"))
    assert str(path) in tomllib.loads(config.read_text())["dkim"].values()
    assert "never overwritten" in forum.fails("dkim", "new", "example.org", "--type", kind)


def test_dkim_new_refuses_what_dns_cannot_have(forum: Forum) -> None:
    assert "DKIM domain `no domain`" in forum.fails("dkim", "new", "no domain")
    assert "DKIM selector" in forum.fails("dkim", "new", "example.org", "--selector", "a b")
    assert not list(forum.folder.glob("*.pem"))


def test_dkim_new_works_without_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailforum.cli.common.PLACES", ())
    answer = run_cli(["dkim", "new", "example.org", "--selector", "s1", "--type", "ed25519"])
    assert answer.code == 0
    lines = "\n".join(line for line in answer.out.splitlines() if "_domainkey" not in line)
    assert tomllib.loads(lines)["dkim"]["extra_selector"] == "s1"
    assert (tmp_path / "dkim-s1.pem").exists()


@contextmanager
def served(forum: Forum, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run `mailforum serve`, with its log in the file `log`."""
    with (forum.folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mailforum", "serve", "--config", forum.config],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(operate.__file__).parents[2],
            env={**os.environ, **environ},
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def logged(forum: Forum) -> str:
    return (forum.folder / "log").read_text()


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], "no ready line"
    return process.stdout.readline()


def test_serve_is_ready_serves_reloads_and_ends_cleanly(pmo: Forum) -> None:
    write_config(pmo.folder, "maildir:outbox", smtp_max_connections="50")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(pmo.folder / "notify"))
        systemd.settimeout(30)
        with served(pmo, NOTIFY_SOCKET=str(pmo.folder / "notify")) as process:
            line = ready(process)
            assert line.startswith("mailforum is ready: SMTP on 127.0.0.1:")
            assert systemd.recv(100) == b"READY=1"
            assert systemd.recv(1000).startswith(b"WATCHDOG=1\nSTATUS=0 to be sent; 0 clients, ")
            port = int(line.partition("SMTP on 127.0.0.1:")[2].partition(";")[0])
            with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=30) as client:
                client.sendmail("ada@example.org", "pmo@lists.example.test", "From: ada@example.org\r\n\r\nhi\r\n")
            assert [row["id"] for row in pmo.rows("post", "ls", "pmo")] == ["1.1"]  # while it runs
            second = as_process("--config", pmo.config, "serve")
            assert (second.returncode, second.stdout) == (1, b"")
            assert b"is already being served by another mailforum" in second.stderr
            wait_for(lambda: pmo.rows("queue", "stats")[0]["sent"] == 2)
            good = Path(pmo.config).read_text()
            Path(pmo.config).write_text("[smtp\n")
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "the configuration was not taken over" in logged(pmo))
            Path(pmo.config).write_text(good)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "event=reloaded" in logged(pmo))
            for _ in range(2):  # a configuration that was not taken over ends a reload, too
                assert systemd.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
                assert systemd.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert systemd.recv(100) == b"STOPPING=1"
    assert "Traceback" not in logged(pmo)


def test_ctrl_c_ends_it_cleanly_too(pmo: Forum) -> None:
    with served(pmo) as process:
        ready(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert "Traceback" not in logged(pmo)


def test_a_port_that_is_taken_is_one_clear_line(pmo: Forum) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_config(pmo.folder, "maildir:outbox", smtp_listen=f'["127.0.0.1:{port}"]')
        done = as_process("--config", pmo.config, "serve")
    said = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 1
    assert said.startswith(f"mailforum: [smtp] listen: cannot listen on 127.0.0.1:{port}: ")


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
