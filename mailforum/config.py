"""The configuration read: from the defaults, then the TOML file, then the environment.

`MAILFORUM_SMTP_MAX_SIZE` sets `[smtp] max_size`. A secret may stand in a file of its own
(`password_file`). What the options are stands in options.py.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mailforum.errors import ConfigError
from mailforum.options import SECTIONS, Config, options
from mailforum.units import Address, DatabaseUrl, Duration, Limit, Network, Size


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration file at `path`, then the environment.

    Raises ConfigError with the file, the line and the option for anything that is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _overlay(data, environ)
    return parse(data, base=path.parent.resolve(), source=str(path), text=text)


def _overlay(data: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put `MAILFORUM_SECTION_OPTION` from the environment over what the file says."""
    for section in SECTIONS:
        for option in options(section):
            word = environ.get(f"MAILFORUM_{section}_{option.name}".upper())
            if word is not None and isinstance(data.setdefault(section, {}), dict):
                data[section][option.name] = _typed(word, option.takes)


def _typed(word: str, takes: str) -> object:
    """Make of a word what the option takes, as far as it can be made; what cannot is refused later."""
    if takes.startswith("list of "):
        return (
            [part.strip() for part in word.split(",")] if takes == "list of limits" else word.replace(",", " ").split()
        )
    if takes == "number" and word.isdecimal():
        return int(word)
    return {"true": True, "false": False}.get(word.lower(), word) if takes == "true or false" else word


def parse(data: Mapping[str, Any], *, base: Path, source: str = "configuration", text: str = "") -> Config:
    """Make a Config from plain values; ConfigError as `load`."""
    if "base" in data:
        raise ConfigError(f"{source}: unknown section [base]")
    try:
        config = msgspec.convert({**data, "base": base}, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _error(*_place(error), source, text) from error
    _check(config, source, text)
    return config


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return value
    if kind in (Duration, Size, Address, Limit, Network, DatabaseUrl):
        return kind.parse(value)
    raise NotImplementedError(kind)


def _place(error: msgspec.ValidationError) -> tuple[str, str, str]:
    """Take msgspec's message apart into section, option and what is wrong."""
    what, _, where = str(error).partition(" - at `$.")
    section, _, name = re.sub(r"\[.*?\]", "", where.rstrip("`")).partition(".")
    unknown = re.search(r"unknown field `(.*)`", what)
    if unknown and not section:
        return unknown[1], "", "unknown section"
    if unknown:
        return section, unknown[1], "unknown option"
    for theirs, ours in _PLAIN_WORDS.items():
        what = what.replace(theirs, ours)
    return section, name, what[:1].lower() + what[1:]


_PLAIN_WORDS = {
    "`str`": "a text in quotes",
    "`int`": "a number",
    "`bool`": "true or false",
    "`array`": 'a list, such as ["..."]',
    "`object`": "a section",
}


def _line(text: str, section: str, name: str) -> int:
    """Find the line (from 1) where `[section]`, or `name` within it, stands; 0 if it does not."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        if header:
            inside = header[1] == section
            if inside and not name:
                return number
        elif inside and re.match(rf"\s*{re.escape(name)}\s*=", line):
            return number
    return 0


def _error(section: str, name: str, what: str, source: str, text: str) -> ConfigError:
    line = _line(text, section, name)
    place = f"{source}:{line}" if line else source
    return ConfigError(f"{place}: [{section}]{' ' if name else ''}{name}: {what}")


def _check(config: Config, source: str, text: str) -> None:
    """Refuse what is well-formed but cannot work."""
    for section, name, good, what in _judged(config):
        if not good:
            raise _error(section, name, what, source, text)


_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_RELAY = r"(smtp|lmtp)://(\[[0-9A-Fa-f:.]+\]|[^/\s:@\[\]]+)(:\d{1,5})?/?|maildir:.+"
_URL = rf"https?://{_HOST}(:\d{{1,5}})?(/\S*)?"


def _judged(config: Config) -> Iterator[tuple[str, str, bool, str]]:
    """Say of each option that has more to it than its type whether it can work, and what it should be."""
    site, smtp, dkim = config.site, config.smtp, config.dkim
    yield "site", "domain", _like(_HOST, site.domain), "expected a domain such as lists.example.org"
    yield "site", "admin", not site.admin or _like(r"[^@\s]+@\S+", site.admin), "expected an address"
    yield "dns", "servers", all(map(_is_ip, config.dns.servers)), "expected IP addresses"
    kept = not config.store.keep_bodies or config.store.keep_bodies >= config.delivery.give_up
    yield "store", "keep_bodies", kept, "expected 0, or at least as long as [delivery] give_up: retries need the text"
    yield "store", "lease", config.store.lease >= 1, "expected at least a second"
    yield "smtp", "tls_cert", bool(smtp.tls_cert) == bool(smtp.tls_key), "tls_cert and tls_key go together"
    relay = "expected smtp://host:port, lmtp://host:port or maildir:FOLDER; name and password are options of their own"
    yield "delivery", "relay", _like(_RELAY, config.delivery.relay), relay
    yield "dkim", "key_file", bool(dkim.key_file) == bool(dkim.selector), "key_file and selector go together"
    extra = bool(dkim.extra_key_file) == bool(dkim.extra_selector)
    yield "dkim", "extra_key_file", extra, "extra_key_file and extra_selector go together"
    url = "expected a web address such as https://lists.example.org"
    yield "web", "url", not config.web.url or _like(_URL, config.web.url), url


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
