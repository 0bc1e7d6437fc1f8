"""What moderators correct: it can be taken back, it is written down, and every id keeps leading somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailforum.errors import MailforumError, UsageError
from mailforum.forum import corrections, posts, repair, threads
from mailforum.forum.corrections import By
from mailforum.model import How, MailingList, Post, Thread
from mailforum.settings import ListSettings
from mailforum.store import audit, lists
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from mailforum.units import EVER
from tests.support.stores import transaction, undone

NOW = 1_700_000_000.0
KIM = By("kim", NOW)


class Board:
    """A list in a real database, on this thread."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.mlist: MailingList = lists.by_id(
            self.tx, lists.add(self.tx, "pmo@lists.example.test", "", ListSettings(), 1.0) or 0
        )  # type: ignore[assignment]

    def mail(self, name: str, *references: str, subject: str = "") -> Post:
        """Post a mail that names others, the nearest last."""
        number = len(rows.of_list(self.tx, self.mlist.id))
        head = [f"Message-ID: <{name}@example.org>", f"Subject: {subject or f'About {name}'}", "From: ada@example.org"]
        head += [f"Date: {1 + number // 24} Mar 2023 {number % 24:02}:00:00 +0000"]
        if references:
            head += ["References: " + " ".join(f"<{one}@example.org>" for one in references)]
        msg, raw = posts.parse("\r\n".join([*head, "", f"{number}", ""]).encode())
        stored = posts.store(self.tx, self.mlist, msg, raw, NOW, mark=msg.fingerprint)
        post = rows.by_id(self.tx, stored.id)
        assert post
        return post

    def post(self, label: str) -> Post:
        post = rows.by_label(self.tx, self.mlist.id, label)
        assert post
        return post

    def thread(self, number: int) -> Thread:
        thread = rows.thread_by_number(self.tx, self.mlist.id, number)
        assert thread
        return thread

    def split(self, label: str) -> corrections.Parted:
        return corrections.split(self.tx, self.mlist, self.post(label), KIM)

    def merge(self, one: int, into: int) -> corrections.Joined:
        return corrections.merge(self.tx, self.mlist, self.thread(one), self.thread(into), KIM)

    def rename(self, number: int, title: str) -> Thread:
        return corrections.rename(self.tx, self.mlist, self.thread(number), title, KIM)

    def places(self) -> dict[str, tuple[int, str]]:
        """The thread and the parent of each post."""
        every = rows.of_list(self.tx, self.mlist.id)
        labels: dict[int | None, str] = {post.id: post.label for post in every}
        return {post.label: (post.thread, labels.get(post.parent_id, "")) for post in every}


@pytest.fixture
def board(tx: Tx) -> Iterator[Board]:
    with undone(tx):
        yield Board(tx)


@pytest.fixture
def talk(board: Board) -> Board:
    """1.1 < 1.2 < 1.3, 1.1 < 1.4, and 2.1 < 2.2."""
    board.mail("a")
    board.mail("b", "a")
    board.mail("c", "a", "b")
    board.mail("d", "a")
    board.mail("x")
    board.mail("y", "x")
    return board


def test_a_split_takes_what_hangs_below_with_it_and_later_answers_follow(talk: Board) -> None:
    parted = talk.split("1.2")
    assert (parted.old.number, parted.old.posts, parted.new.number, parted.new.posts) == (1, 2, 3, 2)
    assert parted.new.subject == "About b"
    assert talk.mail("e", "a", "b", "c").thread == 3
    assert talk.mail("f", "a").thread == 1
    assert talk.mail("g", "a", "b", "lost").thread == 3


def test_what_was_split_off_stays_off_whatever_comes(board: Board) -> None:
    board.mail("c", "a", "b")
    board.mail("d", "a", "b")
    board.split("1.2")
    board.mail("b", "a")
    board.mail("a")
    threads.regroup_all(board.tx, board.mlist.id, NOW)
    places = board.places()
    assert places["1.2"][1] == ""
    assert places["1.2"][0] != places["1.1"][0]


def test_a_split_leaves_replies_where_their_subject_had_put_them(board: Board) -> None:
    board.mail("a", subject="Budget")
    board.mail("b", "a", subject="Re: Budget")
    board.mail("c", "a", subject="Re: Budget")
    board.mail("d", subject="Re: Budget")
    board.mail("e", "b", subject="Re: Budget")
    board.mail("f", subject="Re: Budget")
    assert (board.post("1.4").parent_id, board.post("1.6").parent_id) == (board.post("1.3").id, board.post("1.5").id)
    new = board.split("1.2").new
    assert {label: place[0] for label, place in board.places().items()} == {
        "1.1": 1, "1.2": new.number, "1.3": 1, "1.4": 1, "1.5": new.number, "1.6": new.number,
    }  # fmt: skip
    threads.regroup_all(board.tx, board.mlist.id, NOW)
    assert board.post("1.4").how is How.SUBJECT
    assert board.mail("g", subject="Re: Budget").thread not in (1, new.number), "it may be of either"
    board.merge(new.number, 1)
    assert {place[0] for label, place in board.places().items() if label.startswith("1.")} == {1}


def test_a_split_is_undone_by_merging(talk: Board) -> None:
    before = talk.places()
    new = talk.split("1.2").new
    joined = talk.merge(new.number, 1)
    assert talk.places() == before
    assert (joined.thread.number, joined.gone.number) == (1, new.number)
    assert talk.thread(new.number).number == 1


def test_a_merge_is_undone_by_splitting(talk: Board) -> None:
    before = talk.places()
    joined = talk.merge(2, 1)
    assert (joined.thread.number, joined.thread.posts, joined.gone.number) == (1, 6, 2)
    assert talk.places()["2.1"] == (1, "1.1")
    parted = talk.split("2.1")
    assert (parted.old.number, parted.new.number) == (1, 2)
    assert talk.places() == before


def test_a_merged_thread_has_the_name_of_the_other_and_gets_its_own_again(talk: Board) -> None:
    talk.rename(2, "Lunch")
    assert talk.merge(2, 1).thread.subject == "About a"
    parted = talk.split("2.1")
    assert (parted.old.subject, parted.new.subject) == ("About a", "Lunch")
    talk.rename(1, "Budget")
    assert talk.merge(2, 1).thread.subject == "Budget"
    talk.mail("z", "x")
    assert talk.thread(2).subject == "Budget"


def test_the_number_that_is_lower_stays_whichever_way_threads_are_merged(talk: Board) -> None:
    before = talk.places()
    joined = talk.merge(1, 2)
    assert (joined.thread.number, joined.thread.subject, joined.gone.number) == (1, "About x", 2)
    assert talk.places()["1.1"] == (1, "2.1")
    talk.split("1.1")
    assert {label: parent for label, (_, parent) in talk.places().items()} == {
        label: parent for label, (_, parent) in before.items()
    }


def test_all_of_a_thread_comes_along_when_it_is_merged(talk: Board) -> None:
    lunch = talk.mail("k", subject="Lunch")
    answer = talk.mail("l", subject="Re: Lunch")
    budget = talk.mail("m", subject="Re: Budget")  # begins with a later reply than l, which is found by its subject
    assert answer.thread == lunch.thread
    merged = talk.merge(lunch.thread, budget.thread)
    assert merged.thread.posts == 3
    threads.regroup_all(talk.tx, talk.mlist.id, NOW)
    places = talk.places()
    assert places[lunch.label][1] == budget.label
    assert places[answer.label] == (merged.thread.number, lunch.label)


def test_a_thread_keeps_the_name_it_was_given_until_that_is_taken_back(talk: Board) -> None:
    assert talk.rename(1, "  Budget \r\n for 2027 ").subject == "Budget for 2027"
    talk.mail("e", "a", subject="Another")
    threads.regroup_all(talk.tx, talk.mlist.id, NOW)
    assert talk.thread(1).subject == "Budget for 2027"
    assert talk.rename(1, "").subject == "About a"


def test_the_lists_prefix_is_in_no_subject_of_a_thread(board: Board) -> None:
    lists.change(board.tx, board.mlist.id, "", ListSettings(prefix="[pmo]"))
    board.mail("a", subject="Budget")
    board.mail("b", "a", subject="Re: [pmo] Budget")
    board.mail("d", "c", subject="[PMO] AW: [pmo] [draft] Lunch")
    assert board.split("1.2").new.subject == "Budget"
    assert board.thread(2).subject == "[draft] Lunch"
    board.rename(3, "Numbers")
    assert board.rename(3, "").subject == "Budget"


def test_a_name_is_kept_in_another_thread_and_comes_back_from_there(talk: Board) -> None:
    one, two = talk.mail("k", subject="Lunch"), talk.mail("l", subject="Budget")
    talk.rename(two.thread, "Money")
    talk.merge(two.thread, one.thread)
    assert talk.thread(two.thread) == talk.thread(one.thread)
    assert talk.thread(one.thread).subject == "Lunch"
    talk.split(two.label)
    assert [talk.thread(post.thread).subject for post in (one, two)] == ["Lunch", "Money"]


def test_orphans_that_are_moved_by_others_leave_their_name_with_no_thread(talk: Board) -> None:
    one, two, orphan = talk.mail("k"), talk.mail("l"), talk.mail("o", "ghost")
    talk.rename(orphan.thread, "Money")
    talk.mail("n", "k", "ghost")
    assert talk.thread(orphan.thread).number == one.thread
    talk.mail("m", "l", "ghost")
    assert talk.thread(orphan.thread).number == two.thread
    assert [talk.thread(post.thread).subject for post in (one, two)] == ["About k", "Money"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (("split", "1.1"), "#1.1 begins #1 already"),
        (("merge", 1, 1), "both are #1"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(talk: Board, what: tuple[Any, ...], said: str) -> None:
    before = talk.places()
    name, *values = what
    with pytest.raises(UsageError, match=said):
        getattr(talk, name)(*values)
    assert talk.places() == before
    assert audit.page(talk.tx, "", EVER, 0, 10) == []


def test_threads_of_two_lists_are_not_merged(talk: Board) -> None:
    other = lists.by_id(talk.tx, lists.add(talk.tx, "lab@lists.example.test", "", ListSettings(), 1.0) or 0)
    assert other
    here, talk.mlist = talk.mlist, other
    talk.mail("z")
    there = talk.thread(1)
    talk.mlist = here
    with pytest.raises(MailforumError, match="two lists"):
        corrections.merge(talk.tx, here, there, talk.thread(1), KIM)


def test_each_correction_is_written_down(talk: Board) -> None:
    talk.split("1.2")
    talk.merge(2, 1)
    talk.rename(3, "Lunch")
    found = audit.page(talk.tx, "pmo@lists.example.test", EVER, 0, 10)
    assert [(each.who, each.at, each.what, each.target) for each in found] == [
        ("kim", NOW, "thread split", "1.2"),
        ("kim", NOW, "thread merge", "#2"),
        ("kim", NOW, "thread rename", "#3"),
    ]
    assert found[0].before == {"thread": 1, "parent": "1.1", "how": "references"}
    assert found[0].after == {"thread": 3, "posts": 2}
    assert found[1].before == {"subject": "About x", "posts": 2, "into": "#1", "its_subject": "About a"}
    assert found[1].after == {"thread": 1, "subject": "About a", "posts": 4}
    assert (found[2].before, found[2].after) == ({"subject": "About b"}, {"subject": "Lunch"})


NAMES = st.integers(0, 14)


class Corrections(RuleBasedStateMachine):
    """Mail in any order, and moderators who split, merge and rename as they like."""

    store = "sqlite"

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(TemporaryDirectory())
        self.board = Board(self.stack.enter_context(transaction(self.store, Path(folder))))
        self.posts: dict[str, int] = {}  # labels, and the posts that got them
        self.numbers: set[int] = set()
        self.cut: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "board"):
            self.stack.close()

    @rule(name=NAMES, references=st.lists(NAMES, max_size=3))
    def mail(self, name: int, references: list[int]) -> None:
        post = self.board.mail(str(name), *map(str, references))
        assert post.label not in self.posts
        self.posts[post.label] = post.id

    @precondition(lambda self: self.posts)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        label = data.draw(st.sampled_from(sorted(self.posts)))
        try:
            parted = self.board.split(label)
        except UsageError:
            assert self.board.post(label).parent_id is None
            return
        post = self.board.post(label)
        assert post.parent_id is None
        assert parted.new.number == post.thread
        # Where posts answer each other in a circle, all others turn out to hang below the one that was split off.
        assert parted.old.number != parted.new.number or self._beginnings(post.thread) == [label]
        if rows.is_cut(self.board.tx, post.id):  # and not only taken out of where it was merged into
            self.cut.add(label)

    def _beginnings(self, number: int) -> list[str]:
        every = rows.of_list(self.board.tx, self.board.mlist.id)
        return [post.label for post in every if post.thread == number and post.parent_id is None]

    @precondition(lambda self: len(self.numbers) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        one, into = (data.draw(st.sampled_from(sorted(self.numbers))) for _ in range(2))
        first = self.board.thread(into)
        try:
            joined = self.board.merge(one, into)
        except UsageError:
            assert self.board.thread(one) == first
            return
        self.cut = {label for label in self.cut if rows.is_cut(self.board.tx, self.posts[label])}
        assert self.board.thread(one) == self.board.thread(into) == joined.thread

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), title=st.sampled_from(["", " ", "Lunch", "A\x1b[2J b\r\n c"]))
    def rename(self, data: st.DataObject, title: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.numbers)))
        thread = self.board.rename(number, title)
        assert thread.subject == {"Lunch": "Lunch", "A\x1b[2J b\r\n c": "A [2J b c"}.get(title, thread.subject)
        assert thread.subject.isprintable()

    @invariant()
    def every_id_leads_somewhere(self) -> None:
        if not hasattr(self, "board"):
            return
        every = rows.of_list(self.board.tx, self.board.mlist.id)
        assert {post.label: post.id for post in every} == self.posts
        self.numbers |= {post.thread for post in every}
        assert all(self.board.thread(number).posts > 0 for number in self.numbers)
        assert all(self.board.post(label).parent_id is None for label in self.cut)

    @invariant()
    def nothing_is_left_that_must_not_be(self) -> None:
        if hasattr(self, "board"):
            assert repair.find(self.board.tx) == []

    @invariant()
    def the_rule_from_the_start_gives_the_same(self) -> None:
        if not hasattr(self, "board"):
            return
        before = self.board.places()
        with undone(self.board.tx):
            threads.regroup_all(self.board.tx, self.board.mlist.id, NOW)
            after = self.board.places()
        assert _partition(after) == _partition(before)
        assert {label: parent for label, (_, parent) in after.items()} == {
            label: parent for label, (_, parent) in before.items()
        }


def _partition(places: dict[str, tuple[int, str]]) -> set[frozenset[str]]:
    by_thread: dict[int, set[str]] = {}
    for label, (thread, _) in places.items():
        by_thread.setdefault(thread, set()).add(label)
    return {frozenset(labels) for labels in by_thread.values()}


class CorrectionsOnPostgres(Corrections):
    store = "postgres"


TestCorrections = Corrections.TestCase
TestCorrections.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestCorrectionsOnPostgres = CorrectionsOnPostgres.TestCase
TestCorrectionsOnPostgres.settings = settings(max_examples=5, stateful_step_count=15, deadline=None)
