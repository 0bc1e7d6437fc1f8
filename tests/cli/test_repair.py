"""`mailforum check --repair`: each fault made by hand, found, put right, and found no more."""

from __future__ import annotations

import contextlib
import re
import sqlite3

import pytest

from mailforum.store.lock import alone
from mailforum.store.sqlite import queries
from tests.cli.conftest import Forum
from tests.support.disk import damage
from tests.support.site import run_cli

# What is done by hand; what `check` says of it; what the table says when it is put right. For both databases
# (tests/store/test_health.py).
FAULTS: dict[str, tuple[str, str, str, object]] = {
    "a post without its body": (
        "DELETE FROM body WHERE post_id = 1",
        "post 1.1 of pmo@lists.example.test has no body",
        "SELECT count(*) FROM body WHERE post_id = 1 AND length(raw) < 400",  # a note, not what was there
        1,
    ),
    "a body without its post": (
        "INSERT INTO body VALUES (99, 'x')",
        "1 rows of body refer by post_id to a post that is gone",
        "SELECT count(*) FROM body WHERE post_id = 99",
        0,
    ),
    "a delivery whose member is gone": (
        "UPDATE delivery SET member_id = 99 WHERE id = 1",
        "delivery 1 to ada@example.org waits, but its member has left",
        "SELECT count(*) FROM delivery WHERE id = 1",
        0,
    ),
    "a circle": (
        "UPDATE post SET parent_id = 2 WHERE id = 1",
        "post 1.2 of pmo@lists.example.test answers itself, in a circle",
        "SELECT count(*) FROM post WHERE parent_id IS NULL AND id IN (1, 3) OR parent_id = 1 AND id = 2",
        3,
    ),
    "a post that answers itself": (
        "UPDATE post SET parent_id = 3 WHERE id = 3",
        "post 2.1 of pmo@lists.example.test answers itself, in a circle",
        "SELECT parent_id FROM post WHERE id = 3",
        None,
    ),
    "a parent in another thread": (
        "UPDATE post SET thread_id = 2 WHERE id = 2",
        "post 1.2 of pmo@lists.example.test answers one of another thread",
        "SELECT thread_id FROM post WHERE id = 2",
        1,
    ),
    "a post whose thread is gone": (
        "UPDATE post SET thread_id = 99 WHERE id = 3",
        "1 rows of post refer by thread_id to a thread that is gone",
        "SELECT number FROM post JOIN thread ON thread.id = thread_id WHERE post.id = 3",
        3,
    ),
    "a thread without posts": (
        "INSERT INTO thread (list_id, number, subject, created_at) VALUES (1, 3, 'x', 1);"
        "UPDATE list SET last_thread = 3",
        "thread #3 of pmo@lists.example.test has no posts",
        "SELECT count(*) FROM thread WHERE number = 3",
        0,
    ),
    "a thread that was merged and has posts": (
        "UPDATE thread SET merged_into = 1 WHERE id = 2",
        "thread #2 of pmo@lists.example.test has posts, but was merged",
        "SELECT merged_into FROM thread WHERE id = 2",
        None,
    ),
    "a thread that was merged into one that was merged": (
        "INSERT INTO thread (id, list_id, number, subject, merged_into, created_at)"
        " VALUES (3, 1, 3, 'x', 1, 1), (4, 1, 4, 'x', 3, 1); UPDATE list SET last_thread = 4",
        "thread #4 of pmo@lists.example.test was merged into one that was merged",
        "SELECT merged_into FROM thread WHERE id = 4",
        1,
    ),
    "threads that were merged in a circle": (
        "INSERT INTO thread (id, list_id, number, subject, merged_into, created_at)"
        " VALUES (3, 1, 3, 'x', 4, 1), (4, 1, 4, 'x', 3, 1); UPDATE list SET last_thread = 4",
        "thread #3 of pmo@lists.example.test was merged into one that was merged",
        "SELECT count(*) FROM thread",
        2,
    ),
    "a mailing whose post is gone": (
        "UPDATE mailing SET ref_id = 99 WHERE id = 1",
        "mailing 1 waits to be sent, but its post is gone",
        "SELECT count(*) FROM delivery WHERE mailing_id = 1 AND state = 'failed' AND reply = 'what it carries is gone'",
        2,
    ),
    "a mailing whose digest is gone": (
        "UPDATE mailing SET kind = 'digest', ref_id = 99 WHERE id = 1",
        "mailing 1 waits to be sent, but its digest is gone",
        "SELECT count(*) FROM delivery WHERE mailing_id = 1 AND done_at IS NULL",
        0,
    ),
    "a mailing that is to be fanned out and carries nothing": (
        "UPDATE mailing SET kind = 'forward', fan_last = 5 WHERE id = 1; DELETE FROM delivery WHERE mailing_id = 1",
        "mailing 1 waits to be sent, but its forward is gone",
        "SELECT fan_after FROM mailing WHERE id = 1",
        5,
    ),
    "a message id that leads nowhere": (
        "UPDATE message_id SET post_id = 99 WHERE post_id = 1",
        "2 rows of message_id refer by post_id to a post that is gone",
        "SELECT sum(post_id) FROM message_id WHERE msgid = '<a@example.org>' OR post_id = 1",
        2,
    ),
    "a post that names one that is gone": (
        "UPDATE post SET named_id = 99 WHERE id = 2",
        "post 1.2 of pmo@lists.example.test names a post that is gone",
        "SELECT count(*) FROM post WHERE parent_id IS NULL AND named_id IS NULL",
        3,
    ),
    "a post whose conversation does not lead to it": (
        "DELETE FROM message_id WHERE post_id = 3 AND msgid LIKE 'ti:%'",
        "post 2.1 of pmo@lists.example.test is not found by its message id",
        "SELECT count(*) FROM message_id WHERE post_id = 3",
        2,
    ),
    "a message id that leads to another's post": (
        "UPDATE message_id SET post_id = 3 WHERE post_id = 1",
        "message id <a@example.org> leads to a post that is not its own",
        "SELECT post_id FROM message_id WHERE msgid = '<a@example.org>'",
        1,
    ),
    "a post that its message id does not find": (
        "DELETE FROM message_id WHERE post_id = 3",
        "post 2.1 of pmo@lists.example.test is not found by its message id",
        "SELECT post_id FROM message_id WHERE msgid = '<c@example.org>'",
        3,
    ),
    "a count of threads that is behind": (
        "UPDATE list SET last_thread = 1",
        "the count of threads of pmo@lists.example.test is behind",
        "SELECT last_thread FROM list",
        2,
    ),
    "a count of posts that is behind": (
        "UPDATE thread SET last_label = 1 WHERE id = 1",
        "the count of posts of thread #1 of pmo@lists.example.test is behind",
        "SELECT last_label FROM thread WHERE id = 1",
        2,
    ),
    "a count of digests that is behind": (
        "INSERT INTO issue (list_id, number, after_post, last_post, posts, created_at) VALUES (1, 7, 0, 1, 1, 1)",
        "the count of digests of pmo@lists.example.test is behind",
        "SELECT last_issue FROM list",
        7,
    ),
    "posts that no digest would have": (
        "UPDATE list SET digested_post = 1000",
        "posts to come would be in no digest of pmo@lists.example.test",
        "SELECT digested_post FROM list",
        3,
    ),
    "a member under another address": (
        "UPDATE member SET key = 'ADA@example.org' WHERE key = 'ada@example.org'",
        "ada@example.org on pmo@lists.example.test is kept under another address",
        "SELECT count(*) FROM member WHERE key = 'ada@example.org'",
        1,
    ),
    "a member who is on the list twice": (
        "INSERT INTO member (list_id, address, key, name, role, mode, status, own_posts, joined_at)"
        " VALUES (1, 'Ada@example.org', 'Ada@example.org', '', 'member', 'each', 'active', TRUE, 1)",
        "Ada@example.org on pmo@lists.example.test is kept under another address",
        "SELECT count(*) FROM member",
        2,
    ),
    "a member of a list that is gone": (
        "UPDATE member SET list_id = 99 WHERE key = 'bob@example.com'",
        "1 rows of member refer by list_id to a list that is gone",
        "SELECT count(*) FROM member",
        1,
    ),
    "a delivery that is sent but not finished": (
        "UPDATE delivery SET state = 'sent' WHERE id = 1",
        "delivery 1 to ada@example.org is sent, but not finished",
        "SELECT done_at > 0 FROM delivery WHERE id = 1",
        1,
    ),
    "a delivery that would never be sent": (
        "UPDATE delivery SET done_at = 1 WHERE id = 1",
        "delivery 1 to ada@example.org is queued, but would never be sent",
        "SELECT done_at FROM delivery WHERE id = 1",
        None,
    ),
    "what is said to be on its way and is not": (
        "INSERT INTO in_flight VALUES (4, '[99]')",
        "connection 4 is said to send what does not wait",
        "SELECT count(*) FROM in_flight",
        0,
    ),
    "a post that search does not know": (
        "DELETE FROM indexed WHERE post_id = 1",
        "post 1.1 of pmo@lists.example.test is not searched",
        "SELECT count(*) FROM indexed WHERE post_id = 1",
        1,
    ),
    "words of a post that is gone": (
        "INSERT INTO full_text (rowid, text) VALUES (5, 'secret')",
        "1 entries of full-text search are not those of the posts",
        "SELECT count(*) FROM full_text WHERE full_text MATCH 'secret'",
        0,
    ),
    "a post that is said to be searched and is not": (
        "UPDATE indexed SET entry = 5 WHERE post_id = 1",
        "1 entries of full-text search are not those of the posts",
        "SELECT count(*) FROM indexed WHERE post_id = 1 AND entry IS NULL",
        1,
    ),
}


@pytest.fixture
def three(pmo: Forum) -> Forum:
    """Three posts: the second answers the first; each waits for two members."""
    pmo.post("a@example.org")
    pmo.post("b@example.org", reply_to="a@example.org")
    pmo.post("c@example.org")
    return pmo


def by_hand(forum: Forum, sql: str) -> object:
    with contextlib.closing(sqlite3.connect(forum.folder / "mailforum.db", isolation_level=None)) as connection:
        if sql.startswith("SELECT"):
            return connection.execute(sql).fetchone()[0]
        connection.executescript(sql)
    return None


def said(forum: Forum) -> list[str]:
    """What `check` says of the database, but that it is fine."""
    out = run_cli(["--config", forum.config, "check"]).out
    return [line[9:] for line in out.splitlines() if re.match(r"(error|warning): +database: ", line)]


@pytest.mark.parametrize("name", FAULTS)
def test_what_must_never_be_is_found_and_put_right(three: Forum, name: str) -> None:
    sql, what, now_is, value = FAULTS[name]
    by_hand(three, sql)
    assert f"database: {what}" in said(three)
    answer = three.run("check", "--repair")
    assert f"ok:      mended: {what}: " in answer.out
    assert f"event=repaired what={'' if ' ' not in what else chr(34)}{what}" in answer.err
    assert said(three) == []
    assert by_hand(three, now_is) == value
    assert "mended" not in three.run("check", "--repair").out


def test_every_kind_of_fault_has_its_test_and_every_tie_can_be_cut(three: Forum) -> None:
    from mailforum.forum import repair

    assert len(FAULTS) >= len(repair.RULES)
    with contextlib.closing(sqlite3.connect(three.folder / "mailforum.db")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ties = {
            f"health.gone_{table}_{row[3]}"
            for table in tables
            for row in connection.execute(f"PRAGMA foreign_key_list({table})")
        }
    assert ties == {name for name in queries() if name.startswith("health.gone_")}


def test_many_faults_at_once_are_put_right_in_one_go(three: Forum) -> None:
    for name, (sql, *_) in FAULTS.items():
        if "circle" in name or "body" in name or "count" in name:
            by_hand(three, sql)
    assert three.run("check", "--repair").out.count("mended: ") > 5
    assert said(three) == []


def test_nothing_is_repaired_under_a_server_that_runs(three: Forum) -> None:
    by_hand(three, "DELETE FROM body WHERE post_id = 1")
    with alone(three.folder / "mailforum.db"):
        assert "already being served" in three.run("check", "--repair", code=1).out
    assert by_hand(three, "SELECT count(*) FROM body") == 2


def test_a_damaged_index_is_made_anew(three: Forum) -> None:
    damage(three.folder / "mailforum.db", "post_date", emptied=True)
    assert any("check --repair" in line for line in said(three))
    assert "mended: the indexes" in three.run("check", "--repair").out
    assert said(three) == []
    three.post("d@example.org")


def test_a_damaged_table_is_for_a_backup(three: Forum) -> None:
    damage(three.folder / "mailforum.db", "body")
    for words in (["check", "--repair"], ["check"]):
        out = three.run(*words, code=1).out
        assert "error:   database: the table body or an index of it cannot be read" in out
        assert "restore a backup" in out
        assert "mended" not in out


def test_a_healthy_database_needs_no_repair(three: Forum) -> None:
    answer = three.run("check", "--repair")
    assert "mended" not in answer.out
    assert answer.err == ""
