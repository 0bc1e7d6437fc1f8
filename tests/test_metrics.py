"""The text that Prometheus reads, judged by its own rules (exposition formats, version 0.0.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from mailforum import metrics
from mailforum.metrics import Histogram, Metric, by, one

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.]+(?:e[+-]?\d+)?|\+Inf|NaN)")


def check(text: str) -> dict[str, float]:
    """Read the text as Prometheus would, and complain as promtool would; return its samples."""
    samples: dict[str, float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped, f"second HELP for {name}"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped and name not in kinds, f"second TYPE or no HELP for {name}"
            assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            series = line.rpartition(" ")[0]
            assert series not in samples, f"{series} is there twice"
            assert owner(match[1], kinds) == list(kinds)[-1], f"{match[1]} does not stand with its family"
            samples[series] = float(match[3])
    assert set(kinds) == helped
    for name in (name for name, kind in kinds.items() if kind == "histogram"):
        check_histogram(name, samples)
    return samples


def owner(name: str, kinds: dict[str, str]) -> str:
    base = re.sub(r"_(?:bucket|sum|count)$", "", name)
    return base if kinds.get(base) == "histogram" else name


def check_histogram(name: str, samples: dict[str, float]) -> None:
    bounds = [(le(series), value) for series, value in samples.items() if series.startswith(f"{name}_bucket{{")]
    assert bounds == sorted(bounds), f"{name} goes down"
    assert bounds[-1] == (float("inf"), samples[f"{name}_count"])


def le(series: str) -> float:
    return float(re.findall(r'le="([^"]*)"', series)[0].replace("+Inf", "inf"))


def histogram(values: list[float]) -> Histogram:
    made = Histogram((0.5, 1.0, 5.0))
    for value in values:
        made.add(value)
    return made


@given(st.text(), st.text(), st.lists(st.floats(0, 100), max_size=20))
def test_whatever_is_in_a_label_or_a_help_the_text_can_be_read(label: str, words: str, values: list[float]) -> None:
    text = metrics.text(
        [
            by("refusals_total", "counter", words, "reason", {label: 3, f"{label}x": 4}),
            one("handling_seconds", "histogram", words, histogram(values)),
            Metric("empty", "gauge", words, {}),
        ]
    )
    samples = check(text)
    assert [value for series, value in samples.items() if "reason=" in series] == [3, 4]
    assert samples["mailforum_handling_seconds_count"] == len(values)


def test_a_value_on_a_bound_belongs_to_it() -> None:
    samples = check(metrics.text([one("x", "histogram", "words", histogram([0.5, 0.6, 7]))]))
    assert [samples[f'mailforum_x_bucket{{le="{bound}"}}'] for bound in ("0.5", "1.0", "5.0", "+Inf")] == [1, 2, 2, 3]
    assert samples["mailforum_x_sum"] == 8.1


def broken() -> Iterator[str]:
    yield "mailforum_x 1\n"
    yield "# HELP mailforum_x words\n# TYPE mailforum_x gauge\nmailforum_x 1\nmailforum_x 1\n"
    yield '# HELP mailforum_x words\n# TYPE mailforum_x gauge\nmailforum_x{a="b"c"} 1\n'
    yield "# HELP mailforum_x words\n# TYPE mailforum_x counter\nmailforum_x 1\n"
    yield "# HELP mailforum_x words\n# TYPE mailforum_x gauge\nmailforum_x 1"


def test_the_judge_above_does_find_what_is_wrong() -> None:
    for text in broken():
        try:
            check(text)
        except (AssertionError, IndexError):
            continue
        raise AssertionError(f"not found: {text}")
