"""Numbers for Prometheus, and how they are written down (text format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, TypeAlias

Value: TypeAlias = "int | float | Histogram"
Labels: TypeAlias = tuple[tuple[str, str], ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Histogram:
    """How many values were at most as large as each of `bounds`, which rise."""

    bounds: tuple[float, ...]
    total: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name without `mailforum_`, what it is, and a value for each set of labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    values: Mapping[Labels, Value]


def one(name: str, kind: Literal["counter", "gauge", "histogram"], help_text: str, value: Value) -> Metric:
    """Return a metric without labels."""
    return Metric(name, kind, help_text, {(): value})


def by(name: str, kind: Literal["counter", "gauge"], help_text: str, label: str, values: Mapping[str, Value]) -> Metric:
    """Return a metric with one label."""
    return Metric(name, kind, help_text, {((label, key),): value for key, value in values.items()})


def text(metrics: Iterable[Metric]) -> str:
    """Write metrics down. No label can break out of its line, whatever it is."""
    return "".join(f"{line}\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    name = f"mailforum_{metric.name}"
    yield f"# HELP {name} {_escaped(metric.help)}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, value in sorted(metric.values.items(), key=lambda item: item[0]):
        if isinstance(value, Histogram):
            yield from _buckets(name, labels, value)
        else:
            yield f"{name}{_labels(labels)} {value}"


def _buckets(name: str, labels: Labels, histogram: Histogram) -> Iterator[str]:
    so_far = list(accumulate(histogram.counts))
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), so_far, strict=True):
        yield f"{name}_bucket{_labels((*labels, ('le', bound)))} {count}"
    yield f"{name}_sum{_labels(labels)} {histogram.total}"
    yield f"{name}_count{_labels(labels)} {so_far[-1]}"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"")
