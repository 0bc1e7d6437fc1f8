"""What an admin sees of mail that comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mailforum import config
from mailforum.forum import bounces
from mailforum.model import State, Status
from mailforum.store import lists
from mailforum.store.database import Tx
from mailforum.store.sqlite import open_sqlite
from tests.cli.conftest import Forum, lines

REPLY = "550 5.1.1 <bob@example.com>: User\x1b[31m unknown"


def fail(forum: Forum, to: str, reply: str = REPLY) -> None:
    """Let mail to a member fail, as if the next hop had refused it."""

    def unit(tx: Tx) -> None:
        mlist = lists.every(tx)[0]
        member = lists.member(tx, mlist.id, to)
        assert member
        bounces.failed(tx, member.id, 1, Status(State.FAILED, "5.1.1", reply), 1_763_820_300.0)

    async def work() -> None:
        db = await open_sqlite(config.load(Path(forum.config)).database)
        try:
            await db.write(unit)
        finally:
            await db.close()

    asyncio.run(work())


@pytest.fixture
def failing(pmo: Forum) -> Forum:
    """The list pmo, and mail to Bob has come back."""
    fail(pmo, "bob@example.com")
    return pmo


def test_a_list_whose_mail_arrives_has_nothing_to_show(pmo: Forum) -> None:
    assert lines(pmo.run("bounce", "ls", "pmo")) == ["ADDRESS STATE POINTS LAST REPLY"]
    assert pmo.rows("bounce", "ls", "pmo") == []


def test_members_whose_mail_came_back_are_shown_with_the_reason(failing: Forum) -> None:
    (row,) = failing.rows("bounce", "ls", "pmo")
    assert row["address"] == "bob@example.com"
    assert row["state"] == "counting"
    assert row["limit"] == 6
    assert row["last"] == "2025-11-22T14:05:00Z"
    assert row["status"] == "5.1.1"
    _, line = lines(failing.run("bounce", "ls", "pmo"))
    assert line.startswith("bob@example.com counting ")
    assert "User [31m unknown" in line


def test_one_member_is_shown_with_the_last_failures(failing: Forum) -> None:
    (row,) = failing.rows("bounce", "show", "pmo", "bob@example.com")
    assert row["member"] == "active"
    assert [one["kind"] for one in row["failures"]] == ["hard"]
    shown = failing.run("bounce", "show", "pmo", "bob@example.com").out
    assert "state:   counting" in shown
    assert "2025-11-22T14:05:00Z  hard  5.1.1" in shown


def test_a_member_whose_mail_arrives_is_shown_too(pmo: Forum) -> None:
    (row,) = pmo.rows("bounce", "show", "pmo", "bob@example.com")
    assert (row["state"], row["points"], row["last"], row["failures"]) == ("none", 0, None, [])


def test_clear_starts_again(failing: Forum) -> None:
    said = failing.run("bounce", "clear", "pmo", "bob@example.com").out
    assert said == "bob@example.com starts again; status active\n"
    assert failing.rows("bounce", "ls", "pmo") == []


def test_setting_the_status_starts_again_as_well(failing: Forum) -> None:
    failing.run("member", "set", "pmo", "bob@example.com", "status=active")
    assert failing.rows("bounce", "ls", "pmo") == []
    assert failing.fails("member", "set", "pmo", "bob@example.com", "status=bouncing") == (
        "status takes active or suspended, not `bouncing`"
    )


@pytest.mark.parametrize("verb", ["show", "clear"])
def test_who_is_no_member_is_explained(pmo: Forum, verb: str) -> None:
    assert (
        pmo.fails("bounce", verb, "pmo", "eve@example.net") == "eve@example.net is no member of pmo@lists.example.test"
    )
