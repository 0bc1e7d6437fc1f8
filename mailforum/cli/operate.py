"""`mailforum init`, `serve` and what else it takes to run a site."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mailforum import __version__
from mailforum.cli.common import Commands, completes, config_path, load_config, note, progress, run_core
from mailforum.errors import ConfigError, MailforumError, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mailforum.app import Service
    from mailforum.options import Config

ROLES = ("smtp", "deliver", "clock", "web")
SPARE_FILES = 64  # for the database, the log, the web and what a library opens for a moment
FALLBACK_DOMAIN = "lists.example.org"
_M_MMAP_THRESHOLD = -3  # malloc.h


def add(commands: Commands) -> None:
    """Add `init`, `serve`, `config`, `version`, `completion`, `backup` and `dkim`."""
    init = commands.add_parser("init", help="make a folder with a configuration to start from")
    init.add_argument("dir", metavar="DIR")
    init.add_argument("--domain", help="domain of the lists, such as lists.example.org")
    init.add_argument(
        "--store", metavar="URL", help="the database: sqlite:FILE, or postgresql://user:password@host/name"
    )
    init.set_defaults(run=make_site)
    serve = commands.add_parser(
        "serve", help="run the server, until SIGTERM or Ctrl-C; SIGHUP: read texts and keys again"
    )
    serve.add_argument(
        "--resend", action="store_true", help="on a database from a backup: send what waits in it, perhaps once more"
    )
    role = serve.add_argument(
        "--role",
        metavar="ROLE",
        action="append",
        default=[],
        help=f"what this process does, with PostgreSQL: {', '.join(ROLES)}, several with a comma, or all",
    )
    completes(role, lambda prefix, **_: (*ROLES, "all"))
    serve.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)  # a further process that sends
    serve.set_defaults(run=run_server)
    config = commands.add_parser("config", help="print the configuration in force")
    config.set_defaults(run=show_config)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=lambda args: print(f"mailforum {__version__}"))
    completion = commands.add_parser("completion", help="print what makes the Tab key work in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=print_completion)
    backup = commands.add_parser("backup", help="write a copy of the database, also while the server runs")
    backup.add_argument("file", metavar="FILE", help="a file that is not there yet")
    backup.set_defaults(run=back_up)
    dkim = commands.add_parser("dkim", help="keys that sign what leaves").add_subparsers(metavar="VERB", required=True)
    new = dkim.add_parser("new", help="make a key; print what goes into DNS and the configuration")
    new.add_argument("domain", metavar="DOMAIN", help="the domain that signs")
    new.add_argument("--selector", metavar="S", help="the key's name in DNS (mailforum, or mailforum-ed25519)")
    new.add_argument("--type", choices=("rsa", "ed25519"), default="rsa", help="rsa is understood everywhere")
    new.add_argument("--out", metavar="FILE", help="where the private key goes")
    new.set_defaults(run=make_dkim_key)


def make_site(args: argparse.Namespace) -> None:
    """Make a folder with a commented configuration and a secret key; overwrites nothing."""
    from mailforum import config, manual
    from mailforum.core import token_keys

    folder = Path(args.dir)
    file = folder / "mailforum.toml"
    domain = (args.domain or _own_domain()).lower().rstrip(".")
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", domain):
        raise UsageError(f"`{domain}` is no domain")
    store, password = _store(args.store)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    if file.exists():
        raise UsageError(f"{file} is there already; nothing was changed")
    if password:
        store["password_file"] = "database.password"  # noqa: S105  a file name
        with os.fdopen(os.open(folder / "database.password", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(f"{password}\n")
    values = {("site", "domain"): domain} | {("store", name): value for name, value in store.items()}
    with file.open("x", encoding="utf-8") as out:
        out.write(manual.sample({option: manual.to_toml(value) for option, value in values.items()}))
    token_keys(config.load(file), make=True)
    print(_next_steps(file, domain))


def _store(text: str | None) -> tuple[dict[str, str], str]:
    """Take the password out of `--store`: return the options for the section, and the password. Raises UsageError."""
    from mailforum.units import DatabaseUrl

    if not text:
        return {}, ""
    try:
        url, password = DatabaseUrl.parse(text).parted()
    except ValueError as error:
        raise UsageError(f"--store: {error}") from None
    return {"url": url}, password


def _own_domain() -> str:
    """This host's name where it is one that mail can be sent to. DNS is not asked: it may not answer."""
    import socket

    name = socket.gethostname().lower()
    return name if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.(?!local)[a-z]{2,}", name) else FALLBACK_DOMAIN


def _next_steps(file: Path, domain: str) -> str:
    import shlex

    name = shlex.quote(str(file))
    return (
        f"made {file} for {domain}, and the secret key beside it\n\n"
        f"Next:\n"
        f"  $EDITOR {name}    domain, admin, and the relay that mail leaves by\n"
        f"  export MAILFORUM_CONFIG={shlex.quote(str(file.resolve()))}\n"
        f"  mailforum list create pmo --title 'PMO circle'\n"
        f"  mailforum member add pmo you@example.org --role owner\n"
        f"  mailforum check\n"
        f"  mailforum serve"
    )


def run_server(args: argparse.Namespace) -> int:
    """Serve until asked to stop; 1 if it stopped because a part of it failed."""
    import asyncio

    from mailforum import log

    config, roles = load_config(args), _roles(args.role)
    log.setup(config.site.log_level, config.site.log_format)
    _give_memory_back()
    config = _within_files(config, smtp="smtp" in roles)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_send_a_part(args, config) if args.part else _serve(args, config, roles))


def _roles(words: list[str]) -> set[str]:
    """Read `--role`, given any number of times. Raises UsageError."""
    roles = {role for word in words or ["all"] for role in word.replace(" ", "").split(",")}
    if unknown := roles - {*ROLES, "all"}:
        raise UsageError(f"there is no role `{min(unknown)}`; there are {', '.join(ROLES)}, and all")
    return set(ROLES) if "all" in roles else roles


def _give_memory_back() -> None:
    """Have what a large mail took given back to the system when it is freed (mallopt(3), glibc only).

    Left to itself, glibc takes a first block of 25 MiB from the system and gives it back, and from then on
    takes such blocks out of heaps, one for each thread, in which small things then keep them from shrinking.
    """
    # Where memory may not be made executable (SELinux, systemd), ctypes itself can raise MemoryError.
    with contextlib.suppress(ImportError, MemoryError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 512 * 1024)


def _within_files(config: Config, *, smtp: bool = True) -> Config:
    """Have as many files open as all connections may need; where the system does not let us, take fewer.

    What uvloop does when there are none left is to try for ever, as fast as it can.
    """
    import logging
    import resource

    from mailforum import log

    others = config.delivery.connections + SPARE_FILES
    needed = config.smtp.max_connections * smtp + others
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed and hard != soft:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft <= others:
        raise ConfigError(f"only {soft} open files are allowed (ulimit -n), and {others} are needed to begin with")
    if soft < needed:
        most = soft - others
        what = f"Open files are allowed for {most} connections only (ulimit -n), not for [smtp] max_connections."
        log.event("few_files", logging.WARNING, what=what, allowed=soft, needed=needed)
        return config.taking(most)
    return config


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(args: argparse.Namespace, config: Config, roles: set[str]) -> int:
    import asyncio
    import signal
    import time

    from mailforum.app import Service, Stopped
    from mailforum.systemd import Systemd

    loop = asyncio.get_running_loop()
    sender = [sys.executable, "-m", "mailforum", "--config", str(config_path(args)), "serve", "--part"]
    service, systemd = Service(config, sender=sender, roles=roles, resend=args.resend), Systemd()

    def reload() -> None:
        systemd.reloading(time.monotonic())
        _reload(service.reload, args)
        systemd.tell("READY=1")

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, service.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # not before there is something to reload
    with contextlib.suppress(Stopped):
        async with service:
            loop.add_signal_handler(signal.SIGHUP, reload)
            print(_ready(service), flush=True)
            systemd.tell("READY=1")
            alive = asyncio.create_task(systemd.keep_telling(service.health.status))
            await service.until_stopped()
            systemd.tell("STOPPING=1")
            alive.cancel()
    return int(service.failed)


async def _send_a_part(args: argparse.Namespace, config: Config) -> int:
    """Be one of several processes that send (delivery/crew.py)."""
    import asyncio
    import signal

    from mailforum import alike
    from mailforum.core import open_core, preparer_of, token_keys, worker_of
    from mailforum.delivery import crew
    from mailforum.store.queue import Part

    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        core = await stack.enter_async_context(open_core(config, reserve=config.store.reserve, served=True))
        host = alike.host_of(core, ("deliver",))
        if host:
            await stack.enter_async_context(host)
        worker = worker_of(core, Part(args.part, config.delivery.processes), host)
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stop)

        def take_over(new: Config) -> None:
            preparer, keys = preparer_of(core.site, new), token_keys(new)
            core.site.signer.use(keys)
            worker.use(preparer, new.delivery)
            if host:
                host.show(alike.to_text(alike.marks_of(new)))

        loop.add_signal_handler(signal.SIGHUP, _reload, take_over, args)
        await crew.join(worker)
    return 0


def _ready(service: Service) -> str:
    names = {"smtp": "SMTP", "lmtp": "LMTP", "web": "HTTP"}
    said = [f"{names[name]} on {', '.join(at)}" for name, at in service.addresses.items() if at]
    if service.roles != ROLES:
        said.append(f"roles {', '.join(service.roles)}")
    return f"mailforum is ready: {'; '.join(said)}"


def _reload(take_over: Callable[[Config], None], args: argparse.Namespace) -> None:
    """Take over a changed configuration; one that is wrong is logged, and the old one stays."""
    from mailforum import log

    try:
        config = load_config(args)
        take_over(config)
        log.use(config.site.log_level, config.site.log_format)
    except (MailforumError, OSError) as error:
        log.logger.error("the configuration was not taken over: %s", error)


def show_config(args: argparse.Namespace) -> None:
    """Print the configuration in force as TOML."""
    from mailforum import config, manual
    from mailforum.options import SECTIONS

    path = config_path(args)
    overlaid = [name for section in SECTIONS for name in os.environ if _names_option(section, name)]
    print(f"# {path.resolve()}")
    if overlaid:
        print(f"# and from the environment: {', '.join(sorted(overlaid))}")
    print(f"\n{manual.show(config.load(path))}", end="")


def _names_option(section: str, variable: str) -> bool:
    from mailforum.options import options

    return any(variable == f"MAILFORUM_{section}_{option.name}".upper() for option in options(section))


def print_completion(args: argparse.Namespace) -> None:
    """Print the shell code of argcomplete for this command."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["mailforum"], shell=args.shell))


def back_up(args: argparse.Namespace) -> int:
    """Write a consistent copy of the database to a new file that only we may read; 1 if it is damaged."""
    path, config = Path(args.file), load_config(args)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise UsageError(f"{path} is there already; a backup overwrites nothing") from None
    try:
        with progress("pages copied" if isinstance(config.database, Path) else "rows copied") as advance:
            wrong = run_core(args, lambda core: core.db.backup(path, core.clock.now(), advance))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    print(f"wrote {path} ({path.stat().st_size} bytes)")
    for line in wrong:
        note(f"the copy is damaged, since the database is: {line}")
    note(f"keep {config.path(config.site.secret_file)} and the configuration with it; they are not in the copy")
    return int(bool(wrong))


def make_dkim_key(args: argparse.Namespace) -> None:
    """Make a key; print its DNS record and the lines for the configuration."""
    from mailforum.delivery import sign

    selector = args.selector or ("mailforum" if args.type == "rsa" else "mailforum-ed25519")
    path = Path(args.out) if args.out else _folder(args) / f"dkim-{selector}.pem"
    pem, _ = sign.new_key(args.type)
    key = sign.load_key(pem, args.domain, selector)  # refuses a domain or selector that DNS cannot have
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except FileExistsError:
        raise UsageError(f"{path} is there already; a key is never overwritten") from None
    prefix = "" if args.type == "rsa" else "extra_"
    print(f"# wrote the private key to {path}; this goes into DNS:")
    print(sign.dns_record(selector, key.domain, key.txt))
    if _has_section(args, "dkim"):
        print("\n# and this into the configuration, below the line [dkim] that is there:")
    else:
        print("\n# and this at the end of the configuration:\n[dkim]")
    if not prefix:
        print(f'domain = "{key.domain}"')
    print(f'{prefix}selector = "{selector}"\n{prefix}key_file = "{path.resolve()}"')


def _has_section(args: argparse.Namespace, section: str) -> bool:
    """Whether the configuration has the section already; TOML refuses a second one."""
    try:
        return re.search(rf"(?m)^\s*\[{section}\]", config_path(args).read_text(encoding="utf-8")) is not None
    except (ConfigError, OSError):
        return False


def _folder(args: argparse.Namespace) -> Path:
    """The configuration's folder, or this one where there is no configuration yet."""
    try:
        return config_path(args).parent
    except ConfigError:
        return Path()
