"""`mailforum queue stats` and `mailforum queue top`: how the queue stands, once or live."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mailforum.cli.common import Commands, as_json, read, run_core, safe, show, table, told, when, with_json
from mailforum.cli.hosts import as_shown
from mailforum.errors import Deferred

if TYPE_CHECKING:
    import asyncio

    from mailforum.core import Core
    from mailforum.options import Config
    from mailforum.store.database import Tx
    from mailforum.store.hosts import Living
    from mailforum.store.stats import Failing, Numbers, OfList

MOST = 20  # lists and destinations that are named
RECENT = 900.0  # seconds for which a destination that failed is shown
REFRESH = 1.0  # seconds between two pictures

Row = dict[str, object]


def add(verbs: Commands) -> None:
    """Add the verbs `stats` and `top`."""
    stats = verbs.add_parser("stats", help="how many deliveries wait: by state, list and destination")
    with_json(stats)
    stats.set_defaults(run=show_stats)
    top = verbs.add_parser("top", help="the queue live: rates, the busiest lists, destinations that fail")
    top.add_argument("--once", action="store_true", help="one picture and no more; so also where this is no terminal")
    top.set_defaults(run=show_top)


# -- stats


def show_stats(args: argparse.Namespace) -> None:
    """Print how many deliveries are in which state, and what those that wait wait for."""
    row, domains, lists, hosts = read(args, _stats)
    if args.json:
        print(as_json(row | {"domains": domains, "lists": lists} | ({"hosts": hosts} if hosts else {})))
        return
    show(args, row)
    for rows, columns in (
        (domains, ("domain", "waiting", "deferred", "oldest_seconds")),
        (lists, ("list", "waiting", "oldest_seconds")),
        (hosts, ("host", "name", "in_hand")),
    ):
        if rows:
            print("", *table(rows, columns), sep="\n")


def _stats(core: Core, tx: Tx) -> tuple[Row, list[Row], list[Row], list[Row]]:
    from mailforum.store import stats

    now, (numbers, waiting) = core.clock.now(), stats.look(tx)
    row: Row = {
        "queued": numbers.queued,
        "to_come": numbers.to_come,
        "deferred": numbers.deferred,
        "paused": numbers.paused,
        "failed": numbers.failed,
        "sent": stats.finished(tx) - numbers.failed,
        "oldest_seconds": _age(numbers.oldest, now),
        "next_due": when(numbers.due_at) if numbers.due_at is not None else None,
    }
    domains: list[Row] = [
        {"domain": d.domain, "waiting": d.waiting, "deferred": d.deferred, "oldest_seconds": _age(d.oldest, now)}
        for d in stats.by_domain(tx, MOST)
    ]
    lists: list[Row] = [
        {"list": one.address or None, "waiting": one.waiting, "oldest_seconds": _age(one.oldest, now)}
        for one in waiting[:MOST]
    ]
    hosts: list[Row] = [{"host": one.id, "name": one.name, "in_hand": one.in_hand} for one in stats.in_hand(tx)]
    return row, domains, lists, hosts


def _age(since: float | None, now: float) -> int | None:
    return max(0, round(now - since)) if since is not None else None


# -- top


class Picture(NamedTuple):
    """How everything stands at one moment. `counted` is what the server counts, None if it cannot be asked.

    `hosts` are the processes that serve, where these are several and `counted` is of one of them.
    """

    at: float
    numbers: Numbers
    lists: list[OfList]
    failing: list[Failing]
    counted: Mapping[str, float] | None
    hosts: Sequence[Living] = ()


def show_top(args: argparse.Namespace) -> None:
    """Show the queue, and once a second how it is then, until `q` or Ctrl-C."""
    live = sys.stdout.isatty() and not args.once
    run_core(args, _live if live else _once)


async def _once(core: Core) -> None:
    print(*(line.rstrip() for line in draw(core.config.site.domain, await _look(core), None)), sep="\n")


async def _look(core: Core) -> Picture:
    """Look at the queue, and ask the server for its counters."""
    import asyncio

    from mailforum.store import hosts, stats

    now, several = core.clock.now(), not core.config.store.url.file
    counted = await asyncio.to_thread(_counters, core.config)

    def unit(tx: Tx) -> Picture:
        numbers, waiting = stats.look(tx)
        failing = stats.failing(tx, now - RECENT)[:MOST]
        return Picture(now, numbers, waiting[:MOST], failing, counted, hosts.living(tx) if several else ())

    return await core.db.read(unit)


def _counters(config: Config) -> dict[str, float] | None:
    """Ask a server that runs on this machine for its metrics without labels, and its events."""
    import http.client
    import re

    for address in (*config.web.health, *config.web.listen):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
        connection = http.client.HTTPConnection(host, address.port, timeout=1)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException, ValueError):
            continue
        finally:
            connection.close()
        found = re.findall(r'^mailforum_(?:events_total\{event=")?(\w+)(?:"\})? (\S+)$', text, re.MULTILINE)
        return {name: float(value) for name, value in found}
    return None


def draw(domain: str, now: Picture, before: Picture | None, width: int = 100) -> Iterator[str]:
    """Yield the lines of a picture; rates are what has changed since the picture `before`."""
    yield f"mailforum {domain}".ljust(width - 20) + when(now.at)
    yield ""
    yield f"  queue   {_queue(now)}"
    yield f"  rates   {_rates(now, before)}"
    yield f"  server  {_server(now.counted)}"
    if now.hosts:
        yield "  hosts   " + ", ".join(f"{one.name} ({as_shown(one.roles)})" for one in now.hosts)
    yield f"  beside  {_beside(now.numbers)}"
    lists: list[Row] = [
        {"busiest_lists": one.address or "(the site)", "waiting": one.waiting, "oldest": _span(now.at - one.oldest)}
        for one in now.lists
    ]
    if lists:
        yield ""
        yield from (f"  {line}" for line in table(lists, ("waiting", "oldest", "busiest_lists")))
    failing: list[Row] = [
        {
            "failing": one.domain,
            "times": one.times,
            "last": _span(now.at - one.at),
            "reply": told(one.enhanced, one.reply),
        }
        for one in now.failing
    ]
    if failing:
        yield ""
        yield from (f"  {line}" for line in table(failing, ("times", "last", "failing", "reply")))


def _queue(now: Picture) -> str:
    numbers = now.numbers
    if not numbers.waiting:
        return "empty"
    parts = [f"{numbers.waiting:,} to be sent", f"{numbers.deferred:,} of them deferred"]
    if numbers.to_come:
        parts.append(f"{numbers.to_come:,} still to be queued")
    if numbers.paused:
        parts.append(f"{numbers.paused:,} paused")
    if numbers.oldest is not None:
        parts.append(f"the oldest for {_span(now.at - numbers.oldest)}")
    if numbers.due_at is not None and numbers.due_at > now.at:
        parts.append(f"the next in {_span(numbers.due_at - now.at)}")
    return ", ".join(parts)


def _rates(now: Picture, before: Picture | None) -> str:
    """What the server did a second since the last picture, or altogether where there is none."""
    if now.counted is None:
        return "not known"
    names = {"sent": "sent", "deferred": "deferred", "failed": "failed", "received": "taken in", "refused": "refused"}
    old = before.counted if before and before.counted else None
    if old is None or before is None or now.counted.get("uptime_seconds", 0) < old.get("uptime_seconds", 0):
        return (
            "  ".join(f"{now.counted.get(name, 0):,.0f} {word}" for name, word in names.items()) + "  since its start"
        )
    seconds = max(now.at - before.at, 0.001)
    rates = {word: (now.counted.get(name, 0) - old.get(name, 0)) / seconds for name, word in names.items()}
    return "  ".join(f"{rate:,.0f}/s {word}" for word, rate in rates.items())


def _server(counted: Mapping[str, float] | None) -> str:
    if counted is None:
        return "cannot be asked: none runs here, or [web] listen and health are empty"
    down = counted.get("relay_down_seconds", 0)
    relay = f"the relay is down for {_span(down)}" if down else "the relay takes mail"
    return (
        f"up for {_span(counted.get('uptime_seconds', 0))}, {relay}; "
        f"{counted.get('in_hand', 0):,.0f} in hand, "
        f"{counted.get('connections', 0):.0f} connections out, {counted.get('clients', 0):.0f} in"
    )


def _beside(numbers: Numbers) -> str:
    return (
        f"{numbers.held:,} held posts, {numbers.shunts:,} shunted mails, {numbers.failed:,} failed deliveries, "
        f"{numbers.suspended:,} suspended members"
    )


def _span(seconds: float) -> str:
    """Write a span of time in the two units that matter: `3 min`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


async def _live(core: Core) -> None:
    import asyncio

    leave = asyncio.Event()
    before: Picture | None = None
    with _screen(leave):
        while not leave.is_set():
            started = time.monotonic()
            try:
                picture = await _look(core)
            except Deferred as error:  # locked or full: said, and looked at again
                _paint([f"the database cannot be read: {error.reason}"])
            else:
                _paint(draw(core.config.site.domain, picture, before, _size()[0]))
                before = picture
            try:
                # Where counting takes long, it must not be all that the disk does.
                await asyncio.wait_for(leave.wait(), max(REFRESH, 4 * (time.monotonic() - started)))
            except TimeoutError:
                continue


def _size() -> tuple[int, int]:
    import shutil

    return shutil.get_terminal_size()


def _paint(lines: Iterator[str] | list[str]) -> None:
    """Put a picture over the last one, without a flicker."""
    width, height = _size()
    shown = [safe(line)[:width] for line in lines][: height - 2]
    shown += [""] * (height - 1 - len(shown)) + ["  q: leave"]
    shown[0] = f"\x1b[7m{shown[0]:<{width}}\x1b[0m"
    sys.stdout.write("\x1b[H" + "\x1b[K\r\n".join(shown) + "\x1b[K")
    sys.stdout.flush()


@contextmanager
def _screen(leave: asyncio.Event) -> Iterator[None]:
    """Take the terminal's other screen, and give it back whatever happens; `q` sets the event `leave`."""
    import asyncio
    import os
    import termios
    import tty

    loop, keys = asyncio.get_running_loop(), sys.stdin.fileno() if sys.stdin.isatty() else None

    def pressed() -> None:
        if keys is not None and os.read(keys, 64)[:1].lower() in (b"q", b"\x1b", b""):
            leave.set()

    before = termios.tcgetattr(keys) if keys is not None else None
    if keys is not None:
        tty.setcbreak(keys)
        loop.add_reader(keys, pressed)
    sys.stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        if keys is not None and before is not None:
            loop.remove_reader(keys)
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
