"""A name for each mail that comes in: short, never given twice, and in the order of time.

Twelve characters: eight are the time in 1/256 seconds, four are a counter that starts anywhere. So
two processes, or one before and after a restart, do not give the same name; and "everything since
10 o'clock" is a range. Hosts that are busy at the same time each have a part of the counter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # sorts as the numbers do; no i, l, o, u to be misread
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_COUNTER = 20  # bits,
_OF_HOST = 12  # and so many where the others say which host it is; a host gives 4096 in 1/256 seconds at most
_LIKE = re.compile(f"[{_DIGITS}]{{12}}")


class Ids:
    """Gives ids. `now` returns seconds since the epoch; `start` is any number, best a random one."""

    def __init__(self, now: Callable[[], float], start: int) -> None:
        self._now = now
        self._count = start
        self._host, self._bits = 0, _COUNTER

    def as_host(self, number: int) -> None:
        """Give only ids that hosts with other numbers do not give, from now on; 256 can be told apart."""
        self._host, self._bits = number % (1 << _COUNTER - _OF_HOST) << _OF_HOST, _OF_HOST

    def new(self) -> str:
        """Return an id that was never given before."""
        self._count += 1
        return _spell(_ticks(self._now()) | self._host | self._count & (1 << self._bits) - 1)


def first(at: float) -> str:
    """Return the id that no mail since the time `at` comes before."""
    return _spell(_ticks(at))


def is_id(text: str) -> bool:
    """Say whether `text` is spelt as an id."""
    return _LIKE.fullmatch(text) is not None


def _ticks(at: float) -> int:
    return (int(at * 256) & (1 << 40) - 1) << _COUNTER


def _spell(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in (50, 40, 30, 20, 10, 0)])
