"""What people type when they look for something."""

import contextlib
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import UsageError
from mailforum.forum.query import MAX_LENGTH, parse
from mailforum.store import search
from mailforum.store.database import Tx
from mailforum.store.match import Query, Term
from tests.support.stores import STORES, transaction


def words(*texts: str, field: str = "") -> tuple[tuple[Term, ...], ...]:
    return tuple((Term(tuple(text.split()), field=field),) for text in texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("budget", Query(words("budget"))),
        ("Budget Größe", Query(words("budget", "grosse"))),
        ('"summer meeting"', Query(words("summer meeting"))),
        ("“summer meeting”", Query(words("summer meeting"))),
        ('"not closed', Query(words("not closed"))),
        ("budget -draft", Query(words("budget"), (Term(("draft",)),))),
        ('budget -"first draft"', Query(words("budget"), (Term(("first", "draft")),))),
        ("a OR b c", Query(((Term(("a",)), Term(("b",))), (Term(("c",)),)))),
        ("a OR", Query(words("a"))),
        ("OR a", Query(words("a"))),
        ("a AND b", Query(words("a", "b"))),
        ("meet*", Query(((Term(("meet",), prefix=True),),))),
        ('"the meet"*', Query(((Term(("the", "meet"), prefix=True),),))),
        ("author:ada", Query(words("ada", field="author"))),
        ("FROM:ada@example.org", Query(words("ada example org", field="author"))),
        ('author:"Ada Lovell"', Query(words("ada lovell", field="author"))),
        ("-subject:re", Query(none=(Term(("re",), field="subject"),))),
        ("http://x.example/a", Query(words("http x example a"))),
        ("NEAR(a b)", Query(words("near a", "b"))),
        ("^start col:x", Query(words("start", "col x"))),
        ("since:2024", Query(since=19723)),
        ("since:2024-02 until:2024-02", Query(since=19754, until=19782)),
        ("until:2024-06-15 until:2025", Query(until=19889)),
        ("thread:48 thread:#49 thread:50.3", Query(threads=(48, 49, 50))),
        ("has:attachment", Query(attachment=True)),
        ("-has:attachments", Query(attachment=False)),
        ("猫", Query(((Term(("猫",), prefix=True),),))),
        ("会議*", Query(words("会議"))),
    ],
)
def test_what_is_typed_is_what_is_meant(text: str, meant: Query) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "say what to look for"),
        ("*** -- OR", "say what to look for"),
        ("since:yesterday", "`since:yesterday` cannot be meant; since: is followed by a date: 2024, 2024-06 or"),
        ("until:2024-13", "`until:2024-13` cannot be meant"),
        ("since:2023-02-29", "`since:2023-02-29` cannot be meant"),
        ("-since:2024", "`-since:2024` cannot be meant"),
        ("since:0000", "cannot be meant"),
        ("thread:x", "thread: is followed by its number"),
        ("has:link", "there is has:attachment"),
        ("ab*", "at least 3 letters stand before a *"),
        ("a" * 1001, "too long"),
        ("a " * 41, "too many words"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(text)


@pytest.fixture(scope="module", params=STORES)
def tx(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tx]:
    with transaction(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


SOUP = st.lists(
    st.sampled_from(
        [*"\"*(){}^+-:\0';", "OR", "AND", "NOT", "NEAR", "author:", 'subject:"', "since:2024", "日本", "猫", "é", "a"]
    )
    | st.text(max_size=5)
)


@given(text=SOUP.map(" ".join) | st.text() | SOUP.map("".join))
def test_nothing_that_is_typed_is_an_error_of_the_index(tx: Tx, text: str) -> None:
    try:
        wanted = parse(text)
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text
        return
    assert search.find(tx, 1, wanted).entries == []


def test_a_query_of_any_kind_is_read_at_once() -> None:
    for piece in ("a:", '"', "-", 'a"', "a: ", "日", "OR "):
        started = time.process_time()
        with contextlib.suppress(UsageError):
            parse((piece * MAX_LENGTH)[:MAX_LENGTH])
        assert time.process_time() - started < 0.1, piece
