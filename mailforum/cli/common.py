"""What all commands share: the configuration, the database, tables and JSON, lists by name, progress.

Nothing heavy is imported at the top of this folder's modules: `mailforum version` and a press of the
Tab key have to be quick.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from mailforum.errors import ConfigError, Deferred, MailforumError, Refused, UsageError

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.model import MailingList
    from mailforum.options import Config
    from mailforum.store.database import Tx
    from mailforum.units import Period

T = TypeVar("T")

TAB_PATIENCE = 2.0  # seconds
PATIENCE = 30.0  # seconds; a busy server leaves gaps, but now and then it takes a while to find one
PLACES = (Path("mailforum.toml"), Path("/etc/mailforum/mailforum.toml"))

# What could move a terminal's cursor, or turn the direction of writing, in something a stranger wrote.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Parser(argparse.ArgumentParser):
    """A parser that, with all its sub-parsers, takes `--config FILE` before or after the command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"allow_abbrev": False})
        self.add_argument(
            "--config",
            metavar="FILE",
            default=argparse.SUPPRESS,  # so that a sub-command does not forget what stood before it
            help="the configuration (else MAILFORUM_CONFIG, ./mailforum.toml, /etc/mailforum/mailforum.toml)",
        )

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong with the words of a command; exit 2."""
        self.exit(2, f"mailforum: {message} (see `{self.prog} --help`)\n")


# What `add_subparsers` returns; its `add_parser` adds a command.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def with_json(parser: argparse.ArgumentParser) -> None:
    """Give a command that lists or shows something the option `--json`."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def config_path(args: argparse.Namespace) -> Path:
    """Return the configuration file to use. Raises ConfigError when there is none."""
    named = getattr(args, "config", None) or os.environ.get("MAILFORUM_CONFIG")
    if named:
        return Path(named)
    for path in PLACES:
        if path.exists():
            return path
    raise ConfigError(
        "there is no mailforum.toml here and none in /etc/mailforum; "
        "name one with --config FILE, or make one with `mailforum init DIR`"
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the configuration that the command line, the environment or the folder names; ConfigError."""
    from mailforum import config

    return config.load(config_path(args))


def run_core(args: argparse.Namespace, unit: Callable[[Core], Awaitable[T]]) -> T:
    """Open the database and what stands on it, run `unit`, and close it again."""
    import asyncio
    import logging

    from mailforum.core import open_core

    if not logging.getLogger("mailforum").handlers:  # commands say themselves what there is to say
        logging.getLogger("mailforum").addHandler(logging.NullHandler())

    async def run() -> T:
        async with open_core(load_config(args), patience=PATIENCE) as core:
            return await unit(core)

    return asyncio.run(run())


def read(args: argparse.Namespace, unit: Callable[[Core, Tx], T]) -> T:
    """Run one unit that only reads."""
    return run_core(args, lambda core: core.db.read(lambda tx: unit(core, tx)))


def write(args: argparse.Namespace, unit: Callable[[Core, Tx], T]) -> T:
    """Run one unit that changes something; it is durable when this returns.

    What is sent because of it can be traced, as what a mail has caused.
    """
    from mailforum.store.database import caused_by

    return run_core(args, lambda core: core.db.write(caused_by(core.ids.new(), lambda tx: unit(core, tx))))


def find_list(tx: Tx, text: str) -> MailingList:
    """Return the list with that address, or with that name when only one has it. Raises UsageError."""
    from mailforum.store import lists

    wanted = text.strip().lower()
    found = [mlist for mlist in lists.every(tx) if wanted in (mlist.address, mlist.name)]
    if not found:
        raise UsageError(f"there is no list {text}; `mailforum list ls` shows all")
    if len(found) > 1:
        raise UsageError(f"{text} is several lists: {', '.join(mlist.address for mlist in found)}")
    return found[0]


def safe(value: object) -> str:
    """Return what somebody wrote on one line, without characters that a terminal would act on."""
    return _UNSAFE.sub(" ", str(value))


def safe_text(text: str) -> str:
    """The same for a text of many lines."""
    return "\n".join(safe(line) for line in text.replace("\t", "    ").splitlines())


def when(seconds: float) -> str:
    """Write a time (seconds since the epoch) as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def period(text: str, now: float, zone: tzinfo = UTC) -> Period:
    """Read what `--since` or `--until` is given: a day, a month, or `7d` (ago). Raises UsageError."""
    from mailforum.units import Period

    try:
        return Period.parse(text, now, zone)
    except ValueError as error:
        raise UsageError(str(error)) from None


def emit(args: argparse.Namespace, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print rows: a table of `columns`, or with --json each whole row as one object a line."""
    Printer(args, columns).print(rows)


class Printer:
    """Prints rows a page at a time, as `emit` does; a later page may make a column of the table wider."""

    def __init__(self, args: argparse.Namespace, columns: Sequence[str]) -> None:
        self._json = getattr(args, "json", False)
        self._table = Table(columns)

    def print(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Print some more rows. The heading stands above the first page, also if that is empty."""
        for line in map(as_json, rows) if self._json else self._table.lines(rows):
            print(line)


def as_json(row: Mapping[str, object]) -> str:
    """Write one row as JSON on one line."""
    import json

    return json.dumps(row, ensure_ascii=False)


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of an aligned table; on a terminal they are cut to its width."""
    return Table(columns).lines(rows)


class Table:
    """A table that is made a page at a time."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._widths = [0] * len(columns)

    def lines(self, rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
        """Yield the lines of a page, the first below the heading."""
        cells = [] if any(self._widths) else [[name.upper().replace("_", " ") for name in self._columns]]
        cells += [[safe(shown(row[name])) for name in self._columns] for row in rows]
        wanted = [max(map(text_width, column), default=0) for column in zip(*cells, strict=True)]
        self._widths = [max(pair) for pair in zip(self._widths, wanted or self._widths, strict=True)]
        limit = terminal_width()
        for line in cells:
            padded = (cell + " " * (wide - text_width(cell)) for cell, wide in zip(line, self._widths, strict=True))
            yield cut("  ".join(padded).rstrip(), limit)


def terminal_width() -> int:
    """Return how many columns standard output has, 0 where it is no terminal."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def shown(value: object) -> object:
    """Return a value as people read it: `on` for True."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else value


def text_width(text: str) -> int:
    """How many columns a terminal needs: two for what East Asian fonts draw wide, none for accents."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, limit: int) -> str:
    """Cut a text to `limit` columns, with `…` for what is left out; 0 is no limit."""
    if not limit or text_width(text) <= limit:
        return text
    used = 0
    for at, char in enumerate(text):
        used += text_width(char)
        if used > limit - 1:
            return text[:at] + "…"
    return text


def show(args: argparse.Namespace, row: Mapping[str, object]) -> None:
    """Print one thing: `name: value` lines, or with --json one object."""
    if getattr(args, "json", False):
        print(as_json(row))
        return
    wide = max(map(len, row), default=0) + 1
    for name, value in row.items():
        print(f"{name.replace('_', ' ') + ':':<{wide}} {safe(shown(value))}".rstrip())


def told(enhanced: str, reply: str) -> str:
    """Return what a server said: its reply, with the enhanced code if that is not in it anyway."""
    return reply if enhanced in reply else f"{enhanced} {reply}".strip()


def counted(number: int, noun: str) -> str:
    """Return `1 post`, `2 posts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def note(text: str) -> None:
    """Say something to the person at the terminal that is no part of the output."""
    print(f"mailforum: {text}", file=sys.stderr)


def explain(error: Exception) -> str:
    """Say on one line what went wrong. An admin may know what a sender may not: the private reason."""
    text = str(error)
    if isinstance(error, Refused | Deferred):
        text = error.text if error.reason in error.text else f"{error.text} ({error.reason})"
        if error.reason.startswith("database: "):  # what a sender is told is about mail
            text = f"the database cannot be used: {error.reason.removeprefix('database: ')}"
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or text
    elif not isinstance(error, MailforumError):
        text = f"{type(error).__name__}: {text}"
    return safe(" ".join(text.split()))


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """Show on a terminal how far something is, how fast, and how long it will take.

    The function given takes what is done so far, of how much if that is known, and what `share` of all that
    is (0 to 1) if that is known in another way. Nothing is shown where standard error is no terminal.
    """
    tty, started, last = sys.stderr.isatty(), time.monotonic(), float("-inf")

    def advance(done: int, total: int = 0, *, share: float = 0.0) -> None:
        nonlocal last
        if tty and time.monotonic() - last > 0.1:
            last = time.monotonic()
            text = progress_line(what, done, share or done / max(total, 1) * bool(total), last - started)
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        if tty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_line(what: str, done: int, share: float, seconds: float) -> str:
    """Return `mails: 1,200  [#####...............]  25 %  600/s  0:06 left`: the share of all that is done (0: who
    knows), after `seconds`."""
    rate = f"{done / max(seconds, 0.001):,.0f}/s"
    if share <= 0:
        return f"{what}: {done:,}  {rate}"
    share = min(share, 1.0)
    left = round(seconds * (1 - share) / share)
    clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}" if left >= 3600 else f"{left // 60}:{left % 60:02}"
    bar = "#" * round(20 * share)
    return f"{what}: {done:,}  [{bar:.<20}]  {100 * share:.0f} %  {rate}  {clock} left"


Completer = Callable[..., Iterable[str]]


def completes(action: argparse.Action, completer: Completer) -> None:
    """Let the Tab key complete an argument: `completer(prefix, parsed_args, **other)` gives the words."""
    action.completer = completer  # type: ignore[attr-defined]


def complete_assignment(prefix: str, words: Mapping[str, Sequence[str]]) -> list[str]:
    """Complete KEY=VALUE: `words` has the values of each key, or none where these are free."""
    name, equals, _ = prefix.partition("=")
    return [f"{name}={word}" for word in words.get(name, ())] if equals else [f"{key}=" for key in words]


def add_list(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add the argument LIST, an address or a name, which Tab completes."""
    completes(parser.add_argument("list", metavar="LIST", help="its address, or its name", **options), list_addresses)


def list_addresses(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the addresses of all lists, for the Tab key; none when they cannot be had."""
    import asyncio

    from mailforum.store import lists
    from mailforum.store.opening import open_database

    async def every(database: Path | str) -> list[str]:
        db = await open_database(database, patience=TAB_PATIENCE)
        try:
            return [mlist.address for mlist in await db.read(lists.every)]
        finally:
            await db.close()

    database = load_config(parsed_args).database
    if isinstance(database, Path) and not database.exists():
        return []
    try:
        return asyncio.run(every(database))
    except (MailforumError, OSError):
        return []
