"""Archives: how fast they are taken in, what that costs in memory, and how fast a list is that has one.

The archives are made up (tests/support/discussion.py) and imported with `mailforum import` in a process of its own.
"""

from __future__ import annotations

import contextlib
import email
import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from mailforum.mail import mbox
from tests.bench import compare, placing, references
from tests.bench.place import processes, serving
from tests.bench.posting import post_all
from tests.bench.table import Goal, Row, at_least, at_most
from tests.bench.threads import others
from tests.bench.threads.ours import Site, write_maildir
from tests.support.discussion import discussion, small

SIZE = 8192
BESIDE = 5000  # mails that other programs are given
ROUNDS, POSTS, SENDERS = 9, 250, 8

Mails = Iterable[tuple[bytes, float]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: seconds by the clock and of the CPU, and MiB at the peak."""

    seconds: float
    cpu: float
    memory: float


def cost(command: list[str]) -> Cost:
    """Run a command to its end; what the processes it starts take is counted with it.

    Memory is looked at every 50 ms, and the largest sum is returned.
    """
    started, peak = time.monotonic(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        with contextlib.suppress(OSError):  # one of them has just ended
            peak = max(peak, sum(map(_memory, processes(process.pid))))
        time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, peak)


def _memory(pid: int) -> float:
    """MiB that a process has in memory, less what it shares with others (smaps_rollup: Pss)."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def write_mbox(path: Path, mails: Mails) -> int:
    """Write an mbox file; return how many bytes that is."""
    with path.open("wb") as stream:
        return sum(mbox.write(stream, raw, received=at) for raw, at in mails)


def large_mails(count: int) -> Mails:
    """Mails of about 8 KiB, with the dirt of real ones."""
    return ((told.raw, told.at.timestamp()) for told in discussion(count, size=SIZE))


def imported(folder: Path, count: int, mails: Mails, name: str) -> tuple[Row, Site]:
    """Import `count` mails; return the row, and the site that has them in its list `pmo`."""
    size = write_mbox(folder / "archive.mbox", mails)
    site = Site(folder / "site")
    site.run("list", "create", "pmo")
    spent = cost(site.command("import", "pmo", str(folder / "archive.mbox")))
    rate, each = count / spent.seconds, spent.cpu / count * 1e6
    beside = (
        f"{size / count / 1024:.1f} KiB each",
        f"{site.database.stat().st_size / size:.2f} of its size in the database",
    )
    goals = (at_least(rate, 1500), at_most(spent.memory, 150, " MiB"))
    row = Row(
        f"import of {name}, threads and index at once", f"{rate:,.0f}/s, {spent.memory:.0f} MiB", each, beside, goals
    )
    (folder / "archive.mbox").unlink()
    return row, site


def import_large(folder: Path, count: int) -> Row:
    """What `mailforum import` does with mails of 8 KiB, beside a bare parse, notmuch and mu."""
    row, _ = imported(folder, count, large_mails(count), f"{count:,} mails of 8 KiB")
    some = list(large_mails(min(count, BESIDE)))
    maildir = write_maildir(folder / "maildir", some)
    beside = [share_of(_parsed(some), "Python's email parser")]
    for name, index in (("notmuch", others.index_with_notmuch), ("mu", others.index_with_mu)):
        if references.tool(name):
            (folder / name).mkdir()
            started = time.monotonic()
            index(maildir, folder / name)
            beside.append(share_of(len(some) / (time.monotonic() - started), name))
    beside.append(f"{references.syncs(folder):,.0f} fdatasync/s")
    return Row(row.name, row.value, row.each, (*row.beside, *beside), row.goals)


def compared(folder: Path, count: int) -> list[Row]:
    """Our threads, in order and shuffled, beside those of other programs where all see the same, and the truth."""
    rows = compare.rows(
        compare.compare_made_up(folder / "clean", discussion(count, 1, "clean"), seed=1), "a clean archive"
    )
    for flavour in ("common", "bare", "office"):
        found = compare.compare_made_up(folder / flavour, discussion(count, 1, flavour), seed=1)
        rows += [row for row in compare.rows(found, f"a {flavour} archive") if "the truth" in row.name]
    return rows


def share_of(rate: float, what: str) -> str:
    """Say how fast something else is."""
    return f"{what} {rate:,.0f}/s"


def _parsed(mails: list[tuple[bytes, float]]) -> float:
    started = time.monotonic()
    for raw, _ in mails:
        email.message_from_bytes(raw)
    return len(mails) / (time.monotonic() - started)


def with_archive(folder: Path, count: int) -> list[Row]:
    """What an archive of `count` small mails costs to import, and how fast its list is afterwards."""
    row, site = imported(folder, count, small(count), f"{count:,} small mails")
    place = placing.placed(site.database, site.address("pmo"), count)
    return [row, place, _posting(folder, site, count)]


def _posting(folder: Path, full: Site, count: int) -> Row:
    """Post the same mails to an empty list and to one with an archive, in turns, so that other work hits both."""
    empty = Site(folder / "empty")
    empty.run("list", "create", "pmo")
    for site in (empty, full):
        site.run("list", "set", "pmo", "posting=anyone")
    mails = [raw for raw, _ in small(POSTS * (ROUNDS + 1), seed=2, start=time.time() - 30 * 86400)]
    rates: dict[Site, list[float]] = {empty: [], full: []}
    spent: dict[Site, list[float]] = {empty: [], full: []}
    with serving(empty.folder) as first, serving(full.folder) as second:
        servers = {empty: first, full: second}
        for number in range(ROUNDS + 1):  # the first one warms up
            for site in (empty, full) if number % 2 else (full, empty):
                server, batch = servers[site], mails[number * POSTS :][:POSTS]
                used = server.cpu
                rates[site].append(POSTS / post_all(server.port, site.address("pmo"), batch, SENDERS))
                spent[site].append((server.cpu - used) / POSTS * 1e6)
    rate = {site: median(rates[site][1:]) for site in rates}
    each = {site: fmean(spent[site][1:]) for site in spent}
    slower, dearer = 1 - rate[full] / rate[empty], each[full] / each[empty] - 1
    beside = (
        f"an empty list {rate[empty]:,.0f}/s, {each[empty]:,.0f} µs",
        f"slower by {slower:.1%}, CPU {dearer:+.1%}",
    )
    goals = (Goal("at most 10 % slower than an empty list", slower <= 0.10),)
    return Row(f"posts into a list with {count:,}", f"{rate[full]:,.0f}/s", each[full], beside, goals)
