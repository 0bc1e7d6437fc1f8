"""Every option of mailforum: name, type, default and help, in one table.

The sections below are that table. The commented sample that `mailforum init` writes, the output
of `mailforum config`, and docs/configuration.md all come from it (manual.py; a test compares them);
config.py reads it from a file and the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from mailforum.units import Address, DatabaseUrl, Duration, Limit, Network, Size


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Site(_Section, frozen=True):
    """Who we are."""

    domain: Annotated[str, Meta(description="Domain of the site's own addresses and of the EHLO greeting")] = (
        "localhost"
    )
    admin: Annotated[str, Meta(description="Address of the person who runs this; gets postmaster's mail")] = ""
    secret_file: Annotated[
        str,
        Meta(description="Holds the keys that sign tokens, one a line: the first signs, all are accepted"),
    ] = "secret.key"  # noqa: S105  a file name
    templates: Annotated[
        str, Meta(description="Folder with texts of your own; what is not there is taken from the package")
    ] = "templates"
    special_domains: Annotated[
        bool, Meta(description="Accept reserved names such as example.test; for tests and closed networks")
    ] = False
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="How much to log")] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="How a line of the log is written: key=value, or a JSON object")
    ] = "text"


class Dns(_Section, frozen=True):
    """Where names are looked up."""

    servers: Annotated[tuple[str, ...], Meta(description="Addresses of resolvers; empty: the system's own")] = ()
    timeout: Annotated[Duration, Meta(description="Longest wait for an answer while a sender waits")] = Duration(3)


class Store(_Section, frozen=True):
    """What is kept, and for how long."""

    url: Annotated[
        DatabaseUrl,
        Meta(
            description="The database: sqlite:FILE, relative to this configuration, or for several hosts "
            "postgresql://user@host/name, as libpq takes it"
        ),
    ] = DatabaseUrl("sqlite:mailforum.db")
    password_file: Annotated[
        str, Meta(description="File whose first line is PostgreSQL's password; else PGPASSFILE or ~/.pgpass has it")
    ] = ""
    folder: Annotated[
        str,
        Meta(
            description="For large mails while they are received, and what this host remembers; "
            "empty: the folder of the file, with PostgreSQL that of this configuration"
        ),
    ] = ""
    lease: Annotated[
        Duration,
        Meta(
            description="On PostgreSQL: a host that is not heard of for so long is taken for dead, and others send "
            "what it had in hand"
        ),
    ] = Duration(30)
    keep_sent: Annotated[Duration, Meta(description="How long the rows of finished deliveries are kept")] = Duration(
        14 * 86400
    )
    keep_log: Annotated[
        Duration, Meta(description="How long it is kept what became of a mail, for `mailforum trace`")
    ] = Duration(14 * 86400)
    keep_bodies: Annotated[
        Duration,
        Meta(description="How long the texts of posts are kept; then a note takes their place. 0: for ever"),
    ] = Duration(0)
    keep_held: Annotated[
        Duration, Meta(description="How long a held post waits for a moderator; then it is deleted. 0: for ever")
    ] = Duration(0)
    keep_shunted: Annotated[
        Duration, Meta(description="How long mail is kept that a fault of ours stopped. 0: for ever")
    ] = Duration(0)
    keep_bounces: Annotated[Duration, Meta(description="How long reports of bounces are kept. 0: for ever")] = Duration(
        90 * 86400
    )
    min_free: Annotated[Size, Meta(description="No mail is taken in while the disk has less space left than this")] = (
        Size(64 * 1024**2)
    )
    reserve: Annotated[
        Size,
        Meta(
            description="Kept in a file beside the database and given up when the disk is full, "
            "so that what was sent can be written down; 0: none"
        ),
    ] = Size(16 * 1024**2)


class Smtp(_Section, frozen=True):
    """The way in."""

    listen: Annotated[tuple[Address, ...], Meta(description="Where SMTP is spoken")] = (Address("127.0.0.1:8025"),)
    lmtp: Annotated[tuple[Address, ...], Meta(description="Where LMTP is spoken, for a mail server on this host")] = ()
    tls_cert: Annotated[str, Meta(description="Certificate chain (PEM); with it STARTTLS is offered")] = ""
    tls_key: Annotated[str, Meta(description="Its private key (PEM)")] = ""
    max_size: Annotated[Size, Meta(description="Largest mail taken in")] = Size(25 * 1024**2)
    max_recipients: Annotated[int, Meta(description="Most recipients of one mail", ge=100)] = 1000
    max_connections: Annotated[int, Meta(description="Most connections at once", ge=1)] = 200
    max_connections_per_client: Annotated[
        int, Meta(description="Most connections at once from one client: an IPv4 address or an IPv6 /64", ge=1)
    ] = 20
    max_errors: Annotated[
        int, Meta(description="After so many errors and idle commands without a mail a client is sent away", ge=1)
    ] = 20
    command_timeout: Annotated[Duration, Meta(description="Longest silence between commands")] = Duration(300)
    data_timeout: Annotated[Duration, Meta(description="Longest silence while a mail is being sent")] = Duration(180)
    min_rate: Annotated[
        Size, Meta(description="Least bytes a second of a mail, once it has been coming for a minute")
    ] = Size(1024)
    memory_per_mail: Annotated[
        Size, Meta(description="A mail larger than this waits in a file in [store] folder while it is received")
    ] = Size(256 * 1024)
    max_spool: Annotated[
        Size, Meta(description="Most space for such files, all together; who sends a large mail then is put off")
    ] = Size(1024**3)
    trusted: Annotated[
        tuple[Network, ...], Meta(description="Networks whose clients are not counted, here and in [limits]")
    ] = tuple(map(Network, ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
    proxy_from: Annotated[
        tuple[Network, ...],
        Meta(
            description="Networks of load balancers that begin each connection with a PROXY header (version 1 or 2), "
            "and must; the client that it names then counts. Nobody else is believed. Empty: none"
        ),
    ] = ()


class DeliveryOptions(_Section, frozen=True):
    """The way out."""

    relay: Annotated[
        str,
        Meta(
            description="Where mail goes: smtp://host:port, lmtp://host:port, or maildir:FOLDER, "
            "with which nothing leaves the machine"
        ),
    ] = "maildir:outbox"
    user: Annotated[str, Meta(description="Name to log in to the relay with; empty: no login")] = ""
    password: Annotated[str, Meta(description="Password of that name; better in password_file")] = ""
    password_file: Annotated[str, Meta(description="File whose first line is the password")] = ""
    tls: Annotated[
        Literal["off", "opportunistic", "required"],
        Meta(description="STARTTLS to the relay: never, where offered, or always with a valid certificate"),
    ] = "opportunistic"
    connections: Annotated[
        int,
        Meta(
            description="Most connections of this host to the relay at once; fewer are open where fewer do",
            ge=1,
            le=500,
        ),
    ] = 32
    processes: Annotated[
        int,
        Meta(
            description="Processes that send, with the connections shared among them; more than one pays "
            "on four or more cores, for lists of many thousand readers",
            ge=1,
            le=16,
        ),
    ] = 1
    limits: Annotated[
        tuple[Limit, ...],
        Meta(
            description="Bounds for single destinations, of all hosts together: domain, connections, mails a second, "
            "minute, hour or day, such as gmail.com 5 600/m; * is any domain that is not named"
        ),
    ] = ()
    recipients: Annotated[
        int,
        Meta(description="Most recipients in one transaction, for lists that are not personal", ge=1, le=1000),
    ] = 100
    connect_timeout: Annotated[Duration, Meta(description="Longest wait for a connection")] = Duration(30)
    command_timeout: Annotated[Duration, Meta(description="Longest wait for the answer to a command")] = Duration(300)
    data_timeout: Annotated[Duration, Meta(description="Longest wait for the answer to a whole mail")] = Duration(600)
    retry: Annotated[
        tuple[Duration, ...], Meta(description="Waits between attempts; the last is repeated", min_length=1)
    ] = tuple(Duration(minutes * 60) for minutes in (5, 15, 60, 120, 240))
    give_up: Annotated[Duration, Meta(description="A delivery that old is given up")] = Duration(5 * 86400)

    def shared(self, by: int, *, limited: bool = True) -> DeliveryOptions:
        """Return what each of `by` processes may use; with `limited`, also of the limits."""
        limits = tuple(limit.shared(by) for limit in self.limits) if limited else self.limits
        return msgspec.structs.replace(self, connections=max(1, self.connections // by), limits=limits)


class Dkim(_Section, frozen=True):
    """Signing what goes out. `mailforum dkim new DOMAIN` makes a key and prints what to put here."""

    selector: Annotated[str, Meta(description="Selector of the key, as in the DNS record's name")] = ""
    domain: Annotated[str, Meta(description="Domain that signs; empty: the list's own")] = ""
    key_file: Annotated[str, Meta(description="Private key (PEM), RSA or Ed25519; empty: nothing is signed")] = ""
    extra_selector: Annotated[str, Meta(description="Selector of a second key, usually Ed25519 beside RSA")] = ""
    extra_key_file: Annotated[str, Meta(description="That second key (PEM)")] = ""


class Web(_Section, frozen=True):
    """HTTP: health, and the one-click unsubscribe of RFC 8058."""

    listen: Annotated[tuple[Address, ...], Meta(description="Where HTTP is spoken; empty: nowhere")] = (
        Address("127.0.0.1:8080"),
    )
    health: Annotated[
        tuple[Address, ...],
        Meta(
            description="Where every process speaks of its health and metrics, and of nothing else, whatever its role; "
            "one with the role web does so at `listen` as well"
        ),
    ] = ()
    url: Annotated[str, Meta(description="How the world reaches it, for links in mail: https://lists.example.org")] = ""


class Limits(_Section, frozen=True):
    """Against abuse and overload."""

    connections_per_minute: Annotated[
        int, Meta(description="Most connections a minute from one client; 0: any number", ge=0)
    ] = 120
    mails_per_minute: Annotated[int, Meta(description="Most mails a minute from one client; 0: any number", ge=0)] = 300
    recipients_per_minute: Annotated[
        int, Meta(description="Most recipients a minute from one client; 0: any number", ge=0)
    ] = 3000
    queue_size: Annotated[
        int, Meta(description="While so many deliveries wait to be sent, senders are put off; 0: any number", ge=0)
    ] = 3_000_000

    answers_per_day: Annotated[
        int,
        Meta(
            description="Most automatic answers to one address from one list in a day; twice that from all lists", ge=1
        ),
    ] = 20
    answers_to_strangers: Annotated[
        int,
        Meta(
            description="Most to an address that is on no such list and has answered no question of ours that day", ge=1
        ),
    ] = 5
    strangers_per_hour: Annotated[
        int,
        Meta(
            description="Most answers in an hour to such addresses when their mail comes from one network (/24, /64); "
            "0: no limit",
            ge=0,
        ),
    ] = 20
    same_text: Annotated[
        Duration,
        Meta(
            description="Where another server than its author's brings a text that the list has had so shortly before, "
            "it is refused as mail in a loop; 0: never"
        ),
    ] = Duration(86400)
    answers_per_ten_minutes: Annotated[
        int,
        Meta(
            description="Most answers of one author to others on one list in ten minutes, and five in the same "
            "words; a moderator reads what is more. 0: no limit",
            ge=0,
        ),
    ] = 60
    owner_notices_per_day: Annotated[
        int,
        Meta(
            description="Most notices to a list's owners in a day, of held posts and of people who want to join", ge=1
        ),
    ] = 50
    bounce_storm: Annotated[
        int,
        Meta(
            description="So many members whose mail fails in the same words within a day are a storm: "
            "nobody is suspended for it, and the owners are told why",
            ge=2,
        ),
    ] = 10
    confirm_days: Annotated[int, Meta(description="Days until a request for confirmation expires", ge=1)] = 3


class Config(_Section, frozen=True):
    """The whole configuration, read-only. `base` is the folder that relative paths are meant from."""

    site: Site = Site()
    dns: Dns = Dns()
    store: Store = Store()
    smtp: Smtp = Smtp()
    delivery: DeliveryOptions = DeliveryOptions()
    dkim: Dkim = Dkim()
    web: Web = Web()
    limits: Limits = Limits()
    base: Path = Path()

    def taking(self, connections: int) -> Config:
        """Return this configuration with so many `max_connections`."""
        return msgspec.structs.replace(self, smtp=msgspec.structs.replace(self.smtp, max_connections=connections))

    def path(self, name: str) -> Path:
        """Return the file or folder that an option names."""
        return self.base / Path(name).expanduser()

    @property
    def database(self) -> Path | str:
        """The file of SQLite, or the URL of PostgreSQL with its password, which is not to be shown (`store.url`)."""
        if self.store.url.file:
            return self.path(self.store.url.file)
        return self.store.url.connecting(self._first_line(self.store.password_file))

    @property
    def database_name(self) -> str:
        """What people are shown for it."""
        return str(self.path(self.store.url.file) if self.store.url.file else self.store.url)

    @property
    def folder(self) -> Path:
        """Where files of this host are kept for a while."""
        if self.store.folder:
            return self.path(self.store.folder)
        return self.path(self.store.url.file).parent if self.store.url.file else self.base

    @property
    def password(self) -> str:
        """The relay's password, from the option or its file."""
        return self._first_line(self.delivery.password_file) or self.delivery.password

    def _first_line(self, name: str) -> str:
        return self.path(name).read_text().partition("\n")[0].strip() if name else ""


SECTIONS: dict[str, type[_Section]] = {
    name: kind for name, kind in get_type_hints(Config).items() if isinstance(kind, type) and issubclass(kind, _Section)
}


class Option(msgspec.Struct, frozen=True):
    """One row of the table: `[section] name`, its default, its help and what it takes."""

    section: str
    name: str
    default: object
    help: str
    takes: str


def options(section: str) -> Iterator[Option]:
    """Yield the options of `section` in the order they are written down."""
    hints = get_type_hints(SECTIONS[section], include_extras=True)
    defaults = SECTIONS[section]()
    for name in SECTIONS[section].__struct_fields__:
        kind, meta = get_args(hints[name])[:2]
        yield Option(section, name, getattr(defaults, name), meta.description or "", _takes(kind))


def _takes(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f'"{word}"' for word in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {_takes(get_args(kind)[0])}s"
    names = {
        str: "text",
        int: "number",
        bool: "true or false",
        DatabaseUrl: "URL",
        Duration: "time",
        Size: "size",
        Address: "host:port",
        Limit: "limit",
        Network: "network",
    }
    return names[kind]
