from __future__ import annotations

import pytest

from mailforum.forum import dispatch
from tests.cli.conftest import Forum, as_process

PMO = "pmo@lists.example.test"


def test_inject_takes_a_mail_as_smtp_does(pmo: Forum) -> None:
    answer = pmo.run("inject", "--to", PMO, pmo.mail())
    assert answer.out == f"{PMO}: 250 2.0.0 Taken as #1.1.\n"
    assert [row["rcpt"] for row in pmo.rows("queue", "ls")] == ["ada@example.org", "bob@example.com"]


def test_inject_reads_standard_input_like_any_pipe_transport(pmo: Forum) -> None:
    done = as_process(
        "--config",
        pmo.config,
        "inject",
        "--from",
        "ada@example.org",
        "--to",
        PMO,
        stdin=b"From: ada@example.org\n\nhi\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{PMO}: 250 2.0.0 Taken as #1.1.\n".encode(), b"")


@pytest.mark.parametrize(
    "words",
    [
        ["--to", PMO, "lab@lists.example.test", "FILE"],
        ["--to", PMO, "--to", "lab@lists.example.test", "FILE"],
        ["FILE", "--to", PMO, "lab@lists.example.test"],
        ["--to", PMO, "--to", "lab@lists.example.test", "--from", "ada@example.org", "FILE"],
    ],
)
def test_the_file_may_stand_anywhere(pmo: Forum, words: list[str]) -> None:
    pmo.run("list", "create", "lab")
    pmo.run("list", "set", "lab", "posting=anyone")
    file = pmo.mail()
    answer = pmo.run("inject", *(file if word == "FILE" else word for word in words))
    assert answer.out.splitlines() == [
        f"{PMO}: 250 2.0.0 Taken as #1.1.",
        "lab@lists.example.test: 250 2.0.0 Taken as #1.1.",
    ]


def test_each_recipient_has_an_answer_and_one_refusal_is_exit_code_1(pmo: Forum) -> None:
    answer = pmo.run("inject", "--to", "nobody@lists.example.test", PMO, "x", "--", pmo.mail(), code=1)
    assert answer.out.splitlines() == [
        "nobody@lists.example.test: 550 5.1.1 There is no such list or address here.",
        f"{PMO}: 250 2.0.0 Taken as #1.1.",
        "x: 501 5.1.3 The address is not well-formed",
    ]
    refused = pmo.run("inject", "--to", PMO, pmo.mail("b@example.org", sender="eve@example.net"), code=1)
    assert refused.out.startswith(f"{PMO}: 550 5.7.1 Only members post")


def test_a_refusal_is_not_sent_by_mail_as_well(pmo: Forum) -> None:
    pmo.run("list", "create", "lab")
    pmo.run("inject", "--to", PMO, "lab@lists.example.test", "--", pmo.mail(), code=1)
    kinds = {pmo.rows("queue", "show", str(row["id"]))[0]["kind"] for row in pmo.rows("queue", "ls")}
    assert kinds == {"post"}


@pytest.mark.parametrize("null", ["", "<>"])
def test_the_null_sender_is_a_robot(pmo: Forum, null: str) -> None:
    pmo.run("inject", "--from", null, "--to", PMO, pmo.mail())
    assert pmo.rows("post", "ls", "pmo") == []


def test_a_sender_that_is_none_is_one_line(pmo: Forum) -> None:
    assert "not well-formed" in pmo.fails("inject", "--from", "a b", "--to", PMO, pmo.mail())
    assert pmo.fails("inject", "--to", PMO, "nowhere.eml") == "nowhere.eml: No such file or directory"


def test_a_mail_over_the_limit_is_refused(pmo: Forum) -> None:
    config = (pmo.folder / "mailforum.toml").read_text().replace('# max_size = "25M"', 'max_size = "1K"')
    pmo.file("mailforum.toml", config)
    answer = pmo.run("inject", "--to", PMO, pmo.mail(more=f"X-Long: {'x' * 2000}\n"), code=1)
    assert answer.out == f"{PMO}: 552 5.3.4 The mail is too large\n"


def test_no_room_is_exit_code_75(pmo: Forum) -> None:
    config = (pmo.folder / "mailforum.toml").read_text().replace('min_free = "0"', 'min_free = "99999999G"')
    pmo.file("mailforum.toml", config)
    answer = pmo.run("inject", "--to", PMO, pmo.mail(), code=75)
    assert answer.out == f"{PMO}: 452 4.3.1 There is no room for mail just now.\n"


def test_what_is_our_fault_is_exit_code_75_so_that_the_mail_server_keeps_the_mail(pmo: Forum) -> None:
    mail = pmo.mail()
    (pmo.folder / "mailforum.db").write_bytes(b"not a database" * 1000)
    answer = pmo.run("inject", "--to", PMO, mail, code=75)
    assert "file is not a database" in answer.err
    pmo.file("mailforum.toml", "[site\n")
    assert pmo.run("inject", "--to", PMO, mail, code=75).err.count("\n") == 1


@pytest.fixture
def shunted(pmo: Forum, monkeypatch: pytest.MonkeyPatch) -> Forum:
    """A mail that could not be handled: its body had a line that we were afraid of."""
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "handle", lambda tx, mail: 1 / 0)
        answer = pmo.run("inject", "--from", "ada@example.org", "--to", PMO, pmo.mail(), code=75)
    assert answer.out.startswith(f"{PMO}: 451 4.3.0 A fault of ours; your mail is kept")
    return pmo


def test_a_mail_that_a_fault_of_ours_kept_is_shown(shunted: Forum) -> None:
    (row,) = shunted.rows("shunt", "ls")
    assert (row["id"], row["mail_from"], row["rcpts"], row["times"]) == (1, "ada@example.org", [PMO], 1)
    assert "ZeroDivisionError" in row["reason"]
    assert PMO in shunted.run("shunt", "ls").out
    assert shunted.run("shunt", "show", "1").out.endswith("\nHello all.\n")
    raw = as_process("--config", shunted.config, "shunt", "show", "1", "--raw").stdout
    assert raw.endswith(b"\r\n\r\nHello all.\r\n")
    assert shunted.fails("shunt", "show", "2") == "nothing is kept aside as 2 (any more)"


@pytest.mark.parametrize("words", [["1"], []])
def test_a_shunt_that_is_retried_is_posted_and_let_go(shunted: Forum, words: list[str]) -> None:
    assert shunted.run("shunt", "retry", *words).out == f"1 {PMO}: 250 2.0.0 Taken as #1.1.\n"
    assert shunted.rows("shunt", "ls") == []
    assert len(shunted.rows("post", "ls", "pmo")) == 1
    assert shunted.run("shunt", "retry").out == "nothing is kept aside\n"
    assert shunted.fails("shunt", "retry", "1") == "nothing is kept aside as 1 (any more)"


def test_a_shunt_that_still_cannot_be_handled_stays(shunted: Forum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "handle", lambda tx, mail: 1 / 0)
    assert ": 451 4.3.0 " in shunted.run("shunt", "retry", "1", code=1).out
    assert [(row["id"], row["times"]) for row in shunted.rows("shunt", "ls")] == [(1, 2)]


def test_a_shunt_whose_list_is_gone_stays_until_it_is_dropped(shunted: Forum) -> None:
    shunted.run("list", "delete", "pmo")
    assert ": 550 5.1.1 " in shunted.run("shunt", "retry", code=1).out
    assert shunted.run("shunt", "drop", "1").out == "dropped 1\n"
    assert shunted.fails("shunt", "drop", "1") == "nothing is kept aside as 1 (any more)"
