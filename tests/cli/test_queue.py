from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mailforum import config
from mailforum.model import State, Status
from mailforum.store import queue
from mailforum.store.sqlite import open_sqlite
from tests.cli.conftest import Forum, lines


def settle(forum: Forum, *states: State) -> None:
    """Let the first deliveries end as `states` say, as if a server had tried them."""

    async def work() -> None:
        db = await open_sqlite(config.load(Path(forum.config)).database)
        try:
            taken = await db.read(lambda tx: queue.take(tx, 1e12, {}, 1000))
            ended = [
                (due, Status(state, "4.2.2", "mailbox\x1b full"), 2e9)
                for due, state in zip(sorted(taken.due), states, strict=False)
            ]
            await db.write(lambda tx: queue.settle(tx, [queue.Mark(0, ended)], 1e9))
        finally:
            await db.close()

    asyncio.run(work())


@pytest.fixture
def mixed(pmo: Forum) -> Forum:
    """Deliveries 1 to 4: sent, deferred, failed, queued."""
    pmo.post("one@example.org")
    pmo.post("two@example.org")
    settle(pmo, State.SENT, State.DEFERRED, State.FAILED)
    return pmo


def states(forum: Forum) -> dict[int, str]:
    return {row["id"]: row["state"] for row in forum.rows("queue", "ls", "--state", "all")}


def test_queue_stats_counts_every_state(pmo: Forum) -> None:
    empty = dict.fromkeys(("queued", "to_come", "deferred", "paused", "failed", "sent"), 0)
    assert pmo.rows("queue", "stats") == [
        {**empty, "oldest_seconds": None, "next_due": None, "domains": [], "lists": []}
    ]


def test_queue_stats_says_how_old_the_oldest_is(mixed: Forum) -> None:
    row = mixed.rows("queue", "stats")[0]
    assert 0 <= row["oldest_seconds"] < 60
    assert [row[state] for state in ("queued", "to_come", "sent", "deferred", "failed")] == [1, 0, 1, 1, 1]
    assert "deferred: 1" in lines(mixed.run("queue", "stats"))


def test_queue_stats_says_what_waits_for_whom(mixed: Forum) -> None:
    row = mixed.rows("queue", "stats")[0]
    assert [(one["domain"], one["waiting"], one["deferred"]) for one in row["domains"]] == [("example.com", 2, 1)]
    assert [(one["list"], one["waiting"]) for one in row["lists"]] == [("pmo@lists.example.test", 2)]
    out = lines(mixed.run("queue", "stats"))
    assert "DOMAIN WAITING DEFERRED OLDEST SECONDS" in out
    assert any(line.startswith("pmo@lists.example.test 2 ") for line in out)


def test_queue_ls_has_what_was_not_sent(mixed: Forum) -> None:
    rows = mixed.rows("queue", "ls")
    assert [(row["id"], row["state"], row["rcpt"]) for row in rows] == [
        (2, "deferred", "bob@example.com"),
        (3, "failed", "ada@example.org"),
        (4, "queued", "bob@example.com"),
    ]
    assert rows[0]["due"] == "2033-05-18T03:33:20Z"
    assert rows[1]["due"] is None
    assert states(mixed) == {1: "sent", 2: "deferred", 3: "failed", 4: "queued"}
    assert [row["id"] for row in mixed.rows("queue", "ls", "--state", "sent")] == [1]
    assert lines(mixed.run("queue", "ls"))[1] == "2 deferred bob@example.com 1 2033-05-18T03:33:20Z mailbox full"


def test_queue_show_names_the_post_and_what_the_relay_said(mixed: Forum) -> None:
    row = mixed.rows("queue", "show", "3")[0]
    assert (row["kind"], row["post"], row["message_id"]) == ("post", "2.1", "<two@example.org>")
    assert (row["status"], row["reply"], row["attempts"]) == ("4.2.2", "mailbox\x1b full", 1)
    assert row["mail_from"] == "pmo-bounces@lists.example.test"
    assert "\x1b" not in mixed.run("queue", "show", "3").out


def test_queue_show_names_the_text_of_a_notice(pmo: Forum) -> None:
    pmo.run("member", "add", "pmo", "eve@example.net")
    row = pmo.rows("queue", "show", "1")[0]
    assert (row["kind"], row["text"], row["post"], row["list"]) == (
        "notice",
        "notice/welcome",
        None,
        "pmo@lists.example.test",
    )


def test_queue_retry_makes_one_or_all_due(mixed: Forum) -> None:
    assert mixed.run("queue", "retry", "--all").out == "1 due now\n"
    assert states(mixed) == {1: "sent", 2: "queued", 3: "failed", 4: "queued"}
    assert mixed.run("queue", "retry", "3").out == "1 due now\n"
    assert states(mixed)[3] == "queued"
    assert mixed.fails("queue", "retry", "1") == "there is no delivery 1 that waits or has failed"
    assert mixed.fails("queue", "retry", "0").startswith("there is no delivery 0")
    assert mixed.run("queue", "retry", "--all").out == "0 due now\n"


def test_queue_drop_gives_up_what_waits(mixed: Forum) -> None:
    assert mixed.run("queue", "drop", "4").out == "dropped 4\n"
    assert states(mixed)[4] == "failed"
    assert mixed.fails("queue", "drop", "4") == "there is no delivery 4 that waits"
    assert mixed.fails("queue", "show", "99") == "there is no delivery 99 (any more)"


def test_digest_due_says_when_and_how_much(pmo: Forum) -> None:
    pmo.run("member", "set", "pmo", "bob@example.com", "mode=digest")
    pmo.run("list", "create", "news", "--preset", "announce")
    pmo.post()
    (row,) = pmo.rows("digest", "due")
    assert (row["list"], row["posts"], row["readers"]) == ("pmo@lists.example.test", 1, 1)
    assert row["due"].endswith("T07:00:00Z")


def test_digest_send_queues_what_is_new_once(pmo: Forum) -> None:
    pmo.run("member", "set", "pmo", "bob@example.com", "mode=digest")
    assert pmo.run("digest", "send", "pmo").out == "no new posts, so no digest\n"
    pmo.post()
    assert pmo.run("digest", "send", "pmo").out == (
        "pmo@lists.example.test: digest 1 with 1 post queued to 1 reader; it leaves when the server runs\n"
    )
    kinds = [pmo.rows("queue", "show", str(row["id"]))[0]["kind"] for row in pmo.rows("queue", "ls")]
    assert kinds == ["post", "digest"]
    assert pmo.run("digest", "send", "pmo").out == "no new posts, so no digest\n"


def test_a_digest_sent_to_one_address_stays_due(pmo: Forum) -> None:
    pmo.post()
    for _ in range(2):
        assert (
            "digest 1 with 1 post queued to 1 reader" in pmo.run("digest", "send", "pmo", "--to", "eve@example.net").out
        )
    assert pmo.rows("digest", "due")[0]["posts"] == 1
    assert [row["rcpt"] for row in pmo.rows("queue", "ls")][-1] == "eve@example.net"
    assert pmo.fails("digest", "send", "pmo", "--to", "nobody").startswith("nobody: This is not an address")
