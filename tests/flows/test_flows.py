"""Every folder beside this file that has a flow.txt is played against a real service."""

from pathlib import Path

import pytest

from tests.support.flow import Flow
from tests.support.site import running_site

IN_ORDER = {"delivery_connections": "1"}  # two would race
FLOWS = sorted(path.parent for path in Path(__file__).parent.glob("*/flow.txt"))


@pytest.mark.parametrize("folder", FLOWS, ids=lambda path: path.name)
async def test_flow(folder: Path, store: str, tmp_path: Path) -> None:
    async with running_site(tmp_path, store_url=f'"{store}"', **IN_ORDER) as site:
        await Flow(folder, site).play()
