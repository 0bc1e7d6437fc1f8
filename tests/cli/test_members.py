from __future__ import annotations

import csv
import io
import sys
import time

import pytest

from mailforum.cli import members
from mailforum.model import Mode, Role
from tests.cli.conftest import Forum, as_process


def table(forum: Forum) -> dict[str, tuple[str, str, str, str]]:
    """Members of pmo by address: name, role, mode, status."""
    rows = forum.rows("member", "ls", "pmo")
    return {row["address"]: (row["name"], row["role"], row["mode"], row["status"]) for row in rows}


def test_the_words_are_those_of_the_model() -> None:
    assert tuple(Role) == members.ROLES
    assert tuple(Mode) == members.MODES


def test_member_add_says_what_happened_to_each(pmo: Forum) -> None:
    answer = pmo.run(
        "member", "add", "pmo", "eve@example.net", "ADA@example.org", "nonsense", "pmo-owner@lists.example.test", code=1
    )
    assert answer.out.splitlines() == ["eve@example.net added", "ADA@example.org is a member already"]
    assert answer.err.splitlines() == [
        "mailforum: nonsense: This is not an address that mail can be sent to; it should look like name@example.org",
        "mailforum: pmo-owner@lists.example.test: This address belongs to a list and cannot join one.",
    ]
    assert set(table(pmo)) == {"ada@example.org", "bob@example.com", "eve@example.net"}


def test_member_add_takes_role_mode_and_name(pmo: Forum) -> None:
    pmo.run("member", "add", "pmo", "--role", "owner", "--mode", "digest", '"Eve, the 1st" <eve@example.net>')
    assert table(pmo)["eve@example.net"] == ("Eve, the 1st", "owner", "digest", "active")


def test_a_new_member_is_welcomed_unless_told_otherwise(pmo: Forum) -> None:
    pmo.run("member", "add", "pmo", "eve@example.net", "--no-welcome")
    assert pmo.rows("queue", "ls") == []
    pmo.run("member", "add", "pmo", "kim@example.net")
    assert [row["rcpt"] for row in pmo.rows("queue", "ls")] == ["kim@example.net"]
    pmo.run("member", "add", "pmo", "kim@example.net")
    assert len(pmo.rows("queue", "ls")) == 1


def test_members_are_removed(pmo: Forum) -> None:
    answer = pmo.run("member", "remove", "pmo", "ADA@Example.org", "eve@example.net", code=1)
    assert answer.out == "ADA@Example.org removed\n"
    assert answer.err == "mailforum: eve@example.net is no member of pmo@lists.example.test\n"
    assert set(table(pmo)) == {"bob@example.com"}


def test_member_set_changes_what_a_member_has(pmo: Forum) -> None:
    words = ["role=moderator", "mode=none", "status=suspended", "name=Bob B.", "own-posts=off"]
    pmo.run("member", "set", "pmo", "bob@example.com", *words)
    assert table(pmo)["bob@example.com"] == ("Bob B.", "moderator", "none", "suspended")
    assert pmo.rows("member", "show", "pmo", "bob@example.com")[0]["own_posts"] is False


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("role=boss", "role takes member, moderator or owner, not `boss`"),
        ("mode=daily", "mode takes each, digest or none, not `daily`"),
        ("status=away", "status takes active or suspended, not `away`"),
        ("own_posts=perhaps", "own_posts takes on or off, not `perhaps`"),
        ("address=x@example.org", "there is no option `address`; there are role, mode, status, name, own_posts"),
    ],
)
def test_what_a_member_cannot_have_is_explained(pmo: Forum, word: str, said: str) -> None:
    assert pmo.fails("member", "set", "pmo", "bob@example.com", word) == said


def test_somebody_who_is_no_member_cannot_be_set_or_shown(pmo: Forum) -> None:
    assert pmo.fails("member", "set", "pmo", "eve@example.net", "mode=none") == (
        "eve@example.net is no member of pmo@lists.example.test"
    )
    assert pmo.fails("member", "show", "pmo", "eve@example.net").startswith("eve@example.net is no member")
    assert pmo.fails("member", "show", "eve@example.net") == "eve@example.net is on no list"


def test_member_show_without_a_list_is_all_of_them(pmo: Forum) -> None:
    pmo.run("list", "create", "lab")
    pmo.run("member", "add", "lab", "Bob@example.com", "--mode", "digest")
    assert [(row["list"], row["mode"]) for row in pmo.rows("member", "show", "bob@example.com")] == [
        ("lab@lists.example.test", "digest"),
        ("pmo@lists.example.test", "each"),
    ]


def test_member_ls_shows_only_some_when_asked(pmo: Forum) -> None:
    pmo.run("member", "set", "pmo", "bob@example.com", "role=owner", "mode=digest")
    assert [row["address"] for row in pmo.rows("member", "ls", "pmo", "--role", "owner")] == ["bob@example.com"]
    assert [row["address"] for row in pmo.rows("member", "ls", "pmo", "--mode", "each")] == ["ada@example.org"]


CSV = """\ufeffName,Note,E-Mail,Mode,Role
"Müller, Eva",likes tea,eva@example.org,digest,owner
,,kim@example.org,,
Twice,,EVA@example.org,,
,,not an address,,
,,zoe@example.org,sometimes,
,,ada@example.org,,
"""


def test_a_csv_is_imported_and_its_bad_lines_are_named(pmo: Forum) -> None:
    file = pmo.file("people.csv", CSV)
    answer = pmo.run("member", "import", "pmo", file, code=1)
    assert answer.out == "2 added, 2 members already, 2 lines not usable\n"
    assert answer.err.splitlines() == [
        f"mailforum: {file}, line 5: not an address: "
        "This is not an address that mail can be sent to; it should look like name@example.org",
        f"mailforum: {file}, line 6: mode is each, digest, none, not `sometimes`",
    ]
    assert table(pmo)["eva@example.org"] == ("Müller, Eva", "owner", "digest", "active")
    assert pmo.rows("queue", "ls") == []


def test_a_dry_run_says_the_same_and_changes_nothing(pmo: Forum) -> None:
    file = pmo.file("people.csv", CSV)
    before = table(pmo)
    dry = pmo.run("member", "import", "pmo", file, "--dry-run", code=1)
    assert table(pmo) == before
    real = pmo.run("member", "import", "pmo", file, code=1)
    assert dry.out == real.out.replace("added", "would be added")
    assert dry.err == real.err


def test_one_address_a_line_is_imported_in_latin_1_too(pmo: Forum) -> None:
    text = "# our people\r\n\r\nJürgen <jue@example.org>\r\nkim@example.org\r\n"
    answer = pmo.run("member", "import", "pmo", pmo.file("people.txt", text.encode("latin-1")), "--role", "moderator")
    assert answer.out == "2 added, 0 members already, 0 lines not usable\n"
    assert table(pmo)["jue@example.org"] == ("Jürgen", "moderator", "each", "active")


def test_an_import_may_welcome(pmo: Forum) -> None:
    pmo.run("member", "import", "pmo", pmo.file("people.txt", "kim@example.org\n"), "--welcome")
    assert [row["rcpt"] for row in pmo.rows("queue", "ls")] == ["kim@example.org"]


def test_an_import_reads_standard_input(pmo: Forum) -> None:
    done = as_process("--config", pmo.config, "member", "import", "pmo", "-", stdin=b"kim@example.org\n")
    assert done.stdout == b"1 added, 0 members already, 0 lines not usable\n"


def test_a_file_that_is_not_there_is_one_line(pmo: Forum) -> None:
    assert pmo.fails("member", "import", "pmo", "nowhere.csv") == "nowhere.csv: No such file or directory"


def test_thousands_are_imported_within_seconds_and_progress_is_shown(
    pmo: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pmo.file("people.csv", "address\n" + "".join(f"reader{n}@example.org\n" for n in range(3000)))
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("mailforum.cli.common.sys", type("Terminal", (), {"stderr": screen, "stdout": sys.stdout}))
    started = time.monotonic()
    assert pmo.run("member", "import", "pmo", file).out.startswith("3000 added")
    assert time.monotonic() - started < 15
    assert "importing into pmo@lists.example.test: 500  [###.................]  17 %" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_what_is_exported_can_be_imported(pmo: Forum) -> None:
    pmo.run("member", "set", "pmo", "bob@example.com", 'name=O\'Bob, "Bob"', "role=owner", "mode=digest")
    exported = pmo.run("member", "export", "pmo").out
    assert next(csv.reader(io.StringIO(exported))) == ["address", "name", "role", "mode", "status"]
    before = table(pmo)
    pmo.run("member", "remove", "pmo", "ada@example.org", "bob@example.com")
    pmo.run("member", "import", "pmo", pmo.file("again.csv", exported))
    assert table(pmo) == before
