"""The comparison of threads (tests/bench/compare.py) counts and explains as one would by hand."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.bench import compare
from tests.bench.threads import differences, others, ours
from tests.bench.threads.likeness import Forest, likeness
from tests.support.discussion import FLAVOURS, discussion


def forest(threads: str, parents: dict[int, int]) -> Forest:
    """`112` has the mails 0 and 1 in one thread and 2 in another."""
    return Forest("made", dict(enumerate(threads)), {at: parents.get(at) for at in range(len(threads))})


def test_pairs_are_counted_as_by_hand() -> None:
    # Ours: 01 02 12 34. Theirs: 01 23 24 34. Both: 01 34.
    like = likeness(forest("aaabb", {1: 0, 2: 0, 4: 3}), forest("ccddd", {1: 0, 3: 2, 4: 3}), range(5))
    assert (like.precision, like.recall, like.f1) == (0.5, 0.5, 0.5)
    assert like.parents == 3 / 5  # of 0, 1 and 4


def test_precision_and_recall_tell_joining_too_much_from_joining_too_little() -> None:
    like = likeness(forest("aaaa", {}), forest("aabb", {}), range(4))
    assert (like.precision, like.recall, like.f1) == (2 / 6, 1.0, 0.5)


def test_only_mails_that_both_have_count() -> None:
    like = likeness(forest("aab", {}), forest("aabbb", {1: 0}), [0, 1, 4])
    assert (like.mails, like.f1, like.parents) == (2, 1.0, 0.5)


def test_forests_without_pairs_are_alike() -> None:
    assert likeness(forest("abc", {}), forest("xyz", {}), range(3)).f1 == 1.0


def test_mails_with_one_message_id_are_one_where_the_first_of_them_is() -> None:
    # 1 and 2 are copies of 0; 1 is below 0, and 3 below 1.
    one = forest("aaba", {1: 0, 2: 0, 3: 1}).without_copies({1: 0, 2: 0})
    assert (one.threads, one.parents) == ({0: "a", 3: "a"}, {0: None, 3: 0})
    # There 2 came first, and 0 was put below it.
    other = Forest("made", {2: "a", 0: "a", 3: "a"}, {2: 3, 0: 2, 3: None}).without_copies({1: 0, 2: 0})
    assert other.parents == {0: 3, 3: None}


def test_the_answer_of_an_imap_server_is_read() -> None:
    found = list(others._listed(b"* THREAD (2)(3 6 (4 23)(44 7 96))((8)(9))"))
    parents = {mail: parent for _, mail, parent in found}
    assert parents == {2: None, 3: None, 6: 3, 4: 6, 23: 4, 44: 6, 7: 44, 96: 7, 8: None, 9: None}
    assert [thread for thread, _, _ in found] == [1, *[2] * 7, 3, 3]


def test_the_answer_of_notmuch_is_read() -> None:
    def said(*numbers: int) -> dict[str, list[str]]:
        return {"filename": [f"/m/cur/{others.file_name(number)}" for number in numbers]}

    shown = [[[said(4), [[said(7, 5), [[None, [[said(6), []]]]]]]]], [[said(1), []]]]
    assert sorted(others._nodes(shown)) == [(0, 4, None), (0, 5, 4), (0, 6, 5), (0, 7, 4), (1, 1, None)]


def test_the_lines_of_mu_are_read() -> None:
    line = "00:03:0a  \\=> /tmp/maildir/cur/m000000012.bench:2,S"
    found = others._LINE.fullmatch(line)
    assert found and (found["path"], found["number"]) == ("00:03:0a", "000000012")


def mail(name: str, **headers: str) -> tuple[bytes, float]:
    fields = {"message_id": f"<{name}@example.org>", "subject": name, **headers}
    head = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in fields.items())
    return f"{head}\r\nHello.\r\n".encode(), 0.0


def test_each_difference_has_a_kind(tmp_path: Path) -> None:
    mails = [
        mail("a"),
        mail("b", in_reply_to="a@example.org"),
        mail("c", in_reply_to='Message from "Al" <al@example.org> of Monday <x@example.org>'),
        mail("d", in_reply_to='Message from "Al" <al@example.org> of Monday <y@example.org>'),
        mail("e", references="<a@example.org> <z@example.org>"),
        mail("f", subject="Re: a"),
        mail("g", in_reply_to="<A@EXAMPLE.ORG>"),
    ]
    archive = differences.read(ours.write_maildir(tmp_path / "maildir", mails))
    mine = forest("rrstuvr", {1: 0, 6: 0})
    theirs = forest("rpwwrrq", {4: 0, 5: 0})
    found = differences.explain(archive, mine, theirs, lambda number: "")
    assert {(what, kind): int(count) for what, kind, count, _ in found.rows()} == {
        ("parent", "ours In-Reply-To without brackets, there none"): 1,
        ("parent", "ours none, there further back in References"): 1,
        ("parent", "ours none, there by subject"): 1,
        ("parent", "ours named in another case, there none"): 1,
        ("joined there, not by us", "both name an address in In-Reply-To"): 1,
        ("joined there, not by us", "its parent: further back in References"): 1,
        ("joined there, not by us", "its parent: by subject"): 1,
        ("joined by us, not there", "its parent: In-Reply-To without brackets"): 1,
        ("joined by us, not there", "its parent: named in another case"): 1,
    }


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_made_up_archive_is_the_same_each_time_and_tells_the_truth(flavour: str) -> None:
    told = list(discussion(400, 5, flavour))
    assert told == list(discussion(400, 5, flavour)) != list(discussion(400, 6, flavour))
    assert len({one.number for one in told}) == len(told) == 400
    threads = {one.number: one.thread for one in told}
    assert all(threads.get(one.parent, one.thread) == one.thread for one in told if one.parent is not None)


def test_an_archive_is_as_bad_as_its_flavour_says() -> None:
    told = list(islice(discussion(10**9, 1, "bare"), 4000))
    bare = sum(one.flaws == ("bare",) for one in told) / len(told)
    assert 0.04 < bare < 0.06  # 7 % of the answers that name something


def test_mails_are_as_long_as_wanted() -> None:
    told = list(discussion(1500, 1, size=8192))
    assert 7000 < sum(len(one.raw) for one in told) / len(told) < 9400


def test_a_whole_comparison_leaves_nothing_unknown() -> None:
    with compare.workplace(None) as folder:
        compared = compare.compare_made_up(folder, discussion(150, 3), seed=1)
        kinds = [kind for difference in compared.differences() for _, kind, _, _ in difference.rows()]
    beside_truth = [
        one for one in compared.compared if (one.ours.name, one.theirs.name) == (compare.OURS, compare.TRUTH)
    ]
    mails = len(compared.archive.numbers)
    assert [(one.order, one.likeness.mails) for one in beside_truth] == [("in order", mails), ("shuffled", mails)]
    assert all(one.likeness.precision > 0.9 for one in beside_truth)
    assert kinds and not [kind for kind in kinds if kind.startswith("unknown")]
