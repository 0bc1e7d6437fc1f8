"""The index of full-text search finds the same in both databases, and orders it in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailforum.forum import posts
from mailforum.settings import ListSettings
from mailforum.store import lists, search
from mailforum.store.database import Tx
from mailforum.store.match import EACH, WITH_FILE, Query, Term
from mailforum.store.postgres import dialect
from mailforum.store.postgres.tx import PostgresTx
from mailforum.store.search import Words
from tests.support.stores import STORES, session_of, transaction, undone

DAY = 86400.0
POSTS = 5

TOKENS = st.sampled_from(["a", "b", "ab", "abc", "日本", "本", "é", "or", "0", "b" * 600, "b" * 499])
MANY = " ".join(["a"] * 300)  # a tsvector has room for 255 places of a word


def spaced(least: int = 0) -> st.SearchStrategy[str]:
    return st.lists(TOKENS, min_size=least, max_size=6).map(" ".join)


def texts() -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(["", "", "", MANY]), spaced()).map(lambda both: " ".join(filter(None, both)))


FILES = st.sampled_from([EACH, f"a b {EACH} {WITH_FILE}", f"ab {EACH} {WITH_FILE}"])
CORPUS = st.lists(st.builds(Words, spaced(), spaced(), texts(), FILES), min_size=POSTS, max_size=POSTS)
TERMS = st.builds(
    Term, st.lists(TOKENS, min_size=1, max_size=3).map(tuple), st.booleans(), st.sampled_from(["", "subject", "author"])
)
DAYS = st.none() | st.integers(0, POSTS)
QUERIES = st.builds(
    Query,
    st.lists(st.lists(TERMS, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
    st.lists(TERMS, max_size=2).map(tuple),
    since=DAYS,
    until=DAYS,
    attachment=st.sampled_from([None, None, True, False]),
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Tx]]:
    """The two databases, with a list and the same posts in it, a day apart, two to a thread."""
    with ExitStack() as stack:
        found = [stack.enter_context(transaction(kind, tmp_path_factory.mktemp(kind))) for kind in STORES]
        for tx in found:
            lists.add(tx, "pmo@lists.example.org", "", ListSettings(), 0.0)
            mlist = lists.by_id(tx, 1)
            assert mlist
            for number in range(POSTS):
                answers = f"In-Reply-To: <{number - 1}@example.org>\n" if number % 2 else ""
                msg, raw = posts.parse(f"Message-ID: <{number}@example.org>\n{answers}\nx\n".encode())
                posts.store(tx, mlist, msg, raw, number * DAY, mark=b"%d" % number)
        yield found


def found_by(tx: Tx, corpus: list[Words], *queries: Query, **how: Any) -> list[list[int]]:
    """Return which posts are found of a corpus by each query."""
    with undone(tx):
        search.hold(tx)
        search.add(tx, dict(enumerate(corpus, start=1)))
        return [search.posts(tx, search.find(tx, 1, query, **how).entries) for query in queries]


def in_order(tx: Tx) -> Tx:
    """Return a transaction on the server that reads posts in order, as if many had what is looked for."""
    queries = dialect.queries()
    text = queries["search.newest"].replace("> 1000 *", "> 0 *")
    assert text != queries["search.newest"]
    return PostgresTx(session_of(tx), queries | {"search.newest": text})


@given(corpus=CORPUS, queries=st.lists(QUERIES, min_size=5, max_size=5), threads=st.sampled_from([None, [1], [2, 3]]))
@settings(max_examples=30, deadline=None)
def test_both_databases_find_the_same(
    both: list[Tx], corpus: list[Words], queries: list[Query], threads: list[int] | None
) -> None:
    ways = [*both, in_order(both[1])]
    in_file, in_server, in_order_of_time = (found_by(tx, corpus, *queries, threads=threads, newest=True) for tx in ways)
    assert in_file == in_server == in_order_of_time
    assert [sorted(found) for found in found_by(both[1], corpus, *queries, threads=threads)] == [
        sorted(found) for found in in_file
    ]


@pytest.mark.parametrize("filler", ["z a " * 8200, " ".join(f"x{number:07}" for number in range(20_000))])
def test_phrases_are_found_wherever_they_stand_in_a_long_text(both: list[Tx], filler: str) -> None:
    ends = ["a b", "b", "ab abc", "b a", "0"]
    corpus = [Words("ab", "b", f"{filler.strip()} {end}", EACH) for end in ends]
    terms = [Term(("a", "b")), Term(("a", "b"), prefix=True), Term(("ab", "abc")), Term(("a", "a")), Term(("b", "a"))]
    queries = [Query(((term,),)) for term in terms] + [Query(none=(term,)) for term in terms]
    in_file, in_server = (found_by(tx, corpus, *queries, newest=True) for tx in both)
    assert in_file == in_server
    assert in_file[0] == [number for number in range(POSTS, 0, -1) if " a b " in f" {corpus[number - 1].text} "]


def test_of_a_text_that_is_too_long_for_the_server_the_beginning_is_found(both: list[Tx]) -> None:
    pairs = [chr(0x4E00 + number // 300) + chr(0x5E00 + number % 300) for number in range(150_000)]
    corpus = [Words("ab", "b", " ".join(pairs), EACH)] * POSTS
    wanted = [Query(((Term((pairs[number],)),),)) for number in (0, 70_000, 149_999)]
    assert found_by(both[1], corpus[:1], *wanted) == [[1], [1], []]


@given(corpus=st.lists(st.builds(Words, spaced(), spaced(), spaced(1), FILES), min_size=POSTS, max_size=POSTS))
@settings(max_examples=40, deadline=None)
def test_both_databases_rank_alike(both: list[Tx], corpus: list[Words]) -> None:
    terms = (
        Term((EACH,)),
        Term(("a",)),
        Term(("b",)),
        Term(("ab",), field="subject"),
        Term(("é",), field="author"),
    )
    scores = []
    for tx in both:
        with undone(tx):
            search.hold(tx)
            search.add(tx, dict(enumerate(corpus, start=1)))
            ranked = search.find(tx, 1, Query((terms,)))
            scores.append(search._scores(tx, Query((terms,)), ranked))
    assert scores[0].keys() == scores[1].keys() and len(scores[0]) == POSTS
    for entry, score in scores[0].items():
        assert score / 2.2 == pytest.approx(scores[1][entry], rel=1e-3, abs=1e-5)
