"""When a database counts as a copy that was put back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from mailforum.store import fence
from mailforum.store.connection import connect
from mailforum.store.migrate import migrate
from mailforum.store.sqlite import SqliteTx, queries


@pytest.mark.parametrize(
    ("served", "copied_at", "beside", "restored"),
    [
        (0, None, None, False),  # the first start
        (0, None, 3, True),  # a new database in the place of one that was served
        (3, None, 3, False),  # a restart
        (3, None, 2, False),  # a crash between the database and the file
        (3, None, 4, True),  # an older copy
        (3, None, None, True),  # a copy somewhere else
        (3, 1e9, 3, True),  # a backup, put back before any other start
        (0, 1e9, None, True),  # a backup of a database that was never served
    ],
)
def test_a_copy_is_known(
    tmp_path: Path, served: int, copied_at: float | None, beside: int | None, restored: bool
) -> None:
    migrate(tmp_path / "test.db")
    with contextlib.closing(connect(tmp_path / "test.db")) as connection:
        tx = SqliteTx(connection, queries())
        connection.execute("UPDATE fence SET served = ?, copied_at = ?", (served, copied_at))
        start = fence.start(tx, beside)
        assert (start.restored, start.copied_at) == (restored, copied_at)
        assert start.served > max(served, beside or 0)
        assert fence.start(tx, start.served).restored is False, "the next start is a restart"


@pytest.mark.parametrize(
    ("served", "copied_at", "beside", "restored"),
    [
        (3, None, None, False),  # a host that has never served it
        (3, None, 2, False),  # others have started since
        (3, None, 4, True),  # an older copy, or a standby that had not heard of our last start
        (3, 1e9, 3, True),  # a backup
    ],
)
def test_a_copy_is_known_where_many_hosts_serve(
    tmp_path: Path, served: int, copied_at: float | None, beside: int | None, restored: bool
) -> None:
    migrate(tmp_path / "test.db")
    with contextlib.closing(connect(tmp_path / "test.db")) as connection:
        tx = SqliteTx(connection, queries())
        connection.execute("UPDATE fence SET served = ?, copied_at = ?", (served, copied_at))
        assert fence.start(tx, beside, many_hosts=True).restored is restored
        if restored:  # and no host that has started a little later than this one takes it for one again
            assert fence.start(tx, (beside or 0) + 100, many_hosts=True).restored is False


def test_the_marker_is_read_as_it_was_written_and_nonsense_is_none(tmp_path: Path) -> None:
    marker = fence.Marker.of(tmp_path / "test.db")
    assert marker.read() is None
    marker.write(7)
    assert marker.read() == 7
    marker.path.write_text("seven")
    assert marker.read() is None
    assert [path.name for path in tmp_path.iterdir()] == ["test.db.served"]
