"""What has to be the same on all hosts of a site, as hashes: a host shows these to the others, and no more."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mailforum import __version__, log, process
from mailforum.core import Core, keys_of, token_keys
from mailforum.hosting import Host
from mailforum.options import Config, options
from mailforum.process import Process
from mailforum.store.hosts import Living

TOKENS = "[site] secret_file"
VERSION = "version"
PROCESS = "process"  # which it is; that is never the same
# With another value of these, what one host writes another does not understand.
_GRAVE = {TOKENS, "[site] domain", "[site] special_domains", "[dkim] keys"}
_SAME = {
    "site": ("domain", "admin", "special_domains"),
    "store": ("keep_sent", "keep_log", "keep_bodies", "keep_held", "keep_shunted", "keep_bounces", "lease"),
    "smtp": ("max_size",),
    "delivery": ("limits", "recipients", "retry", "give_up"),
    "web": ("url",),
    "limits": tuple(option.name for option in options("limits")),
}

Marks = Mapping[str, tuple[str, ...]]


class Difference(NamedTuple):
    """Something that is not the same on two hosts; `grave`: mail is harmed by it."""

    what: str
    grave: bool


def marks_of(config: Config) -> Marks:
    """Return hashes of what has to be the same, by the name of the option, and who shows them. Raises ConfigError."""
    plain = {
        f"[{section}] {name}": repr(getattr(getattr(config, section), name))
        for section, names in _SAME.items()
        for name in names
    }
    signing = [(key.domain, key.selector, key.txt) for key in keys_of(config)(config.site.domain)]
    named = plain | {"[dkim] keys": repr(signing), "[site] templates": repr(_texts(config)), VERSION: __version__}
    marks = {name: (_hash(name, value),) for name, value in named.items()}
    which = process.this() or ()
    return {TOKENS: tuple(_hash(TOKENS, key.hex()) for key in token_keys(config)), **marks, PROCESS: tuple(which)}


def _texts(config: Config) -> list[tuple[str, bytes]]:
    folder = config.path(config.site.templates)
    return [(str(file.relative_to(folder)), file.read_bytes()) for file in sorted(folder.rglob("*")) if file.is_file()]


def _hash(name: str, value: str) -> str:
    return hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:16]


def to_text(marks: Marks) -> str:
    """Write the marks down, for `from_text`."""
    return json.dumps(marks)


def from_text(text: str) -> Marks:
    """Read what `to_text` has written, also that of another version; nonsense is no marks."""
    try:
        return {str(name): tuple(map(str, marks)) for name, marks in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def differences(ours: Marks, theirs: Marks) -> Iterator[Difference]:
    """Yield what is not the same. Of what only one of two versions knows of, nothing is said."""
    for name in sorted((ours.keys() & theirs.keys()) - {TOKENS, PROCESS}):
        if ours[name] != theirs[name]:
            yield Difference(name, name in _GRAVE)
    here, there = ours.get(TOKENS), theirs.get(TOKENS)
    if here and there and here != there:
        # In the midst of a change of keys it is enough that each accepts what the other signs.
        grave = here[0] not in there or there[0] not in here
        yield Difference(TOKENS if grave else f"{TOKENS} (each accepts what the other signs)", grave)


def host_of(core: Core, roles: Sequence[str]) -> Host | None:
    """Return this process as one of several hosts; None where the database is a file. Raises ConfigError."""
    config = core.config
    if isinstance(config.database, Path):
        return None
    keys = to_text(marks_of(config))
    return Host(core.db, core.clock, socket.gethostname(), roles, keys, config.store.lease, has_ended)


def has_ended(host: Living) -> bool:
    """Say whether it is certain that the process which this host was does not run any more."""
    which = from_text(host.keys).get(PROCESS, ())
    return len(which) == len(Process._fields) and process.has_ended(Process(*which), process.this())


def warn(ours: Marks, host: Host) -> None:
    """Log which other hosts do not have the same."""
    for one in host.living:
        found = list(differences(ours, from_text(one.keys)))
        if found and one.id != host.id:
            level = logging.ERROR if any(each.grave for each in found) else logging.WARNING
            log.event("hosts_differ", level, host=one.name, id=one.id, what=", ".join(each.what for each in found))
