"""Threads on the terminal: listed, shown, and repaired."""

from __future__ import annotations

import os
import pty
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
