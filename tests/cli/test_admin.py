from __future__ import annotations

import io
import sqlite3

import pytest

from mailforum.cli import admin as commands
from mailforum.forum import admin
from mailforum.settings import ListSettings
from tests.cli.conftest import Forum, lines


def test_a_list_is_created_by_name_in_the_sites_domain_or_by_address(forum: Forum) -> None:
    assert forum.run("list", "create", "PMO", "--title", "PMO circle").out == "created pmo@lists.example.test\n"
    assert forum.run("list", "create", "news@bücher.example").out == "created news@xn--bcher-kva.example\n"
    assert [row["address"] for row in forum.rows("list", "ls")] == [
        "news@xn--bcher-kva.example",
        "pmo@lists.example.test",
    ]


def test_a_list_is_created_once(pmo: Forum) -> None:
    assert pmo.fails("list", "create", "pmo") == "there is a list pmo@lists.example.test already"


@pytest.mark.parametrize("name", ["", "-pmo", "p m o", "pmo.", "p..o", "pmö", "pmo+x", "@lists.example.test", "a/b"])
def test_a_name_that_mail_could_not_be_sent_to_is_refused(forum: Forum, name: str) -> None:
    assert "is no name for a list" in forum.fails("list", "create", "--", name)


@pytest.mark.parametrize("domain", ["-x.org", "x..org", "x_y.org", "a b", "x" * 64 + ".org", "[127.0.0.1]"])
def test_a_domain_that_is_none_is_refused(forum: Forum, domain: str) -> None:
    assert forum.fails("list", "create", f"pmo@{domain}").endswith("is no domain")


def test_the_longest_name_leaves_room_for_a_token(forum: Forum) -> None:
    name = "x" * admin.MAX_NAME
    forum.run("list", "create", name)
    assert len(f"{name}-confirm+{'a' * 26}") == 64
    assert "29 characters at most" in forum.fails("list", "create", name + "x")


@pytest.mark.parametrize("name", ["postmaster", "mailforum", "abuse", "Majordomo"])
def test_the_sites_own_names_are_no_lists(forum: Forum, name: str) -> None:
    assert "is reserved" in forum.fails("list", "create", name)


def test_a_name_that_means_something_to_another_list_is_a_warning(pmo: Forum) -> None:
    answer = pmo.run("list", "create", "pmo-leave")
    assert "pmo-leave@lists.example.test is a list, so it no longer means `leave` for pmo@" in answer.err
    pmo.run("list", "create", "x-join-digest")
    assert "no longer means `join-digest` for x@" in pmo.run("list", "create", "x").err
    assert pmo.run("list", "create", "pmo-friends").err == ""
    assert pmo.run("list", "create", "pmo-leave@other.example.test").err == ""


def test_the_presets_are_those_of_the_forum(forum: Forum) -> None:
    assert tuple(admin.PRESETS) == commands.PRESETS
    for preset in commands.PRESETS:
        forum.run("list", "create", preset, "--preset", preset)
    assert forum.rows("list", "show", "announce")[0]["posting"] == "moderators"
    private = forum.rows("list", "show", "private")[0]
    assert (private["joining"], private["listed"]) == ("moderated", False)
    assert forum.run("list", "create", "x", "--preset", "party", code=2)


def test_list_ls_counts(pmo: Forum) -> None:
    pmo.post("one@example.org")
    pmo.post("two@example.org", reply_to="one@example.org")
    pmo.post("three@example.org")
    assert pmo.rows("list", "ls") == [
        {
            "address": "pmo@lists.example.test",
            "title": "PMO circle",
            "members": 2,
            "posts": 3,
            "threads": 2,
            "held": 0,
        }
    ]
    assert lines(pmo.run("list", "ls"))[1] == "pmo@lists.example.test PMO circle 2 3 2 0"


def test_list_show_has_every_option_with_its_help(pmo: Forum) -> None:
    out = " ".join(pmo.run("list", "show", "pmo").out.split())
    row = pmo.rows("list", "show", "pmo")[0]
    for option in admin.options():
        assert f"{option.name} = " in out
        assert f"{option.help} ({option.takes})." in out
        assert option.name in row
    assert set(ListSettings.__struct_fields__) < {option.name for option in admin.options()}


def test_list_set_takes_words_for_every_kind_of_option(pmo: Forum) -> None:
    words = ["footer=ON", "welcome=no", "digest-hour=0", "max_size=300K", "prefix=[pmo]", "timezone=Europe/Vienna"]
    url = "https://lists.example.test/pmo/{id}?m={msgid}"
    pmo.run("list", "set", "pmo", *words, "posting=anyone", "title=The = circle", f"archive_url={url}")
    row = pmo.rows("list", "show", "pmo")[0]
    assert (
        row
        | {
            "footer": True,
            "welcome": False,
            "digest_hour": 0,
            "max_size": 300 * 1024,
            "prefix": "[pmo]",
            "timezone": "Europe/Vienna",
            "posting": "anyone",
            "title": "The = circle",
            "archive_url": url,
        }
        == row
    )
    pmo.run("list", "set", "pmo", "prefix=", "archive_url=", "footer=off")
    row = pmo.rows("list", "show", "pmo")[0]
    assert (row["prefix"], row["archive_url"], row["footer"], row["posting"]) == ("", "", False, "anyone")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("footer=maybe", "footer takes on or off, not `maybe`"),
        ("posting=all", "posting takes members, anyone or moderators, not `all`"),
        ("digest_hour=24", "digest_hour takes a number from 0 to 23, not `24`"),
        ("digest_hour=7.5", "digest_hour takes a number from 0 to 23, not `7.5`"),
        ("digest_hour=", "digest_hour takes a number from 0 to 23, not ``"),
        ("max_size=big", "max_size takes a size such as 300K or 25M, not `big`"),
        ("timezone=Mars/Base", "timezone takes the name of a time zone such as Europe/Vienna or UTC, not `Mars/Base`"),
        ("timezone=../../etc/passwd", "timezone takes the name of a time zone"),
        ("timezone=", "timezone takes the name of a time zone"),
        ("timezone=Europe", "timezone takes the name of a time zone"),
        ("language=../en", "language takes a language such as en or de, not `../en`"),
        ("prefix=a\r\nBcc: x", "prefix takes one line of at most 60 characters"),
        (f"title={'x' * 201}", "title takes one line of at most 200 characters"),
        ("archive_url=https://example.org/", "archive_url takes a web address with {id} or {msgid} in it"),
        ("archive_url=javascript:{id}", "archive_url takes a web address"),
        ("archive_url=https://example.org/{id} x", "archive_url takes a web address"),
        ("archive_url=https://example.org/{id}/{x}", "archive_url takes a web address"),
        ("colour=red", "there is no option `colour`; there are title, posting,"),
        ("footer", "`footer` sets nothing; write OPTION=VALUE"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_explained(pmo: Forum, word: str, said: str) -> None:
    assert pmo.fails("list", "set", "pmo", word).startswith(" ".join(said.split()))


def test_all_of_list_set_is_done_or_nothing(pmo: Forum) -> None:
    pmo.fails("list", "set", "pmo", "footer=on", "posting=all")
    assert pmo.rows("list", "show", "pmo")[0]["footer"] is False


def test_a_language_without_texts_is_a_warning(pmo: Forum) -> None:
    assert "there are no texts in `xx`" in pmo.run("list", "set", "pmo", "language=xx").err
    assert pmo.run("list", "set", "pmo", "language=en").err == ""
    (pmo.folder / "templates" / "de").mkdir(parents=True)
    assert pmo.run("list", "set", "pmo", "language=de").err == ""


def test_list_delete_takes_everything_with_it(pmo: Forum) -> None:
    pmo.post()
    assert pmo.run("list", "delete", "pmo").out == "deleted pmo@lists.example.test with 2 members and 1 post\n"
    assert pmo.rows("list", "ls") == []
    assert pmo.rows("queue", "ls") == []


def test_a_big_list_is_deleted_in_small_steps(pmo: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailforum.store import lists

    pmo.run("list", "create", "other")
    pmo.run("member", "add", "other", "ada@example.org", "--no-welcome")
    for number in range(5):
        pmo.post(f"{number}@example.org", reply_to=f"{number - 1}@example.org" if number else "")
    steps: list[int] = []
    real = lists.delete_some
    monkeypatch.setattr(lists, "SOME", 2)
    monkeypatch.setattr(lists, "delete_some", lambda tx, list_id: steps.append(1) or real(tx, list_id))
    pmo.run("list", "delete", "pmo")
    assert len(steps) == 1 + 5 + 3 + 5 + 1, "members, deliveries, posts, names, and nothing more"
    assert [row["address"] for row in pmo.rows("list", "ls")] == ["other@lists.example.test"]
    assert len(pmo.rows("member", "ls", "other")) == 1
    assert "error" not in pmo.run("check").out
    with sqlite3.connect(pmo.folder / "mailforum.db") as connection:
        tables = ("post", "body", "thread", "message_id", "reference", "mailing", "delivery")
        left = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    connection.close()
    assert left == dict.fromkeys(tables, 0)


@pytest.mark.parametrize(("said", "deleted"), [("y\n", True), ("\n", False), ("no\n", False), ("", False)])
def test_list_delete_asks_on_a_terminal(pmo: Forum, monkeypatch: pytest.MonkeyPatch, said: str, deleted: bool) -> None:
    terminal = io.StringIO(said)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    answer = pmo.run("list", "delete", "pmo", code=0 if deleted else 1)
    assert "Delete pmo@lists.example.test with 2 members and 0 posts? [y/N]" in answer.err
    assert bool(pmo.rows("list", "ls")) is not deleted


@pytest.fixture
def held(pmo: Forum) -> Forum:
    """Two posts wait on the list pmo."""
    pmo.run("list", "set", "pmo", "moderated=on")
    pmo.post("one@example.org")
    pmo.post("two@example.org")
    return pmo


def test_held_ls_has_what_waits_of_one_list_or_of_all(held: Forum) -> None:
    held.run("list", "create", "other")
    assert [(row["id"], row["list"], row["subject"]) for row in held.rows("held", "ls")] == [
        (1, "pmo@lists.example.test", "Hello one@example.org"),
        (2, "pmo@lists.example.test", "Hello two@example.org"),
    ]
    assert held.rows("held", "ls", "other") == []
    assert "moderated list" in lines(held.run("held", "ls", "pmo"))[1]


def test_held_show_can_be_read(held: Forum) -> None:
    out = held.run("held", "show", "1").out
    assert "ada@example.org" in out
    assert out.endswith("\nHello all.\n")
    assert held.rows("held", "show", "2")[0]["text"] == "Hello all."


def test_what_was_held_is_approved_rejected_or_discarded_once(held: Forum) -> None:
    assert held.run("held", "approve", "2").out == "approved: #1.1 Hello two@example.org\n"
    assert held.run("held", "reject", "1", "--reason", "Too long.").out == "rejected: Hello one@example.org\n"
    for verb in ("approve", "reject", "discard"):
        assert held.fails("held", verb, "1").lower().startswith("there is no held post 1 (any more)")
    assert held.fails("held", "show", "1") == "there is no held post 1 (any more)"
    assert [row["id"] for row in held.rows("post", "ls", "pmo")] == ["1.1"]


def test_a_discarded_post_is_gone_without_a_word(held: Forum) -> None:
    before = held.rows("queue", "stats")[0]["queued"]
    held.run("held", "discard", "1")
    assert held.rows("queue", "stats")[0]["queued"] == before
    assert [row["id"] for row in held.rows("held", "ls")] == [2]
