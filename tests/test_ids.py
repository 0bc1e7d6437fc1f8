"""The names of mails: never twice, and in the order of time."""

from hypothesis import given
from hypothesis import strategies as st

from mailforum import ids

TIMES = st.floats(1.7e9, 4.2e9)


@given(TIMES, st.integers(0, 2**30))
def test_an_id_is_twelve_characters_that_are_no_number(now: float, start: int) -> None:
    new = ids.Ids(lambda: now, start).new()
    assert ids.is_id(new)
    assert not new.isdecimal()


@given(TIMES, TIMES, st.integers(0, 2**20), st.integers(0, 2**20))
def test_ids_sort_as_the_times_do_that_they_were_given_at(one: float, two: float, start: int, other: int) -> None:
    early, late = sorted((one, two))
    if late - early > 1 / 256:
        assert ids.Ids(lambda: early, start).new() < ids.Ids(lambda: late, other).new()


@given(TIMES, st.integers(0, 2**20))
def test_what_came_since_a_time_is_a_range(now: float, start: int) -> None:
    new = ids.Ids(lambda: now, start).new()
    assert ids.first(now) <= new < ids.first(now + 1)


def test_no_id_is_given_twice_at_the_same_moment_and_none_after_a_restart() -> None:
    before, after = ids.Ids(lambda: 1.8e9, 7), ids.Ids(lambda: 1.8e9 + 0.01, 7)
    given = [before.new() for _ in range(5000)] + [after.new() for _ in range(5000)]
    assert len(set(given)) == 10_000


def test_what_is_no_id_is_told_apart() -> None:
    assert not any(map(ids.is_id, ("", "48.3", "123", "<1@example.org>", "DC2ZFQ8X9MCB", "dc2zfq8x9mcu", "x" * 13)))


def test_hosts_that_are_busy_in_the_same_moment_give_different_ids() -> None:
    hosts = [ids.Ids(lambda: 1e9, 1234) for _ in range(3)]
    for number, host in enumerate(hosts, 255):
        host.as_host(number)
    given = [host.new() for _ in range(4096) for host in hosts]
    assert len(set(given)) == 3 * 4096
    assert min(given) >= ids.first(1e9) and max(given) < ids.first(1e9 + 1 / 256)
