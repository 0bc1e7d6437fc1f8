"""Whether a process has ended is said only where that is certain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mailforum import process
from mailforum.process import Process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def of(child: subprocess.Popen[bytes]) -> Process:
    here = process.this()
    assert here
    _, started = process._state(child.pid)
    return Process(here.where, str(child.pid), started)


def test_we_run() -> None:
    here = process.this()
    assert here
    assert here.number == str(os.getpid())
    assert not process.has_ended(here, here)


def test_who_was_killed_has_ended_also_before_somebody_has_asked_for_its_status(
    child: subprocess.Popen[bytes],
) -> None:
    one, here = of(child), process.this()
    assert not process.has_ended(one, here)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.has_ended(one, here)
    child.wait()
    assert process.has_ended(one, here)


def test_a_number_that_is_anothers_by_now_is_that_of_one_that_has_ended(child: subprocess.Popen[bytes]) -> None:
    assert process.has_ended(of(child)._replace(started="1"), process.this())


def test_of_another_machine_or_container_nothing_is_known(child: subprocess.Popen[bytes]) -> None:
    one, here = of(child), process.this()
    assert here
    child.kill()
    child.wait()
    assert not process.has_ended(one, here._replace(where="another"))
    assert not process.has_ended(one, None)
    for nonsense in ("", "-1", "9" * 30, "x"):
        assert not process.has_ended(Process(here.where, nonsense, ""), here)
