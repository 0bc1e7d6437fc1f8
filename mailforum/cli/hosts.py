"""`mailforum hosts`: which processes serve a PostgreSQL, and what `mailforum check` has to say of them and of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mailforum.cli.common import Commands, emit, run_core, when, with_json
from mailforum.cli.finding import Finding, Findings
from mailforum.cli.operate import ROLES
from mailforum.errors import UsageError

if TYPE_CHECKING:
    from mailforum.alike import Marks
    from mailforum.core import Core
    from mailforum.store.database import Tx
    from mailforum.store.hosts import Living
    from mailforum.store.server import Settings

SKEW = 1.0  # seconds
NEEDED = {"smtp": "no mail is taken in", "deliver": "nothing is sent", "clock": "no digest is made"}


def add(commands: Commands) -> None:
    """Add the command `hosts`."""
    parser = commands.add_parser(
        "hosts",
        help="which processes serve, on which hosts (PostgreSQL)",
        description="Print the processes that serve this site, with their roles, since when, when they were last "
        "seen, and what they do not have the same as the configuration here.",
    )
    with_json(parser)
    parser.set_defaults(run=show_hosts)


def show_hosts(args: argparse.Namespace) -> None:
    """Print the processes that serve. Raises UsageError where the database is a file."""

    async def look(core: Core) -> list[dict[str, object]]:
        from mailforum.alike import marks_of
        from mailforum.store import hosts

        if isinstance(core.config.database, Path):
            raise UsageError("a database file is served by one process on its own machine; hosts go with PostgreSQL")
        ours, lease = marks_of(core.config), core.config.store.lease
        return [_row(one, ours, lease) for one in await core.db.read(hosts.living)]

    rows = run_core(args, look)
    if not args.json:
        rows = [row | {"differs": ", ".join(row["differs"])} for row in rows]  # type: ignore[arg-type]
    emit(args, rows, ("host", "id", "roles", "version", "since", "seen_seconds_ago", "state", "differs"))


def serving(core: Core, tx: Tx) -> list[Living]:
    """Return the processes that serve, without those that nobody has heard of for as long as a lease."""
    from mailforum.store import hosts

    return [one for one in hosts.living(tx) if _is_heard_of(one, core.config.store.lease)]


def as_shown(roles: Sequence[str]) -> str:
    """Write roles as `--role` takes them."""
    return "all" if set(roles) == set(ROLES) else ",".join(roles)


def _is_heard_of(one: Living, lease: float) -> bool:
    return one.now - one.seen_at <= lease


def _row(one: Living, ours: Marks, lease: float) -> dict[str, object]:
    from mailforum import alike

    return {
        "host": one.name,
        "id": one.id,
        "roles": as_shown(one.roles),
        "version": one.version,
        "since": when(one.started_at),
        "seen": when(one.seen_at),
        "seen_seconds_ago": max(0, round(one.now - one.seen_at)),
        "state": "serves" if _is_heard_of(one, lease) else "silent",
        "differs": [each.what for each in alike.differences(ours, alike.from_text(one.keys))],
    }


async def look_at_server(core: Core) -> list[Finding]:
    """Return what there is to say of the server, its clock, and the processes that serve."""
    from mailforum.alike import marks_of
    from mailforum.store import server

    asked = core.clock.now()
    settings = await core.db.read(server.settings)
    answered = core.clock.now()
    living = await core.db.read(lambda tx: serving(core, tx))
    skew = settings.now - (asked + answered) / 2
    found = [*_settings(settings), *_clock(skew, (answered - asked) / 2), *_places(settings, living)]
    return [*found, *_hosts(living, marks_of(core.config))]


def _settings(server: Settings) -> Findings:
    if server.outdated:
        yield Finding("error", f"server: {server.outdated}")
    if server.encoding != "UTF8":
        yield Finding("error", f"server: the database's encoding is {server.encoding}; mail needs one made with UTF8")
    if server.standby:
        what = "a standby, which cannot be written to; name the primary too, with target_session_attrs=read-write"
        yield Finding("error", f"server: {what}")
    if not server.fsync or server.synchronous_commit == "off":
        option = "synchronous_commit" if server.fsync else "fsync"
        yield Finding("error", f"server: {option} is off: a power cut loses mail that was answered with 250")
    elif not server.full_page_writes:
        yield Finding("warning", "server: full_page_writes is off: a power cut may damage the database")


def _clock(skew: float, unsure: float) -> Findings:
    if abs(skew) - unsure > SKEW:
        way = "behind" if skew > 0 else "ahead of"
        what = f"the clock here is {abs(skew):.1f} s {way} that of the database; mail is sent and dated by both"
        yield Finding("warning", f"server: {what}")


def _places(server: Settings, living: Sequence[Living]) -> Findings:
    from mailforum.store.server import EACH

    needed = EACH * max(1, len(living))
    if server.places < needed:
        what = f"max_connections leaves {server.places} for all, and the processes that serve may need {needed}"
        yield Finding("warning", f"server: {what}")


def _hosts(living: Sequence[Living], ours: Marks) -> Findings:
    differing = [finding for one in living for finding in _compared(one, ours)]
    yield from differing
    for role, what in NEEDED.items() if living else ():
        if not any(role in one.roles for one in living):
            yield Finding("warning", f"hosts: no process has the role {role}: {what}")
    if not differing:
        names = ", ".join(dict.fromkeys(one.name for one in living))
        yield Finding(
            "ok", f"hosts: {names}; keys and options are the same as here" if names else "hosts: nobody serves"
        )


def _compared(one: Living, ours: Marks) -> Findings:
    from mailforum import alike

    found = list(alike.differences(ours, alike.from_text(one.keys)))
    for level, names in (
        ("error", [each.what for each in found if each.grave]),
        ("warning", [each.what for each in found if not each.grave]),
    ):
        if names:
            what = f"{one.name} ({as_shown(one.roles)}) has not the same as this configuration: {', '.join(names)}"
            yield Finding(level, f"host: {what}")  # type: ignore[arg-type]
