"""What all tests share."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import postgres
from tests.support.site import Site, running_site
from tests.support.stores import STORES, new_store

# Machines are slow at times; a property does not become false by that.
# A run that decides over a change looks at the same examples as the last one.
settings.register_profile(
    "mailforum", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("mailforum")


def pytest_xdist_auto_num_workers() -> int:
    """Three for two processors: a good part of the time of many tests is waiting."""
    return (os.cpu_count() or 1) * 3 // 2


@pytest.fixture
async def site(store: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A running service with a sink for a relay."""
    async with running_site(tmp_path, store_url=f'"{store}"') as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a `store`, or a `site` on one, runs on each. Where databases are all one, a file has
    `STORES = ["sqlite"]` in it, or a test that takes long is marked with `stores.one_store`."""
    if "store" in metafunc.fixturenames:
        some = getattr(metafunc.function, "STORES", None) or getattr(metafunc.module, "STORES", STORES)
        metafunc.parametrize("store", some, indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database, of each kind, as `open_database` finds it."""
    with new_store(request.param, tmp_path) as url:
        yield url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested is said where nobody overlooks it."""
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if postgres.MISSING in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("NOT TESTED", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests were skipped: {postgres.MISSING}.", red=True, bold=True)
        terminalreporter.line("apt-get install postgresql, or pip install 'mailforum[postgres-server]', gives it one.")
