"""Threading: the tree is a function of the set of posts, and numbers once given stay good."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailforum.forum import branches, posts, threads
from mailforum.forum.newcomer import Newcomer
from mailforum.forum.order import tree
from mailforum.mail.evidence import Named
from mailforum.model import How, MailingList, Post
from mailforum.settings import ListSettings
from mailforum.store import posts as rows
from mailforum.store.database import Tx
from mailforum.store.sqlite import queries
from tests.support import oracle
from tests.support.stores import connection_of, on_sqlite
from tests.support.threading import new_list

NOW = 1_700_000_000.0


@dataclass(frozen=True)
class Letter:
    """A mail as far as threading looks at it; the last of `references` is the nearest."""

    msgid: str
    references: tuple[str, ...] = ()
    in_reply_to: str = ""
    date: int = 0
    text: str = ""

    @property
    def raw(self) -> bytes:
        lines = ["From: Ada <ada@example.org>", f"Message-ID: {self.msgid}", f"Subject: about {self.msgid}"]
        lines += [f"Date: {self.date // 3600 + 1} Mar 2021 {self.date % 24:02}:00:00 +0000"]
        lines += [f"In-Reply-To: {self.in_reply_to}"] if self.in_reply_to else []
        lines += [f"References: {' '.join(self.references)}"] if self.references else []
        return "\r\n".join([*lines, "", self.text, ""]).encode()

    @property
    def newcomer(self) -> Newcomer:
        named = [Named(self.in_reply_to, How.IN_REPLY_TO)] if self.in_reply_to else []
        named += [Named(name, How.REFERENCES) for name in reversed(self.references)]
        nearest_first = {one.name: one for one in reversed(named) if one.name != self.msgid}
        names = sorted(nearest_first.values(), key=named.index)
        return Newcomer(0, self.msgid, "", float(self.date), tuple(names))


class Forum:
    """A list in a real database, without the event loop: what is stored is taken back at the end."""

    def __init__(self, tx: Tx, mlist: MailingList) -> None:
        self.tx, self.mlist = tx, mlist
        self.given: dict[str, int] = {}  # labels, and the posts that got them

    def store(self, raw: bytes, under: str = "") -> None:
        msg, raw = posts.parse(raw)
        post = posts.store(self.tx, self.mlist, msg, raw, NOW, under, mark=msg.fingerprint)
        self.given[post.label] = post.id

    def play(self, letters: Iterable[Letter]) -> Forum:
        for letter in letters:
            self.store(letter.raw)
        return self

    @property
    def posts(self) -> list[Post]:
        return rows.of_list(self.tx, self.mlist.id)

    def parents(self) -> dict[str, str | None]:
        return {post.message_id: post.parent for post in self.posts}

    def partition(self) -> set[frozenset[str]]:
        groups: dict[int, set[str]] = {}
        for post in self.posts:
            groups.setdefault(post.thread, set()).add(post.message_id)
        return {frozenset(group) for group in groups.values()}

    def titles(self) -> dict[frozenset[str], str]:
        return {
            frozenset(post.message_id for post in rows.of_thread(self.tx, thread.id)): thread.subject
            for thread in rows.threads(self.tx, self.mlist.id)
        }


@contextmanager
def forum(tx: Tx, options: ListSettings | None = None) -> Iterator[Forum]:
    """A new list, gone afterwards."""
    with new_list(tx, options) as mlist:
        yield Forum(tx, mlist)


def by_the_rule(letters: Sequence[Letter]) -> tuple[list[str | None], set[frozenset[int]]]:
    """Return the parents of letters by Message-ID, and the threads by their positions (tests/support/oracle.py)."""
    tree = oracle.by_the_rule([letter.newcomer for letter in letters])
    return [letters[at].msgid if at is not None else None for at in tree.parents], tree.threads


_MAILS = [f"<m{number}@example.org>" for number in range(7)]
_GHOSTS = [f"<ghost{number}@example.org>" for number in range(3)]
_names = st.sampled_from([*_MAILS, *_GHOSTS])


def _letter(msgid: str) -> st.SearchStrategy[Letter]:
    return st.builds(
        Letter,
        st.just(msgid),
        st.lists(_names, max_size=4).map(tuple),
        st.one_of(st.just(""), _names),
        st.integers(0, 5),
    )


@st.composite
def _archives(draw: st.DrawFn) -> list[Letter]:
    """Mails that name each other, themselves and what is not there, in any order."""
    msgids = draw(st.lists(st.sampled_from(_MAILS), min_size=1, unique=True))
    return [draw(_letter(msgid)) for msgid in msgids]


@st.composite
def _conversations(draw: st.DrawFn) -> list[Letter]:
    """Threads as people make them: whole chains of References, some cut, some mails missing."""
    letters: list[Letter] = []
    for number in range(draw(st.integers(2, 9))):
        answered = draw(st.sampled_from(letters)) if letters and draw(st.integers(0, 4)) else None
        chain = (*answered.references, answered.msgid) if answered else ()
        cut = draw(st.integers(0, len(chain)))
        kept = chain[:1] + chain[cut:] if draw(st.booleans()) else chain[cut:]
        near = chain[-1] if chain and draw(st.booleans()) else ""
        letters.append(Letter(f"<c{number}@example.org>", tuple(dict.fromkeys(kept)), near, number))
    missing = draw(st.sets(st.sampled_from(letters), max_size=3))
    return draw(st.permutations([letter for letter in letters if letter not in missing]))


@given(st.one_of(_archives(), _conversations()))
@example([Letter("<b@x>", ("<g@x>", "<a@x>")), Letter("<c@x>", ("<g@x>",)), Letter("<a@x>")])
@example([Letter("<a@x>", ("<b@x>",)), Letter("<b@x>", ("<c@x>",)), Letter("<c@x>", ("<a@x>",))])
@settings(max_examples=60)
def test_what_is_stored_is_what_the_rule_says(tx: Tx, letters: list[Letter]) -> None:
    with forum(tx) as played:
        played.play(letters)
        parents, groups = by_the_rule(letters)
        assert played.parents() == {letter.msgid: parent for letter, parent in zip(letters, parents, strict=True)}
        assert played.partition() == {frozenset(letters[n].msgid for n in group) for group in groups}


@given(st.one_of(_archives(), _conversations()), st.randoms(use_true_random=False))
@settings(max_examples=40)
@on_sqlite
def test_any_order_of_arrival_gives_the_same_tree(tx: Tx, letters: list[Letter], random: Random) -> None:
    shuffled = random.sample(letters, len(letters))
    with forum(tx) as one:
        one.play(letters)
        expected = one.parents(), one.partition(), one.titles()
    with forum(tx) as other:
        other.play(shuffled)
        assert (other.parents(), other.partition(), other.titles()) == expected


@given(_archives(), st.randoms(use_true_random=False))
@settings(max_examples=30)
@on_sqlite
def test_of_two_mails_with_one_id_the_first_to_arrive_owns_it(tx: Tx, letters: list[Letter], random: Random) -> None:
    copies = [Letter(one.msgid, tuple(random.sample(_MAILS, 2)), "", 3, "again") for one in letters[:2]]
    arrived = random.sample([*letters, *copies], len(letters) + len(copies))
    with forum(tx) as played:
        played.play(arrived)
        stored = played.posts
        parents, by_rule = by_the_rule(arrived)
        assert [post.parent for post in stored] == parents
        groups: dict[int, set[int]] = {}
        for number, post in enumerate(stored):
            groups.setdefault(post.thread, set()).add(number)
        assert {frozenset(group) for group in groups.values()} == by_rule


@given(st.one_of(_archives(), _conversations()))
@settings(max_examples=40)
def test_numbers_and_labels_once_given_stay_good(tx: Tx, letters: list[Letter]) -> None:
    with forum(tx) as played:
        for letter in letters:
            played.store(letter.raw)
            for label, post_id in played.given.items():
                post = rows.by_label(tx, played.mlist.id, label)
                assert post and post.id == post_id
                number = int(label.partition(".")[0])
                thread = rows.thread_by_number(tx, played.mlist.id, number)
                assert thread and rows.of_thread(tx, thread.id), f"#{number} leads to nothing"
        assert len(played.given) == len(letters)
        assert all(thread.posts for thread in rows.threads(tx, played.mlist.id))


def test_a_merged_thread_leads_to_the_one_with_the_lower_number(tx: Tx) -> None:
    first, second, third = "<1@example.org>", "<2@example.org>", "<3@example.org>"
    with forum(tx) as played:
        played.play([Letter(first), Letter(third, (second,), date=2), Letter(second, (first,), date=1)])
        assert [post.label for post in played.posts] == ["1.1", "2.1", "1.2"]
        merged = rows.thread_by_number(tx, played.mlist.id, 2)
        assert merged and (merged.number, merged.posts, merged.subject) == (1, 3, "about <1@example.org>")
        assert [thread.number for thread in rows.threads(tx, played.mlist.id)] == [1]
        assert {post.thread for post in played.posts} == {1}


def test_a_merge_of_merged_threads_still_leads_on(tx: Tx) -> None:
    names = [f"<{number}@example.org>" for number in range(5)]
    chain = [Letter(name, (names[number - 1],) if number else (), date=number) for number, name in enumerate(names)]
    with forum(tx) as played:
        played.play([chain[number] for number in (0, 2, 4, 3, 1)])
        for number in (1, 2, 3):
            thread = rows.thread_by_number(tx, played.mlist.id, number)
            assert thread and (thread.number, thread.posts) == (1, 5)


def test_what_leaves_a_thread_gets_back_the_number_in_which_it_came(tx: Tx) -> None:
    a, b, lost = "<a@example.org>", "<b@example.org>", "<lost@example.org>"
    with forum(tx) as played:
        played.play([Letter(a), Letter(b, date=1), Letter("<o@example.org>", (lost,), date=2)])
        played.play([Letter("<y@example.org>", (a, lost), date=3)])  # what was lost is said to hang below a
        assert [(post.label, post.thread) for post in played.posts[2:]] == [("3.1", 1), ("1.2", 1)]
        played.play([Letter("<x@example.org>", (b, lost), date=4)])  # now below b
        assert [(post.label, post.thread) for post in played.posts[2:]] == [("3.1", 2), ("1.2", 1), ("2.2", 2)]
        third = rows.thread_by_number(tx, played.mlist.id, 3)
        assert third and third.number == 2  # where its post is
        orphan = played.posts[2]
        tx.run("thread.cut", id=orphan.id)
        branches.around(tx, played.mlist.id, [orphan.id], threads.ghosts_of(tx, [orphan.id]), NOW)
        assert [(post.label, post.thread) for post in played.posts[2:]] == [("3.1", 3), ("1.2", 1), ("2.2", 2)]


def test_a_name_that_a_moderator_has_given_outlives_a_merge(tx: Tx) -> None:
    with forum(tx) as played:
        played.play([Letter("<a@example.org>"), Letter("<b@example.org>", ("<lost@example.org>",), date=2)])
        second = rows.thread_by_number(tx, played.mlist.id, 2)
        assert second
        tx.run("thread.rename", id=second.id, subject="What is to be done", named=True)
        played.play([Letter("<lost@example.org>", ("<a@example.org>",), date=1)])
        assert [(thread.number, thread.subject) for thread in rows.threads(tx, played.mlist.id)] == [
            (1, "What is to be done")
        ]


def test_a_thread_of_ten_thousand_levels_is_no_problem(tx: Tx) -> None:
    chain = [Post(n, 1, 1, f"1.{n}", n - 1 or None, None, f"<{n}@x>", "", "", "", n, n, 1) for n in range(1, 10_001)]
    assert max(depth for depth, _ in tree(reversed(chain))) == 9_999


def test_a_long_thread_that_arrives_backwards_is_put_together(tx: Tx) -> None:
    names = [f"<{number}@example.org>" for number in range(120)]
    chain = [Letter(name, tuple(names[max(0, number - 9) : number]), date=number) for number, name in enumerate(names)]
    with forum(tx) as played:
        played.play(reversed(chain))
        assert played.parents() == {name: names[number - 1] if number else None for number, name in enumerate(names)}
        assert len(played.partition()) == 1


@on_sqlite
def test_looking_for_neighbours_needs_no_scan_of_the_list(tx: Tx) -> None:
    """A query that reads all ids of a list is not noticed on a small one."""
    lists_given = {"msgids", "threads", "posts", "ghosts", "hows"}
    for name, query in queries().items():
        if name.startswith("thread.") and not name.startswith(
            ("thread.by_", "thread.newest", "thread.places", "thread.ghosts", "thread.fresh")
        ):
            values = {one: "[]" if one in lists_given else 1 for one in re.findall(r":(\w+)", query)}
            plan = [row[3] for row in connection_of(tx).execute(f"EXPLAIN QUERY PLAN {query}", values)]
            scanned = [step for step in plan if step.startswith("SCAN") and "VIRTUAL" not in step]
            assert set(scanned) <= {f"SCAN {made}" for made in ("concerned", "above", "below", "near")}, (name, plan)
            assert not [step for step in plan if step.endswith("(list_id=?)")], (name, plan)
