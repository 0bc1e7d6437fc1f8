from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

import tests.races
from tests.races.games import GAMES
from tests.races.hosts import hosts, play
from tests.support import postgres
from tests.support.postgres import database_url


def main() -> int:
    """Run from the command line; exit status 1 when something has come out wrong."""
    parser = argparse.ArgumentParser(description=tests.races.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="of each game (300)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--game", choices=GAMES, help="only this one")
    parser.add_argument("--unlocked", action="store_true", help="nobody waits for anybody")
    args = parser.parse_args()
    if why := postgres.missing():
        print(f"NOT TESTED: two hosts that decide at the same moment: {why}")
        return 0
    logging.disable()
    print(f"seed {args.seed}, {args.rounds} rounds of each game")
    wrong = asyncio.run(_play_all(args))
    print("nothing came out wrong" if not wrong else f"{wrong} came out wrong")
    return int(bool(wrong))


async def _play_all(args: argparse.Namespace) -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, database_url() as url:
        async with hosts(url, Path(folder), args.seed, locked=not args.unlocked) as both:
            for name in [args.game] if args.game else GAMES:
                started = time.monotonic()
                faults = [fault async for fault in play(GAMES[name], both, args.rounds)]
                print(f"{name:<24} {len(faults):>6} wrong  {time.monotonic() - started:6.1f} s", flush=True)
                print("".join(f"    {fault}\n" for fault in faults[: 0 if args.unlocked else 3]), end="")
                wrong += len(faults)
    return wrong


sys.exit(main())
