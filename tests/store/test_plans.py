"""A post costs the same whether the archive, the queue or the list's memory is empty or full."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailforum.errors import Refused
from mailforum.forum import dispatch, posts, route
from mailforum.forum.site import Incoming, Site
from mailforum.mail import address
from mailforum.mail.token import Signer
from mailforum.model import Envelope, Mode, Role, Selection
from mailforum.settings import ListSettings
from mailforum.store import intake, lists
from mailforum.store import posts as rows
from mailforum.store.connection import connect
from mailforum.store.migrate import migrate
from mailforum.store.sqlite import SqliteTx, queries
from mailforum.units import Period

DOMAIN = "lists.example.test"
PMO = f"pmo@{DOMAIN}"
ADA = "ada@example.org"
KEY = b"a key of 32 bytes or of some more"
SITE = Site(DOMAIN, f"admin@{DOMAIN}", Signer((KEY,)), special_domains=True, answers_per_ten_minutes=1_000_000)
# What grows without end; a list's members are few beside its posts, but a held post must not read them all.
LARGE = "post|body|thread|message_id|reference|seen|delivery|mailing|member|held|answer|request|indexed"


class Forum:
    """A list of three in a real database; mails are handled as `Intake` does, on this thread."""

    def __init__(self, path: Path) -> None:
        migrate(path)
        self.connection = connect(path)
        self.tx = SqliteTx(self.connection, queries())
        self.connection.execute("BEGIN")
        self.list_id = lists.add(self.tx, PMO, "PMO", ListSettings(), 1.0) or 0
        for name in ("ada", "bob", "kim"):
            role = Role.OWNER if name == "kim" else Role.MEMBER
            member = f"{name}@example.org"
            lists.add_member(self.tx, self.list_id, member, member, "", role, Mode.EACH, 1.0)

    def post(self, number: int, *, to: str = PMO, sender: str = ADA, answers: str = "", text: str = "Hello") -> str:
        """Take a mail in, whatever becomes of it; return that."""
        way = route.find(self.tx, to, DOMAIN)
        named = f"In-Reply-To: {answers}\r\nReferences: <0@example.org> {answers}\r\n" if answers else ""
        head = f"From: {sender}\r\nSubject: Budget\r\nMessage-ID: <{number}@example.org>\r\n{named}\r\n"
        msg, raw = posts.parse(f"{head}{text}\r\n".encode())
        intake.keeps_aside(self.tx)
        try:
            mail = Incoming(SITE, Envelope(address.envelope(sender), (way,)), way, msg, raw, 1_700_000_000.0)
            return dispatch.handle(self.tx, mail).what
        except Refused as refused:
            return refused.reason

    def steps(self, number: int, **how: str) -> int:
        """Return how many steps of SQLite's machine a mail takes, in tens."""
        return self.counted(lambda: self.post(number, **how))

    def counted(self, work: Callable[[], object]) -> int:
        """Return how many steps something takes, in tens."""
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        self.connection.set_progress_handler(step, 10)
        work()
        self.connection.set_progress_handler(None, 10)
        return count


@pytest.fixture
def forum(tmp_path: Path) -> Iterator[Forum]:
    forum = Forum(tmp_path / "test.db")
    yield forum
    forum.connection.close()


def test_nothing_that_grows_is_searched_from_end_to_end(forum: Forum) -> None:
    statements: list[str] = []
    forum.connection.set_trace_callback(statements.append)
    results = [
        forum.post(0),
        forum.post(0),  # the same once more
        forum.post(1, answers="<0@example.org>"),
        forum.post(2, answers="<3@example.org>"),  # which comes later
        forum.post(3),
        forum.post(4, answers="<nobody@example.org>"),
        forum.post(5, answers="<nobody@example.org>"),
        forum.post(6, sender="eve@example.net"),
        forum.post(7, text="unsubscribe"),
        forum.post(8, to=f"pmo-join@{DOMAIN}", sender="eve@example.net"),
        forum.post(9, to=f"pmo-owner@{DOMAIN}"),
        forum.post(10, to=f"pmo-request@{DOMAIN}", text="which"),
    ]
    lists.change(forum.tx, forum.list_id, "PMO", ListSettings(moderated=True))
    results.append(forum.post(11))
    forum.connection.set_trace_callback(None)
    became = [result.partition(" ")[0].rstrip(":") for result in results]
    assert became[:6] == ["post", "duplicate", "post", "post", "post", "post"]
    assert became[6:] == ["post", "not", "command", "asked", "forwarded", "commands", "held"]
    searched = {line for statement in set(statements) for line in plan(forum.connection, statement)}
    assert any("SEARCH post" in line for line in searched)
    assert [line for line in searched if re.match(rf"SCAN ({LARGE})\b", line)] == []
    whole_list = [line for line in searched if re.match(rf"SEARCH ({LARGE}) .*\(list_id=\?\)", line)]
    assert all("SEARCH member" in line for line in whole_list), whole_list  # who is posted to, and who is in charge


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Return how SQLite goes about a statement."""
    if not re.match(r"SELECT|INSERT|UPDATE|DELETE", statement):
        return []
    return [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


@pytest.mark.parametrize("answers", ["", "<0@example.org>", "<700@example.org>", "<never@example.org>"])
def test_a_post_takes_as_many_steps_in_a_large_archive_as_in_a_small_one(forum: Forum, answers: str) -> None:
    for number in range(10):
        forum.post(number)
    forum.post(1_000, answers=answers.replace("700", "7"))
    few = forum.steps(1_001, answers=answers.replace("700", "7"))
    for number in range(10, 800):
        forum.post(number, answers="<0@example.org>" if number % 2 else "")
    many = forum.steps(1_002, answers=answers)
    assert many <= few * 1.05 + 3, (few, many)


def test_those_in_charge_are_not_looked_for_among_all_members(forum: Forum) -> None:
    lists.change(forum.tx, forum.list_id, "PMO", ListSettings(moderated=True))
    forum.post(1)
    few = forum.steps(2)
    for number in range(500):
        member = f"reader{number}@example.org"
        lists.add_member(forum.tx, forum.list_id, member, member, "", Role.MEMBER, Mode.EACH, 1.0)
    assert forum.steps(3) <= few + 3


def test_the_last_page_of_an_export_is_found_as_fast_as_the_first(forum: Forum) -> None:
    for number in range(300):
        forum.post(number)
    forum.connection.execute("ANALYZE")

    def steps(after: int) -> int:
        def read() -> None:
            found = rows.selected(forum.tx, forum.list_id, Selection(during=Period(0.0, 4e9)), after, 300, 20)
            assert [post.id for post in found] == list(range(after + 1, after + 21))

        return forum.counted(read)

    assert steps(280) <= steps(0) + 3
