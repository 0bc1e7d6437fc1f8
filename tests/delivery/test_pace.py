"""How fast destinations are given mail: slow start, slow ones, limits, and the circuit breaker."""

import pytest

from mailforum.delivery import pace
from mailforum.delivery.pace import Pace
from mailforum.model import State, Status
from mailforum.units import Limit

SENT = Status(State.SENT, "2.0.0", "250 2.0.0 ok")
UNKNOWN = Status(State.FAILED, "5.1.1", "550 5.1.1 no such user here")
BLOCKED = Status(State.FAILED, "5.7.1", "554 5.7.1 your host 192.0.2.7 is listed")


def begun(p: Pace, domain: str, most: int = 1000, now: float = 0.0) -> int:
    """Begin as many transactions as are allowed; return how many that were."""
    count = 0
    while count < most and p.may_begin(domain, now):
        p.begin(domain, now)
        count += 1
    return count


def test_a_new_destination_is_begun_with_a_few_and_gets_more_with_each_success():
    p = Pace({}, 32)
    assert begun(p, "example.com") == 4
    for _ in range(4):
        p.end("example.com", 0.01, 0.0)
    assert begun(p, "example.com") == 8


def test_a_fast_destination_may_have_every_connection_and_the_next_mail_on_each():
    p = Pace({}, 8)
    for _ in range(100):
        p.begin("example.com", 0.0)
        p.end("example.com", 0.01, 0.0)
    assert begun(p, "example.com") == 16


def test_a_slow_destination_soon_has_one_transaction_at_a_time():
    p = Pace({}, 32)
    for _ in range(5):
        begun(p, "slow.example.com", 1)
        p.end("slow.example.com", 10.0, 0.0)
    assert begun(p, "slow.example.com") == 1
    assert begun(p, "quick.example.com") == 4


def test_all_slow_destinations_together_never_have_more_than_half_of_the_connections():
    p = Pace({}, 8)
    domains = [f"s{number}.example.com" for number in range(20)]
    for domain in domains:
        p.begin(domain, 0.0)
        p.end(domain, 10.0, 0.0)
    assert sum(begun(p, domain) for domain in domains) == 4
    assert begun(p, "quick.example.com") == 1  # one at first, while so many are slow


def test_destinations_that_do_not_end_what_was_begun_are_slow_before_it_ends():
    p = Pace({}, 16)
    hung = [f"h{number}.example.com" for number in range(3)]
    assert [begun(p, domain) for domain in hung] == [4, 4, 4]
    p.look_around(2.0)
    assert begun(p, "h9.example.com", now=2.0) == 1  # of it nothing is known, and many are slow
    p.look_around(4.0)
    assert not p.may_begin("h0.example.com", 4.0)
    for domain in hung:
        for _ in range(4):
            p.end(domain, 60.0, 60.0)
    assert [begun(p, domain, now=60.0) for domain in hung] == [1, 1, 1]


def test_a_destination_that_turns_slow_while_others_are_under_way_is_counted_right():
    p = Pace({}, 4)
    assert begun(p, "a.example.com") == 4
    for _ in range(4):
        p.end("a.example.com", 5.0, 0.0)
    assert begun(p, "a.example.com") == 1
    p.end("a.example.com", 0.01, 0.0)
    assert begun(p, "a.example.com") == 2


def test_a_limit_of_connections_holds():
    p = Pace({"example.com": Limit.parse("example.com 2")}, 32)
    assert begun(p, "example.com") == 2
    assert begun(p, "other.example.com") == 4


def test_a_limit_of_mails_a_minute_holds_over_time():
    p = Pace({"*": Limit.parse("* 60/m")}, 32)
    sent = 0
    for second in range(60):
        while p.may_begin("example.com", float(second)):
            p.begin("example.com", float(second))
            p.end("example.com", 0.0, float(second))
            sent += 1
    assert 59 <= sent <= 61


def test_a_limit_says_how_long_to_wait():
    p = Pace({"example.com": Limit.parse("example.com 6/m")}, 32)
    p.begin("example.com", 100.0)
    assert p.of("example.com", 100.0).wait(100.0) == pytest.approx(10.0)
    assert p.put_off_for("example.com", 100.0) == pytest.approx(10.0)
    assert p.may_begin("example.com", 110.1)


def learn(
    p: Pace,
    status: Status,
    count: int,
    domain: str = "example.com",
    first: int = 0,
    now: float = 0.0,
    mailing: int | None = None,
) -> list[pace.Opened]:
    """Let so many deliveries end so, of one mailing or (None) of two in turn; return what has opened."""
    opened = []
    for number in range(first, first + count):
        one = number // 2 % 3 if mailing is None else mailing
        opened += p.learn([pace.Lesson(domain, number, one, f"m{number}@{domain}", status)], now)
    return opened


def test_a_destination_that_refuses_all_for_one_reason_is_left_alone_and_the_refusals_come_back():
    p = Pace({}, 32)
    opened = learn(p, BLOCKED, 20)
    assert [(one.domain, one.refused) for one in opened] == [("example.com", tuple(range(20)))]
    assert not p.may_begin("example.com", 299.0)
    assert p.may_begin("example.com", 301.0)


def test_refusals_that_differ_only_in_whom_they_name_are_one_reason():
    p = Pace({}, 32)
    texts = [
        Status(State.FAILED, "5.7.1", f"550 5.7.1 <m{n}@example.com>: relaying denied (queue id 4F{n}A)")
        for n in range(20)
    ]
    lessons = [pace.Lesson("a", n, n % 3, f"m{n}@example.com", status) for n, status in enumerate(texts)]
    opened = p.learn(lessons, 0.0)
    assert opened


def test_half_of_fifty_who_do_not_exist_open_no_breaker_and_nine_of_ten_do():
    p = Pace({}, 32)
    for number in range(25):
        assert not learn(p, UNKNOWN, 1, first=2 * number)
        assert not learn(p, SENT, 1, first=2 * number + 1)
    assert learn(p, UNKNOWN, 50)


def test_after_its_rest_one_refusal_is_enough_and_the_rest_gets_longer_until_one_is_taken():
    p = Pace({}, 32)
    first = learn(p, BLOCKED, 20)
    again = learn(p, BLOCKED, 1, now=first[0].pause + 1)
    assert [one.pause for one in again] == [2 * first[0].pause]
    learn(p, SENT, 1, now=10_000.0)
    assert not learn(p, BLOCKED, 9, now=10_001.0)


def test_who_was_under_way_when_the_breaker_opened_comes_back_too():
    p = Pace({}, 32)
    learn(p, BLOCKED, 20)
    late = learn(p, BLOCKED, 1, first=77)
    assert [(one.refused, one.anew) for one in late] == [((77,), False)]
    assert not learn(p, UNKNOWN, 1, first=78)


def test_it_is_the_relay_that_refuses_when_several_domains_are_refused_alike():
    p = Pace({}, 32)
    opened = [one for n in range(21) for one in learn(p, BLOCKED, 1, domain=f"d{n % 3}.example.com", first=n)]
    assert [one.domain for one in opened] == ["", ""]  # the second was under way already
    assert [one.anew for one in opened] == [True, False]


@pytest.mark.parametrize("enhanced, words", [("5.6.3", "554 no"), ("5.3.4", "554 no"), ("5.0.0", "552 too big")])
def test_mails_too_big_or_of_a_form_that_is_not_taken_open_no_breaker(enhanced: str, words: str):
    p = Pace({}, 32)
    assert not learn(p, Status(State.FAILED, enhanced, words), 100)
    assert p.may_begin("example.com", 0.0)


def test_a_destination_that_puts_off_gets_less_at_a_time_and_is_not_left_alone():
    p = Pace({}, 32)
    later = Status(State.DEFERRED, "4.7.1", "450 4.7.1 greylisted")
    assert not learn(p, later, 100)
    assert begun(p, "example.com") == 1
    assert p.resting(0.0) == []


def test_a_mailing_that_alone_is_refused_rests_alone():
    p = Pace({}, 32)
    opened = learn(p, BLOCKED, 20, mailing=7)
    assert [one.domain for one in opened] == ["mailing 7 to example.com"]
    assert p.resting_as(7, "example.com", 1.0)
    assert not p.resting_as(7, "example.net", 1.0)
    assert not p.resting_as(8, "example.com", 1.0)
    assert p.may_begin("example.com", 1.0)
    assert not p.resting_as(7, "example.com", 301.0)


def test_a_mailing_that_several_domains_refuse_rests_everywhere():
    p = Pace({}, 32)
    opened = [
        one for n in range(21) for one in learn(p, BLOCKED, 1, domain=f"d{n % 3}.example.com", first=n, mailing=7)
    ]
    assert [one.domain for one in opened if one.anew] == ["mailing 7"]
    assert p.resting_as(7, "else.example.net", 1.0) == "mailing 7"


def test_what_is_known_of_destinations_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "KNOWN", 100)
    p = Pace({}, 32)
    for number in range(1000):
        p.begin(f"d{number}.example.com", 0.0)
        p.end(f"d{number}.example.com", 0.0, 0.0)
    assert len(p._known) <= 100


def test_long_transactions_to_many_domains_take_no_room_from_a_slow_domain():
    p = Pace({}, 4)
    p.begin("slow.example.com", 0.0)
    p.end("slow.example.com", 5.0, 0.0)
    for _ in range(4):
        p.begin("", 0.0)
        p.end("", 5.0, 0.0)
        p.begin("", 0.0)
    assert p.may_begin("slow.example.com", 0.0)
