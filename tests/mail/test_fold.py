"""What counts as the same word, and where words end in scripts that have no blanks."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import fold


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Budget BUDGET budget", "budget budget budget"),
        ("Größe GRÖSSE grosse", "grosse grosse grosse"),
        ("Straße STRAẞE strasse", "strasse strasse strasse"),
        ("Żółć zolc", "zolc zolc"),
        ("Łódź, Øre, Đakovo, Þór", "lodz, ore, dakovo, thor"),
        ("Æsir œuvre ﬁne", "aesir oeuvre fine"),
        ("İstanbul ISTANBUL ıstanbul", "istanbul istanbul istanbul"),
        ("Ελληνικός ΕΛΛΗΝΙΚΌΣ", "ελληνικοσ ελληνικοσ"),
        ("Ёлка ЕЛКА", "елка елка"),
        ("café cafe\u0301", "cafe cafe"),
        ("ＡＢＣ１２３ ①", "abc123 1"),
        ("שָׁלוֹם שלום", "שלום שלום"),
        ("مُحَمَّد محمد", "محمد محمد"),
        ("أحمد احمد", "احمد احمد"),
        ("co\u00adoperate", "cooperate"),
        ("it’s “so”", "it s  so "),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_case_accents_width_and_points_do_not_count(text: str, folded: str) -> None:
    assert fold.fold(text) == folded


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("日本語", ["日本", "本語", "語"]),
        ("猫", ["猫"]),
        ("Python入門", ["python", "入門", "門"]),
        ("2024年3月", ["2024", "年", "3", "月"]),
        ("ｶﾞｷﾞ", ["ガギ", "ギ"]),
        ("葛\U000e0100城", ["葛城", "城"]),
        ("会議、予定", ["会議", "議", "予定", "定"]),
        ("한국어를", ["한국", "국어", "어를", "를"]),
        ("ภาษา", ["ภา", "าษ", "ษา", "า"]),
        ("が か", ["が", "か"]),
    ],
)
def test_scripts_without_blanks_are_cut_into_pairs(text: str, tokens: list[str]) -> None:
    assert fold.tokens(fold.fold(text)) == tokens


@pytest.mark.parametrize(
    ("asked", "tokens", "prefix"),
    [
        ("budget", ("budget",), False),
        ("foo_bar", ("foo", "bar"), False),
        ("http://x.example/a", ("http", "x", "example", "a"), False),
        ("日本", ("日本",), False),
        ("日本語", ("日本", "本語"), False),
        ("猫", ("猫",), True),
        ("2024年", ("2024", "年"), True),
        ("会議2回", ("会議", "議", "2", "回"), True),
        ("日本!", ("日本",), False),
        ("!?", (), False),
    ],
)
def test_behind_the_last_pair_of_what_is_asked_anything_may_follow(
    asked: str, tokens: tuple[str, ...], prefix: bool
) -> None:
    assert fold.phrase(asked) == (tokens, prefix)


def stands_in(asked: str, text: str) -> bool:
    """Say whether a phrase is found, as FTS5 looks for it."""
    tokens, prefix = fold.phrase(asked)
    kept = fold.tokens(fold.fold(text))
    return any(
        all(a == b for a, b in zip(kept[at:], tokens[:-1], strict=False))
        and (kept[at + len(tokens) - 1].startswith(tokens[-1]) if prefix else kept[at + len(tokens) - 1] == tokens[-1])
        for at in range(len(kept) - len(tokens) + 1)
    )


@given(st.text("日本語会議予定かなカナ", min_size=1, max_size=12), st.data())
def test_every_part_of_a_run_is_found(run: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(run) - 1))
    end = data.draw(st.integers(start + 1, len(run)))
    assert stands_in(run[start:end], f"see {run}, please")


@given(st.text())
def test_folding_leaves_tokens_and_ascii_and_does_nothing_twice(text: str) -> None:
    plain = fold.plain(text)
    assert fold.plain(plain) == plain
    assert fold.tokens(fold.fold(text)) == re.findall("[0-9A-Za-z\x80-\U0010ffff]+", fold.fold(text))
    assert '"' not in "".join(fold.phrase(text).tokens)


@given(st.text())
def test_what_is_asked_as_it_was_written_is_found(text: str) -> None:
    assert not fold.phrase(text).tokens or stands_in(text, text)


def test_folding_is_linear() -> None:
    for text in ("é" * 60_000, "日" * 60_000, "\u0301" * 60_000, "é日" * 30_000, "क्" * 30_000):
        started = time.process_time()
        fold.phrase(text)
        assert time.process_time() - started < 1
