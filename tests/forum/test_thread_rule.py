"""The stored tree is what the rule says, whatever comes in whatever order, and whatever moderators decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailforum.forum.newcomer import Newcomer
from mailforum.mail.evidence import Named
from mailforum.model import How
from mailforum.store.database import Tx
from tests.support import threading
from tests.support.oracle import Tree, by_the_rule

_IDS = [f"<m{number}@example.org>" for number in range(8)]
_GHOSTS = [f"<g{number}@example.org>" for number in range(4)]
_ROOT = "01" + "ab" * 21
_INDEXES = [_ROOT, _ROOT + "11" * 5, _ROOT + "11" * 5 + "22" * 5, _ROOT + "33" * 5]
_STRONG = (How.IN_REPLY_TO, How.REFERENCES, How.REFERENCES, How.REFERENCES)
_BASES = ("budget", "budget of march", "lunch", "")


@pytest.fixture(scope="module")
def tx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tx]:
    with threading.database(tmp_path_factory.mktemp("rule")) as tx:
        yield tx


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


@given(any_archive)
@settings(max_examples=250, deadline=None)
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
