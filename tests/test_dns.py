"""What DNS says, from a DNS server of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mailforum.dns import Resolver
from mailforum.options import Dns
from mailforum.units import Duration


class _Server(asyncio.DatagramProtocol):
    def __init__(self, records: dict[str, list[bytes]], answer: Callable[[bytes], bytes | None] | None) -> None:
        self.records, self.answer = records, answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self.answer(data) if self.answer else self._reply(data)
        if reply is not None:
            self.transport.sendto(reply, addr)  # type: ignore[attr-defined]

    def _reply(self, data: bytes) -> bytes:
        import dns.flags
        import dns.message
        import dns.rcode
        import dns.rdata
        import dns.rrset

        query = dns.message.from_wire(data)
        name = query.question[0].name
        response = dns.message.make_response(query)
        strings = self.records.get(name.to_text(omit_final_dot=True))
        if strings is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            text = " ".join(f'"{string.decode()}"' for string in strings)
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", text))
        return response.to_wire()


@asynccontextmanager
async def serving(
    records: dict[str, list[bytes]], answer: Callable[[bytes], bytes | None] | None = None
) -> AsyncIterator[Resolver]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Server(records, answer), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    yield Resolver(Dns(servers=("127.0.0.1",), timeout=Duration(0.5)), port)
    transport.close()


async def test_the_strings_of_a_record_are_one_text() -> None:
    async with serving({"s._domainkey.example.org": [b"v=DKIM1; k=rsa; p=AAAA", b"BBBB"]}) as resolver:
        assert await resolver.txt("s._domainkey.example.org") == b"v=DKIM1; k=rsa; p=AAAABBBB"


async def test_a_name_that_is_not_there_is_none() -> None:
    async with serving({}) as resolver:
        assert await resolver.txt("s._domainkey.example.org") is None


@pytest.mark.parametrize("answer", [lambda data: None, lambda data: b"\0" * 5, lambda data: data[:12]])
async def test_silence_and_garbage_are_no_answer_after_the_time_limit(answer: Callable[[bytes], bytes | None]) -> None:
    async with serving({}, answer) as resolver:
        async with asyncio.timeout(5):
            with pytest.raises(OSError, match=r"DNS does not answer for example\.org"):
                await resolver.txt("example.org")
