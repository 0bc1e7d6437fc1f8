import asyncio
import socket
import ssl

import pytest
from cryptography import x509

from mailforum.errors import ConfigError
from mailforum.smtpd.shared import Limits
from mailforum.units import Address
from tests.smtpd import conftest
from tests.support.certificate import make_certificate

MAIL = b"Subject: Lunch\r\n\r\nAt noon?\r\n"


# -- listening


async def test_port_zero_is_a_real_port_afterwards(serve):
    house = await serve(listen=(Address("127.0.0.1:0"), Address("127.0.0.1:0")))
    assert len({address.port for address in (*house.server.addresses, *house.server.lmtp_addresses)}) == 3
    assert all(address.host == "127.0.0.1" and address.port for address in house.server.addresses)


async def test_a_port_that_is_taken_names_the_option_and_leaves_nothing_open(serve):
    house = await serve()
    taken = house.server.addresses[0]
    free = _free_port()
    with pytest.raises(ConfigError, match=rf"\[smtp\] lmtp: cannot listen on {taken}"):
        await serve(listen=(free,), lmtp=(taken,))
    again = await serve(listen=(free,), lmtp=())
    assert again.server.addresses == (free,)


def _free_port() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return Address(f"127.0.0.1:{sock.getsockname()[1]}")


async def test_answers_are_not_held_back_by_nagle(serve):
    house = await serve()
    await house.ready()
    (wire,) = house.server._shared.inside
    sock = wire.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -- how many (D29)


async def test_connections_beyond_the_limit_are_told_so_and_closed(serve):
    house = await serve(max_connections=3)
    inside = [await house.ready() for _ in range(3)]
    outside = [await house.connect() for _ in range(50)]
    assert {await client.read() for client in outside} == {"421 4.7.0 Too many connections, try again later"}
    assert [await client.read() for client in outside] == [""] * 50
    assert await inside[0].say("QUIT") == "221 2.0.0 Bye"
    await inside[0].closed()
    assert "PIPELINING" in await (await house.connect()).hello()


async def test_who_is_idle_makes_way_when_all_places_are_taken(serve):
    house = await serve(max_connections=3, trusted=(), limits=Limits(idle=0))
    first, second, busy = await house.ready(), await house.ready(), await house.connect()
    await busy.begin()
    assert (await first.say("NOOP"))[:3] == "250"  # now the second has been silent for longest
    third = await house.ready()
    assert (await second.read())[:9] == "421 4.7.0"
    assert await second.closed()
    assert (await first.say("NOOP"))[:3] == "250"
    assert (await third.say("NOOP"))[:3] == "250"
    assert (await busy.say(MAIL + b"."))[:3] == "250"
    assert len(house.server._shared.inside) == 3


async def test_nobody_makes_way_who_is_trusted_or_at_work(serve):
    house = await serve(max_connections=1, limits=Limits(idle=0))
    client = await house.ready()
    assert (await (await house.connect()).read())[:9] == "421 4.7.0"
    assert (await client.say("NOOP"))[:3] == "250"
    other = await serve(max_connections=1, trusted=(), limits=Limits(idle=0))
    busy = await other.connect()
    await busy.begin()
    assert (await (await other.connect()).read())[:9] == "421 4.7.0"
    assert (await busy.say(MAIL + b"."))[:3] == "250"


async def test_this_machine_may_have_more_connections_than_one_client(serve):
    house = await serve(max_connections_per_client=2)
    for _ in range(5):
        await house.ready()


async def test_one_client_may_have_so_many_connections(serve):
    house = await serve(max_connections_per_client=2, trusted=())
    inside = [await house.ready() for _ in range(2)]
    assert (await (await house.connect()).read())[:9] == "421 4.7.0"
    await inside[0].say("QUIT")
    await inside[0].closed()
    await house.ready()


# -- the end


async def test_idle_sessions_are_told_at_the_end_and_a_mail_in_flight_is_finished(serve):
    house = await serve()
    idle, busy = await house.ready(), await house.connect()
    await busy.begin()
    address = house.server.addresses[0]
    stopping = asyncio.create_task(house.server.stop(5))
    assert (await idle.read())[:9] == "421 4.3.2"
    assert await idle.read() == ""
    assert (await busy.say(MAIL + b"."))[:3] == "250"
    assert (await busy.read())[:9] == "421 4.3.2"
    busy.close()
    await asyncio.wait_for(stopping, 5)
    assert house.raw == MAIL
    with pytest.raises(OSError):
        await asyncio.open_connection(address.host, address.port)


async def test_a_sender_that_does_not_finish_is_not_waited_for_longer_than_said(serve):
    house = await serve()
    client = await house.connect()
    await client.begin()
    await asyncio.wait_for(house.server.stop(0.1), 3)
    assert (await client.read())[:9] == "421 4.3.2"
    assert house.server._shared.inside == set()


# -- TLS (D27)


def _insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _start_tls(client) -> str:
    """Turn to TLS; returns the name in the certificate."""
    assert (await client.say("STARTTLS"))[:3] == "220"
    await client.writer.start_tls(_insecure())
    cert = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    name = x509.load_der_x509_certificate(cert).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(name[0].value)


@pytest.fixture
async def tls_house(serve, tmp_path):
    make_certificate(tmp_path, "old")
    (tmp_path / "tls.pem").write_bytes((tmp_path / "old.pem").read_bytes())
    (tmp_path / "tls.key").write_bytes((tmp_path / "old.key").read_bytes())
    return await serve(tmp_path, tls_cert="tls.pem", tls_key="tls.key", limits=Limits(handshake=2, linger=0.2))


async def test_a_mail_arrives_over_tls(tls_house):
    client = await tls_house.connect()
    assert "250 STARTTLS" in await client.hello()
    assert await _start_tls(client) == "old"
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:9] == "503 5.5.1"  # EHLO has to be said again
    assert "STARTTLS" not in await client.say("EHLO me.example.com")
    assert (await client.say("STARTTLS"))[:9] == "503 5.5.1"
    await client.say("MAIL FROM:<ann@example.com>")
    await client.say("RCPT TO:<pmo@lists.example.org>")
    await client.say("DATA")
    assert (await client.say(b"x" * 90_000 + b"\r\n."))[:3] == "250"
    assert len(tls_house.raw) == 90_002
    assert (await client.say("QUIT"))[:3] == "221"


async def test_commands_in_the_clear_behind_starttls_are_dropped(tls_house):
    client = await tls_house.connect()
    await client.hello()
    await client.send(b"STARTTLS\r\nEHLO evil.example.com\r\nMAIL FROM:<evil@example.com>\r\n")
    assert (await client.read())[:3] == "220"
    await client.writer.start_tls(_insecure())
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:9] == "503 5.5.1"
    await client.say("EHLO me.example.com")
    assert (await client.say("MAIL FROM:<ann@example.com>"))[:3] == "250"


@pytest.mark.parametrize("data", [b"no handshake at all\r\n" * 10, b""])
async def test_a_handshake_that_fails_ends_the_session(tls_house, data):
    client = await tls_house.connect()
    await client.hello()
    await client.say("STARTTLS")
    await client.send(data)
    if not data:
        client.close()
    assert await client.closed() if data else True
    async with asyncio.timeout(5):
        while tls_house.server._shared.inside:
            await asyncio.sleep(0.01)


async def test_a_new_certificate_is_used_without_a_restart(tls_house, tmp_path):
    make_certificate(tmp_path, "new")
    (tmp_path / "new.pem").rename(tmp_path / "tls.pem")
    (tmp_path / "new.key").rename(tmp_path / "tls.key")
    tls_house.server.reload()
    assert await _start_tls(await tls_house.ready()) == "new"


async def test_a_bad_new_certificate_leaves_the_old_one_in_force(tls_house, tmp_path):
    make_certificate(tmp_path, "new")
    (tmp_path / "new.pem").rename(tmp_path / "tls.pem")  # with the old key
    with pytest.raises(ConfigError, match="tls_cert"):
        tls_house.server.reload()
    assert await _start_tls(await tls_house.ready()) == "old"


async def test_a_certificate_that_is_not_there_stops_the_start(serve, tmp_path):
    with pytest.raises(ConfigError, match=r"\[smtp\] tls_cert: .*gone\.pem"):
        await serve(tmp_path, tls_cert="gone.pem", tls_key="gone.key")


async def test_a_reload_without_tls_is_nothing(serve):
    (await serve()).server.reload()


# -- the other event loop


def test_uvloop_serves_as_well(tmp_path):
    uvloop = pytest.importorskip("uvloop")
    make_certificate(tmp_path, "old")

    async def dialogue() -> None:
        house = await conftest.build(tmp_path, tls_cert="old.pem", tls_key="old.key", command_timeout=0.5)
        client = await house.ready()
        assert await _start_tls(client) == "old"
        await client.say("EHLO me.example.com")
        await client.say("MAIL FROM:<ann@example.com>")
        await client.say("RCPT TO:<pmo@lists.example.org>")
        await client.say("DATA")
        assert (await client.say(b"x" * 90_000 + b"\r\n."))[:3] == "250"
        half = await house.connect()
        await half.begin()
        await half.send(MAIL + b".\r\n")
        half.writer.write_eof()
        assert (await half.read())[:3] == "250"
        assert [raw for _, raw in house.intake.mails][1:] == [MAIL]
        assert (await client.read())[:9] == "421 4.4.2"
        await house.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(dialogue())


async def test_a_server_that_stops_has_no_more_to_say_to_who_was_sent_away_and_does_not_go(serve):
    house = await serve(limits=Limits(linger=20))
    client = await house.connect()
    await client.hello()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.read())[:3] == "421"
    assert await client.read() == ""
    await house.server.stop(0)
    assert not house.server.connections
