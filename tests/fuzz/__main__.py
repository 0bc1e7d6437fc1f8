"""`make fuzz`: clients that say all kinds of things, and files that claim to be archives, for as long as one likes."""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from pathlib import Path

from tests.fuzz import boxes, lists
from tests.fuzz.house import House
from tests.fuzz.run import play

ROUND = 50  # examples with one seed
LEAK = 64 * 1024  # KiB that the peak of memory may grow after the first rounds


def main() -> None:
    """Play until the time is over; what goes wrong is raised, with the seed that shows it again."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; the next has the next number")
    parser.add_argument("--shrink", action="store_true", help="look for the shortest way to a failure; takes minutes")
    args = parser.parse_args()
    first = random.randrange(10**6) if args.seed is None else args.seed
    print(f"seed {first}, {args.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        try:
            rounds = _play_for(house, first, args.seconds, shrink=args.shrink)
        finally:
            house.close()
    print(f"{rounds * ROUND:,} examples, nothing found")


def _play_for(house: House, number: int, seconds: float, *, shrink: bool) -> int:
    end, rounds, settled = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        try:
            play(house, number + rounds, ROUND, shrink=shrink)
            boxes.play(number + rounds, ROUND)
            lists.play(house, number + rounds, ROUND // 5)
        except BaseException:
            print(f"to see it again: python -m tests.fuzz --seed {number + rounds} --seconds 1")
            raise
        rounds += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        settled = peak if rounds <= 3 else settled
        assert peak < settled + LEAK, f"memory grows: {settled} KiB at first, {peak} KiB now"
    return rounds


if __name__ == "__main__":
    main()
