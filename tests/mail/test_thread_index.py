"""Outlook's Thread-Index: read as it really comes, and written so that Outlook groups what we send."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import thread_index

ROOT = "01d70e2ec47b9bc691913a894d9d9bf5cd612899976e"
ANSWER = ROOT + "0000000001"


def written(index: str) -> str:
    return base64.b64encode(bytes.fromhex(index)).decode()


@pytest.mark.parametrize(
    ("value", "index"),
    [
        ("AdcOLsR7m8aRkTqJTZ2b9c1hKJmXbg==", ROOT),
        ("AdcOLsR7m8aRkTqJTZ2b9c1hKJmXbg", ROOT),
        ("AdcOLsR7m8aRkTqJTZ2b9c1hKJmXbg=", ROOT),
        ("  AdcOLsR7m8aRkT\t qJTZ2b9c1hKJmXbg== ", ROOT),
        ("=?us-ascii?q?AdcOLsR7m8aRkTqJTZ2b9c1hKJmXbg=3D=3D?=", ROOT),
        (written(ANSWER), ANSWER),
        ("", ""),
        ("AdcOLsR7", ""),
        (written(ROOT + "00"), ""),
        (written(ANSWER)[:-1] + "!", ""),
        (written(ANSWER) + "A", ""),
        (written("02" + ROOT[2:]), ""),
        (written(ROOT[:12] + "00" * 16), ""),
        (written(ROOT[:12] + "ff" * 16 + "0102030405"), ""),
        ("none", ""),
        ("ä" * 30, ""),
        (written(ROOT + "0102030405" * 200), ROOT + "0102030405" * 200),
        (written(ROOT + "0102030405" * 2000), ""),
    ],
)
def test_an_index_is_read_or_is_none(value: str, index: str) -> None:
    assert thread_index.read(value) == index


def test_the_mails_before_it_are_the_beginnings_of_an_index() -> None:
    assert thread_index.ancestors(ANSWER + "0000000002") == [ANSWER, ROOT]
    assert thread_index.ancestors(ROOT) == []


def test_what_is_written_is_a_chain_that_is_read_again() -> None:
    root = thread_index.root("<1@example.org>", 1_700_000_000.0)
    first = thread_index.answer(root, "<2@example.org>")
    second = thread_index.answer(first, "<3@example.org>")
    assert [len(one) // 2 for one in (root, first, second)] == [22, 27, 32]
    assert thread_index.ancestors(second) == [first, root]
    assert thread_index.answer(root, "<4@example.org>") != first
    for one in (root, first, second):
        assert thread_index.read(thread_index.value(one)) == one


def test_the_time_of_a_new_index_is_what_outlook_would_write() -> None:
    filetime = int(thread_index.root("<1@example.org>", 1_700_000_000.0)[2:12] + "000000", 16)
    assert abs(filetime / 10_000_000 - 11_644_473_600 - 1_700_000_000.0) < 2
    assert thread_index.read(thread_index.value(thread_index.root("<1@x>", -5.0)))


def test_an_index_does_not_grow_beyond_thirty_answers() -> None:
    index = thread_index.root("<0@example.org>", 0.0)
    for number in range(100):
        index = thread_index.answer(index, f"<{number}@example.org>")
    assert len(index) // 2 == 22 + 5 * 30
    assert thread_index.answer(index, "<x@example.org>") != index


@given(st.text() | st.binary(max_size=80).map(lambda data: base64.b64encode(b"\x01" + data).decode()))
def test_anything_is_an_index_or_none(value: str) -> None:
    index = thread_index.read(value)
    assert thread_index.read(thread_index.value(index)) == index
    assert all(thread_index.read(thread_index.value(one)) == one for one in thread_index.ancestors(index))
