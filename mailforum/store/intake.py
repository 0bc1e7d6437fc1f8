"""What the way in writes down: mail seen, posts held, questions asked, answers counted, mail shunted."""

from __future__ import annotations

import json
from dataclasses import fields

from mailforum.model import Held, Request, Shunted
from mailforum.store.database import Row, Tx


def see(tx: Tx, rcpt: str, digest: bytes, now: float) -> bool:
    """Note that a mail has come to `rcpt`; False if it had come before."""
    return tx.run("intake.see", rcpt=rcpt, digest=digest, now=now) > 0


def unsee(tx: Tx, rcpt: str, digest: bytes) -> None:
    """Forget that a mail has come to `rcpt`."""
    tx.run("intake.unsee", rcpt=rcpt, digest=digest)


def see_again(tx: Tx, what: str, digest: bytes, now: float, *, within: float) -> bool:
    """Note that `digest` was met as a `what`; False, and nothing noted, if it was in the last seconds `within`."""
    return tx.run("intake.see_again", rcpt=what, digest=digest, now=now, before=now - within) > 0


def pace(tx: Tx, what: str, digest: bytes, now: float, *, most: int, seconds: float) -> bool:
    """Count one more of something; say whether it is within `most` at once and one each `seconds / most` later.

    One row holds when the next is due, so it costs the same however often it is asked. Who goes on too
    fast is let through again after a pause of twice that, however long they were.
    """
    row = tx.one("intake.pace", rcpt=what, digest=digest, now=now, every=seconds / most, ahead=seconds)
    assert row is not None
    return bool(row["at"] - now <= seconds + 0.001)  # floating point


def seen_at(tx: Tx, what: str, digest: bytes) -> float | None:
    """Return when `digest` was noted as a `what`."""
    row = tx.one("intake.seen_at", rcpt=what, digest=digest)
    return float(row["at"]) if row else None


def reach(tx: Tx, what: str, number: int, now: float) -> None:
    """Note how far something has come, up to `number`."""
    tx.run("intake.begin_anew", rcpt=what)
    see(tx, what, b"%d" % number, now)


def reached(tx: Tx, what: str) -> int:
    """Return how far something has come; 0 if nothing is noted, or it was long ago."""
    row = tx.one("intake.reached", rcpt=what)
    return int(bytes(row["digest"])) if row else 0


def _held(row: Row) -> Held:
    return Held(**{field.name: row[field.name] for field in fields(Held)})


def hold(
    tx: Tx,
    list_id: int,
    *,
    mail_from: str,
    from_address: str,
    subject: str,
    message_id: str,
    reason: str,
    under: str,
    raw: bytes,
    now: float,
) -> int:
    """Keep a post for a moderator; return the id of the held post."""
    row = tx.one(
        "intake.hold",
        list_id=list_id,
        mail_from=mail_from,
        from_address=from_address,
        subject=subject,
        message_id=message_id,
        reason=reason,
        under=under,
        raw=tx.inline(raw),
        size=len(raw),
        mail=tx.mail,
        now=now,
    )
    assert row is not None
    tx.fill("held", "raw", row["id"], raw)
    return int(row["id"])


def held(tx: Tx, list_id: int = 0) -> list[Held]:
    """Return the held posts of one list, or (0) of all."""
    return [_held(row) for row in tx.all("intake.held", list_id=list_id)]


def held_by_list(tx: Tx) -> dict[int, int]:
    """Return for each list with held posts the id of the newest."""
    return {int(row["list_id"]): int(row["newest"]) for row in tx.all("intake.held_by_list")}


def held_between(tx: Tx, list_id: int, after: int, before: int) -> bool:
    """Say whether there are held posts of a list with ids between these two."""
    return tx.one("intake.held_between", list_id=list_id, after=after, before=before) is not None


def held_by_id(tx: Tx, held_id: int) -> Held | None:
    """Return the held post with that id."""
    row = tx.one("intake.held_by_id", id=held_id)
    return _held(row) if row else None


def held_raw(tx: Tx, held_id: int) -> bytes:
    """Return a held post's bytes; LookupError if there is none."""
    row = tx.one("intake.held_raw", id=held_id)
    if row is None:
        raise LookupError(f"no held post {held_id}")
    return bytes(row["raw"])


def release(tx: Tx, held_id: int) -> bool:
    """Take a held post out of the waiting room; False if somebody else was faster."""
    return tx.run("intake.release", id=held_id) > 0


def ask(tx: Tx, list_id: int, action: str, address: str, *, name: str, mode: str, now: float, expires_at: float) -> int:
    """Write down a question to `address`; return its id."""
    row = tx.one(
        "intake.ask",
        list_id=list_id,
        action=action,
        address=address,
        name=name,
        mode=mode,
        now=now,
        expires_at=expires_at,
    )
    assert row is not None
    return int(row["id"])


def request(tx: Tx, request_id: int) -> Request | None:
    """Return the question with that id."""
    row = tx.one("intake.request", id=request_id)
    return Request(**{field.name: row[field.name] for field in fields(Request)}) if row else None


def answered(tx: Tx, request_id: int, now: float) -> bool:
    """Mark a question as answered; False if it was already."""
    return tx.run("intake.answered", id=request_id, now=now) > 0


def count_answer(tx: Tx, list_id: int, key: str, now: float) -> int:
    """Count one more automatic answer to `key` from a list (0: the site) today; return the new count."""
    row = tx.one("intake.count_answer", day=int(now // 86400), list_id=list_id, key=key)
    assert row is not None
    return int(row["sent"])


def _shunted(row: Row) -> Shunted:
    values = {field.name: row[field.name] for field in fields(Shunted)}
    return Shunted(**values | {"rcpts": tuple(json.loads(row["rcpts"]))})


def shunt(tx: Tx, *, digest: bytes, mail_from: str, rcpts: tuple[str, ...], reason: str, raw: bytes, now: float) -> int:
    """Keep a mail aside, once however often its sender repeats it; return the shunt's id."""
    row = tx.one(
        "intake.shunt",
        digest=digest,
        mail_from=mail_from,
        rcpts=json.dumps(rcpts),
        reason=reason,
        raw=tx.inline(raw),
        size=len(raw),
        mail=tx.mail,
        now=now,
    )
    assert row is not None
    tx.fill("shunt", "raw", row["id"], raw)
    return int(row["id"])


def shunts(tx: Tx) -> list[Shunted]:
    """Return all that is kept aside."""
    return [_shunted(row) for row in tx.all("intake.shunts")]


def shunt_by_id(tx: Tx, shunt_id: int) -> Shunted | None:
    """Return what is kept aside under that id."""
    row = tx.one("intake.shunt_by_id", id=shunt_id)
    return _shunted(row) if row else None


def shunt_raw(tx: Tx, shunt_id: int) -> bytes:
    """Return the bytes kept aside; LookupError if there are none."""
    row = tx.one("intake.shunt_raw", id=shunt_id)
    if row is None:
        raise LookupError(f"no shunt {shunt_id}")
    return bytes(row["raw"])


def unshunt(tx: Tx, shunt_id: int) -> bool:
    """Let go of what was kept aside; False if there was nothing."""
    return tx.run("intake.unshunt", id=shunt_id) > 0


def keeps_aside(tx: Tx) -> bool:
    """Say whether any mail is kept aside."""
    return tx.one("intake.any_shunt") is not None


def unshunt_digest(tx: Tx, digest: bytes) -> None:
    """Let go of a mail kept aside that has now been handled after all."""
    tx.put("intake.unshunt_digest", digest=digest)
