"""Who is counted, and how often a client may do what."""

import asyncio
import tracemalloc

import pytest

from mailforum.errors import Deferred
from mailforum.options import Limits
from mailforum.smtpd.rates import Clients, Rate
from mailforum.smtpd.together import Together
from mailforum.store.opening import open_database
from mailforum.units import Network
from tests.smtpd.conftest import StoppedClock
from tests.support.postgres import emptied_url


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("10.1.2.3", ""),
        ("10.2.2.3", "10.2.2.3"),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:ffff::1", ""),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network_and_nobody_when_trusted(peer, client):
    trusted = ("127.0.0.0/8", "::1/128", "10.1.0.0/16", "2001:db8:ffff::/48")
    assert Clients(trusted).name(peer) == client


def test_a_network_may_be_written_as_one_address():
    assert Network.parse("192.0.2.9") == "192.0.2.9/32"
    assert Network.parse("192.0.2.9/24") == "192.0.2.0/24"
    with pytest.raises(ValueError, match="Expected a network"):
        Network.parse("lists.example.org")


def test_a_client_has_a_minutes_worth_at_once_and_then_as_much_as_time_brings():
    clock = StoppedClock()
    rate = Rate(60, clock)
    assert [rate.take("a") for _ in range(62)] == [True] * 60 + [False] * 2
    assert rate.take("b")
    clock.at += 3
    assert [rate.take("a") for _ in range(4)] == [True] * 3 + [False]
    clock.at += 10_000
    assert [rate.take("a") for _ in range(61)] == [True] * 60 + [False]


def test_nobody_and_no_limit_are_never_counted():
    rate, free = Rate(1, StoppedClock()), Rate(0, StoppedClock())
    assert all(rate.take("") and free.take("a") for _ in range(100))
    assert len(rate) == len(free) == 0


def test_a_scan_from_a_million_addresses_takes_no_more_memory_than_one_from_ten_thousand():
    rate = Rate(1, StoppedClock())
    tracemalloc.start()
    for number in range(100_000):
        rate.take(str(number))
        rate.take("busy")  # is not forgotten: it comes all the time
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(rate) == 10_000
    assert size < 5_000_000
    assert not rate.take("busy")


async def test_connections_beyond_the_rate_are_turned_away_and_later_let_in(serve):
    house = await serve(trusted=(), rates=Limits(connections_per_minute=2))
    for _ in range(2):
        await (await house.ready()).say("QUIT")
    late = await house.connect()
    assert await late.read() == "421 4.7.0 Too many connections a minute from your address, try again later"
    assert await late.closed()
    house.clock.at += 30
    await house.ready()


async def test_mails_beyond_the_rate_are_put_off_and_later_taken(serve):
    house = await serve(trusted=(), rates=Limits(mails_per_minute=2))
    client = await house.ready()
    for _ in range(2):
        assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == "250"
        assert (await client.say("RSET"))[:3] == "250"
    answer = await client.say("MAIL FROM:<ann@example.com>")
    assert answer == "450 4.7.0 Too many mails a minute from your address, try again later"
    assert (await client.say("RCPT TO:<pmo@lists.example.org>"))[:3] == "503"
    house.clock.at += 30
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == "250"


async def test_recipients_beyond_the_rate_are_put_off_one_by_one(serve):
    house = await serve(trusted=(), rates=Limits(recipients_per_minute=2))
    client = await house.ready()
    await client.say("MAIL FROM:<ann@example.com>")
    answers = [await client.say(f"RCPT TO:<pmo+{n}@lists.example.org>") for n in range(3)]
    assert [answer[:9] for answer in answers] == ["250 2.1.5", "250 2.1.5", "450 4.7.0"]
    assert (await client.say("RCPT TO:<pmo+0@lists.example.org>"))[:3] == "250"  # no new one


async def test_who_goes_on_and_on_beyond_the_rate_is_sent_away(serve):
    house = await serve(trusted=(), rates=Limits(mails_per_minute=1))
    client = await house.ready()
    await client.say("MAIL FROM:<ann@example.com>")
    await client.say("RSET")
    answers = [await client.say("MAIL FROM:<ann@example.com>") for _ in range(19)]
    assert [answer[:3] for answer in answers] == ["450"] * 18 + ["421"]


async def test_this_machine_may_send_as_much_as_it_likes(serve):
    house = await serve(rates=Limits(connections_per_minute=1, mails_per_minute=1, recipients_per_minute=1))
    for _ in range(3):
        client = await house.connect()
        await client.begin("pmo@lists.example.org", "dev@lists.example.org")
        assert (await client.say("."))[:3] == "250"


async def test_hosts_that_count_together_give_a_client_no_more_than_one_of_them_would() -> None:
    with emptied_url() as url:
        first, second = Rate(60, StoppedClock()), Rate(60, StoppedClock())
        databases = [await open_database(url) for _ in "ab"]
        together = [Together(db, {"mails": rate}) for db, rate in zip(databases, (first, second), strict=True)]
        assert all(first.take("192.0.2.1") for _ in range(40))
        await together[0].count()
        assert second.take("192.0.2.1")
        await together[1].count()
        assert sum(second.take("192.0.2.1") for _ in range(60)) == 19
        assert second.take("192.0.2.2")
        await asyncio.gather(*(one.count() for one in together))
        assert first.take("192.0.2.1")  # it has not heard of the 19
        await together[0].count()
        assert not first.take("192.0.2.1")
        for db in databases:
            await db.close()


async def test_what_cannot_be_told_to_other_hosts_is_told_the_next_time() -> None:
    with emptied_url() as url:
        rate, db = Rate(60, StoppedClock()), await open_database(url)
        together = Together(db, {"mails": rate})
        assert all(rate.take("192.0.2.1") for _ in range(30))
        await db.close()
        with pytest.raises(Deferred):
            await together.count()
        assert rate.spent == {"192.0.2.1": 30}
        assert sum(rate.take("192.0.2.1") for _ in range(60)) == 30
