"""Two hosts on one database, in network namespaces of their own (all troubles, and longer: `make hosts`)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.hosts import stage
from tests.support import postgres


@pytest.mark.timeout(180)
def test_nothing_is_lost_when_hosts_die_and_cables_are_pulled_amid_a_fan_out() -> None:
    if why := stage.missing():
        pytest.skip(f"NOT TESTED: no network of our own: {why}")
    postgres.skip_if_missing()
    command = [sys.executable, "-m", "tests.hosts", "--seed", "1", "--troubles", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
