"""Two hosts that decide about the same at the same moment: some of the races of tests/races."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.races.games import GAMES
from tests.races.hosts import Hosts, hosts, play
from tests.support.postgres import database_url

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[True, False], ids=["locked", "unlocked"])
async def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hosts]:
    with database_url() as url:
        async with hosts(url, tmp_path_factory.mktemp("races"), seed=5, locked=request.param) as opened:
            yield opened


@pytest.mark.parametrize("both", [True], indirect=True, ids=["locked"])
@pytest.mark.parametrize("name", GAMES)
async def test_whoever_comes_second_sees_what_the_first_has_done(name: str, both: Hosts) -> None:
    assert [fault async for fault in play(GAMES[name], both, rounds=6)] == []


@pytest.mark.parametrize("both", [False], indirect=True, ids=["unlocked"])
@pytest.mark.parametrize("name", [name for name, game in GAMES.items() if game.guarded])
async def test_if_they_did_not_wait_for_each_other_it_would_go_wrong(name: str, both: Hosts) -> None:
    async for fault in play(GAMES[name], both, rounds=200):
        assert fault
        return
    pytest.fail("it does not need what they wait for")
