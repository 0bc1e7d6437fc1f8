"""The PostgreSQL that the tests bring up (tests/support/postgres.py)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.support import postgres
from tests.support.postgres import database_url

START = "import sys\nfrom tests.support import postgres\nprint(postgres.cluster().folder, flush=True)\nsys.stdin.read()"


def test_each_database_is_empty_and_gone_afterwards() -> None:
    with database_url() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE mine (id BIGINT)")
        with database_url() as other, psycopg.connect(other) as connection:
            assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_it_listens_to_nobody_else_and_is_not_root() -> None:
    with database_url() as url, psycopg.connect(url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        pid = connection.info.backend_pid
        assert os.stat(f"/proc/{pid}").st_uid != 0


def test_it_is_gone_when_the_tests_are_killed() -> None:
    postgres.skip_if_missing()
    with subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout
        folder = Path(tests.stdout.readline().strip())
        server = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        tests.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while folder.exists() or Path(f"/proc/{server}").exists():
        assert time.monotonic() < deadline, "it has been left behind"
        time.sleep(0.01)
