"""Subjects that say nothing are known; those that say something are not taken for them."""

from __future__ import annotations

import pytest

from mailforum.mail import plain


@pytest.mark.parametrize(
    "base",
    [
        "",
        "?",
        "question",
        "a quick question",
        "hi all,",
        "(no subject)",
        "help!!!",
        "test 2",
        "frage",
        "вопрос",
        "问题",
        "4711",
    ],
)
def test_it_says_nothing(base: str) -> None:
    assert plain.is_plain(base)


@pytest.mark.parametrize(
    "base",
    [
        "budget",
        "question about budgets",
        "help with postfix",
        "weekly report",
        "[patch 1/2] fix",
        "会議の議事録",
        "2.1 released",
    ],
)
def test_it_says_something(base: str) -> None:
    assert not plain.is_plain(base)
