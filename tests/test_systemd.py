"""What systemd hears: over a real socket, and nothing where nobody asks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailforum.errors import Deferred
from mailforum.systemd import Systemd


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def systemd(heard: socket.socket, **environ: str) -> Systemd:
    return Systemd({"NOTIFY_SOCKET": heard.getsockname(), **environ})


async def receive(heard: socket.socket) -> str:
    return (await asyncio.to_thread(heard.recv, 4096)).decode()


async def fine() -> str:
    return "3 to be sent"


def test_states_are_told_in_one_datagram(heard: socket.socket) -> None:
    systemd(heard).reloading(12.5)
    assert heard.recv(100) == b"RELOADING=1\nMONOTONIC_USEC=12500000"
    systemd(heard).tell("READY=1")
    assert heard.recv(100) == b"READY=1"


def test_an_abstract_socket_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"mailforum-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1")
        assert sock.recv(100) == b"READY=1"


def test_where_nobody_asks_nothing_is_said_and_who_does_not_listen_is_no_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Systemd({}).tell("READY=1")
    assert not caplog.records
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell("READY=1")
    assert "systemd could not be told READY=1" in caplog.text


def test_the_watchdog_is_looked_at_only_if_it_is_meant_for_this_process(heard: socket.socket) -> None:
    assert systemd(heard, WATCHDOG_USEC="60000000").watchdog == 60
    assert systemd(heard, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid())).watchdog == 60
    assert systemd(heard, WATCHDOG_USEC="60000000", WATCHDOG_PID="1").watchdog == 0
    assert systemd(heard, WATCHDOG_USEC="soon").watchdog == 0
    assert Systemd({"WATCHDOG_USEC": "60000000"}).watchdog == 0


async def test_a_sign_of_life_comes_twice_in_the_time_of_the_watchdog(heard: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(systemd(heard, WATCHDOG_USEC="400000").keep_telling(fine))
    assert await receive(heard) == "WATCHDOG=1\nSTATUS=3 to be sent"
    began = loop.time()
    assert await receive(heard) == "WATCHDOG=1\nSTATUS=3 to be sent"
    assert loop.time() - began < 0.4
    task.cancel()


async def test_there_is_no_sign_of_life_while_the_database_does_not_answer(
    heard: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["slow", "broken", "fine"]

    async def status() -> str:
        match answers.pop(0):
            case "slow":
                await asyncio.sleep(60)
            case "broken":
                raise Deferred("not now", "database: disk I/O error")
        answers.append("fine")
        return "well again"

    task = asyncio.create_task(systemd(heard, WATCHDOG_USEC="200000").keep_telling(status))
    assert await receive(heard) == "WATCHDOG=1\nSTATUS=well again"
    assert len([record for record in caplog.records if "no sign of life" in record.getMessage()]) == 2
    task.cancel()


async def test_there_is_no_sign_of_life_while_the_event_loop_hangs(heard: socket.socket) -> None:
    task = asyncio.create_task(systemd(heard, WATCHDOG_USEC="200000").keep_telling(fine))
    await receive(heard)
    heard.settimeout(0.3)
    with pytest.raises(TimeoutError):
        heard.recv(100)  # here, in the loop's own thread
    task.cancel()
