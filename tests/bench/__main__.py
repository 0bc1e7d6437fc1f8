"""Measure speed on this machine, as a table.

    python -m tests.bench [--quick] [--folder DIR] [NAME ...]

Each NAME is a part of a row's name (`intake`, `rsa`); without one all rows are measured. Whole
processes are measured: `mailforum serve` in one, senders and sinks in others. On a small or a busy
machine the figures say little; the ratios to what stands beside them, measured in the same run, say more.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import fanout, intake, startup
from tests.bench.fanout import Case
from tests.bench.place import Row

Bench = Callable[[Path], Row]


def benches(quick: bool) -> dict[str, Bench]:
    """Return every row by name; `quick` does a fraction of the work."""
    posts, few, many = (1000, 500, 2000) if quick else (5000, 1000, 10_000)
    keyed: tuple[tuple[str, ...], ...] = (("ed25519",), ("rsa",), ("rsa", "ed25519"))
    cases = [Case(readers, personal) for readers in (few, many) for personal in (False, True)]
    cases += [Case(many, keys=keys) for keys in keyed]
    cases += [Case(few, size=60 * 1024), Case(few, delay=0.005, connections=32)]
    cases += [Case(many, False, delay=0.005, connections=4)]
    rows: dict[str, Bench] = {
        "startup": lambda folder: startup.ready(folder, 3 if quick else 7),
        "idle": lambda folder: startup.idle(folder, 3 if quick else 10),
        "intake": lambda folder: intake.taken_in(folder, posts),
        "intake sending": lambda folder: intake.taken_in(folder, posts // 5, sending=True),
        "first": fanout.first,
    }
    for case in cases:
        rows[f"fanout {case.name}"] = lambda folder, case=case: fanout.sent(folder, case, 2 if quick else 3)  # type: ignore[misc]
    for personal in (False, True):
        count = 10_000 if quick else 100_000
        rows[f"large {'personal' if personal else 'shared'}"] = lambda folder, personal=personal, count=count: (  # type: ignore[misc]
            fanout.large(folder, count, personal=personal)
        )
    rows["import"] = lambda folder: imported(1000 if quick else 5000)
    return rows


def imported(count: int) -> Row:
    """What tests/bench/importing.py says."""
    command = [sys.executable, "-m", "tests.bench.importing", str(count)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^import +.* (\d+)/s +peak (\d+) MB", out, re.MULTILINE)
    assert found, out
    return Row(f"import of {count:,} mails", f"{int(found[1]):,} mails/s", notes=(f"peak {found[2]} MiB",))


def show(row: Row) -> None:
    """Print one line of the table."""
    each = f"{row.each:,.0f} µs" if row.each is not None else ""
    ratio = f"{row.ratio:.2f} of" if row.ratio is not None else ""
    beside = "; ".join(filter(None, [f"{ratio} {row.beside}".strip(), *row.notes]))
    print(f"{row.name:<58} {row.value:>22} {each:>10}  {beside}", flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of the names of the rows to measure")
    parser.add_argument("--quick", action="store_true", help="do less of everything")
    parser.add_argument("--folder", help="where the databases are put (a folder on the disk to be measured)")
    args = parser.parse_args()
    print(f"{'what':<58} {'rate':>22} {'CPU each':>10}  beside")
    for name, bench in benches(args.quick).items():
        if not args.names or any(wanted in name for wanted in args.names):
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                show(bench(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
