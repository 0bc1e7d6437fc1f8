"""Replies that name no post, found by their subject: a function of the set of posts, and hardly ever wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailforum.forum import posts, same_subject, threads
from mailforum.mail import plain, subject
from mailforum.model import How, MailingList, Post
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from mailforum.store.sqlite import queries
from tests.support import threading
from tests.support.stores import connection_of, on_sqlite
from tests.support.stripped import DAYS, measure, played, strip, tenth, truth
from tests.support.talk import TROUBLED, Talk, discussion, patches

START = datetime(2021, 3, 1, tzinfo=UTC).timestamp()
DAY, HOUR = 86400.0, 3600.0


@dataclass(frozen=True)
class Letter:
    """A mail as far as threading looks at it. `hours` is when it was written, `answers` the mail that it names."""

    number: int
    subject: str
    hours: float
    answers: str = ""

    @property
    def message_id(self) -> str:
        return f"<{self.number}@example.org>"

    @property
    def date(self) -> float:
        return START + self.hours * HOUR

    @property
    def raw(self) -> bytes:
        date = format_datetime(datetime.fromtimestamp(self.date, UTC))
        lines = ["From: Ada <ada@example.org>", f"Message-ID: {self.message_id}", f"Date: {date}"]
        lines += [f"Subject: {self.subject}"]
        lines += [f"In-Reply-To: {self.answers}"] if self.answers else []
        return "\r\n".join([*lines, "", "text", ""]).encode()


# What the docstring of forum/same_subject.py says, written down once more without a thought for speed. What the other
# rules make of the mails is taken from a list where nothing is found by its subject.


class Rule:
    """Parents by Message-ID, and threads as sets of Message-IDs."""

    def __init__(self, letters: Sequence[Letter], others: Sequence[Post]) -> None:
        self.letters = {letter.message_id: letter for letter in letters}
        self.parents = {post.message_id: post.parent for post in others}
        self._above = dict(self.parents)
        self._threads: dict[str, set[str]] = {}
        for thread in {post.thread for post in others}:
            members = {post.message_id for post in others if post.thread == thread}
            self._threads |= dict.fromkeys(members, members)
        self._lonely = {one for one in self.letters if self._is_lonely(one)}
        for reply in sorted(self._lonely, key=self._order):
            self._judge(reply)

    @property
    def threads(self) -> set[frozenset[str]]:
        return {frozenset(thread) for thread in self._threads.values()}

    def _is_lonely(self, one: str) -> bool:
        topic = subject.topic(self.letters[one].subject)
        seeks = bool((topic.base and topic.marked) or topic.was)
        return seeks and self.letters[one].answers in ("", one)

    def _order(self, one: str) -> tuple[float, str]:
        return self.letters[one].date, one

    def _begins_before(self, one: str, reply: str) -> bool:
        while (above := self._above[one]) is not None:
            one = above
        return one not in self._lonely or self._order(one) < self._order(reply)

    def _judge(self, reply: str) -> None:
        topic, date = subject.topic(self.letters[reply].subject), self.letters[reply].date
        for base in filter(None, [topic.base, topic.was]):
            same = [one for one in self.letters if subject.topic(self.letters[one].subject).base == base]
            before = [one for one in same if date - DAYS * DAY <= self.letters[one].date <= date]
            after = [one for one in same if date < self.letters[one].date <= date + same_subject.FAST]
            for near in (sorted(before, key=self._order, reverse=True), sorted(after, key=self._order)):
                counted = [one for one in near[: same_subject.MOST] if self._begins_before(one, reply)]
                if counted:
                    good = same_subject.PLAIN_DAYS if plain.is_plain(base) else DAYS
                    sure = all(self._threads[one] is self._threads[counted[0]] for one in counted)
                    if sure and date - self.letters[counted[0]].date <= good * DAY:
                        self._join(reply, counted[0])
                    return

    def _join(self, reply: str, parent: str) -> None:
        self.parents[reply] = parent
        joined = self._threads[reply] | self._threads[parent]
        self._threads |= dict.fromkeys(joined, joined)


_SUBJECTS = [
    "Budget",
    "Re: Budget",
    "Re: Budget",
    "Re: Roof",
    "AW: Roof (was: Budget)",
    "Floor (was: Roof)",
    "question",
    "Re: question",
    "Re: Re:",
]
_names = st.one_of(st.just(""), st.just(""), st.sampled_from([f"<{number}@example.org>" for number in range(12)]))
# Days apart, and minutes: clocks that differ.
_hours = st.builds(lambda days, twelfths: days * 24 + twelfths / 12, st.integers(0, 50), st.integers(0, 5))


@st.composite
def _archives(draw: st.DrawFn) -> list[Letter]:
    """Mails of a few subjects, some of which name others; in any order, with dates that may contradict it."""
    numbers = draw(st.lists(st.integers(0, 9), min_size=2, max_size=9, unique=True))
    return [Letter(one, draw(st.sampled_from(_SUBJECTS)), draw(_hours), draw(_names)) for one in numbers]


_FOUND = [  # a late mail of a thread lets one reply find it, which lets another one find both
    Letter(1, "Roof", 24),
    Letter(2, "Re: Budget", 72),
    Letter(3, "Re: Roof", 96, "<2@example.org>"),
    Letter(4, "Re: Roof", 120),
    Letter(5, "Budget", 48, "<1@example.org>"),
]
_JOINED = [  # two threads turn out to be one
    Letter(1, "Budget", 24),
    Letter(2, "Budget", 72, "<3@example.org>"),
    Letter(4, "Re: Budget", 96),
    Letter(3, "Floor", 48, "<1@example.org>"),
]
_LATE = [
    Letter(1, "Budget", 24),
    Letter(2, "Budget", 96, "<1@example.org>"),
    Letter(3, "Re: Budget", 120),
    Letter(4, "Budget", 48),
]
_ABOVE = [  # what was looked at hangs below a later reply in the end
    Letter(1, "Re: Budget", 24),
    Letter(5, "Budget", 24, "<0@example.org>"),
    Letter(7, "Budget", 24, "<1@example.org>"),
    Letter(0, "Re: Budget", 48),
]
_FAST = [Letter(1, "Re: Budget", 24), Letter(2, "Budget", 24.1)]
_SAME_TIME = [Letter(number, "Budget", 24, answers) for number, answers in ((3, ""), (1, ""), (2, "<1@example.org>"))]


@on_sqlite
@given(_archives(), st.sampled_from([2, 100]))
@example(_FOUND, 100)
@example([*_FOUND, Letter(6, "Budget", 49)], 100)
@example(_JOINED, 100)
@example(_LATE, 100)
@example(_FAST, 100)
@example(_ABOVE, 100)
@example([Letter(number, "Budget", 24) for number in (2, 3, 4)] + _ABOVE, 2)
@example([*_SAME_TIME, Letter(4, "Re: Budget", 48)], 2)
@settings(max_examples=100)
def test_what_is_found_is_what_the_rule_says_in_any_order(tx: Tx, letters: list[Letter], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(same_subject, "MOST", most)
        mails = [letter.raw for letter in letters]
        with played(tx, mails, days=0) as others:
            rule = Rule(letters, others)
        with played(tx, mails, DAYS) as found:
            assert {post.message_id: post.parent for post in found} == rule.parents
            assert _partition(found) == rule.threads


@on_sqlite
@pytest.mark.parametrize(
    ("talks", "precision", "recall"),
    [
        (discussion(1000, seed=5), 0.995, 0.98),
        (patches(800, seed=5), 0.97, 0.94),
        (discussion(600, 5, TROUBLED), 0.99, 0.9),
    ],
    ids=["discussion", "patches", "troubled"],
)
def test_replies_without_headers_are_found_and_hardly_ever_wrongly(
    tx: Tx, talks: list[Talk], precision: float, recall: float
) -> None:
    mails = [talk.raw for talk in talks]
    _, replies = truth(tx, mails)
    strays = {number for number, talk in enumerate(talks) if talk.strays}
    found = measure(tx, mails, [talk.thread for talk in talks], tenth(replies, Random(1)), strays)
    assert found.stripped > 40
    assert found.precision >= precision
    assert found.recall >= recall


def test_an_archive_in_any_order_is_the_same_and_working_it_out_anew_changes_nothing(tx: Tx) -> None:
    talks = discussion(400, 3, TROUBLED)
    stripped = set(Random(2).sample(range(len(talks)), len(talks) // 3))
    mails = [strip(talk.raw) if number in stripped else talk.raw for number, talk in enumerate(talks)]
    trees = []
    for order in (mails, Random(3).sample(mails, len(mails))):
        with played(tx, order, DAYS) as found:
            threads.regroup_all(tx, found[0].list_id, 0.0)
            again = rows.of_list(tx, found[0].list_id)
            assert again == found
            assert sum(post.how == How.SUBJECT for post in found) > len(stripped) // 2
            trees.append(({post.message_id: post.parent for post in found}, _partition(found)))
    assert trees[0] == trees[1]


def _partition(found: Sequence[Post]) -> set[frozenset[str]]:
    members: dict[int, set[str]] = {}
    for post in found:
        members.setdefault(post.thread, set()).add(post.message_id)
    return set(map(frozenset, members.values()))


@on_sqlite
def test_looking_for_a_subject_needs_no_scan_of_the_list(tx: Tx) -> None:
    values = dict.fromkeys(("list_id", "id", "thread_id", "most"), 1) | {"threads": "[]", "posts": "[]"}
    values |= dict.fromkeys(("date", "since", "until", "first", "last"), 1.0) | {"base": "x", "message_id": "<x@y>"}
    for name, query in queries().items():
        if name.startswith("subject."):
            plan = [row[3] for row in connection_of(tx).execute(f"EXPLAIN QUERY PLAN {query}", values)]
            assert not [step for step in plan if step.startswith("SCAN") and "VIRTUAL" not in step], (name, plan)
            assert not [step for step in plan if step.endswith("(list_id=?)")], (name, plan)


@on_sqlite
def test_a_mail_that_concerns_many_replies_costs_as_much_for_each_as_for_few(tx: Tx) -> None:
    few, many = (_steps_of_an_earlier_mail(tx, count) for count in (250, 1_000))
    assert many <= 5 * few, (few, many)


def _steps_of_an_earlier_mail(tx: Tx, count: int) -> int:
    """Return how many steps SQLite takes for the mail that `count` replies without headers turn out to be about."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    with threading.new_list(tx) as mlist:
        for number in range(count):
            _take(tx, mlist, Letter(number, "Re: Budget", 1 + number / 100))
        connection_of(tx).set_progress_handler(step, 100)
        _take(tx, mlist, Letter(count, "Budget", 0))
        connection_of(tx).set_progress_handler(None, 100)
        assert len({post.thread for post in rows.of_list(tx, mlist.id)}) == 1
    return steps


def _take(tx: Tx, mlist: MailingList, letter: Letter) -> None:
    msg, raw = posts.parse(letter.raw)
    posts.store(tx, mlist, msg, raw, threading.NOW, mark=msg.fingerprint)
