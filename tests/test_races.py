"""Two hosts that decide about the same at the same moment: a few of the races of tests/races."""

from pathlib import Path

import pytest

from tests.races.games import GAMES
from tests.races.hosts import hosts
from tests.support.postgres import database_url


async def play(name: str, folder: Path, rounds: int, *, locked: bool) -> list[str]:
    """Play a game; return what went wrong."""
    faults = []
    with database_url() as url:
        async with hosts(url, folder, seed=rounds, locked=locked) as both:
            for number in range(rounds):
                try:
                    await GAMES[name].play(both)
                except AssertionError as fault:
                    faults.append(f"{number}: {fault}")
                    if not locked:
                        break
    return faults


@pytest.mark.parametrize("name", GAMES)
async def test_whoever_comes_second_sees_what_the_first_has_done(name: str, tmp_path: Path) -> None:
    assert await play(name, tmp_path, 10, locked=True) == []


@pytest.mark.parametrize("name", [name for name, game in GAMES.items() if game.guarded])
async def test_without_what_they_wait_for_it_goes_wrong(name: str, tmp_path: Path) -> None:
    assert await play(name, tmp_path, 100, locked=False)
