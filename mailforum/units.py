"""Times, sizes and places as people write them: `5m`, `2026-01-31`, `25M`, `127.0.0.1:8025`, `10.0.0.0/8`.

A database too: `sqlite:FILE` or `postgresql://user@host/name`.
"""

from __future__ import annotations

import ipaddress
import re
from calendar import isleap, monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from math import inf
from typing import ClassVar, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32


class Duration(float):
    """Seconds. Written as a number of seconds or as `30s`, `5m`, `4h`, `5d`."""

    _UNITS: ClassVar = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Read `30s`, `5m`, `4h`, `5d` or a number; ValueError for anything else."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(value))
        if match is None or isinstance(value, bool):
            raise ValueError("Expected a time such as `30s`, `5m`, `4h` or `5d`")
        return cls(float(match[1]) * cls._UNITS.get(match[2], 1))

    def __str__(self) -> str:
        for unit, seconds in reversed(self._UNITS.items()):
            if self and self % seconds == 0:
                return f"{int(self // seconds)}{unit}"
        return f"{float(self):g}s"


class Period(NamedTuple):
    """What a date means: from `start` up to `end`, which is not in it; seconds since the epoch.

    `--since` asks for what is not before its start, `--until` for what is before its end.
    """

    start: float
    end: float

    @classmethod
    def parse(cls, text: str, now: float, zone: tzinfo = UTC) -> Period:
        """Read `2026`, `2026-01`, `2026-01-31`, `2026-01-31T14:30` (in `zone` if it names none), or `7d`.

        The last is so long before `now`. ValueError for anything else.
        """
        match = re.fullmatch(r"(\d{4})(-\d\d)?(?:(-\d\d)([T ]\S+)?)?", text, re.ASCII)
        try:
            if match is None:
                ago = now - Duration.parse(text if text[-1:].isalpha() else "")
                return cls(ago, ago)
            year, month, day, time = match.groups()
            start = datetime.fromisoformat(f"{year}{month or '-01'}{day or '-01'}{time or ''}")
            days = 1 if day else monthrange(start.year, start.month)[1] if month else 365 + isleap(start.year)
            start = start if start.tzinfo else start.replace(tzinfo=zone)
            # Days are added as on a calendar: where the clocks change, one has 23 hours or 25.
            end = start if time else start + timedelta(days)
            return cls(start.timestamp(), end.timestamp())
        except (ValueError, OverflowError):
            raise ValueError(f"`{text}` is no date; write `2026-01-31`, `2026-01`, or `7d` for a week ago") from None


EVER = Period(-inf, inf)


class Size(int):
    """Bytes. Written as a number of bytes or as `300K`, `25M`, `1G`."""

    _UNITS: ClassVar = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}

    @classmethod
    def parse(cls, value: object) -> Size:
        """Read `300K`, `25M`, `1G` or a number; ValueError for anything else."""
        match = re.fullmatch(r"\s*(\d+)\s*([KMG]?)i?B?\s*", str(value), re.IGNORECASE)
        if match is None or isinstance(value, bool):
            raise ValueError("Expected a size such as `300K` or `25M`")
        return cls(int(match[1]) * cls._UNITS[match[2].upper()])

    def __str__(self) -> str:
        for unit, factor in reversed(self._UNITS.items()):
            if self and self % factor == 0:
                return f"{self // factor}{unit}"
        return str(int(self))


class Address(str):
    """A host and port to listen on or connect to: `127.0.0.1:8025`, `[::1]:24`, `lists.example.org:25`."""

    @property
    def host(self) -> str:
        """The host, without the brackets of an IPv6 address."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.rpartition(":")[2])

    @classmethod
    def parse(cls, value: object) -> Address:
        """Read `host:port`; ValueError for anything else."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):(\d{1,5})", str(value))
        if match is None or int(match[2]) > 65535:
            raise ValueError("Expected host:port, such as `127.0.0.1:8025` or `[::1]:8025`")
        return cls(value)


class Place(NamedTuple):
    """The how manieth, from 0 on, `of` how many who share something; of none, for who has no part in it."""

    rank: int
    of: int


class Limit(str):
    """A bound for one destination: `gmail.com 5 600/m` is five connections and 600 mails a minute at most.

    `closed`: others may send there, and we may not.
    """

    domain: str
    connections: int
    per_second: float
    closed = False
    _PER: ClassVar = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    def __new__(cls, text: str = "") -> Limit:
        self = super().__new__(cls, text)
        self.domain, self.connections, self.per_second = "", 0, 0.0
        return self

    @classmethod
    def parse(cls, value: object) -> Limit:
        """Read `DOMAIN [CONNECTIONS] [MAILS/s|m|h|d]`, where `*` is any domain not named; ValueError else."""
        match = re.fullmatch(r"\s*(\*|[\w.-]+)((?:\s+\d+)?)((?:\s+\d+/[smhd])?)\s*", str(value))
        if match is None or not (match[2] or match[3]):
            raise ValueError("Expected a limit such as `gmail.com 5 600/m`: domain, connections, mails a minute")
        self = cls(" ".join(str(value).split()))
        self.domain, self.connections = match[1].lower(), int(match[2] or 0)
        count, _, unit = match[3].strip().partition("/")
        self.per_second = int(count) / cls._PER[unit] if count else 0.0
        return self

    def shared(self, by: int) -> Limit:
        """Return the part of it that each of `by` processes may use."""
        part = type(self)(self)
        part.domain, part.per_second = self.domain, self.per_second / by
        part.connections = max(1, self.connections // by) if self.connections else 0
        return part

    def among(self, places: Sequence[Place], domain: str) -> Limit:
        """Return the part of it that is ours for `domain` at all of these places; all parts together are the whole.

        Where it is too small to be divided by all, some have it; which ones is another question for each domain.
        """
        parts = [self._part(place, domain) for place in places if self.connections or self.per_second]
        if not parts:
            return self
        part = type(self)(self)
        part.domain = self.domain
        part.closed = any(one.closed for one in parts)
        part.connections = min(one.connections for one in parts)
        part.per_second = min(one.per_second for one in parts)
        return part

    def _part(self, place: Place, domain: str) -> Limit:
        part = type(self)(self)
        most = (self.connections, int(self.per_second) or 1 if self.per_second else 0)  # a mail a second at least
        sharing = min([place.of, *filter(None, most)])
        turn = (place.rank + crc32(domain.encode())) % place.of if place.of else 0
        part.closed = turn >= sharing
        if not part.closed:
            part.connections = self.connections // sharing + (turn < self.connections % sharing)
            part.per_second = self.per_second / sharing
        return part


class Network(str):
    """Addresses that belong together: `192.0.2.0/24`, `2001:db8::/32`, or a single one."""

    @classmethod
    def parse(cls, value: object) -> Network:
        """Read a network in CIDR notation or an address; ValueError for anything else."""
        try:
            return cls(ipaddress.ip_network(str(value), strict=False))
        except ValueError:
            raise ValueError("Expected a network such as `192.0.2.0/24`") from None


class DatabaseUrl(str):
    """`sqlite:FILE` or `postgresql://user@host/name`. As a text it never shows a password; `full` does."""

    full: str
    _AT: ClassVar = r"(?:\[[\da-fA-F:.]+\]|[\w.%-]*)(?::\d{1,5})?"
    _POSTGRES: ClassVar = re.compile(
        rf"postgres(?:ql)?://(?:[^:@/?#\s]*(?P<password>:[^@/?#\s]*)?@)?{_AT}(?:,{_AT})*(?:/[^/?#\s]*)?"
        r"(?:\?(?P<query>[^#\s]*))?",
        re.ASCII,
    )

    def __new__(cls, text: str = "") -> DatabaseUrl:
        self = super().__new__(cls, cls._shown(text))
        self.full = text
        return self

    @classmethod
    def parse(cls, value: object) -> DatabaseUrl:
        """Read `sqlite:FILE` or the URL of a PostgreSQL as libpq takes it; ValueError, which quotes nothing, else."""
        text = str(value)
        if re.fullmatch(r"sqlite:.+", text):
            return cls(text)
        if not text.startswith(("postgresql:", "postgres:")):
            raise ValueError("Expected sqlite:FILE, or postgresql://user@host/name")
        if not cls._POSTGRES.fullmatch(text) or re.search(r"%(?![\da-fA-F]{2})|%00", text):
            raise ValueError(
                "Expected postgresql://user@host/name, where signs such as @ / : # % in a name or a password are "
                "written %40 %2F %3A %23 %25; a password is better in password_file"
            )
        return cls(text)

    @classmethod
    def _shown(cls, text: str) -> str:
        match = cls._POSTGRES.fullmatch(text)
        if match is None:
            return text
        query = "&".join(_without_value(each) for each in (match["query"] or "").split("&"))
        shown = text if match["query"] is None else text[: match.start("query")] + query
        if match["password"]:
            shown = f"{shown[: match.start('password')]}:***{shown[match.end('password') :]}"
        return shown

    def parted(self) -> tuple[str, str]:
        """Return the URL without the password that stands before its host, and that password."""
        match = self._POSTGRES.fullmatch(self.full)
        if not match or not match["password"]:
            return self.full, ""
        start, end = match.span("password")
        return self.full[:start] + self.full[end:], unquote(self.full[start + 1 : end])

    @property
    def file(self) -> str:
        """The file of SQLite, "" for PostgreSQL."""
        return self.full.removeprefix("sqlite:") if self.full.startswith("sqlite:") else ""

    def connecting(self, password: str = "") -> str:
        """Return what libpq is given: with that password, if it is one. It is for nobody's eyes."""
        if not password:
            return self.full
        return f"{self.full}{'&' if '?' in self.full else '?'}password={quote(password, safe='')}"


def _without_value(pair: str) -> str:
    name = unquote(pair.partition("=")[0])
    return f"{name}=***" if name in ("password", "sslpassword") else pair
