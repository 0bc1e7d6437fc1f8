"""From the schema of every older mailforum to this one's, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mailforum.errors import ConfigError
from mailforum.forum import threads
from mailforum.model import How
from mailforum.store import migrate, schema
from mailforum.store import posts as rows
from mailforum.store.lock import alone
from mailforum.store.sqlite import open_sqlite

STEPS = schema.steps()
NEWEST = STEPS[-1].number

_KILLED = """
import os, sys
from pathlib import Path
from mailforum.store import migrate
from mailforum.store import posts as rows
real, wanted, part = migrate._statements, migrate.steps()[int(sys.argv[2])].sql, float(sys.argv[3])
def some(sql):
    statements = list(real(sql))
    if sql != wanted:
        yield from statements
        return
    yield from statements[: round(part * len(statements))]
    os.kill(os.getpid(), 9)
migrate._statements = some
migrate.migrate(Path(sys.argv[1]))
"""


def old(path: Path, version: int) -> None:
    """Make a database as the mailforum of schema `version` left it, with a post that waits to be sent."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for step in STEPS[:version]:
            connection.executescript(step.sql)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.executescript(
            """
            INSERT INTO list (id, address, title, settings, digested_at, created_at)
            VALUES (1, 'pmo@x', '', '{}', 1, 1);
            INSERT INTO mailing (id, list_id, kind, template, data, reply_to, mail_from, created_at)
            VALUES (7, 1, 'notice', 'notice/welcome', '{}', '', '', 1);
            INSERT INTO delivery (mailing_id, rcpt, state, created_at, due_at) VALUES (7, 'ada@x', 'queued', 1, 1);
            """
        )


def version_and_waiting(path: Path) -> tuple[int, list[tuple[int, str]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT mailing_id, rcpt FROM delivery WHERE done_at IS NULL").fetchall()
        return migrate.version(connection), rows


@pytest.mark.parametrize("version", range(1, 12))
def test_every_older_schema_comes_up_to_date_with_what_is_in_it(tmp_path: Path, version: int) -> None:
    old(tmp_path / "test.db", version)
    migrate.migrate(tmp_path / "test.db")
    assert version_and_waiting(tmp_path / "test.db") == (NEWEST, [(7, "ada@x")])


@pytest.mark.parametrize("step", range(1, len(STEPS)))
@pytest.mark.parametrize("part", [0, 0.5, 1])
def test_a_kill_in_the_middle_of_a_migration_leaves_the_last_whole_step(tmp_path: Path, step: int, part: float) -> None:
    old(tmp_path / "test.db", 1)
    words = [sys.executable, "-c", _KILLED, str(tmp_path / "test.db"), str(step), str(part)]
    assert subprocess.run(words, check=False).returncode == -9
    assert version_and_waiting(tmp_path / "test.db") == (STEPS[step - 1].number, [(7, "ada@x")])
    migrate.migrate(tmp_path / "test.db")
    assert version_and_waiting(tmp_path / "test.db") == (NEWEST, [(7, "ada@x")])


def test_nobody_changes_the_schema_under_a_server_that_runs(tmp_path: Path) -> None:
    old(tmp_path / "test.db", 1)
    with alone(tmp_path / "test.db"):
        with pytest.raises(ConfigError, match="an older mailforum is running"):
            asyncio.run(open_and_close(tmp_path / "test.db", served=False))
        assert version_and_waiting(tmp_path / "test.db")[0] == 1
        asyncio.run(open_and_close(tmp_path / "test.db", served=True))
    assert version_and_waiting(tmp_path / "test.db")[0] == NEWEST


def test_processes_that_find_an_old_schema_at_the_same_time_get_along(tmp_path: Path) -> None:
    old(tmp_path / "test.db", 1)
    code = (
        "import sys; from pathlib import Path; from mailforum.store.migrate import migrate; migrate(Path(sys.argv[1]))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "test.db")]
    processes = [subprocess.Popen(words, stderr=subprocess.PIPE) for _ in range(4)]
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert ended == [(b"", 0)] * 4
    assert version_and_waiting(tmp_path / "test.db") == (NEWEST, [(7, "ada@x")])


async def open_and_close(path: Path, *, served: bool) -> None:
    database = await open_sqlite(path, served=served)
    await database.close()


def test_names_that_differ_only_in_their_case_become_one_and_the_first_post_has_it(tmp_path: Path) -> None:
    old(tmp_path / "test.db", 6)
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        connection.executescript(
            """
            INSERT INTO thread (id, list_id, number, subject, created_at) VALUES (1, 1, 1, 'x', 1);
            INSERT INTO post (id, list_id, thread_id, label, parent_id, reach, message_id, from_address, from_name,
                              subject, date, received_at, size, fingerprint, imported)
            SELECT value, 1, 1, '1.' || value, NULL, value / 3, '<' || value || '>', '', '', '', 1, 1, 1, x'', 0
            FROM json_each('[1, 2, 3]');
            INSERT INTO message_id (id, list_id, msgid, post_id)
            VALUES (1, 1, '<A@X>', NULL), (2, 1, '<a@X>', 2), (3, 1, '<a@x>', 1), (4, 1, '<Ghost@X>', NULL);
            INSERT INTO reference (post_id, position, message_id) VALUES (3, 0, 4), (3, 1, 1), (2, 0, 4), (1, 0, 1);
            """
        )
    migrate.migrate(tmp_path / "test.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        names = connection.execute("SELECT id, msgid, post_id FROM message_id ORDER BY id").fetchall()
        named = connection.execute("SELECT named_id FROM post ORDER BY id").fetchall()
    assert names == [(3, "<a@x>", 1), (4, "<ghost@x>", None)]
    assert named == [(None,), (None,), (1,)]  # not the first itself


def test_an_older_post_that_its_id_does_not_lead_to_is_a_stray(tmp_path: Path) -> None:
    old(tmp_path / "test.db", 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        connection.executescript(
            """
            INSERT INTO thread (id, list_id, number, subject, created_at) VALUES (1, 1, 1, 'x', 1);
            INSERT INTO post (id, list_id, thread_id, label, message_id, from_address, from_name, subject, date,
                              received_at, size, fingerprint, imported)
            SELECT key, 1, 1, '1.' || key, value, '', '', '', 1, 1, 1, x'', 0
            FROM json_each('["<0@x>", "<A@X>", "<a@x>", "<00ff.mailforum@x>"]');
            INSERT INTO message_id (list_id, msgid, post_id)
            VALUES (1, '<0@x>', 0), (1, '<a@x>', 1), (1, '<00ff.mailforum@x>', 3);
            """
        )
    migrate.migrate(tmp_path / "test.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        assert connection.execute("SELECT id FROM post WHERE stray ORDER BY id").fetchall() == [(2,), (3,)]


async def test_what_older_posts_say_about_their_place_is_known_as_far_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    old(path, 6)
    names = {1: "a", 2: "g", 3: "b", 4: "c", 5: "d"}  # nobody has sent g
    posts = {1: ("a", []), 2: ("b", ["a"]), 3: ("c", ["g", "a", "b"]), 4: ("d", ["g"])}
    parents, reach = {2: 1, 3: 1}, {1: 0, 2: 1, 3: 2, 4: 1}
    numbers = {name: number for number, name in names.items()}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO thread (id, list_id, number, subject, created_at) VALUES (1, 1, 1, 'Budget', 1)"
        )
        connection.execute("UPDATE list SET last_thread = 1")
        for post_id, (name, _) in posts.items():
            connection.execute(
                "INSERT INTO post (id, list_id, thread_id, label, parent_id, reach, message_id, from_address,"
                " from_name, subject, date, received_at, size, fingerprint, imported)"
                " VALUES (?, 1, 1, ?, ?, ?, ?, '', '', 'Re: Budget', ?, 1, 1, ?, 0)",
                (post_id, f"1.{post_id}", parents.get(post_id), reach[post_id], f"<{name}@x>", post_id, name.encode()),
            )
        for number, name in names.items():
            owner = next((post_id for post_id, (own, _) in posts.items() if own == name), None)
            connection.execute("INSERT INTO message_id VALUES (?, 1, ?, ?)", (number, f"<{name}@x>", owner))
        for post_id, (_, named) in posts.items():
            for position, name in enumerate(named):
                connection.execute("INSERT INTO reference VALUES (?, ?, ?)", (post_id, position, numbers[name]))
    database = await open_sqlite(path)
    try:
        await database.write(lambda tx: threads.regroup_all(tx, 1, 2.0))
        found = await database.read(lambda tx: rows.of_list(tx, 1))
    finally:
        await database.close()
    assert [(post.label, post.parent_id, post.how) for post in found] == [
        ("1.1", None, How.NONE),
        ("1.2", 1, How.IN_REPLY_TO),
        ("1.3", 1, How.REFERENCES),
        ("1.4", 1, How.IN_REPLY_TO),
    ]
