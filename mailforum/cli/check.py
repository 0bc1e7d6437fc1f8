"""`mailforum check`: what would keep this site from working, one line each."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mailforum.cli import hosts
from mailforum.cli.common import Commands, config_path, counted, explain, load_config, run_core, safe, show, with_json
from mailforum.cli.finding import Finding, Findings
from mailforum.errors import ConfigError, Deferred

if TYPE_CHECKING:
    from mailforum.core import Core
    from mailforum.delivery.sign import Key
    from mailforum.options import Config
    from mailforum.store.database import Tx

RELAY_PATIENCE = 10.0
SHOWN = 100  # faults that are named one by one


def add(commands: Commands) -> None:
    """Add the command `check`."""
    parser = commands.add_parser("check", help="look for what would keep this site from working")
    parser.add_argument("--repair", action="store_true", help="put right what is wrong in the database")
    with_json(parser)
    parser.set_defaults(run=check_site)


def check_site(args: argparse.Namespace) -> int:
    """Print a line for each finding; 1 if something does not work."""
    worst = 0
    for finding in findings(args):
        worst |= finding.level == "error"
        if args.json:
            show(args, {"level": finding.level, "text": finding.text})
        else:
            print(f"{finding.level + ':':<9}{safe(finding.text)}")
    return int(worst)


def findings(args: argparse.Namespace) -> Findings:
    """Yield what there is to say of the configuration, and if it can be read, of everything else."""
    try:
        config = load_config(args)
    except ConfigError as error:
        yield Finding("error", str(error))
        return
    yield Finding("ok", f"configuration: {config_path(args)}")
    for look in (_site, _folders, _passwords, _secret, _texts, _dkim, _tls, _relay):
        yield from _guarded(look, config)
    try:
        if outdated := list(_schema(config)):
            yield from outdated
            return
        if args.repair:
            yield from _repaired(args, config)
        if not isinstance(config.database, Path):
            yield from run_core(args, hosts.look_at_server)
        yield from run_core(args, lambda core: core.db.read(lambda tx: list(_database(core, tx))))
    except Exception as error:  # whatever is wrong with a database, it is a finding
        yield Finding("error", f"database: {explain(error)}")


def _guarded(look: Callable[[Config], Findings], config: Config) -> Findings:
    """Look, and make what stops us from looking a finding as well."""
    try:
        yield from look(config)
    except Exception as error:
        yield Finding("error", f"{look.__name__.strip('_')}: {explain(error)}")


def _site(config: Config) -> Findings:
    domain = config.site.domain
    if domain == "localhost" or domain.endswith(".localhost"):
        yield Finding("warning", f"[site] domain is {domain}: nobody else can write to these lists")
    if not config.site.admin:
        yield Finding("warning", "[site] admin is empty: postmaster's mail, and that of lists without owners, is lost")
    if not config.web.url:
        yield Finding("warning", "[web] url is empty: mail has no one-click unsubscribe, which Gmail and Yahoo ask for")


def _folders(config: Config) -> Findings:
    import shutil

    from mailforum.store.reserve import Reserve

    file = config.database if isinstance(config.database, Path) else None
    for folder in dict.fromkeys((file.parent if file else config.folder, config.folder)):
        if not os.access(folder, os.W_OK | os.X_OK):
            yield Finding("error", f"{folder}: we may not write here, so nothing can be kept")
            return
    if config.store.min_free < config.smtp.max_size * 1.5:
        yield Finding(
            "warning", "[store] min_free is less than one and a half times [smtp] max_size: the disk may fill up"
        )
    if file:
        yield from _file(file)
    needed = {config.folder: int(config.store.min_free)}
    if file:
        needed[file.parent] = config.store.min_free + Reserve(file, config.store.reserve).missing()
    for folder, least in needed.items():
        if (free := shutil.disk_usage(folder).free) < least:
            what = f"{free // 2**20} MiB are free, so no mail is taken in ([store] min_free)"
            yield Finding("error", f"{folder}: {what}")


def _file(database: Path) -> Findings:
    if database.exists() and not os.access(database, os.R_OK | os.W_OK):
        yield Finding("error", f"{database}: we may not read and write it")
    if database.exists() and database.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH) and _open_to_all(database.parent):
        yield Finding("warning", f"{database}: everybody on this machine can read the members and the mail")


def _passwords(config: Config) -> Findings:
    """Whatever holds a password is for us alone."""
    for name in filter(None, (config.store.password_file, config.delivery.password_file)):
        if config.path(name).exists() and config.path(name).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("warning", f"{config.path(name)}: others can read the password in it; chmod 600 it")
    if config.store.url != config.store.url.full:
        yield Finding("warning", "[store] url holds a password; it is safer in password_file, which only we can read")


def _open_to_all(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def _secret(config: Config) -> Findings:
    from mailforum.core import site_of

    path = config.path(config.site.secret_file)
    fresh = not path.exists()
    keys = site_of(config).signer.keys
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("error", f"{path}: others can read the key that proves our tokens; chmod 600 it")
    else:
        yield Finding(
            "ok", f"secret: {len(keys)} key{'s' if len(keys) > 1 else ''}{', made just now' if fresh else ''}"
        )


def _texts(config: Config) -> Findings:
    from mailforum.core import texts_of

    problems = texts_of(config).check()
    for problem in problems:
        yield Finding("error", problem)
    if not problems:
        yield Finding("ok", "texts")


def _dkim(config: Config) -> Findings:
    import asyncio

    from mailforum.core import keys_of

    keys = keys_of(config)(config.site.domain)
    for key in keys:
        yield asyncio.run(_key_in_dns(config, key))
    for name in filter(None, (config.dkim.key_file, config.dkim.extra_key_file)):
        if config.path(name).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("error", f"{config.path(name)}: others can read the key that signs our mail; chmod 600 it")
    if not keys:
        yield Finding("warning", "dkim: nothing is signed; `mailforum dkim new DOMAIN` makes a key")


async def _key_in_dns(config: Config, key: Key) -> Finding:
    """Sign a mail and have it verified with the key that is in DNS, as a receiver does."""
    from mailforum.delivery import sign
    from mailforum.dns import Resolver

    where = f"{key.selector}._domainkey.{key.domain}"
    try:
        record = await Resolver(config.dns).txt(where)
    except OSError as error:
        return Finding("warning", f"dkim: signs with {key.algorithm}; could not be compared with DNS: {error}")
    if record is None:
        return Finding("error", f"dkim: DNS has no TXT record at {where}; it should say: {key.txt}")
    head, body = b"From: check@example.org\r\nSubject: check\r\n", b"check\r\n"
    mail = sign.Signing([key], head, body).sign(b"", 0.0) + head + b"\r\n" + body
    if not sign.verifies(mail, record):
        return Finding("error", f"dkim: the key in DNS at {where} is not the one that signs; it should say: {key.txt}")
    return Finding("ok", f"dkim: signs with {key.algorithm}, and the key in DNS at {where} verifies it")


def _tls(config: Config) -> Findings:
    import ssl

    if config.smtp.tls_cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert, key = config.path(config.smtp.tls_cert), config.path(config.smtp.tls_key)
        context.load_cert_chain(cert, key, password=lambda: "")
        yield Finding("ok", f"certificate: {cert}")


def _relay(config: Config) -> Findings:
    import asyncio

    if config.delivery.relay.startswith("maildir:"):
        yield Finding("warning", f"relay: mail is put into {config.delivery.relay}; nothing leaves this machine")
        return
    asyncio.run(_say_hello(config))
    yield Finding("ok", f"relay: {config.delivery.relay} takes mail from us")


async def _say_hello(config: Config) -> None:
    """Connect, start TLS and log in as a delivery would. Raises RelayDown."""
    from dataclasses import replace

    from mailforum.delivery.hello import connect
    from mailforum.delivery.nexthop import transport_for
    from mailforum.delivery.smtp import SmtpTransport
    from mailforum.delivery.transport import RelayDown

    transport = transport_for(config)
    assert isinstance(transport, SmtpTransport)
    relay = replace(transport.relay, connect_timeout=RELAY_PATIENCE, command_timeout=RELAY_PATIENCE)
    session = await connect(relay)
    if await session.wire.send((b"QUIT\r\n",), RELAY_PATIENCE):
        await session.wire.replies(1, RELAY_PATIENCE)
    session.wire.fail(RelayDown("done"))


def _schema(config: Config) -> Findings:
    """Say so if the database is of an older mailforum: to look into it would bring it up to date."""
    from mailforum.store.opening import missing

    steps = missing(config.database)
    if steps and not steps[0].name.endswith("_first"):  # or it is still to be made
        how = f"(schema {steps[0].number - 1} of {steps[-1].number}); the next start of the server brings it up to date"
        yield Finding("warning", f"database: {config.database_name}: of an older mailforum {how}")


def _repaired(args: argparse.Namespace, config: Config) -> Findings:
    """Put right what is wrong, all of it in one transaction, while no server runs; say and log what was done."""
    from mailforum import log
    from mailforum.forum import repair
    from mailforum.store import health
    from mailforum.store.lock import alone

    log.setup()
    with alone(config.database) if isinstance(config.database, Path) else _nobody_serves(args):
        if run_core(args, lambda core: core.db.read(health.problems)):
            if not _reindexed(args):
                return  # tables are damaged too; what is wrong is said below
            yield Finding("ok", "mended: the indexes of the database were made anew")
        mended = run_core(args, lambda core: core.db.write(lambda tx: repair.mend(tx, core.clock.now())))
    for problem in mended:
        log.event("repaired", what=problem.what, done=problem.done)
        yield Finding("ok", f"mended: {problem.what}: {problem.done}")


@contextmanager
def _nobody_serves(args: argparse.Namespace) -> Generator[None]:
    """Raise ConfigError where a process serves the database."""
    if living := run_core(args, lambda core: core.db.read(lambda tx: hosts.serving(core, tx))):
        names = ", ".join(dict.fromkeys(one.name for one in living))
        raise ConfigError(f"{names} serves it; stop all that do (`mailforum hosts`)")
    yield


def _reindexed(args: argparse.Namespace) -> bool:
    """Make all indexes anew; say whether the file is whole then."""
    from mailforum.store import health

    try:
        run_core(args, lambda core: core.db.write(health.reindex))
    except Deferred:
        return False
    return not run_core(args, lambda core: core.db.read(health.problems))


def _wrong(tx: Tx) -> Findings:
    """What is wrong with the file or the server's tables, then with what is in them."""
    from mailforum.forum import repair
    from mailforum.store import health

    problems = health.problems(tx)
    for line in problems[:SHOWN]:
        yield Finding("error", f"database: {line}")
    if problems:
        what = "stop the server, try `mailforum check --repair`, and if that fails restore a backup"
        yield Finding("error", f"database: it is damaged: {what}")
        return
    faults = repair.find(tx)
    for fault in faults[:SHOWN]:
        yield Finding("warning" if fault.harmless else "error", f"database: {fault.what}")
    if faults:
        more = f"database: {counted(len(faults), 'fault')}; stop the server and run `mailforum check --repair`"
        yield Finding("warning" if all(fault.harmless for fault in faults) else "error", more)


def _database(core: Core, tx: Tx) -> Findings:
    from mailforum.store import lists, queue, stats

    wrong = list(_wrong(tx))
    yield from wrong
    if not wrong:
        yield Finding("ok", f"database: {core.config.database_name}")
    for mlist in lists.every(tx):
        if not lists.in_charge(tx, mlist.id) and not core.site.admin:
            yield Finding("warning", f"{mlist.address}: nobody is in charge; `mailforum member add … --role owner`")
    counts = stats.states(tx)
    if counts["deferred"][0] or counts["failed"][0]:
        yield Finding("warning", f"queue: {counts['deferred'][0]} deferred, {counts['failed'][0]} failed (`queue ls`)")
    if paused := queue.paused(tx):
        what = "paused since the database was restored; `mailforum queue resume` or `mailforum queue drop --paused`"
        yield Finding("warning", f"queue: {paused} {what}")
    yield from _kept_aside(tx)


def _kept_aside(tx: Tx) -> Findings:
    from mailforum.store import intake

    kept = intake.shunts(tx)
    if stopped := sum(bool(one.rcpts) for one in kept):
        yield Finding("error", f"shunt: {stopped} mails could not be handled by a fault of ours (`mailforum shunt ls`)")
    if bad := len(kept) - stopped:
        yield Finding("warning", f"shunt: {bad} of the mails in archives could not be imported (`mailforum shunt ls`)")
