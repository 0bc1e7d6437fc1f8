"""Whose connection it is, when a load balancer passes it on (the PROXY protocol, versions 1 and 2)."""

import asyncio
import ipaddress
import logging
import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.options import Limits as RateLimits
from mailforum.smtpd import proxied
from mailforum.smtpd.inbox import Inbox
from mailforum.smtpd.shared import Limits
from tests.smtpd.conftest import Client
from tests.support.certificate import make_certificate

PROXY = {"proxy_from": ("127.0.0.1/32",), "trusted": ("10.0.0.0/8",)}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"
MAIL = b"Subject: Lunch\r\n\r\nAt noon?\r\n."


def v2(source: str = "192.0.2.7", *, command: int = 1, family: int = 0, more: bytes = b"") -> bytes:
    """Return a header of version 2, from `source` to port 25 of its like."""
    packed = ipaddress.ip_address(source).packed
    family = family or (0x11 if len(packed) == 4 else 0x21)
    body = packed + packed + struct.pack("!HH", 40000, 25) + more
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


HEADERS = {
    "version 1": V1,
    "version 2": v2(),
    "version 2 with more to say": v2(more=b"\x04\0\x03abc" + b"\x03\0\x04crc0" + b"\xee\0\0"),
}


async def introduced(house, header: bytes, *, lmtp: bool = False) -> Client:
    client = await house.connect(lmtp=lmtp)
    await client.send(header)
    return client


async def peer_of_a_mail(house, header: bytes, *, lmtp: bool = False) -> str:
    client = await introduced(house, header, lmtp=lmtp)
    await client.begin(verb="LHLO" if lmtp else "EHLO")
    assert (await client.say(MAIL))[:3] == "250"
    return house.intake.mails[-1][0].peer


def wires(house):
    return {(wire.peer, wire.client) for wire in house.server._shared.inside}


async def nobody_inside(house):
    async with asyncio.timeout(5):
        while house.server.connections:
            await asyncio.sleep(0.001)


# -- who is meant


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_mail_is_from_the_client_that_the_proxy_names(serve, header, lmtp):
    house = await serve(**PROXY)
    assert await peer_of_a_mail(house, header, lmtp=lmtp) == "192.0.2.7"


@pytest.mark.parametrize("header", [v2("2001:db8::7"), b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n"])
async def test_a_client_with_ipv6_is_counted_by_its_network(serve, header):
    house = await serve(**PROXY)
    await (await introduced(house, header)).hello()
    assert wires(house) == {("2001:db8::7", "2001:0db8:0000:0000")}


async def test_an_ipv4_address_in_ipv6_clothes_is_the_same_client(serve):
    house = await serve(**PROXY)
    await (await introduced(house, v2("::ffff:192.0.2.7"))).hello()
    assert [client for _, client in wires(house)] == ["192.0.2.7"]


OWN = {
    "a health check of version 1": b"PROXY UNKNOWN\r\n",
    "one with addresses, which do not count": b"PROXY UNKNOWN 192.0.2.7 192.0.2.7 1 1\r\n",
    "a health check of version 2": SIGNATURE + b"\x20\0\0\0",
    "one with an address": v2(command=0),
    "a unix socket": SIGNATURE + struct.pack("!BBH", 0x21, 0x31, 216) + bytes(216),
    "an unknown family": SIGNATURE + b"\x21\0\0\x03abc",
    "a datagram": v2(family=0x12),
}


@pytest.mark.parametrize("header", OWN.values(), ids=OWN)
async def test_what_the_proxy_says_for_itself_is_from_its_own_address_and_not_counted(serve, header):
    house = await serve(max_connections_per_client=1, rates=RateLimits(connections_per_minute=1), **PROXY)
    for _ in range(3):
        await (await introduced(house, header)).hello()
    assert wires(house) == {("127.0.0.1", "")}


async def test_who_is_no_proxy_cannot_pass_itself_off_as_another(serve):
    house = await serve(proxy_from=("127.0.0.2/32",), trusted=())
    for header in (V1, v2()):
        client = await introduced(house, header)
        assert (await client.read())[:4] == "220 "
        assert (await client.read())[:3] == "500"
        assert {peer for peer, _ in wires(house)} == {"127.0.0.1"}
        client.close()


async def test_a_second_header_is_no_command(serve):
    house = await serve(**PROXY)
    client = await introduced(house, V1 + V1.replace(b"192.0.2.7", b"10.0.0.1"))
    assert (await client.read())[:4] == "220 "
    assert (await client.read())[:3] == "500"
    assert wires(house) == {("192.0.2.7", "192.0.2.7")}


# -- what the client's address is good for


async def test_a_trusted_network_is_the_clients_and_not_the_proxys(serve):
    house = await serve(rates=RateLimits(mails_per_minute=1), **PROXY)
    stranger, friend = await introduced(house, V1), await introduced(house, v2("10.0.0.7"))
    for client, second in ((stranger, "450"), (friend, "250")):
        await client.begin()
        assert (await client.say(MAIL))[:3] == "250"
        assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == second


async def test_connections_are_counted_for_each_client_behind_the_proxy(serve):
    house = await serve(max_connections_per_client=2, **PROXY)
    for _ in range(2):
        await (await introduced(house, V1)).hello()
    third = await introduced(house, V1)
    assert await third.read() == "421 4.7.0 Too many connections from your address, try again later"
    assert await third.closed()
    await (await introduced(house, v2("192.0.2.8"))).hello()
    assert len(house.server._shared.inside) == 3


async def test_connections_a_minute_are_counted_for_each_client_behind_the_proxy(serve):
    house = await serve(rates=RateLimits(connections_per_minute=1), **PROXY)
    await (await introduced(house, V1)).hello()
    assert (await (await introduced(house, V1)).read())[:9] == "421 4.7.0"
    await (await introduced(house, v2("192.0.2.8"))).hello()


async def test_a_connection_that_has_not_said_who_it_is_takes_a_place(serve):
    house = await serve(max_connections=2, **PROXY)
    waiting = [await house.connect() for _ in range(2)]
    assert (await (await house.connect()).read())[:9] == "421 4.7.0"
    await waiting[0].send(V1)
    assert (await waiting[0].read())[:4] == "220 "


async def test_tls_begins_behind_the_header(serve, tmp_path):
    make_certificate(tmp_path, "tls")
    house = await serve(tmp_path, tls_cert="tls.pem", tls_key="tls.key", limits=Limits(linger=0.2), **PROXY)
    client = await introduced(house, v2())
    assert "STARTTLS" in await client.hello()
    assert (await client.say("STARTTLS"))[:3] == "220"
    context = ssl.create_default_context(cafile=tmp_path / "tls.pem")
    await client.writer.start_tls(context, server_hostname="tls")
    assert "STARTTLS" not in await client.say("EHLO client.example.com")
    assert {peer for peer, _ in wires(house)} == {"192.0.2.7"}


# -- hostile


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_header_may_come_byte_by_byte_and_commands_right_behind_it(serve, header):
    house = await serve(**PROXY)
    client = await house.connect()
    for byte in header:
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.read())[:4] == "220 "
    client = await introduced(house, header + b"EHLO x\r\nNOOP\r\n")
    assert [(await client.read())[:3] for _ in range(3)] == ["220", "250", "250"]


BROKEN = {
    "no header": b"EHLO client.example.com\r\n",
    "an empty line": b"\r\nEHLO x\r\n",
    "no protocol": b"PROXY\r\n",
    "too few words": b"PROXY TCP4 192.0.2.7\r\n",
    "a name": b"PROXY TCP4 localhost 192.0.2.1 1 1\r\n",
    "a command behind a bare line feed": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 1\nMAIL",
    "a wrong family": b"PROXY TCP4 2001:db8::7 192.0.2.1 1 1\r\n",
    "a port too large": b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 1\r\n",
    "no end": b"PROXY TCP4 " + b"1" * 200,
    "UNKNOWN without end": b"PROXY UNKNOWN " + b"x" * 200,
    "version 3": SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
    "a command that is none": SIGNATURE + b"\x2f\x11\0\x0c" + bytes(12),
    "an address too short": SIGNATURE + b"\x21\x11\0\x04abcd",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("header", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_header_ends_the_connection(serve, header, caplog):
    house = await serve(**PROXY)
    client = await introduced(house, header)
    with caplog.at_level(logging.INFO, "mailforum"):
        assert await client.read() == "421 4.7.0 Your address has to speak the PROXY protocol here"
        assert await client.closed()
    (line,) = [str(record.msg) for record in caplog.records if "turned_away" in str(record.msg)]
    assert line.startswith('event=turned_away peer=127.0.0.1 reason="no PROXY header: ')


@pytest.mark.parametrize("begun", [b"", V1[:20], SIGNATURE + b"\x21\x11\xff\xff" + bytes(5000)])
async def test_a_header_that_does_not_come_to_its_end_is_not_waited_for(serve, begun):
    house = await serve(limits=Limits(header=0.05, linger=0.05), **PROXY)
    client = await introduced(house, begun)
    assert (await client.read())[:4] == "421 "
    assert await client.closed()
    await nobody_inside(house)


async def test_who_goes_in_the_middle_of_a_header_is_gone(serve, caplog):
    house = await serve(**PROXY)
    client = await introduced(house, V1[:20])
    client.writer.write_eof()
    await client.closed()
    await nobody_inside(house)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_server_that_stops_does_not_wait_for_headers(serve):
    house = await serve(**PROXY)
    client = await house.connect()
    while not [wire for wire in house.server._shared.inside if wire.waiting]:
        await asyncio.sleep(0)
    await asyncio.wait_for(house.server.stop(5), 2)
    assert (await client.read())[:3] == "421"


PIECES = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=60).map(lambda rest: b"PROXY TCP4 " + rest + b"\r\n"),
    st.binary(max_size=60).map(lambda rest: SIGNATURE + rest),
    st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=80)).map(lambda two: SIGNATURE + b"".join(two)),
    st.sampled_from([V1, v2()]),
)


@given(data=PIECES, cut=st.integers(0, 300))
def test_whatever_comes_is_an_address_or_no_header_and_is_never_waited_for(data: bytes, cut: int):
    async def read() -> str:
        inbox = Inbox(asyncio.get_running_loop())
        inbox.feed(data[:cut])
        reading = asyncio.ensure_future(proxied.client(inbox, 5))
        await asyncio.sleep(0)
        inbox.feed(data[cut:])
        inbox.end()
        return await reading

    try:
        peer = asyncio.run(read())
    except proxied.NoHeader:
        return
    assert not peer or ipaddress.ip_address(peer)
