"""Lists and their members, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import msgspec

from mailforum.model import MailingList, Member, MemberStatus, Mode, Role
from mailforum.settings import ListSettings
from mailforum.store.database import Row, Tx

SOME = 500  # rows that are deleted in one transaction


def _list(row: Row) -> MailingList:
    settings = msgspec.json.decode(row["settings"], type=ListSettings)
    return MailingList(row["id"], row["address"], row["title"], settings, row["created_at"])


def _member(row: Row) -> Member:
    return Member(
        row["id"],
        row["list_id"],
        row["address"],
        row["key"],
        row["name"],
        Role(row["role"]),
        Mode(row["mode"]),
        MemberStatus(row["status"]),
        bool(row["own_posts"]),
        row["joined_at"],
    )


def add(tx: Tx, address: str, title: str, settings: ListSettings, now: float) -> int | None:
    """Add a list; return its id, or None if the address is taken."""
    row = tx.one("list.add", address=address, title=title, settings=_json(settings), now=now)
    return row["id"] if row else None


def by_id(tx: Tx, list_id: int) -> MailingList | None:
    """Return the list with that id."""
    row = tx.one("list.by_id", id=list_id)
    return _list(row) if row else None


def by_address(tx: Tx, address: str) -> MailingList | None:
    """Return the list with that address (lower case)."""
    row = tx.one("list.by_address", address=address)
    return _list(row) if row else None


def among(tx: Tx, addresses: Iterable[str]) -> list[MailingList]:
    """Return those of `addresses` that are lists, the longest first."""
    return [_list(row) for row in tx.all("list.among", addresses=json.dumps(list(addresses)))]


def serves(tx: Tx, domain: str) -> bool:
    """Say whether a list has its address in `domain`."""
    return tx.one("list.in_domain", suffix=f"@{domain}") is not None


def every(tx: Tx) -> list[MailingList]:
    """Return all lists by address."""
    return [_list(row) for row in tx.all("list.all")]


def change(tx: Tx, list_id: int, title: str, settings: ListSettings) -> None:
    """Set a list's title and settings."""
    tx.run("list.change", id=list_id, title=title, settings=_json(settings))


def delete_some(tx: Tx, list_id: int) -> bool:
    """Delete a part of what belongs to a list, so small that no mail has to wait; say if there was any.

    Members go first, so that nobody gets mail of the list any more.
    """
    parts = ("members", "deliveries", "posts", "names")
    return any(tx.run(f"list.delete_some_{part}", id=list_id, limit=SOME) for part in parts)


def delete(tx: Tx, list_id: int) -> None:
    """Delete a list with all that belongs to it; of a big one `delete_some` is to be called before."""
    tx.run("list.delete_posts", id=list_id)
    tx.run("list.delete", id=list_id)


def counts(tx: Tx, list_id: int) -> Mapping[str, int]:
    """Return how many members, posts, threads and held posts a list has."""
    row = tx.one("list.counts", id=list_id)
    assert row is not None
    return {key: row[key] for key in row.keys()}  # noqa: SIM118  a row iterates over its values


def add_member(
    tx: Tx, list_id: int, address: str, key: str, name: str, role: Role, mode: Mode, now: float
) -> Member | None:
    """Add a member; return it, or None if that address is on the list already."""
    row = tx.one("member.add", list_id=list_id, address=address, key=key, name=name, role=role, mode=mode, now=now)
    return _member(row) if row else None


def member(tx: Tx, list_id: int, key: str) -> Member | None:
    """Return the member whose address compares as `key`."""
    row = tx.one("member.by_key", list_id=list_id, key=key)
    return _member(row) if row else None


def member_ahead(tx: Tx, list_id: int, key: str) -> None:
    """Say that `member` will soon be asked."""
    tx.ahead("member.by_key", list_id=list_id, key=key)


def member_by_id(tx: Tx, member_id: int) -> Member | None:
    """Return the member with that id."""
    row = tx.one("member.by_id", id=member_id)
    return _member(row) if row else None


def members(tx: Tx, list_id: int) -> list[Member]:
    """Return all members of a list by address."""
    return [_member(row) for row in tx.all("member.of_list", list_id=list_id)]


def memberships(tx: Tx, key: str) -> list[tuple[str, Member]]:
    """Return (address of the list, member) for every list the address is on."""
    return [(row["list_address"], _member(row)) for row in tx.all("member.everywhere", key=key)]


def in_charge(tx: Tx, list_id: int) -> list[Member]:
    """Return the active owners and moderators of a list."""
    return [_member(row) for row in tx.all("member.in_charge", list_id=list_id)]


def change_member(tx: Tx, member: Member) -> None:
    """Write back a member's name, role, mode, status and own_posts."""
    tx.run(
        "member.change",
        id=member.id,
        name=member.name,
        role=member.role,
        mode=member.mode,
        status=member.status,
        own_posts=member.own_posts,
    )


def remove_member(tx: Tx, member_id: int) -> None:
    """Take a member off the list; what is queued to them is withdrawn when its turn comes (`queue.take`)."""
    tx.run("member.remove", id=member_id)


def _json(settings: ListSettings) -> str:
    return msgspec.json.encode(settings).decode()
