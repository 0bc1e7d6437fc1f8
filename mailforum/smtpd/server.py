"""Listening: where, with which certificate, for how many, and how it ends.

A `Server` is built from the configuration, started, reloaded any number of times and stopped once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mailforum import log
from mailforum.clock import Clock
from mailforum.errors import ConfigError
from mailforum.options import Config
from mailforum.smtpd.rates import Rate
from mailforum.smtpd.session import Dialogue, Intake
from mailforum.smtpd.shared import Limits, Shared
from mailforum.units import Address

# Why a connection cannot be accepted for want of something; all of it passes.
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_AGAIN = 30.0  # seconds between lines about the same shortage

_GOING_DOWN = "421 4.3.2 The server is going down, try again later"


class Server:
    """SMTP and LMTP on the addresses of `[smtp] listen` and `lmtp`; each mail goes to `intake`.

    `hostname` is what greetings say, `new_id` names each mail. Raises ConfigError for a certificate
    that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        intake: Intake,
        hostname: str,
        clock: Clock,
        limits: Limits | None = None,
        new_id: Callable[[], str] = str,
    ) -> None:
        self._config = config
        self._intake = intake
        self._shared = Shared(config, hostname, self._certificate(), clock, limits or Limits(), new_id)
        self._smtp: list[asyncio.Server] = []
        self._lmtp: list[asyncio.Server] = []
        self._short_at = float("-inf")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where SMTP is spoken: host and real port, also where port 0 was asked for."""
        return tuple(_bound(self._smtp))

    @property
    def lmtp_addresses(self) -> tuple[Address, ...]:
        """Where LMTP is spoken."""
        return tuple(_bound(self._lmtp))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._shared.inside)

    @property
    def rates(self) -> dict[str, Rate]:
        """How often clients may do something, by what they do."""
        return self._shared.rates

    async def start(self) -> None:
        """Listen everywhere, or nowhere: raises ConfigError when one of the addresses is not to be had."""
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
        try:
            for address in self._config.smtp.listen:
                self._smtp.append(await self._listen(address, lmtp=False))
            for address in self._config.smtp.lmtp:
                self._lmtp.append(await self._listen(address, lmtp=True))
        except ConfigError:
            self._close()
            raise

    async def _listen(self, address: Address, *, lmtp: bool) -> asyncio.Server:
        def dialogue() -> Dialogue:
            return Dialogue(self._shared, self._intake, lmtp=lmtp)

        # With host and port, and no socket of our own, asyncio sets TCP_NODELAY on what it accepts.
        try:
            loop = asyncio.get_running_loop()
            return await loop.create_server(dialogue, address.host, address.port, reuse_address=True, backlog=512)
        except OSError as error:
            option = "lmtp" if lmtp else "listen"
            raise ConfigError(f"[smtp] {option}: cannot listen on {address}: {error.strerror or error}") from error

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say once that connections cannot be accepted: asyncio tries again each second, some hundred times.

        uvloop closes what it cannot serve, without a word.
        """
        error = context.get("exception")
        if self._shared.closing and "_start_serving" in context["message"]:
            return  # it tries again although we have closed; asyncio does not notice in Python 3.11
        if not isinstance(error, OSError) or error.errno not in _SHORTAGES or "accept" not in context["message"]:
            loop.default_exception_handler(context)
        elif loop.time() - self._short_at >= _AGAIN:
            self._short_at = loop.time()
            log.event("not_accepting", logging.ERROR, what=f"New connections have to wait: {error.strerror}")

    def reload(self) -> None:
        """Read the certificate again, for the connections to come.

        Raises ConfigError and keeps the old one if the new one cannot be used.
        """
        if self._shared.tls:
            self._certificate()  # a context that a wrong key was loaded into is lost: try on another first
            self._load(self._shared.tls)

    def _certificate(self) -> ssl.SSLContext | None:
        if not self._config.smtp.tls_cert:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        smtp = self._config.smtp
        cert, key = self._config.path(smtp.tls_cert), self._config.path(smtp.tls_key)
        try:
            # A password would be asked for on the terminal.
            context.load_cert_chain(cert, key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise ConfigError(f"[smtp] tls_cert: {cert} and {key} cannot be used: {error}") from error

    async def stop(self, timeout: float) -> None:
        """Take no new mail; let transactions in flight end, but wait no longer than `timeout` seconds."""
        self._shared.closing = True
        self._close()
        for wire in list(self._shared.inside):
            if wire.waiting and wire.is_between_mails():
                wire.dismiss(_GOING_DOWN)
        await self._finished(timeout)
        for wire in list(self._shared.inside):
            log.event("cut_off", peer=wire.peer)
            wire.dismiss(_GOING_DOWN)
        await self._finished(1)

    async def _finished(self, timeout: float) -> None:
        if tasks := {wire.task for wire in self._shared.inside if wire.task}:
            await asyncio.wait(tasks, timeout=timeout)

    def _close(self) -> None:
        for server in (*self._smtp, *self._lmtp):
            server.close()


def _bound(servers: Sequence[asyncio.Server]) -> Iterable[Address]:
    for server in servers:
        for sock in server.sockets:
            host, port = sock.getsockname()[:2]
            yield Address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
