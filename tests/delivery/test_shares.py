"""What the admin has limited is divided among hosts so that all of them together have just that, at any time."""

from hypothesis import given
from hypothesis import strategies as st

from mailforum.hosting import Host
from mailforum.store.hosts import Living
from mailforum.units import Limit, Place
from tests.support.clock import ShiftedClock

LIMITS = ("example.com 1", "example.com 7", "example.com 30/s", "example.com 5/m", "* 3 600/m", "* 2 1000/h")
DOMAINS = ("example.com", "example.org", "a.example.net")


def burst(limit: Limit) -> float:
    """How many mails may go at once (`pace.Destination`)."""
    return max(1.0, limit.per_second)


@given(st.sampled_from(LIMITS), st.sampled_from(DOMAINS), st.integers(1, 40))
def test_all_parts_of_a_limit_are_the_whole(text: str, domain: str, hosts: int) -> None:
    whole = Limit.parse(text)
    parts = [whole.among([Place(rank, hosts)], domain) for rank in range(hosts)]
    ours = [part for part in parts if not part.closed]
    assert ours
    assert sum(part.connections for part in ours) == whole.connections
    assert abs(sum(part.per_second for part in ours) - whole.per_second) < 1e-9
    if whole.per_second:
        assert sum(map(burst, ours)) <= burst(whole) + 1e-9
    if whole.connections:
        assert all(part.connections for part in ours)


def test_small_limits_are_other_hosts_for_other_domains() -> None:
    limit = Limit.parse("* 1")
    who = {
        next(rank for rank in range(4) if not limit.among([Place(rank, 4)], f"{n}.example").closed) for n in range(40)
    }
    assert who == {0, 1, 2, 3}


def test_where_nothing_is_limited_nothing_is_divided() -> None:
    assert not Limit().among([Place(1, 2)], "example.com").closed
    assert Limit.parse("example.com 5").among([], "example.com").connections == 5


class Town:
    """Hosts that come, go and look at each other, without a database: its clock is a counter."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rows: dict[int, float] = {}
        self.hosts: dict[int, Host] = {}

    def come(self) -> None:
        number = max(self.hosts, default=0) + 1
        self.now += 1
        self.rows[number] = self.now
        self.hosts[number] = Host(None, ShiftedClock(), str(number), ["deliver"])  # type: ignore[arg-type]

    def go(self, number: int) -> None:
        self.rows.pop(number, None)

    def beat(self, number: int) -> None:
        self.now += 1
        living = [Living(one, str(one), ("deliver",), "", "", 0.0, seen, self.now) for one, seen in self.rows.items()]
        if number in self.rows:
            self.hosts[number]._see(number, living, max(self.hosts))
            self.rows[number] = self.now

    def used(self, limit: Limit) -> tuple[int, float]:
        """What those that have not gone may use together."""
        parts = [limit.among(self.hosts[one].places, limit.domain) for one in self.rows if self.hosts[one].id]
        ours = [part for part in parts if not part.closed]
        return sum(part.connections for part in ours), sum(part.per_second for part in ours)


STEPS = st.lists(st.one_of(st.just(("come", 0)), st.tuples(st.sampled_from(["go", "beat"]), st.integers(1, 5))))


@given(STEPS, st.sampled_from(LIMITS))
def test_hosts_that_come_and_go_never_have_more_than_the_whole_and_soon_all_of_it(
    steps: list[tuple[str, int]], text: str
) -> None:
    town, limit = Town(), Limit.parse(text)
    town.come()
    for what, number in steps:
        if what == "come":
            town.come()
        else:
            getattr(town, what)(number)
        connections, per_second = town.used(limit)
        assert connections <= limit.connections
        assert per_second <= limit.per_second + 1e-9
    town.come()
    for _ in range(3):
        for number in list(town.rows):
            town.beat(number)
    connections, per_second = town.used(limit)
    assert (connections, round(per_second, 9)) == (limit.connections, round(limit.per_second, 9))
