from __future__ import annotations

import pytest

from mailforum.mail.message import normalise
from tests.cli.conftest import Forum, as_process, lines


@pytest.fixture
def thread(pmo: Forum) -> Forum:
    """A question, an answer, an answer to that, and another question."""
    pmo.post("q@example.org")
    pmo.post("a@example.org", reply_to="q@example.org")
    pmo.post("b@example.org", reply_to="a@example.org")
    pmo.post("x@example.org")
    return pmo


def test_post_ls_says_who_answers_whom(thread: Forum) -> None:
    rows = thread.rows("post", "ls", "pmo")
    assert [(row["id"], row["thread"], row["parent"], row["message_id"]) for row in rows] == [
        ("1.1", 1, None, "<q@example.org>"),
        ("1.2", 1, "<q@example.org>", "<a@example.org>"),
        ("1.3", 1, "<a@example.org>", "<b@example.org>"),
        ("2.1", 2, None, "<x@example.org>"),
    ]
    assert rows[0]["from"] == "ada@example.org"
    assert rows[0]["subject"] == "Hello q@example.org"
    assert rows[0]["date"].endswith("Z")


def test_a_date_is_iso_8601_in_utc(pmo: Forum) -> None:
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.mail(more="Date: Wed, 1 Jul 2026 01:30:00 +0200\n"))
    assert pmo.rows("post", "ls", "pmo")[0]["date"] == "2026-06-30T23:30:00Z"


def test_post_show_has_headers_threading_text_and_attachments(pmo: Forum) -> None:
    pmo.post("q@example.org")
    mail = (
        "From: =?utf-8?q?J=C3=BCrgen?= <ada@example.org>\nSubject: =?utf-8?q?=C3=9Cber?= uns\n"
        "Message-ID: <m@example.org>\nIn-Reply-To: <q@example.org>\nX-Secret: no\nMIME-Version: 1.0\n"
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: base64\n\nR3LDvMOfZSE=\n"
        "--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n\nxyz\n--b--\n"
    )
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.file("m.eml", mail))
    out = pmo.run("post", "show", "pmo", "1.2").out
    assert out.startswith(
        "#1.2 on pmo@lists.example.test, thread #1\nanswers #1.1 <q@example.org> (found by its In-Reply-To)\n"
    )
    assert "From: Jürgen <ada@example.org>\nSubject: Über uns\n" in out
    assert "\n\nGrüße!\n[attachment: a.pdf, application/pdf, 3 bytes]\n" in out
    assert "X-Secret" not in out
    row = pmo.rows("post", "show", "1.2")[0]
    assert (row["answers"], row["how"]) == ("1.1", "in-reply-to")
    assert (row["text"], row["attachments"]) == (
        "Grüße!",
        [{"filename": "a.pdf", "type": "application/pdf", "size": 3}],
    )


def test_post_ls_goes_by_date_and_as_far_as_asked(pmo: Forum) -> None:
    for number, month in enumerate(("Mar", "Jan", "Feb"), 1):
        mail = pmo.mail(f"{number}@example.org", more=f"Date: Wed, 1 {month} 2026 12:00:00 +0000\n")
        pmo.run("inject", "--to", "pmo@lists.example.test", mail)

    def ids(*words: str) -> list[str]:
        return [row["id"] for row in pmo.rows("post", "ls", "pmo", *words)]

    assert ids() == ["2.1", "3.1", "1.1"]
    assert ids("--sort", "newest", "--limit", "2") == ["1.1", "3.1"]
    assert ids("--sort", "thread") == ["2.1", "3.1", "1.1"]
    assert ids("--since", "2026-02") == ["3.1", "1.1"]
    assert ids("--since", "2026-01-15", "--until", "2026-02-01") == ["3.1"]
    assert lines(pmo.run("post", "ls", "pmo", "--until", "2025")) == ["ID DATE FROM SUBJECT"]
    assert "is no date; write `2026-01-31`" in pmo.fails("post", "ls", "pmo", "--since", "yesterday")
    assert "no number of rows" in pmo.run("post", "ls", "pmo", "--limit", "-1", code=2).err


def test_a_day_is_one_of_the_lists_time_zone(pmo: Forum) -> None:
    pmo.run("list", "set", "pmo", "timezone=Pacific/Auckland")
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.mail(more="Date: Wed, 1 Jul 2026 13:30:00 +0000\n"))
    assert len(pmo.rows("post", "ls", "pmo", "--since", "2026-07-02")) == 1
    assert pmo.rows("post", "ls", "pmo", "--until", "2026-07-01") == []


def test_post_show_raw_is_the_mail_byte_by_byte(pmo: Forum) -> None:
    raw = b"From: ada@example.org\nSubject: \xfc\nMessage-ID: <raw@example.org>\nX-Odd :  a\n\tb\n\n\xff\xfe\x80\n. \n"
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.file("raw.eml", raw))
    done = as_process("--config", pmo.config, "post", "show", "#1.1", "--raw")
    assert done.stdout == normalise(raw)
    assert done.stderr == b""


def test_an_id_that_several_lists_have_needs_the_list(thread: Forum) -> None:
    thread.run("list", "create", "lab")
    thread.run("list", "set", "lab", "posting=anyone")
    thread.run("inject", "--to", "lab@lists.example.test", thread.mail("lab@example.org"))
    said = thread.fails("post", "show", "#1.1")
    assert said == (
        "several lists have a post #1.1: lab@lists.example.test, pmo@lists.example.test; say which: `lab#1.1`"
    )
    assert thread.rows("post", "show", "lab#1.1")[0]["message_id"] == "<lab@example.org>"
    assert thread.rows("post", "show", "lab", "#1.1")[0]["message_id"] == "<lab@example.org>"
    assert thread.rows("post", "show", "1.3")[0]["list"] == "pmo@lists.example.test"
    for name in ("a", "b", "c", "d"):
        thread.run("list", "create", name)
        thread.run("list", "set", name, "posting=anyone")
        thread.run("inject", "--to", f"{name}@lists.example.test", thread.mail("lab@example.org"))
    assert "lab@lists.example.test and 1 more; say which: `a#1.1`" in thread.fails("post", "show", "#1.1")


def test_a_post_that_is_not_there_is_one_line(thread: Forum) -> None:
    assert thread.fails("post", "show", "9.9") == "there is no post 9.9"
    assert thread.fails("post", "show", "pmo", "9.9") == "there is no post 9.9 on pmo@lists.example.test"
    assert thread.fails("post", "show", "pmo", "%") == "there is no post % on pmo@lists.example.test"


def test_a_label_stays_when_threads_merge(pmo: Forum) -> None:
    pmo.post("b@example.org", reply_to="a@example.org")
    pmo.post("c@example.org")
    pmo.run("inject", "--to", "pmo@lists.example.test", pmo.mail("a@example.org", more="References: <c@example.org>\n"))
    assert {row["thread"] for row in pmo.rows("post", "ls", "pmo")} == {1}
    assert [row["id"] for row in pmo.rows("post", "ls", "pmo")][:2] == ["1.1", "2.1"]
    assert len(pmo.rows("thread", "show", "pmo", "2")) == 3
