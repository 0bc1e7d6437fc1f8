"""The files of deploy/ are what systemd, mailforum and Docker can read."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailforum import config
from mailforum.cli.main import parser

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "mailforum.service"
ROOT = DEPLOY.parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"NOT TESTED: {program} is not installed")


def value(name: str) -> str:
    """Return what the unit sets `name` to."""
    match = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert match, f"the unit has no {name}"
    return match[1]


@needs("systemd-analyze")
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name  # with a program that is there, which is all that may be missing
    unit.write_text(UNIT.read_text().replace("/opt/mailforum/bin/mailforum", "/bin/true"))
    done = run("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs("systemd-analyze")
def test_systemd_finds_the_unit_well_shut_in() -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_command_of_the_unit_is_one_of_ours() -> None:
    program, *words = value("ExecStart").split()
    assert program.endswith("/mailforum")
    assert parser().parse_args(words).config == "/etc/mailforum/mailforum.toml"


@needs("systemd-sysusers")
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can give files away")
def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", DEPLOY / "sysusers.d" / "mailforum.conf")
    assert made.returncode == 0, made.stderr
    made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", DEPLOY / "tmpfiles.d" / "mailforum.conf")
    assert made.returncode == 0, made.stderr
    passwd = (tmp_path / "etc" / "passwd").read_text()
    user = re.search(r"^mailforum:x:(\d+):.*:/var/lib/mailforum:/", passwd, re.MULTILINE)
    assert user
    state = (tmp_path / "var" / "lib" / "mailforum").stat()
    assert (state.st_uid, state.st_mode & 0o777) == (int(user[1]), 0o700)
    assert (tmp_path / "etc" / "mailforum" / "templates").is_dir()


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.toml")), ids=lambda file: file.parent.name)
def test_each_configuration_can_be_read(file: Path) -> None:
    read = config.load(file, {})
    assert read.database == Path("/var/lib/mailforum/mailforum.db")
    assert read.path(read.site.secret_file) == Path("/var/lib/mailforum/secret.key")


def test_the_unit_may_write_where_the_configuration_keeps_things() -> None:
    read = config.load(DEPLOY / "etc" / "mailforum.toml", {})
    assert read.database.parent == Path("/var/lib") / value("StateDirectory")


def test_postfix_and_mailforum_are_told_of_the_same_port() -> None:
    read = config.load(DEPLOY / "etc" / "mailforum.toml", {})
    for name in ("main.cf", "make-map"):
        assert f"lmtp:inet:{read.smtp.lmtp[0]}" in (DEPLOY / "postfix" / name).read_text()


def test_what_the_container_is_made_of_is_there() -> None:
    lines = (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name


def test_what_docker_passes_on_from_its_host_is_not_counted_as_one_client() -> None:
    read = config.load(DEPLOY / "docker" / "mailforum.toml", {})
    assert any(ipaddress.ip_address("172.17.0.1") in ipaddress.ip_network(net) for net in read.smtp.trusted)


def test_the_container_listens_where_it_says() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    read = config.load(DEPLOY / "docker" / "mailforum.toml", {})
    exposed = re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert exposed
    ports = {str(address.port) for address in (*read.smtp.listen, *read.smtp.lmtp, *read.web.listen)}
    assert set(exposed[1].split()) == ports
    assert f"127.0.0.1:{read.web.listen[0].port}/healthz" in text
