"""HTTP: is it healthy, what has it done, and the one-click unsubscribe of RFC 8058.

GET never changes anything: mail scanners open every link they see. A link shows a page with a
button, and the button (or a mail program's one click) sends the POST that acts. Nothing of a
request is ever shown again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import h11

from mailforum import log, metrics
from mailforum.clock import Clock
from mailforum.errors import Deferred
from mailforum.forum import members
from mailforum.forum.site import Site
from mailforum.health import Health
from mailforum.store.database import Database, caused_by
from mailforum.units import Address

logger = logging.getLogger("mailforum")

TIMEOUT = 30.0
MAX_BODY = 64 * 1024

_LEAVE = re.compile(r"/leave/([a-z2-7]{26})")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with."""

    status: HTTPStatus
    body: str
    kind: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Pages:
    """Answers requests. `page` words the pages people see: `leave`, `left` and `invalid`.

    `health_only`: there are none for people.
    """

    db: Database
    site: Site
    clock: Clock
    page: Callable[[str], str]
    health: Health
    new_id: Callable[[], str]
    health_only: bool = False

    async def answer(self, method: str, path: str) -> Answer:
        """Return the answer to a request whose body has been read."""
        match = _LEAVE.fullmatch(path.partition("?")[0].lower())
        if match and not self.health_only:
            return await self._leave(method, match[1])
        pages: dict[str, Callable[[], Awaitable[Answer]]] = {
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }
        if path in pages and method in ("GET", "HEAD"):
            return await pages[path]()
        return Answer(HTTPStatus.NOT_FOUND, "There is nothing here.\n")

    async def _leave(self, method: str, token: str) -> Answer:
        if method != "POST":
            return self._html(HTTPStatus.OK, "leave")
        mail = self.new_id()  # so that the goodbye has one, as if a mail had asked for it
        now = self.clock.now()
        named = await self.db.peek(lambda tx: members.named_by(tx, self.site.signer, token))
        leave = caused_by(mail, lambda tx: members.leave_by_token(tx, self.site, token, now))
        what = await self.db.write(leave, [named[0].id] if named else ())
        log.event("left_by_web", mail=mail, what=what)
        if what == "bad token":
            return self._html(HTTPStatus.NOT_FOUND, "invalid")
        return self._html(HTTPStatus.OK, "left")

    def _html(self, status: HTTPStatus, name: str) -> Answer:
        return Answer(status, self.page(name), "text/html; charset=utf-8")

    async def _alive(self) -> Answer:
        """Alive is: we answer, and a database that is a file can be read. Who is not is best started again."""
        problem = await self.health.alive()
        if problem:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not ok: {problem}\n")
        return Answer(HTTPStatus.OK, "ok\n")

    async def _ready(self) -> Answer:
        """Ready is: mail can be taken in and sent. A start does not help who is not; an admin may."""
        problems = await self.health.ready()
        if problems:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"not ready: {problem}\n" for problem in problems))
        return Answer(HTTPStatus.OK, "ready\n")

    async def _metrics(self) -> Answer:
        return Answer(HTTPStatus.OK, metrics.text(await self.health.metrics()), metrics.CONTENT_TYPE)


async def listen(address: Address, pages: Pages) -> asyncio.Server:
    """Speak HTTP on `address` until the returned server is closed."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await _converse(reader, writer, pages)
        except (OSError, TimeoutError, h11.ProtocolError):
            pass  # a client that went away or does not speak HTTP gets no more of our time
        finally:
            writer.close()

    return await asyncio.start_server(client, address.host, address.port)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Pages) -> None:
    """Answer one request and close: nothing here is asked for often enough to keep connections."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
    request = await _request(connection, reader)
    if request is None:
        return
    try:
        answer = await pages.answer(request.method.decode(), request.target.decode("latin-1"))
    except Deferred:
        answer = Answer(HTTPStatus.SERVICE_UNAVAILABLE, "Please try again in a minute.\n")
    except Exception:
        logger.exception("a web request failed")
        answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here; please try again later.\n")
    body = answer.body.encode()
    head = h11.Response(status_code=answer.status, headers=_headers(answer, len(body)), reason=answer.status.phrase)
    writer.write(connection.send(head) or b"")
    if request.method != b"HEAD":
        writer.write(connection.send(h11.Data(data=body)) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Read a request with its body, which says nothing we need and is thrown away."""
    request: h11.Request | None = None
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(64 * 1024))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > MAX_BODY:
                return None
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


def _headers(answer: Answer, length: int) -> list[tuple[str, str]]:
    return [
        ("Content-Type", answer.kind),
        ("Content-Length", str(length)),
        ("Connection", "close"),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"),
    ]
