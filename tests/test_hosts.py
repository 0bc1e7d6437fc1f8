"""The network that two hosts are tested on, which is its own (`make hosts` plays on it, and so does .ci/run)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.hosts import stage

PLAY = """
import asyncio, subprocess, sys
from tests.hosts import stage
stage.enter()

def reached(place, address):
    words = [*place.inside, sys.executable, "-c", "import socket, sys; socket.create_connection(sys.argv[1:], 0.3)"]
    return subprocess.run([*words, address, "25"], stderr=subprocess.DEVNULL).returncode == 0

with stage.network(["one", "two"]) as (one, two):
    server = "import socket, time; s = socket.create_server(('', 25)); print(flush=True); time.sleep(60)"
    listening = subprocess.Popen([*two.inside, sys.executable, "-c", server], stdout=subprocess.PIPE)
    listening.stdout.readline()
    print(reached(one, two.inner), reached(one, two.outer))
    one.plug(stage.INNER, into=False)
    print(reached(one, two.inner), reached(one, two.outer))
    one.plug(stage.INNER, into=True)
    print(any(reached(one, two.inner) for _ in range(50)), asyncio.run(stage.reached(two.outer, 25)))
    listening.kill()
"""


def _links() -> str:
    return subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout


def test_cables_between_hosts_can_be_pulled_and_nothing_of_it_is_left() -> None:
    if why := stage.missing():
        pytest.skip(f"NOT TESTED, and neither is what two hosts do: no network of our own: {why}")
    before = _links()
    done = subprocess.run([sys.executable, "-c", PLAY], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["True True", "False True", "True True"], done.stderr
    assert _links() == before
