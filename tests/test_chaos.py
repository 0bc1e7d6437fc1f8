"""The promise after a 250, with real processes and real kills (a longer run: `make chaos`)."""

from pathlib import Path

import pytest

from tests import chaos


@pytest.mark.timeout(180)
async def test_nothing_that_was_answered_with_250_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    result = await chaos.run(kills=4, seed=7, members=40, folder=tmp_path)
    assert result.posts > 3
    assert result.good, result
