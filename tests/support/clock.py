"""A clock that a test can set forward or back."""

from mailforum.clock import SystemClock


class ShiftedClock(SystemClock):
    """The machine's time, moved by `shift` seconds; waiting takes as long as ever."""

    def __init__(self) -> None:
        self.shift = 0.0

    def now(self) -> float:
        return super().now() + self.shift
