"""Threads on the terminal: listed, shown, and repaired."""

from __future__ import annotations

import contextlib
import os
import pty
import pwd
import sqlite3
import subprocess
import sys

import pytest

from tests.cli.conftest import Forum, lines


@pytest.fixture
def talk(pmo: Forum) -> Forum:
    """A question, an answer, an answer to that, and another question."""
    pmo.post("q@example.org")
    pmo.post("a@example.org", reply_to="q@example.org")
    pmo.post("b@example.org", reply_to="a@example.org")
    pmo.post("x@example.org")
    return pmo


def test_thread_ls(talk: Forum) -> None:
    assert [(row["id"], row["posts"]) for row in talk.rows("thread", "ls", "pmo")] == [(1, 3), (2, 1)]
    head, first, second = lines(talk.run("thread", "ls", "pmo"))
    assert head == "ID POSTS BEGUN LAST SUBJECT"
    assert first.startswith("#1 3 20") and first.endswith("Z Hello q@example.org")
    assert second.startswith("#2 1 20")


def test_thread_ls_has_an_order_and_bounds(talk: Forum) -> None:
    late = talk.mail("z@example.org", more="In-Reply-To: <q@example.org>\nDate: Thu, 1 Jan 1970 00:00:00 +0000\n")
    talk.run("inject", "--to", "pmo@lists.example.test", late)

    def ids(*words: str) -> list[int]:
        return [row["id"] for row in talk.rows("thread", "ls", "pmo", *words)]

    assert ids("--sort", "oldest") == [1, 2]
    assert ids("--sort", "newest") == [2, 1]
    assert ids("--sort", "active") == [1, 2]  # whatever the clock of the last author said
    assert ids("--sort", "newest", "--limit", "1") == [2]
    assert ids("--since", "1h") == [1, 2]
    assert ids("--until", "2001") == []


def test_thread_show_is_a_tree_below_what_it_is_about(talk: Forum) -> None:
    shown = talk.run("thread", "show", "pmo", "1").out.splitlines()
    assert shown[0] == "#1  Hello q@example.org"
    assert shown[1].startswith("3 posts on pmo@lists.example.test, begun 20")
    assert shown[2:4] == ["by Ada <ada@example.org> (3)", ""]
    assert [line.partition("20")[0].rstrip() for line in shown[4:]] == ["1.1", "  1.2", "    1.3"]
    assert [line.partition("  Ada")[2].strip() for line in shown[4:]] == [
        "",
        "“Hello a@example.org”",
        "“Hello b@example.org”",
    ]
    rows = talk.rows("thread", "show", "pmo", "1")
    assert [(row["depth"], row["how"]) for row in rows] == [(0, None), (1, "in-reply-to"), (2, "in-reply-to")]
    newest = talk.run("thread", "show", "pmo", "1", "--sort", "newest").out.splitlines()
    assert [line.partition(" ")[0] for line in newest[4:]] == ["1.3", "1.2", "1.1"]


@pytest.mark.parametrize("name", ["1", "#1", "1.3", "#1.2", "pmo#1", "pmo@lists.example.test#1.1"])
def test_a_thread_is_named_by_its_number_or_a_post_of_it(talk: Forum, name: str) -> None:
    assert len(talk.rows("thread", "show", "pmo", name)) == 3
    assert len(talk.rows("thread", "show", name)) == 3


@pytest.mark.parametrize("name", ["9", "x", "", "-1", "1" * 30, "²", "1.9", "1.", "lab#1"])
def test_a_thread_that_is_not_there_is_one_line(talk: Forum, name: str) -> None:
    assert "there is no" in talk.fails("thread", "show", "pmo", "--", name)


def test_what_is_too_wide_for_a_terminal_is_cut_and_what_is_drawn_wide_counts_twice(pmo: Forum) -> None:
    head = "Date: Wed, 1 Jul 2026 12:00:00 +0000\nContent-Type: text/plain; charset=utf-8\n"
    text = f"From: Kim <kim@example.org>\nSubject: {'予算' * 60}\nMessage-ID: <k@example.org>\n{head}\nHello.\n"
    pmo.run("list", "set", "pmo", "posting=anyone")
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.file("k.eml", text))
    shown = _on_terminal(pmo, 60, "thread", "ls", "pmo") + _on_terminal(pmo, 60, "thread", "show", "1")
    wide = [line for line in shown if "予" in line]
    assert [line[-1] for line in wide] == ["…", "…"]
    assert all(len(line) + line.count("予") + line.count("算") in (59, 60) for line in wide)


def _on_terminal(forum: Forum, columns: int, *words: str) -> list[str]:
    """Run a command on a terminal of so many columns; return the lines it writes."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mailforum", "--config", forum.config, *words]
    with subprocess.Popen(command, stdout=theirs, env={**os.environ, "COLUMNS": str(columns)}) as process:
        os.close(theirs)
        written = b""
        while piece := _read(ours):
            written += piece
    os.close(ours)
    assert process.returncode == 0
    return written.decode().splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last one who could write has gone
        return b""


# -- repairs


def test_a_split_says_what_has_become_of_both_parts(talk: Forum) -> None:
    out = talk.run("thread", "split", "1.2", "--as", "kim@example.org").out.splitlines()
    assert out == [
        "#1.2 and 1 answer to it are thread #3 now: Hello a@example.org",
        "#1 keeps 1 post; the ids of posts stay, and answers go where these are",
    ]
    assert talk.rows("thread", "split", "pmo", "1.3") == [
        {"post": "1.3", "thread": 4, "posts": 1, "from": 3, "left": 1}
    ]
    talk.post("late@example.org", reply_to="b@example.org")
    assert [row["id"] for row in talk.rows("thread", "show", "4")] == ["1.3", "4.1"]
    assert "begins #4 (split off by a moderator)" in talk.run("post", "show", "1.3").out
    assert [row["split"] for row in (*talk.rows("post", "show", "1.3"), *talk.rows("post", "show", "1.1"))] == [
        True,
        False,
    ]


def test_a_merge_says_what_leads_where(talk: Forum) -> None:
    assert talk.run("thread", "merge", "2", "1").out.splitlines() == [
        "#1 has 4 posts now: Hello q@example.org",
        "#2 leads to it; the ids of posts stay",
    ]
    assert "answers #1.1 <q@example.org> (put there by a moderator)" in talk.run("post", "show", "2.1").out
    assert "(put there by a moderator)" in talk.run("thread", "show", "2").out
    assert talk.run("thread", "split", "2.1").out.startswith("#2.1 is thread #2 now: Hello x@example.org\n")
    assert talk.rows("thread", "merge", "1", "2") == [
        {"thread": 1, "posts": 4, "subject": "Hello x@example.org", "merged": 2}
    ]


def test_a_thread_is_renamed_and_named_by_its_first_post_again(talk: Forum) -> None:
    assert talk.run("thread", "rename", "pmo", "#1", "Lunch").out == "#1 is called: Lunch\n"
    talk.post("more@example.org", reply_to="q@example.org")
    assert talk.rows("thread", "ls", "pmo")[0]["subject"] == "Lunch"
    assert talk.rows("thread", "rename", "1", "") == [{"thread": 1, "subject": "Hello q@example.org"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("split pmo 1.1", "#1.1 begins #1 already"),
        ("split pmo 9.9", "there is no post 9.9 on pmo@lists.example.test"),
        ("split 1", "there is no post 1"),
        ("merge 1 1", "there is nothing to merge: both are #1"),
        ("merge 1 1.3", "there is nothing to merge: both are #1"),
        ("merge 1 9", "there is no thread 9 on pmo@lists.example.test"),
        ("merge pmo 9 1", "there is no thread 9 on pmo@lists.example.test"),
        ("merge pmo 2 lab#1", "#2 and #1 are on two lists"),
        ("rename 9 Lunch", "there is no thread 9"),
        ("rename pmo 9 Lunch", "there is no thread 9 on pmo@lists.example.test"),
    ],
)
def test_what_cannot_be_repaired_is_one_line_and_leaves_no_row(talk: Forum, words: str, said: str) -> None:
    talk.run("list", "create", "lab")
    talk.run("list", "set", "lab", "posting=anyone")
    talk.run("inject", "--to", "lab@lists.example.test", talk.mail("lab@example.org"))
    if "lab" not in words and "pmo" not in words:
        talk.run("list", "delete", "lab", "--yes")
    assert talk.fails("thread", *words.split()) == said
    assert talk.rows("audit") == []


def test_merging_what_was_merged_already_says_so(talk: Forum) -> None:
    talk.run("thread", "merge", "2", "1")
    assert talk.fails("thread", "merge", "2", "1") == "there is nothing to merge: both are #1"


def test_the_audit_says_who_has_done_what_also_when_the_list_is_gone(
    talk: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.delenv("SUDO_USER", raising=False)
    talk.run("thread", "split", "1.2")
    monkeypatch.setenv("SUDO_USER", "kim")
    talk.run("thread", "merge", "3", "1")
    talk.run("thread", "rename", "1", "Lunch", "--as", "Kim \x1b[2J")
    found = talk.rows("audit", "pmo")
    assert [(row["who"], row["what"], row["target"]) for row in found] == [
        (user, "thread split", "1.2"),
        (f"kim as {user}", "thread merge", "#3"),
        ("Kim  [2J", "thread rename", "#1"),
    ]
    assert (found[0]["before"], found[0]["after"]) == (
        {"thread": 1, "parent": "1.1", "how": "in-reply-to"},
        {"thread": 3, "posts": 2},
    )
    assert lines(talk.run("audit", "--limit", "1"))[1].endswith(
        f"Z {user} pmo@lists.example.test thread split 1.2 thread=1 parent=1.1 how=in-reply-to → thread=3 posts=2"
    )
    assert talk.rows("audit", "--until", "2001") == []
    assert len(talk.rows("audit", "--since", "1h")) == 3
    talk.run("list", "delete", "pmo", "--yes")
    assert talk.rows("audit", "pmo") == talk.rows("audit", "pmo@lists.example.test") == found
    assert talk.fails("audit", "pm") == "there is no list pm; `mailforum list ls` shows all"


def test_rethread_says_what_it_would_change_and_changes_it(talk: Forum) -> None:
    assert talk.run("rethread", "pmo").err == "mailforum: every post stands where it should\n"
    talk.run("thread", "split", "1.3")
    with contextlib.closing(sqlite3.connect(talk.folder / "mailforum.db", isolation_level=None)) as connection:
        connection.execute("UPDATE post SET parent_id = 1, how = 5 WHERE label = '2.1'")
        connection.execute("UPDATE post SET thread_id = 1 WHERE label = '2.1'")
        connection.execute("UPDATE thread SET merged_into = 1 WHERE number = 2")
        connection.execute("UPDATE post SET how = 3 WHERE label = '1.2'")
    wrong = talk.rows("post", "ls", "pmo")
    dry = talk.run("rethread", "pmo", "--dry-run")
    assert lines(dry) == [
        "POST WAS IS",
        "1.2 #1, answers 1.1 (references) #1, answers 1.1 (in-reply-to)",
        "2.1 #1, answers 1.1 (text) #2, answers none",
    ]
    assert dry.err == "mailforum: 2 posts would change: 1 in another thread, 1 only found otherwise\n"
    assert talk.rows("post", "ls", "pmo") == wrong
    assert [row["what"] for row in talk.rows("audit")] == ["thread split"]
    changes = talk.rows("rethread", "pmo")
    assert {row["id"]: (row["old"], row["new"]) for row in changes}["1.2"] == (
        {"thread": 1, "answers": "1.1", "how": "references"},
        {"thread": 1, "answers": "1.1", "how": "in-reply-to"},
    )
    assert talk.run("rethread", "pmo").out == ""
    assert [row["what"] for row in talk.rows("audit")] == ["thread split", "rethread"]
    assert [(row["id"], row["posts"]) for row in talk.rows("thread", "ls", "pmo")] == [(1, 2), (3, 1), (2, 1)]
