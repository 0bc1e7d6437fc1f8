"""What tests of the forum share."""

from collections.abc import Iterator

import pytest

from mailforum.store.database import Tx
from tests.support.stores import STORES, transaction


@pytest.fixture(scope="module", params=STORES)
def tx(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tx]:
    """A transaction on a database of each kind, for all tests of a file: `undone` gives each a new list."""
    with transaction(request.param, tmp_path_factory.mktemp("store")) as tx:
        yield tx
