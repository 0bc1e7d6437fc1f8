"""DNS: what a name says in its TXT record. The one door to dnspython."""

from __future__ import annotations

from mailforum.options import Dns


class Resolver:
    """Asks the servers of `[dns]`, or the system's own."""

    def __init__(self, options: Dns, port: int = 53) -> None:
        from dns import asyncresolver  # 60 ms of start-up that only a few commands need

        self._resolver = asyncresolver.Resolver(configure=not options.servers)
        if options.servers:
            self._resolver.nameservers = list(options.servers)
        self._resolver.port = port
        self._resolver.lifetime = float(options.timeout)

    async def txt(self, name: str) -> bytes | None:
        """Return the text of the first TXT record of `name`, its strings joined; None if there is none.

        Raises OSError when no server answers in time.
        """
        from dns import exception, resolver

        try:
            answer = await self._resolver.resolve(name, "TXT")
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return None
        except exception.DNSException as error:
            raise OSError(f"DNS does not answer for {name}: {error}") from error
        return b"".join(answer[0].strings)
