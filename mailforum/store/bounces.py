"""Mail that did not arrive, as rows: reports, members whose mail comes back, storms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from mailforum.model import Failing
from mailforum.store.database import Row, Tx


@dataclass(frozen=True, slots=True)
class Storm:
    """Many members of a list that fail in the same words; `domain` is "" where the mail is at fault."""

    list_id: int
    domain: str
    cause: str
    members: int
    since: float
    reply: str


@dataclass(frozen=True, slots=True)
class Report:
    """One failure of a member's mail."""

    at: float
    kind: str
    enhanced: str
    reply: str


def _failing(row: Row) -> Failing:
    return Failing(**{field.name: row[field.name] for field in fields(Failing)})


def _storm(row: Row) -> Storm:
    return Storm(**{field.name: row[field.name] for field in fields(Storm)})


def add(
    tx: Tx,
    list_id: int,
    member_id: int | None,
    address: str,
    *,
    kind: str,
    action: str,
    enhanced: str,
    diagnostic: str,
    domain: str,
    cause: str,
    about: str,
    now: float,
) -> None:
    """Write down one report. `member_id` is None where nothing proves whom it is about; `about` is a Message-ID."""
    tx.run(
        "bounce.add",
        list_id=list_id,
        member_id=member_id,
        address=address,
        kind=kind,
        action=action,
        enhanced=enhanced,
        diagnostic=diagnostic,
        domain=domain,
        cause=cause,
        about=about,
        now=now,
    )


def of_member(tx: Tx, list_id: int, member_id: int, limit: int = 10) -> list[Report]:
    """Return the last failures of a member's mail, the newest first."""
    rows = tx.all("bounce.of_member", list_id=list_id, member_id=member_id, limit=limit)
    return [Report(row["at"], row["kind"], row["enhanced"], row["diagnostic"]) for row in rows]


def failing(tx: Tx, member_id: int) -> Failing | None:
    """Return how it stands with a member's mail; None if nothing has come back lately."""
    row = tx.one("bounce.failing", member_id=member_id)
    return _failing(row) if row else None


def of_list(tx: Tx, list_id: int) -> list[tuple[str, Failing]]:
    """Return address and state of every member of a list whose mail has come back, the worst first."""
    return [(row["address"], _failing(row)) for row in tx.all("bounce.of_list", list_id=list_id)]


def keep(tx: Tx, failing: Failing) -> None:
    """Write down how it stands with a member's mail."""
    tx.run("bounce.keep", **asdict(failing))


def clear(tx: Tx, member_id: int) -> bool:
    """Forget that a member's mail came back; say whether it had."""
    return tx.run("bounce.clear", member_id=member_id) > 0


def due(tx: Tx, now: float, limit: int) -> list[Failing]:
    """Return those whom the clock has to look at, the oldest first."""
    return [_failing(row) for row in tx.all("bounce.due", now=now, limit=limit)]


def count_storm(tx: Tx, list_id: int, domain: str, cause: str, *, reply: str, now: float, begin: float) -> None:
    """Count one more member; what began before `begin` is over, and a new storm begins."""
    tx.run("bounce.count_storm", list_id=list_id, domain=domain, cause=cause, reply=reply, now=now, begin=begin)


def storm(tx: Tx, list_id: int, domain: str, cause: str, begin: float) -> Storm | None:
    """Return the storm of that domain and cause, if it has begun since `begin`."""
    row = tx.one("bounce.storm", list_id=list_id, domain=domain, cause=cause, begin=begin)
    return _storm(row) if row else None


def untold_storms(tx: Tx, *, begin: float, size: int, before: float) -> list[Storm]:
    """Return the storms since `begin` of at least `size` members that nobody was told of since `before`."""
    return [_storm(row) for row in tx.all("bounce.untold_storms", begin=begin, size=size, before=before)]


def told_storm(tx: Tx, storm: Storm, now: float) -> None:
    """Note that the owners have been told of a storm."""
    tx.run("bounce.told_storm", list_id=storm.list_id, domain=storm.domain, cause=storm.cause, now=now)


def storm_domains(tx: Tx, storm: Storm) -> list[tuple[str, int]]:
    """Return the domains that a storm is about most, with how many members each."""
    rows = tx.all("bounce.storm_domains", list_id=storm.list_id, cause=storm.cause, begin=storm.since)
    return [(row["domain"], row["members"]) for row in rows]


def storm_posts(tx: Tx, storm: Storm) -> list[tuple[str, str, str, int]]:
    """Return the posts that a storm is about most: label, subject, author, and how many did not get it."""
    rows = tx.all("bounce.storm_posts", list_id=storm.list_id, cause=storm.cause, begin=storm.since)
    return [(row["label"], row["subject"], row["from_address"], row["members"]) for row in rows]


def post_of(tx: Tx, mailing_id: int) -> str:
    """Return the Message-ID of the post that a mailing carries; "" if it carries none."""
    row = tx.one("bounce.post_of", mailing_id=mailing_id)
    return str(row["message_id"]) if row else ""


def members_at(tx: Tx, list_id: int, domain: str) -> int:
    """Return how many members of a list have their address in `domain`."""
    escaped = domain.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    row = tx.one("bounce.members_at", list_id=list_id, suffix=f"%@{escaped}")
    return int(row["members"]) if row else 0


def tell(tx: Tx, list_id: int, due_at: float) -> None:
    """Have a list's owners told at `due_at`, if that is not to happen already."""
    tx.run("bounce.tell", list_id=list_id, due_at=due_at)


def to_tell(tx: Tx, now: float, limit: int) -> list[tuple[int, float]]:
    """Return the lists whose owners are to be told by now, and up to when they have been."""
    return [(row["list_id"], row["until"]) for row in tx.all("bounce.to_tell", now=now, limit=limit)]


def told(tx: Tx, list_id: int, now: float) -> None:
    """Note that a list's owners have been told of all up to now."""
    tx.run("bounce.told", list_id=list_id, now=now)


def counts(tx: Tx, list_id: int, since: float, now: float) -> Mapping[str, tuple[int, int]]:
    """Return for each kind how many reports have come since that time, and about how many addresses."""
    rows = tx.all("bounce.counts", list_id=list_id, since=since, now=now)
    return {row["kind"]: (row["reports"], row["addresses"]) for row in rows}
