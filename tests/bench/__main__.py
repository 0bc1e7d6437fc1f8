"""Measure speed on this machine, as a table.

    python -m tests.bench [--quick] [--million] [--folder DIR] [--option SECTION_NAME=VALUE] [NAME ...]

Each NAME is a part of a row's name in the list that --list prints (`intake`, `rsa`); without one all are
measured. Whole processes are measured: `mailforum serve` in one, senders and sinks in others. On a small or
a busy machine the figures say little; the ratios to what stands beside them, measured in the same run, say more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import archives, fanout, intake, large, limits, place, reading, searching, startup, subjects
from tests.bench.fanout import Case
from tests.bench.table import Row, head, show

Bench = Callable[[Path], Row | list[Row]]
MILLION, ARCHIVE_MILLION = "large million", "archive million"


def benches(quick: bool) -> dict[str, Bench]:
    """Return everything that can be measured, by name; `quick` does a fraction of the work."""
    posts, few = (1000, 1) if quick else (5000, 3)
    return {
        **_limits(),
        "intake": partial(intake.taken_in, posts=posts),
        "intake sending": partial(intake.while_sending, posts=posts // 5),
        **{f"fanout {name}": partial(fanout.sent, case=case, posts=few) for name, case in _cases(quick).items()},
        "first 1": partial(fanout.first, readers=1, posts=20),
        "first 10000": partial(fanout.first, readers=10_000, posts=few),
        "large": partial(large.fanned_out, readers=20_000 if quick else 100_000, wait=0.5),
        MILLION: partial(large.fanned_out, readers=1_000_000, wait=3.0),
        "restart": partial(large.restarted, readers=20_000 if quick else 100_000),
        "idle": partial(startup.idle, more_lists=0, starts=3 * few, seconds=5 * few),
        "idle lists": partial(startup.idle, more_lists=10_000, starts=few, seconds=5 * few),
        "big": intake.big,
        **_archives(quick),
    }


def _archives(quick: bool) -> dict[str, Bench]:
    mails = 1000 if quick else 10_000
    return {
        "import": partial(archives.import_large, count=mails),
        "import 100000": partial(archives.import_large, count=mails * 10),
        "archive": partial(archives.with_archive, count=10_000 if quick else 100_000),
        ARCHIVE_MILLION: partial(archives.with_archive, count=1_000_000),
        "search": partial(searching.searched, count=20_000 if quick else 100_000),
        "threads": partial(archives.compared, count=mails // 2),
        "thread page": reading.page,
        "subjects": partial(subjects.subjects, mails=mails // 3, rounds=2 if quick else 6),
    }


def _limits() -> dict[str, Bench]:
    signing = {
        f"limits {kind} {cores}": (lambda _, kind=kind, cores=cores: limits.signing(kind, cores))
        for kind in ("rsa2048", "ed25519")
        for cores in limits.ONE_AND_ALL
    }
    return {
        "limits syncs": limits.syncs,
        **signing,
        "limits wire 1": lambda _: limits.wire(1),
        "limits wire 100": lambda _: limits.wire(100),
        "limits slow sink": lambda _: limits.slow_sink(),
        "limits postfix": limits.smtpd,
        "limits mlmmj verp": partial(limits.mlmmj, verp=True),
        "limits mlmmj bulk": partial(limits.mlmmj, verp=False),
    }


def _cases(quick: bool) -> dict[str, Case]:
    many = 2000 if quick else 10_000
    return {
        "personal": Case(many, reach=6000),
        "ed25519": Case(many, keys=("ed25519",), reach=5000),
        "rsa": Case(many, keys=("rsa",), signed=0.85),
        "both": Case(many, keys=("rsa", "ed25519"), signed=0.85),
        "shared": Case(many, personal=False, reach=60_000),
        "60 KiB": Case(many // 2, size=60 * 1024, reach=4000),
        "slow 5 ms": Case(many, delay=0.005),
        "slow 50 ms": Case(many // 2, delay=0.05),
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of the names of the rows to measure")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--quick", action="store_true", help="do less of everything")
    parser.add_argument(
        "--million",
        action="store_true",
        help="with a list of a million also when --quick, and with an archive of a million",
    )
    parser.add_argument("--folder", help="where the databases are put (a folder on the disk to be measured)")
    parser.add_argument(
        "--option", action="append", default=[], help="an option of every site, as delivery_connections=8"
    )
    args = parser.parse_args()
    place.given_options.update(option.split("=", 1) for option in args.option)
    named = [name for name in benches(args.quick) if _wanted(name, args)]
    if args.list:
        print("\n".join(named))
        return 0
    head()
    for name in named:
        _measure(benches(args.quick)[name], args.folder)
    return 0


def _wanted(name: str, args: argparse.Namespace) -> bool:
    if ((name == MILLION and args.quick) or name == ARCHIVE_MILLION) and not args.million:
        return name in args.names
    return not args.names or any(wanted in name for wanted in args.names)


def _measure(bench: Bench, parent: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        Path(folder).chmod(0o755)  # Postfix has its queue in there
        found = bench(Path(folder))
    for row in found if isinstance(found, list) else [found]:
        show(row)


if __name__ == "__main__":
    sys.exit(main())
