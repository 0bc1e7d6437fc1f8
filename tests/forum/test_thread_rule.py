"""The stored tree is what the rule says, whatever comes in whatever order, and whatever moderators decide."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailforum.forum import branches, threads
from mailforum.forum.newcomer import Newcomer
from mailforum.mail.evidence import Named
from mailforum.model import How
from mailforum.settings import ListSettings
from mailforum.store import lists
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from mailforum.store.sqlite import open_sqlite
from tests.support import threading
from tests.support.oracle import Tree, by_the_rule
from tests.support.stores import connection_of, on_postgres, on_sqlite

_IDS = [f"<m{number}@example.org>" for number in range(8)]
_GHOSTS = [f"<g{number}@example.org>" for number in range(4)]
_ROOT = "01" + "ab" * 21
_INDEXES = [_ROOT, _ROOT + "11" * 5, _ROOT + "11" * 5 + "22" * 5, _ROOT + "33" * 5]
_STRONG = (How.IN_REPLY_TO, How.REFERENCES, How.REFERENCES, How.REFERENCES)
_BASES = ("budget", "budget of march", "lunch", "")


def mail(name: str, *names: str, how: Sequence[How] = _STRONG, **more: object) -> Newcomer:
    """A newcomer called `name` who names others, nearest first: `mail("c", "b", "a")`."""
    named = tuple(Named(f"<{one}@example.org>", how[min(at, len(how) - 1)]) for at, one in enumerate(names))
    return replace(Newcomer(0, f"<{name}@example.org>", f"about {name}", 0.0, named), **more)  # type: ignore[arg-type]


@st.composite
def newcomers(draw: st.DrawFn, message_id: str) -> Newcomer:
    """A post that names anything: posts, ghosts, conversations of Outlook, by all ways there are."""
    header = draw(st.lists(st.sampled_from([*_IDS, *_GHOSTS]), max_size=3, unique=True))
    index = draw(st.sampled_from(["", "", "", *_INDEXES]))
    names = [Named(name, how) for name, how in zip(header, _STRONG, strict=False) if name != message_id]
    ends = range(len(index) - 10, 43, -10)
    names += [Named(f"ti:{index[:end]}", How.THREAD_INDEX) for end in ends]
    if not names or draw(st.integers(0, 9)) == 0:
        text = draw(st.lists(st.sampled_from([*_IDS, *_GHOSTS]), max_size=2, unique=True))
        names += [Named(name, How.TEXT) for name in text if name not in {message_id, *(one.name for one in names)}]
    base, fresh = draw(st.sampled_from(_BASES)), draw(st.integers(0, 4)) == 0
    date = float(draw(st.integers(0, 5)))
    return Newcomer(0, message_id, base, date, tuple(names), index, base, fresh=fresh and bool(base))


@st.composite
def archives(draw: st.DrawFn) -> list[Newcomer]:
    """Posts that name each other, some with one Message-ID, in any order."""
    ids = draw(st.lists(st.sampled_from(_IDS), min_size=1, max_size=9))
    return [draw(newcomers(message_id)) for message_id in ids]


@st.composite
def lost_mails(draw: st.DrawFn) -> list[Newcomer]:
    """Whole conversations, most mails of which are missing: nothing but claims, groups and circles of them."""
    few = [*_IDS[:3], *_GHOSTS]
    ids = draw(st.lists(st.sampled_from(_IDS), min_size=3, max_size=8, unique=True))
    names = st.lists(st.sampled_from(few), min_size=1, max_size=3, unique=True)
    return [mail_of(message_id, [name for name in draw(names) if name != message_id]) for message_id in ids]


def mail_of(message_id: str, names: Sequence[str]) -> Newcomer:
    return Newcomer(0, message_id, "", 0.0, tuple(Named(*pair) for pair in zip(names, _STRONG, strict=False)))


def play(tx: Tx, list_id: int, arrived: Sequence[Newcomer]) -> Tree:
    ids = [threading.keep(tx, list_id, newcomer) for newcomer in arrived]
    return threading.stored(tx, list_id, ids)


any_archive = st.one_of(archives(), lost_mails())


@on_sqlite
@given(any_archive)
@settings(max_examples=120, deadline=None)
@example([mail("m2", "g0", "m0"), mail("m3", "g0", "m1"), mail("m0"), mail("m1"), mail("m4", "g0")])
@example([mail("m2", "g0"), mail("m3", "g0", "m2"), mail("m4", "g0", "m5"), mail("m5"), mail("m6", "g0")])
@example([mail("m1", "g1"), mail("m2", "g2"), mail("m3", "g2", "m1"), mail("m4", "g1", "m2"), mail("m0", "g2")])
def test_after_each_arrival_the_tree_is_what_the_rule_says(tx: Tx, arrived: list[Newcomer]) -> None:
    with threading.new_list(tx) as mlist:
        ids: list[int] = []
        for number, newcomer in enumerate(arrived):
            ids.append(threading.keep(tx, mlist.id, newcomer))
            assert threading.stored(tx, mlist.id, ids) == by_the_rule(arrived[: number + 1])
        assert threading.is_whole(tx, mlist.id)


@on_postgres
@given(any_archive)
@settings(max_examples=40, deadline=None)
def test_postgresql_makes_the_same_tree(tx: Tx, arrived: list[Newcomer]) -> None:
    with threading.new_list(tx) as mlist:
        assert play(tx, mlist.id, arrived) == by_the_rule(arrived)
        assert threading.is_whole(tx, mlist.id)


def seen(arrived: Sequence[Newcomer], tree: Tree) -> tuple[object, ...]:
    """A tree without the order in which it arrived."""
    name = [newcomer.message_id for newcomer in arrived]
    places = zip(name, tree.parents, tree.hows, strict=True)
    parents = {one: (None if at is None else name[at], how) for one, at, how in places}
    return parents, {frozenset(name[number] for number in thread) for thread in tree.threads}


def unique(arrived: Sequence[Newcomer]) -> list[Newcomer]:
    """Leave out those that would not own all their names: of two, the first to arrive does."""
    owned: set[str] = set()
    kept = []
    for one in arrived:
        if owned.isdisjoint(one.owned):
            owned.update(one.owned)
            kept.append(one)
    return kept


@on_sqlite
@given(any_archive, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_order_of_arrival_gives_the_same_tree(tx: Tx, arrived: list[Newcomer], random: Random) -> None:
    arrived = unique(arrived)
    shuffled = random.sample(arrived, len(arrived))
    with threading.new_list(tx) as mlist:
        one = seen(arrived, play(tx, mlist.id, arrived))
    with threading.new_list(tx) as mlist:
        assert seen(shuffled, play(tx, mlist.id, shuffled)) == one


@on_sqlite
@given(any_archive, st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.booleans()), max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_moderators_decide_counts_whatever_comes_before_and_after(
    tx: Tx, arrived: list[Newcomer], decisions: list[tuple[int, int, bool]]
) -> None:
    cut: set[int] = set()
    put: dict[int, int] = {}
    half = (len(arrived) + 1) // 2
    with threading.new_list(tx) as mlist:
        ids = [threading.keep(tx, mlist.id, newcomer) for newcomer in arrived[:half]]
        for one, other, is_cut in decisions:
            one, other = one % half, other % half
            if is_cut:
                cut.add(one)
                put.pop(one, None)
                tx.run("thread.cut", id=ids[one])
            elif one != other:
                cut.discard(one)
                put[one] = other
                tx.run("thread.put_under", under=ids[other], posts=f"[{ids[one]}]")
            else:
                continue
            branches.around(tx, mlist.id, [ids[one]], threads.ghosts_of(tx, [ids[one]]), threading.NOW)
            assert threading.stored(tx, mlist.id, ids) == by_the_rule(arrived[:half], sorted(cut), put)
        ids += [threading.keep(tx, mlist.id, newcomer) for newcomer in arrived[half:]]
        assert threading.stored(tx, mlist.id, ids) == by_the_rule(arrived, sorted(cut), put)
        before = threading.stored(tx, mlist.id, ids), [post.thread for post in rows.of_list(tx, mlist.id)]
        threads.regroup_all(tx, mlist.id, threading.NOW)
        assert (threading.stored(tx, mlist.id, ids), [post.thread for post in rows.of_list(tx, mlist.id)]) == before


@on_sqlite
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_two_writers_may_take_turns_in_any_way(tx: Tx, data: st.DataObject) -> None:
    archive = unique(data.draw(any_archive))
    is_left = data.draw(st.lists(st.booleans(), min_size=len(archive), max_size=len(archive)))
    left = [one for one, its in zip(archive, is_left, strict=True) if its]
    right = [one for one, its in zip(archive, is_left, strict=True) if not its]
    turns = data.draw(st.permutations([0] * len(left) + [1] * len(right)))
    writers = iter(left), iter(right)
    arrived = [next(writers[turn]) for turn in turns]
    with threading.new_list(tx) as mlist:
        tree = seen(arrived, play(tx, mlist.id, arrived))
    assert tree == seen(archive, by_the_rule(archive))


async def test_two_tasks_that_write_at_once_make_the_tree_that_one_makes(tmp_path: Path) -> None:
    random = Random(4)
    ids = [f"<w{number}@example.org>" for number in range(60)]
    archive = [
        mail_of(ids[at], random.sample([*ids[max(0, at - 9) : at], *_GHOSTS], min(3, at))) for at in range(len(ids))
    ]
    random.shuffle(archive)
    database = await open_sqlite(tmp_path / "mailforum.db")
    try:
        list_id = await database.write(lambda tx: lists.add(tx, "pmo@lists.example.org", "", ListSettings(), 0.0)) or 0

        async def write(mails: Sequence[Newcomer]) -> None:
            for one in mails:
                await database.write(partial(threading.keep, list_id=list_id, newcomer=one))

        await asyncio.gather(write(archive[::2]), write(archive[1::2]))
        posts = await database.read(lambda tx: rows.of_list(tx, list_id))
        tree = await database.read(lambda tx: threading.stored(tx, list_id, [post.id for post in posts]))
    finally:
        await database.close()
    by_id = {newcomer.message_id: newcomer for newcomer in archive}
    arrived = [by_id[post.message_id] for post in posts]
    assert len(arrived) == len(archive)
    assert seen(arrived, tree) == seen(archive, by_the_rule(archive))


# Nobody may join two threads by naming both.


def trees(tx: Tx, *arrived: Newcomer) -> tuple[dict[str, str], set[str]]:
    """Return the parent of each that has one, and the threads, by the letters of their posts."""
    with threading.new_list(tx) as mlist:
        tree = play(tx, mlist.id, arrived)
    name = [newcomer.message_id[1:].partition("@")[0] for newcomer in arrived]
    parents = {name[at]: name[parent] for at, parent in enumerate(tree.parents) if parent is not None}
    return parents, {"".join(sorted(name[at] for at in thread)) for thread in tree.threads}


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_who_names_two_threads_is_in_the_one_that_is_named_nearest(tx: Tx, names: tuple[str, str]) -> None:
    parents, found = trees(tx, mail("a"), mail("b"), mail("c", *names))
    assert parents == {"c": names[0]}
    assert found == {names[0] + "c", names[1]}


@on_sqlite
def test_a_ghost_named_in_both_does_not_join_two_threads_unless_it_turns_out_to_be_real(tx: Tx) -> None:
    two = [mail("a"), mail("b"), mail("d", "g", "b"), mail("c", "g", "a")]
    for order in permutations(two):
        assert trees(tx, *order) == ({"d": "b", "c": "a"}, {"bd", "ac"})
    for order in permutations([*two, mail("g", "a")]):
        assert trees(tx, *order) == ({"d": "g", "c": "g", "g": "a"}, {"acdg", "b"})


def test_an_answer_to_a_lost_mail_hangs_below_what_that_one_answered(tx: Tx) -> None:
    lost = [mail("a"), mail("c", "lost", "a"), mail("e", "lost")]
    for order in permutations(lost):
        assert trees(tx, *order) == ({"c": "a", "e": "a"}, {"ace"})


def test_answers_to_one_lost_mail_of_which_nothing_is_known_are_one_thread(tx: Tx) -> None:
    for order in permutations([mail("b", "lost"), mail("c", "lost"), mail("d", "c")]):
        assert trees(tx, *order) == ({"d": "c"}, {"bcd"})


@on_sqlite
def test_of_two_claims_on_orphans_the_one_of_the_smaller_id_counts_and_no_thread_moves(tx: Tx) -> None:
    posts = [mail("a"), mail("b"), mail("d", "lost", "b"), mail("c", "lost", "a"), mail("o", "lost")]
    for order in permutations(posts):
        assert trees(tx, *order) == ({"c": "a", "d": "b", "o": "a"}, {"aco", "bd"})


def test_a_weak_name_ties_nothing_but_counts_when_it_is_a_post(tx: Tx) -> None:
    text = (How.TEXT,)
    apart = [mail("b", "lost", how=text), mail("c", "lost", how=text)]
    assert trees(tx, *apart) == ({}, {"b", "c"})
    assert trees(tx, *apart, mail("lost")) == ({"b": "lost", "c": "lost"}, {"bclost"})


@on_sqlite
def test_a_post_with_a_new_subject_that_quotes_nothing_begins_a_thread_if_the_list_wants_it(tx: Tx) -> None:
    fresh = mail("c", "lost", "a", subject="Lunch", base="lunch", fresh=True)
    others = [mail("a", base="budget"), mail("d", "c"), mail("e", "lost")]
    for order in permutations([fresh, *others]):
        assert trees(tx, *order) == ({"d": "c"}, {"a", "cd", "e"})
    for order in permutations([fresh, *others, mail("lost", "a", base="lunch on friday")]):
        assert trees(tx, *order) == ({"c": "lost", "lost": "a", "e": "lost", "d": "c"}, {"acdelost"})


# What a post costs is what has to move, not how long its thread is.


class Work:
    """How many steps SQLite's machine took since, in hundreds."""

    def __init__(self, tx: Tx) -> None:
        self.steps = 0
        connection_of(tx).set_progress_handler(self._step, 100)

    def _step(self) -> int:
        self.steps += 1
        return 0

    def taken(self) -> int:
        steps, self.steps = self.steps, 0
        return steps


def chain(length: int) -> list[Newcomer]:
    names = [f"c{number}" for number in range(length)]
    return [mail(name, *reversed(names[max(0, at - 9) : at])) for at, name in enumerate(names)]


@on_sqlite
@pytest.mark.parametrize("kind", ["forward", "backward", "shuffled", "answers to one lost mail"])
def test_four_times_as_many_posts_of_one_thread_are_little_more_than_four_times_the_work(tx: Tx, kind: str) -> None:
    def work(length: int) -> int:
        posts = chain(length)
        if kind == "backward":
            posts.reverse()
        elif kind == "shuffled":
            Random(7).shuffle(posts)
        elif kind != "forward":
            posts = [mail(f"c{number}", "lost", date=float(number)) for number in range(length)]
        with threading.new_list(tx) as mlist:
            done = Work(tx)
            for one in posts:
                threading.keep(tx, mlist.id, one)
            return done.taken()

    few, many = work(100), work(400)
    assert many <= few * (4.5 if kind in ("forward", "backward") else 8), (few, many)


@on_sqlite
def test_the_last_answer_to_a_thread_of_a_thousand_is_no_more_work_than_the_second(tx: Tx) -> None:
    with threading.new_list(tx) as mlist:
        play(tx, mlist.id, [mail("a"), mail("b", "a")])
        done = Work(tx)
        threading.keep(tx, mlist.id, mail("c", "lost", "a"))
        few = done.taken()
        for number in range(1000):
            threading.keep(tx, mlist.id, mail(f"d{number}", "a" if number % 3 else "b"))
        done.taken()
        threading.keep(tx, mlist.id, mail("e", "lost", "a"))
        assert done.taken() <= few * 2 + 4
        threading.keep(tx, mlist.id, mail("lost", "a"))  # three posts have to move, not a thousand
        assert done.taken() <= few * 4 + 10
