"""What every command works with: the database and what decisions rest on, built from one Config."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mailforum.clock import Clock, SystemClock
from mailforum.delivery.mailings import Preparer
from mailforum.delivery.nexthop import transport_for
from mailforum.delivery.render import Texts
from mailforum.delivery.sign import Key, load_key
from mailforum.delivery.worker import Worker
from mailforum.errors import ConfigError
from mailforum.forum.site import Site
from mailforum.hosting import Host
from mailforum.ids import Ids
from mailforum.mail.token import Signer, load_keys, new_key
from mailforum.options import Config
from mailforum.smtpd.backlog import Backlog
from mailforum.smtpd.intake import Intake
from mailforum.store import fence
from mailforum.store.database import Database
from mailforum.store.opening import BUSY_SECONDS, open_database
from mailforum.store.queue import Part
from mailforum.store.schema import Step


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that every command works with."""

    config: Config
    db: Database
    site: Site
    clock: Clock
    intake: Intake
    ids: Ids


@asynccontextmanager
async def open_core(
    config: Config,
    clock: Clock | None = None,
    *,
    patience: float = BUSY_SECONDS,
    reserve: int = 0,
    served: bool = False,
    known: Sequence[Step] = (),
) -> AsyncIterator[Core]:
    """Open the database and build what stands on it. Raises ConfigError or Deferred if that fails.

    `patience`, `reserve`, `served` and `known` are as for `open_database`.
    """
    clock = clock or SystemClock()
    site = site_of(config)
    db = await open_database(config.database, patience=patience, reserve=reserve, served=served, known=known)
    backlog = Backlog(db, clock, config.limits.queue_size)
    try:
        if closed := await db.read(fence.closed):
            raise ConfigError(f"{config.database_name}: {closed}")
        intake = Intake(db, site, clock, lambda: _has_room(db, config), backlog)
        yield Core(config, db, site, clock, intake, Ids(clock.now, secrets.randbits(20)))
    finally:
        await db.close()


def _has_room(db: Database, config: Config) -> bool:
    """Say whether there is room for more mail, in the database and where large ones wait."""
    floor = config.store.min_free
    return db.has_room(floor) and shutil.disk_usage(config.folder).free >= floor


def site_of(config: Config) -> Site:
    """Return the part of the configuration that decisions rest on, with the keys for tokens."""
    return Site(
        domain=config.site.domain.lower(),
        admin=config.site.admin,
        # Of several hosts each would make a key of its own, and none would accept the others' tokens.
        signer=Signer(token_keys(config, make=isinstance(config.database, Path))),
        special_domains=config.site.special_domains,
        answers_per_day=config.limits.answers_per_day,
        answers_to_strangers=config.limits.answers_to_strangers,
        strangers_per_hour=config.limits.strangers_per_hour,
        same_text=config.limits.same_text,
        answers_per_ten_minutes=config.limits.answers_per_ten_minutes,
        owner_notices_per_day=config.limits.owner_notices_per_day,
        storm=config.limits.bounce_storm,
        confirm_seconds=config.limits.confirm_days * 86400,
        max_size=config.smtp.max_size,
    )


def token_keys(config: Config, *, make: bool = False) -> tuple[bytes, ...]:
    """Read the keys that sign tokens. With `make`, as the first start does, one is made if there is no file.

    Raises ConfigError.
    """
    path = config.path(config.site.secret_file)
    if make and not path.exists():
        _make_key(path)
    if not path.exists():
        how = "copy it from another host; for the first one, `mailforum init` makes it, or `openssl rand -hex 32`"
        raise ConfigError(f"[site] secret_file: {path} is not there; {how}")
    try:
        return load_keys(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[site] secret_file: {path} cannot be read: {error}") from error


def _make_key(path: Path) -> None:
    """Make a key that only we may read: whole under its name, or not at all."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(new_key(secrets.token_bytes(32)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(new, path)
    except OSError as error:
        raise ConfigError(f"[site] secret_file: {path} cannot be made: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)


def texts_of(config: Config) -> Texts:
    """Return the texts, the site's own before the package's."""
    return Texts([config.path(config.site.templates)])


def keys_of(config: Config) -> Callable[[str], tuple[Key, ...]]:
    """Return a function from a domain to the keys that sign for it. Raises ConfigError for a bad key."""
    options = config.dkim
    pairs = [(options.selector, options.key_file), (options.extra_selector, options.extra_key_file)]
    try:
        pems = [(selector, config.path(file).read_bytes()) for selector, file in pairs if file]
    except OSError as error:
        raise ConfigError(f"[dkim] key_file: {error.filename}: {error.strerror}") from error

    @cache
    def keys(domain: str) -> tuple[Key, ...]:
        return tuple(load_key(pem, options.domain or domain, selector) for selector, pem in pems)

    keys(config.site.domain)
    return keys


def preparer_of(site: Site, config: Config) -> Preparer:
    """Return what makes mailings ready, with the texts and keys of `config`. Raises ConfigError for bad ones."""
    return Preparer(site, texts_of(config), keys_of(config), config.web.url.rstrip("/"))


def worker_of(core: Core, part: Part, host: Host | None) -> Worker:
    """Return a worker for a part of what is queued, or for all of it as one of several hosts."""
    config = core.config
    mailings = preparer_of(core.site, config)
    return Worker(core.db, transport_for(config), mailings, config.delivery, core.clock, part, host)
