from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

import tests.chaos
from tests.chaos.game import CONNECTIONS, RECIPIENTS, Result, play
from tests.chaos.stages import STAGES


def table(result: Result) -> str:
    """Return what happened, to be read by people."""
    verdict = result.verdict
    worst = max(verdict.repeated.values(), default=0)
    most = max(map(len, verdict.transactions.values()), default=0)
    rows = [(name, str(count)) for name, count in result.kills.items()]
    rows += [(f"not reached: {name}", str(count)) for name, count in result.missed.items()]
    rows += [
        ("kills", str(result.kills.total() + result.missed.total())),
        ("posts accepted", str(result.posts)),
        ("posts given up by their sender unanswered", str(result.given_up)),
        ("deliveries", str(result.deliveries)),
        ("lost", str(len(verdict.lost))),
        ("torn", str(len(verdict.torn))),
        ("damaged", str(len(verdict.damaged))),
        ("second copies", str(result.second_copies)),
        ("  without a crash", str(len(verdict.avoidable))),
        ("  not named in the log as uncertain", str(len(verdict.untold))),
        ("worst kill: second copies", f"{worst} of at most {CONNECTIONS * RECIPIENTS} (connections x recipients)"),
        ("worst kill: transactions repeated", f"{most} of at most {CONNECTIONS} (connections)"),
        ("seconds", f"{result.seconds:.0f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def main() -> int:
    """Run from the command line; exit status 1 when the promise was not kept."""
    parser = argparse.ArgumentParser(description=tests.chaos.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="end after so many (200)")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after so long, if that is sooner")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--processes", type=int, default=1, help="that send ([delivery] processes)")
    parser.add_argument("--stage", help="only stages with this in their name")
    parser.add_argument("--keep", type=Path, help="play in this empty folder, and leave everything there")
    args = parser.parse_args()
    stages = [stage for stage in STAGES if (args.stage or "") in stage.name]
    with tempfile.TemporaryDirectory() as folder:
        place = args.keep or Path(folder)
        game = play(
            place,
            kills=args.kills,
            seconds=args.seconds,
            seed=args.seed,
            stages=stages,
            processes=args.processes,
        )
        result = asyncio.run(game)
    print(f"seed {args.seed}\n{table(result)}")
    never = [name for name, count in result.missed.items() if count > 2 and not result.kills[name]]
    for line in [*result.bad[:50], *(f"never reached: {name}" for name in never)]:
        print(f"BROKEN: {line}")
    return int(bool(result.bad or never))


if __name__ == "__main__":
    sys.exit(main())
