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
from mailforum.options import SECTIONS, options

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
UNIT = DEPLOY / "systemd" / "mailforum.service"
TEMPLATE = DEPLOY / "systemd" / "mailforum@.service"
COMPOSE = DEPLOY / "docker" / "compose.yaml"
ROLES = ("smtp", "deliver", "clock", "web", "all")
ROOT = DEPLOY.parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"NOT TESTED: {program} is not installed")


def value(name: str, unit: Path = UNIT) -> str:
    """Return what a unit sets `name` to."""
    match = re.search(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    assert match, f"the unit has no {name}"
    return match[1]


@needs("systemd-analyze")
@pytest.mark.parametrize(
    ("file", "name"), [(UNIT, UNIT.name), *((TEMPLATE, f"mailforum@{role}.service") for role in ROLES)]
)
def test_systemd_understands_every_line_of_the_units(tmp_path: Path, file: Path, name: str) -> None:
    unit = tmp_path / name  # with a program that is there, which is all that may be missing
    unit.write_text(file.read_text().replace("/opt/mailforum/bin/mailforum", "/bin/true"))
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


@pytest.mark.parametrize("role", ROLES)
def test_the_command_of_a_host_with_a_role_is_one_of_ours(role: str) -> None:
    _, *words = value("ExecStart", TEMPLATE).replace("%i", role).split()
    read = parser().parse_args(words)
    assert (read.config, read.role) == ("/etc/mailforum/mailforum.toml", [role])


def test_a_host_of_several_is_shut_in_as_well_as_one_alone() -> None:
    def lines(file: Path) -> set[str]:
        return {line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")}

    only = {line.partition("=")[0] for line in lines(UNIT) ^ lines(TEMPLATE)}
    assert only == {"Description", "After", "ExecStart", "EnvironmentFile"}


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


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("mailforum.toml")), ids=lambda file: file.parent.name)
def test_each_configuration_can_be_read(file: Path) -> None:
    read = config.load(file, {})
    assert read.database == Path("/var/lib/mailforum/mailforum.db")
    assert read.path(read.site.secret_file) == Path("/var/lib/mailforum/secret.key")


# -- several hosts


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("hosts.toml")), ids=lambda file: file.parent.name)
def test_each_configuration_of_several_hosts_goes_with_haproxy_and_writes_where_it_may(file: Path) -> None:
    read = config.load(file, {})
    assert read.store.url.startswith("postgresql://mailforum@")
    assert read.folder == Path("/var/lib") / value("StateDirectory", TEMPLATE)
    servers = re.findall(r"server (\S+) (10\.0\.0\.\d+):(\d+)", (DEPLOY / "haproxy" / "haproxy.cfg").read_text())
    ports = {port for *_, port in servers}
    assert ports == {str(address.port) for address in (*read.smtp.listen, *read.web.listen)}
    assert read.smtp.proxy_from == ("10.0.0.5/32",)
    assert {name for name, *_ in servers} == {"one", "two"}


def test_what_the_configuration_of_several_hosts_reads_is_installed_where_it_reads_it() -> None:
    read = set(re.findall(r"/etc/mailforum/([\w.]+)", (DEPLOY / "etc" / "hosts.toml").read_text()))
    lines = re.findall(r"^install (.*) /etc/mailforum/", (ROOT / "docs" / "scaling.md").read_text(), re.MULTILINE)
    assert {"secret.key", "postgres.crt", "dkim.pem"} <= read
    assert read - {"mailforum.toml", "templates"} <= {word for line in lines for word in line.split()}


@needs("docker")
def test_docker_understands_the_compose_file_and_its_addresses_are_those_of_haproxy() -> None:
    environ = {**os.environ, "DOMAIN": "lists.example.org", "ADMIN": "ada@example.org", "RELAY": "smtp://relay:25"}
    done = subprocess.run(
        ["docker", "stack", "config", "-c", str(COMPOSE)], capture_output=True, text=True, check=False, env=environ
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found = dict(re.findall(r"^  (\w+):$(?:\n    .*)*?\n        ipv4_address: (\S+)$", done.stdout, re.MULTILINE))
    assert found == {"haproxy": "10.0.0.5", "one": "10.0.0.11", "two": "10.0.0.12"}
    without = run("docker", "stack", "config", "-c", COMPOSE)
    assert "is missing a value" in without.stderr


def test_what_the_compose_file_sets_and_mounts_is_there() -> None:
    text = COMPOSE.read_text()
    known = {f"MAILFORUM_{section}_{one.name}".upper() for section in SECTIONS for one in options(section)}
    names = set(re.findall(r"(MAILFORUM_\w+):", text))
    assert names
    assert names <= known
    mounted = re.findall(r'"(\.[^":]+):', text)
    assert mounted
    for name in mounted:
        assert (COMPOSE.parent / name).is_file(), name
    for command in re.findall(r"compose exec \w+ mailforum (.*)", text):
        parser().parse_args(command.split())


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
