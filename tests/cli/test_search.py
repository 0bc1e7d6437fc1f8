"""`mailforum search` on the terminal."""

from __future__ import annotations

import io
import sqlite3

import pytest

from tests.cli.conftest import Forum, lines


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def found(pmo: Forum) -> Forum:
    """The list with three posts."""
    for number, (subject, text) in enumerate(
        [("The budget", "Die Größe des Budgets."), ("Summer", "A *draft* of the budget."), ("Cats", "黒い猫がいる")]
    ):
        name = f"{number}@example.org"
        day = f"Date: {number + 1} Mar 2023 10:00:00 +0000"
        raw = f"From: Ada <ada@example.org>\nSubject: {subject}\nMessage-ID: <{name}>\n{day}\n\n{text}\n"
        pmo.run("inject", "--to", "pmo@lists.example.test", pmo.file(f"{number}.eml", raw))
    return pmo


def test_what_is_found_is_shown_with_the_part_that_says_why(found: Forum) -> None:
    assert lines(found.run("search", "pmo", "budget")) == [
        "#1.1 2023-03-01 Ada: The budget",
        "Die Größe des Budgets.",
        "#2.1 2023-03-02 Ada: Summer",
        "A *draft* of the budget.",
        "2 posts",
    ]
    assert lines(found.run("search", "pmo", "猫"))[0] == "#3.1 2023-03-03 Ada: Cats"
    assert lines(found.run("search", "pmo", "unicorn")) == ["nothing was found"]


def test_pages_of_what_is_found(found: Forum) -> None:
    assert lines(found.run("search", "pmo", "budget", "--limit", "1"))[-1] == "1 to 1 of 2 posts"
    assert lines(found.run("search", "pmo", "budget", "--limit", "1", "--skip", "1"))[-1] == "2 to 2 of 2 posts"
    assert lines(found.run("search", "pmo", "budget", "--skip", "2")) == ["nothing more, of 2 posts"]
    assert lines(found.run("search", "pmo", "--newest", "budget"))[0].startswith("#2.1")
    assert found.fails("search", "pmo", "budget", "--limit", "0") == "--limit is at least 1, and --skip at least 0"


def test_words_may_begin_with_a_hyphen_and_phrases_stay_together(found: Forum) -> None:
    assert [row["id"] for row in found.rows("search", "pmo", "budget", "-draft")] == ["1.1"]
    assert [row["id"] for row in found.rows("search", "pmo", "-draft budget")] == ["1.1"]
    assert [row["id"] for row in found.rows("search", "pmo", "of the", "subject:Summer")] == ["2.1"]
    assert found.rows("search", "pmo", "budget the", "author:ada") == []
    assert [row["id"] for row in found.rows("search", "pmo", "author:Ada", "since:2023-03-02", "budget")] == ["2.1"]
    assert "find posts by their words" not in found.run("search", "-h").out


def test_json_has_the_post_the_text_and_where_the_words_stand(found: Forum) -> None:
    (row,) = found.rows("search", "pmo", "grosse")
    assert (row["id"], row["from"], row["snippet"]) == ("1.1", "ada@example.org", "Die Größe des Budgets.")
    assert row["marks"] == [[4, 9]]


def test_on_a_terminal_the_words_are_bold_and_nothing_else_is_obeyed(
    found: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"From: Ada <ada@example.org>\nMessage-ID: <9@example.org>\n\n\x1b[2J\xc2\x9b2J a budgerigar\n"
    found.run("inject", "--to", "pmo@lists.example.test", found.file("9.eml", raw))
    monkeypatch.setattr("io.StringIO", Terminal)
    out = found.run("search", "pmo", "budgerigar").out
    assert "a \x1b[1mbudgerigar\x1b[0m" in out
    assert out.count("\x1b") == 2
    assert "\x9b" not in out


def test_what_cannot_be_meant_is_said(found: Forum) -> None:
    assert found.fails("search", "pmo", "since:soon").startswith("`since:soon` cannot be meant; since: is followed by")
    assert found.fails("search", "nolist", "x").startswith("there is no list nolist")


def test_the_index_can_be_made_anew(found: Forum) -> None:
    assert found.run("reindex").out == "3 posts can be found\n"
    assert len(found.rows("search", "pmo", "budget")) == 2


@pytest.mark.parametrize("command", [("reindex",), ("check", "--repair")])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE full_text_data SET block = zeroblob(40) WHERE id > 10", "full-text search has lost words of 3 posts"),
        ("DELETE FROM full_text_data WHERE id > 10", "the index of full-text search cannot be read"),
    ],
)
def test_a_damaged_index_is_said_to_be_so_and_can_be_made_anew(
    found: Forum, damage: str, said: str, command: tuple[str, ...]
) -> None:
    found.rows("search", "pmo", "budget")
    with sqlite3.connect(found.folder / "mailforum.db") as connection:
        connection.execute(damage)
    connection.close()
    assert said in found.run("check", code=1).out
    found.run(*command)
    assert len(found.rows("search", "pmo", "budget")) == 2
    assert "error" not in found.run("check").out


def test_a_deleted_list_leaves_no_words(found: Forum) -> None:
    found.rows("search", "pmo", "budget")
    found.run("list", "delete", "pmo", "--yes")
    assert "error" not in found.run("check").out
    connection = sqlite3.connect(found.folder / "mailforum.db")
    assert connection.execute("SELECT count(*) FROM full_text WHERE full_text MATCH 'budget'").fetchone()[0] == 0
    assert connection.execute("SELECT count(*) FROM full_text_docsize").fetchone()[0] == 0
    connection.close()
