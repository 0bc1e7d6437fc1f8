"""What an admin does to a list: create it, change its options and its members' settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from mailforum.errors import UsageError
from mailforum.forum import digests, members, route
from mailforum.forum.site import Site
from mailforum.mail import address, words
from mailforum.model import MailingList, Member, MemberStatus, Mode, Role
from mailforum.settings import ListSettings
from mailforum.store import lists, posts
from mailforum.store.database import Tx
from mailforum.units import Size

PRESETS: dict[str, ListSettings] = {
    "discussion": ListSettings(),
    "announce": ListSettings(posting="moderators", digest=False),
    "private": ListSettings(joining="moderated", listed=False),
}
# The longest thing that is made of a list's name is `NAME-confirm+TOKEN`, a token has 26 characters.
MAX_NAME = address.MAX_LOCAL - len("-confirm+") - 26
MAX_TITLE = 200
MAX_PREFIX = 60

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?=[a-z0-9_-]))*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})?")
_URL = re.compile(r"https?://[A-Za-z0-9.:-]+(?:/[!-z|~]*)?")
_BOOLEANS = {
    **dict.fromkeys(("on", "yes", "true", "1"), True),
    **dict.fromkeys(("off", "no", "false", "0"), False),
}


@dataclass(frozen=True, slots=True)
class Created:
    """A new list, and what its admin should know about its name."""

    mlist: MailingList
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, what it takes, its help, its type, and the words it takes if these are all."""

    name: str
    takes: str
    help: str
    kind: Any
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """The next digest of a list: when it is due, how many posts wait for it, and how many readers."""

    mlist: MailingList
    due_at: float
    posts: int
    readers: int


def create(tx: Tx, site: Site, text: str, title: str, preset: str, now: float) -> Created:
    """Make a list. `text` is its address, or its name in the site's domain. Raises UsageError."""
    list_address = new_address(text, site.domain)
    title = _value(options()[0], title)
    list_id = lists.add(tx, list_address, title, PRESETS[preset], now)
    mlist = lists.by_id(tx, list_id) if list_id else None
    if mlist is None:
        raise UsageError(f"there is a list {list_address} already")
    return Created(mlist, tuple(_clashes(tx, mlist)))


def new_address(text: str, site_domain: str) -> str:
    """Return the address of a list to be: `name@domain` in lower case. Raises UsageError."""
    name, at, domain = text.strip().lower().rpartition("@")
    if not at:
        name, domain = domain, site_domain
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{name}` is no name for a list: it takes a-z, 0-9, and within it . _ -")
    if len(name) > MAX_NAME:
        raise UsageError(
            f"`{name}` is too long: {MAX_NAME} characters at most, because {name[:3]}…-confirm+TOKEN "
            f"has to stay within {address.MAX_LOCAL} (RFC 5321)"
        )
    if name in route.RESERVED:
        raise UsageError(f"`{name}` is reserved for the site itself")
    ascii_domain = address.domain_of(address.key(f"{name}@{domain}"))
    if not _DOMAIN.fullmatch(ascii_domain) or len(ascii_domain) > address.MAX_DOMAIN:
        raise UsageError(f"`{domain}` is no domain")
    return f"{name}@{ascii_domain}"


def _clashes(tx: Tx, mlist: MailingList) -> Iterator[str]:
    """Name the addresses that mean two things: the list `x-leave` takes the mail for leaving `x`."""
    for other in lists.every(tx):
        if other.domain == mlist.domain and other.id != mlist.id:
            for short, long in ((other, mlist), (mlist, other)):
                role = long.name.removeprefix(f"{short.name}-")
                if role != long.name and role.removesuffix("-digest") in route.ROLES:
                    yield f"{long.address} is a list, so it no longer means `{role}` for {short.address}"


def options() -> tuple[Option, ...]:
    """Return the options of a list, the title first, in the order in which they are shown."""
    hints = get_type_hints(ListSettings, include_extras=True)
    title = Option("title", _TAKES["title"], "What people call the list", str)
    return (title, *(_option(name, *get_args(hints[name])) for name in ListSettings.__struct_fields__))


def _option(name: str, kind: Any, meta: Meta) -> Option:
    words = get_args(kind) if get_origin(kind) is Literal else ("on", "off") if kind is bool else ()
    takes = _TAKES.get(name) or (_or(words) if words else f"a number from {meta.ge} to {meta.le}")
    return Option(name, takes, meta.description or "", Annotated[kind, meta], words)


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


def change(tx: Tx, mlist: MailingList, assignments: Sequence[str]) -> MailingList:
    """Set options from words such as `footer=on`, all or none; return the list as it is then.

    Raises UsageError, which names the option and what it takes.
    """
    known = {option.name: option for option in options()}
    values = {name: _value(known[name], text) for name, text in _assigned(assignments, known)}
    title = values.pop("title", mlist.title)
    changed = replace(mlist, title=title, settings=msgspec.structs.replace(mlist.settings, **values))
    lists.change(tx, changed.id, changed.title, changed.settings)
    return changed


def _assigned(assignments: Iterable[str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of each `name=text`; a name may have `-` for `_`."""
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not equals:
            raise UsageError(f"`{assignment}` sets nothing; write OPTION=VALUE")
        if name not in known:
            raise UsageError(f"there is no option `{name}`; there are {', '.join(known)}")
        yield name, text.strip()


def _value(option: Option, text: str) -> Any:
    try:
        value = _READ[option.name](text) if option.name in _READ else text
        return msgspec.convert(_BOOLEANS[text.lower()] if "on" in option.words else value, option.kind, strict=False)
    except (ValueError, KeyError):  # msgspec.ValidationError is a ValueError
        raise UsageError(f"{option.name} takes {option.takes}, not `{text}`") from None


def _line(limit: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text.isprintable() or len(text) > limit:
            raise ValueError
        return text

    return read


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except OSError as error:  # it opens a file of that name, and what is a folder is no time zone
        raise ValueError from error
    return text


def _language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise ValueError
    return text


def _archive_url(text: str) -> str:
    bare = text.replace("{id}", "").replace("{msgid}", "")
    if text and (bare == text or not _URL.fullmatch(bare)):
        raise ValueError
    return text


# Options that take more than their type says: what they take, and how they are read.
_TAKES = {
    "title": f"one line of at most {MAX_TITLE} characters",
    "prefix": f"one line of at most {MAX_PREFIX} characters",
    "max_size": "a size such as 300K or 25M",
    "timezone": "the name of a time zone such as Europe/Vienna or UTC",
    "language": "a language such as en or de",
    "archive_url": "a web address with {id} or {msgid} in it, such as https://lists.example.org/pmo/{id}, or nothing",
}
_READ: dict[str, Callable[[str], object]] = {
    "title": _line(MAX_TITLE),
    "prefix": _line(MAX_PREFIX),
    "max_size": Size.parse,
    "timezone": _timezone,
    "language": _language,
    "archive_url": _archive_url,
}

_SETTABLE = ("active", "suspended")  # that mail comes back is found out, not set

MEMBER_OPTIONS = {
    "role": Option("role", _or(Role), "What they may do", Role, tuple(Role)),
    "mode": Option("mode", _or(Mode), "How they read the list", Mode, tuple(Mode)),
    "status": Option("status", _or(_SETTABLE), "Whether they get mail at all", Literal[_SETTABLE], _SETTABLE),
    "name": Option("name", "text", "What they are called", str),
    "own_posts": Option("own_posts", "on or off", "Whether they get their own posts", bool, ("on", "off")),
}


def change_member(tx: Tx, member: Member, assignments: Sequence[str]) -> Member:
    """Set what a member has, from words such as `mode=digest`; return the member as it is then.

    Raises UsageError, which names the option and what it takes.
    """
    values = {name: _value(MEMBER_OPTIONS[name], text) for name, text in _assigned(assignments, MEMBER_OPTIONS)}
    if "name" in values:
        values["name"] = words.shown(values["name"], address.MAX_NAME)
    if "status" in values:
        values["status"] = MemberStatus(values["status"])
        member = members.reactivate(tx, member)
    changed = replace(member, **values)
    lists.change_member(tx, changed)
    return changed


def find_member(tx: Tx, mlist: MailingList, text: str) -> Member:
    """Return the member with that address. Raises UsageError when there is none."""
    member = lists.member(tx, mlist.id, address.key(text))
    if member is None:
        raise UsageError(f"{text} is no member of {mlist.address}")
    return member


def outlook(tx: Tx, mlist: MailingList, now: float) -> Outlook:
    """Return when the next digest of a list is due, and what waits for it."""
    mark = tx.one("issue.watermark", list_id=mlist.id)
    readers = tx.one("issue.readers", list_id=mlist.id)
    assert mark is not None
    assert readers is not None
    _, waiting = posts.newest(tx, mlist.id, mark["digested_post"])
    return Outlook(mlist, digests.next_issue(mlist, mark, now), waiting, readers["readers"])
