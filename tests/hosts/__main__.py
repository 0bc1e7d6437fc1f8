"""Two hosts, one database, and everything that can happen between them; then the books.

    python -m tests.hosts --rounds 3 --seed 7

As root, on a network that this process makes for itself: a namespace each for PostgreSQL and two `mailforum serve`,
joined by two bridges. Senders post to lists of up to 10,000 members, at whichever host takes it. While a post to all
of them is on its way, hosts are killed, lose their power, stall past their lease, cables are pulled, and PostgreSQL
is restarted or killed. Then the books must say: nothing lost, torn or damaged; second copies only of what
connections had under way when it happened, one transaction each at most; and each of them is named in a log.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

import tests.hosts.__main__ as me
from tests.hosts import stage
from tests.hosts.game import CONNECTIONS, LISTS, Result, play
from tests.hosts.troubles import TROUBLES
from tests.support import postgres


def table(result: Result) -> str:
    """Return what happened, to be read by people."""
    verdict = result.verdict
    rows = [(name, str(count)) for name, count in result.troubles.items()]
    rows += [
        ("posts accepted", str(result.posts)),
        ("posts given up by their sender unanswered", str(result.given_up)),
        (f"deliveries, to lists of up to {LISTS[0].size} members", str(result.deliveries)),
        *((f"  by host {name}", str(count)) for name, count in sorted(result.by_host.items())),
        ("lost", str(len(verdict.lost))),
        ("torn", str(len(verdict.torn))),
        ("damaged", str(len(verdict.damaged))),
        ("still waiting", str(result.waiting)),
        ("second copies", str(result.repeated)),
        ("  not named in a log as uncertain", str(len(result.seconds_untold))),
        ("hosts that were lost", str(result.losses)),
        ("transactions repeated", f"{result.transactions} of at most {result.most} ({CONNECTIONS} connections each)"),
        ("seconds", f"{result.seconds:.0f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def main() -> int:
    """Run from the command line; exit status 1 when the promise was not kept. A line says why it cannot be played."""
    parser = argparse.ArgumentParser(description=me.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how often each trouble happens (1)")
    parser.add_argument("--troubles", type=int, default=10**6, help="end after so many")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no trouble after so long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="only troubles with this in their name")
    parser.add_argument("--roles", nargs=2, default=("all", "all"), help="of the two hosts (all all)")
    parser.add_argument("--keep", type=Path, help="play in this empty folder, and leave everything there")
    args = parser.parse_args()
    if why := stage.missing() or postgres.missing():
        print(f"NOT TESTED: what two hosts do on a network of their own: {why}")
        return 0
    stage.enter()
    rng = random.Random(args.seed)
    some = [trouble for trouble in TROUBLES if args.only in trouble.name]
    troubles = [trouble for _ in range(args.rounds) for trouble in rng.sample(some, len(some))][: args.troubles]
    with tempfile.TemporaryDirectory() as folder:
        place = args.keep or Path(folder)
        game = play(place, troubles=troubles, seed=args.seed, seconds=args.seconds, roles=tuple(args.roles))
        result = asyncio.run(game)
    print(f"seed {args.seed}\n{table(result)}")
    for line in result.bad[:50]:
        print(f"BROKEN: {line}")
    return int(bool(result.bad))


if __name__ == "__main__":
    sys.exit(main())
