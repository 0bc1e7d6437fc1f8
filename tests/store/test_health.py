"""What `mailforum check --repair` finds and mends on PostgreSQL; the same as on SQLite (tests/cli/test_repair.py)."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mailforum.forum import dispatch, posts, repair, route
from mailforum.forum.site import Incoming, Site
from mailforum.mail import address
from mailforum.mail.token import Signer
from mailforum.model import Envelope, Mode, Role
from mailforum.settings import ListSettings
from mailforum.store import health, lists
from mailforum.store.database import Tx
from tests.cli.test_repair import FAULTS
from tests.support.stores import session_of, transaction

DOMAIN = "lists.example.test"
PMO = f"pmo@{DOMAIN}"
SITE = Site(DOMAIN, f"admin@{DOMAIN}", Signer((b"a key of 32 bytes or of some more",)))
NOW = 1_700_000_000.0
# The server keeps rows from referring to what is gone, except where it is told not to.
BY_HAND = "SET LOCAL session_replication_role = replica; {}; SET LOCAL session_replication_role = origin"


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    """Three posts: the second answers the first; each waits for two members."""
    with transaction("postgres", tmp_path) as tx:
        list_id = lists.add(tx, PMO, "PMO", ListSettings(), 1.0)
        assert list_id
        for member in ("ada@example.org", "bob@example.com"):
            lists.add_member(tx, list_id, member, member, "", Role.MEMBER, Mode.EACH, 1.0)
        for name, above in (("a", ""), ("b", "In-Reply-To: <a@example.org>\r\n"), ("c", "")):
            head = (
                f"From: Ada <ada@example.org>\r\nSubject: Hello {name}\r\nMessage-ID: <{name}@example.org>\r\n{above}"
            )
            msg, raw = posts.parse(f"{head}\r\nHello all.\r\n".encode() + b"and more\r\n" * 100)
            way = route.find(tx, PMO, DOMAIN)
            envelope = Envelope(address.envelope("ada@example.org"), (way,))
            dispatch.handle(tx, Incoming(SITE, envelope, way, msg, raw, NOW))
        yield tx


def by_hand(tx: Tx, sql: str) -> str | None:
    result = session_of(tx).simple(sql if sql.startswith("SELECT") else BY_HAND.format(sql))
    value = result.get_value(0, 0) if result.ntuples else None
    return None if value is None else {"t": "1"}.get(value.decode(), value.decode())


@pytest.mark.parametrize("name", [name for name in FAULTS if "full_text (rowid" not in FAULTS[name][0]])
def test_what_must_never_be_is_found_and_put_right(tx: Tx, name: str) -> None:
    assert repair.find(tx) == []
    sql, what, now_is, value = FAULTS[name]
    by_hand(tx, sql)
    assert what in [fault.what for fault in repair.find(tx)]
    assert what in [fault.what for fault in repair.mend(tx, NOW)]
    assert repair.find(tx) == []
    assert by_hand(tx, now_is) == (None if value is None else str(value))


def test_what_is_missing_in_an_index_is_found_and_the_index_made_anew(tx: Tx) -> None:
    try:
        session_of(tx).simple("SAVEPOINT before; CREATE EXTENSION amcheck")
    except psycopg.Error:
        pytest.skip("this server has no amcheck")
    assert health.problems(tx) == []
    ready = "UPDATE pg_index SET indisready = {} WHERE indexrelid = CAST('post_date' AS REGCLASS)"
    session_of(tx).simple(f"{ready.format(False)}; UPDATE post SET date = 7 WHERE id = 2; {ready.format(True)}")
    (problem,) = health.problems(tx)
    assert problem.startswith("the index post_date of the table post: ")
    health.reindex(tx)
    assert health.problems(tx) == []


def test_without_a_right_to_look_nothing_is_found(tx: Tx) -> None:
    assert health.problems(tx) == []


def test_with_a_list_its_deliveries_go(tx: Tx) -> None:
    assert by_hand(tx, "SELECT count(*) FROM delivery") == "6"
    lists.delete(tx, 1)
    assert by_hand(tx, "SELECT count(*) FROM delivery") == "0"
