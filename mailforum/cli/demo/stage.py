"""Sets the stage: the folder, a running service, the show on it, and what the visitor may do then."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailforum import log
from mailforum.app import Service
from mailforum.cli.demo import folder, hints, story
from mailforum.cli.demo.play import Play
from mailforum.cli.demo.post_office import NotArrived, Outbox
from mailforum.cli.demo.screen import Screen
from mailforum.errors import MailforumError
from mailforum.options import Config

_INTERRUPTED = 130


def run(args: argparse.Namespace) -> int:
    """Play the show and, without --once, stay up; return the exit code."""
    with folder.claimed(args.dir) as place, _logging_to(place / folder.LOG):
        config = folder.write_config(place, story.LIST.partition("@")[2], args.port)
        return asyncio.run(_run(config, place, stay=not args.once))


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Keep the service's log in a file of the demo's folder; the screen is for the show."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(log.Lines("%(asctime)s %(levelname)s %(message)s"))
    before = log.logger.level
    log.logger.addHandler(handler)
    log.logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.logger.setLevel(before)
        log.logger.removeHandler(handler)
        handler.close()


async def _run(config: Config, place: Path, *, stay: bool) -> int:
    screen = Screen()
    async with Service(config) as service:
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, service.stop)
        _introduce(screen, service, place)
        good = await _play(service, place, screen)
        if good is not None and stay:
            await _stay(service, place, screen)
        if service.failed:
            raise MailforumError(f"a part of the service has failed; {place / folder.LOG} says how")
    if good is None:
        screen.line("Stopped before the end.")
        return 0 if stay else _INTERRUPTED
    return 0 if good else 1


def _introduce(screen: Screen, service: Service, place: Path) -> None:
    screen.title("mailforum: mailing lists in one process and one file")
    screen.line(
        f"   A real server on this machine; nothing leaves it. Mail comes in at {service.addresses['smtp'][0]},\n"
        f"   and what goes out lies in {place / folder.OUTBOX}/. All of this demo is in the folder {place}/."
    )


async def _play(service: Service, place: Path, screen: Screen) -> bool | None:
    """Play the show; None if the service was stopped meanwhile."""
    show = asyncio.create_task(Play(service, Outbox(place / folder.OUTBOX), screen).run())
    stopped = asyncio.create_task(service.until_stopped())
    await asyncio.wait({show, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if show.done():
        stopped.cancel()
        try:
            return show.result()
        except NotArrived as error:
            raise NotArrived(f"{error}; {place / folder.LOG} says what was done") from error
    show.cancel()
    await asyncio.wait({show})
    return None


async def _stay(service: Service, place: Path, screen: Screen) -> None:
    """Stay up until Ctrl-C, showing what the service logs."""
    screen.heading("Now you")
    for line in hints.lines(service.addresses["smtp"][0], place):
        screen.line(line)
    handler = screen.log_handler()
    log.logger.addHandler(handler)
    try:
        await service.until_stopped()
    finally:
        log.logger.removeHandler(handler)
    screen.line()
    screen.line("The demo has ended. Its folder stays until the next one.")
