"""Points for days on which mail came back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.forum import scoring
from mailforum.model import Failing
from mailforum.settings import ListSettings

DAY = 86400.0
START = 1_763_820_300.0
DEFAULTS = ListSettings()


def after(*failures: tuple[float, str], settings: ListSettings = DEFAULTS) -> Failing:
    """Let mail fail on these days, counted from the start."""
    failing = Failing(1, 1)
    for day, kind in failures:
        failing = scoring.step(failing, kind, START + day * DAY, settings)
    return failing


def reached(*failures: tuple[float, str], settings: ListSettings = DEFAULTS) -> bool:
    """Say whether that is too many at the time of the last."""
    return scoring.too_many(after(*failures, settings=settings), START + failures[-1][0] * DAY, settings)


def test_three_days_of_failures_for_good_are_too_many() -> None:
    assert not reached((0, "hard"), (1, "hard"))
    assert reached((0, "hard"), (1, "hard"), (2, "hard"))


def test_however_much_comes_back_in_a_day_it_counts_once_and_as_the_worst() -> None:
    assert after(*[(0.01 * n, "hard") for n in range(50)]).points == 2
    assert after((0, "soft"), (0.1, "hard"), (0.2, "soft"), (0.3, "hard")) == after((0, "hard")).__class__(
        1, 1, points=2, hard=1, first_at=START, step_at=START, step="hard"
    )


def test_a_full_mailbox_is_too_much_only_after_five_days_and_three_days_with_failures() -> None:
    low = ListSettings(bounce_limit=2)
    assert not reached((0, "soft"), (1, "soft"), settings=low)
    assert not reached((0, "soft"), (1, "soft"), (2, "soft"), (4.9, "soft"), settings=low)
    assert not reached((0, "soft"), (5.5, "soft"), settings=low)
    assert reached((0, "soft"), (1, "soft"), (5.5, "soft"), settings=low)
    assert not reached(*[(n, "soft") for n in range(5)])
    assert reached(*[(n, "soft") for n in range(6)])


def test_a_point_is_forgotten_for_every_whole_week_without_failure() -> None:
    failing = after((0, "hard"), (1, "hard"))
    later = [scoring.points(failing, START + (1 + days) * DAY, DEFAULTS) for days in (0, 6.9, 7, 14, 28, 1000)]
    assert later == [4, 4, 3, 2, 0, 0]


def test_one_failure_a_month_is_never_too_many() -> None:
    assert not any(reached(*[(30 * n, "hard") for n in range(count)]) for count in range(1, 40))


def test_one_failure_a_week_is_too_many_in_the_end() -> None:
    assert reached(*[(7 * n, "hard") for n in range(6)])


def test_a_limit_of_zero_is_never_reached() -> None:
    assert not reached(*[(n, "hard") for n in range(50)], settings=ListSettings(bounce_limit=0))


@pytest.mark.parametrize("back", [1, 10, 1000])
def test_a_clock_that_is_set_back_counts_nothing_twice_and_forgets_nothing(back: int) -> None:
    failing = after((0, "hard"), (1, "hard"))
    again = scoring.step(failing, "hard", START - back * DAY, DEFAULTS)
    assert again == failing
    assert scoring.points(failing, START - back * DAY, DEFAULTS) == 4


@given(st.lists(st.tuples(st.floats(0, 60), st.sampled_from(["hard", "soft"])), min_size=1, max_size=60))
def test_points_are_never_more_than_the_days_allow(failures: list[tuple[float, str]]) -> None:
    failures.sort()
    failing = after(*failures)
    span = failures[-1][0] - failures[0][0]
    assert 1 <= failing.points <= 2 * (span * DAY // scoring.DAY + 1)
    assert failing.hard + failing.soft <= span * DAY // scoring.DAY + 1
