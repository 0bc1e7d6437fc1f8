"""The part of a text that says why it was found."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import fold, snippet

LONG = "\n".join(f"Line {number} is about nothing in particular." for number in range(50))


def marked(text: str, *asked: str) -> str:
    """Return the snippet with its hits in brackets."""
    made = snippet.make(text, map(fold.phrase, asked))
    out = made.text
    for start, end in reversed(made.marks):
        out = f"{out[:start]}[{out[start:end]}]{out[end:]}"
    return out


@pytest.mark.parametrize(
    ("text", "asked", "shown"),
    [
        ("We have a budget.", ["budget"], "We have a [budget]."),
        ("Die Größe, “Größe” und die GRÖSSE.", ["grosse"], "Die [Größe], “[Größe]” und die [GRÖSSE]."),
        ("来週の会議は月曜日です。", ["会議"], "来週の[会議]は月曜日です。"),
        ("日本語のメール", ["日本語"], "[日本語]のメール"),
        ("黒い猫がいる", ["猫"], "黒い[猫]がいる"),
        ("PythonとSQLite", ["sqlite"], "Pythonと[SQLite]"),
        ("ｶﾞｷﾞｸﾞ です", ["ガギ"], "[ｶﾞｷﾞｸﾞ] です"),
        ("यह हिन्दी है", ["हिन्दी"], "यह [हिन्दी] है"),
        ("nothing of it", ["budget"], "nothing of it"),
        ("", ["budget"], ""),
    ],
)
def test_the_hits_are_marked_as_they_were_written(text: str, asked: list[str], shown: str) -> None:
    assert marked(text, *asked) == shown


def test_the_beginning_of_a_word_marks_the_word() -> None:
    made = snippet.make("budgeting", [fold.Phrase(("bud",), prefix=True)])
    assert made.marks == ((0, 9),)


def test_the_line_with_most_of_the_words_is_shown() -> None:
    text = f"The budget.\n{LONG}\nThe summer budget is due.\n{LONG}"
    assert marked(text, "summer", "budget").startswith("… The [summer] [budget] is due. Line 0 is about")
    assert marked(text, "summer", "budget").endswith(" …")


def test_a_hit_far_into_a_long_line_has_some_words_before_it() -> None:
    shown = marked("word " * 5000 + "budget" + " more" * 5000, "budget")
    assert shown.startswith("… word")
    assert 30 < shown.index("[budget]") < 70
    assert len(shown) < 220


@given(st.text(), st.lists(st.text(max_size=8), max_size=4))
def test_a_snippet_is_one_short_line_and_its_marks_are_in_it(text: str, asked: list[str]) -> None:
    made = snippet.make(text, map(fold.phrase, asked))
    assert len(made.text) <= snippet.WIDTH + 4
    assert "\n" not in made.text
    at = 0
    for start, end in made.marks:
        assert at <= start < end <= len(made.text)
        at = end


def test_a_text_of_any_kind_is_looked_through_in_linear_time() -> None:
    wanted = [fold.phrase(word) for word in ("budget", "会議", "sum")]
    for text in ("budge " * 100_000, "会" * 500_000, "x" * 500_000, "é\u0301" * 250_000, "a\n" * 250_000):
        started = time.process_time()
        snippet.make(text, wanted)
        assert time.process_time() - started < 2
