"""What became of each mail, kept for `mailforum trace` (`[store] keep_log` says for how long).

A row is written in the transaction that decides: what is in the journal has happened.
"""

from __future__ import annotations

from typing import NamedTuple

from mailforum import ids
from mailforum.store.database import Tx

LONGEST = 300  # characters of what others wrote


class Entry(NamedTuple):
    """What became of a mail for one recipient: `what`, as in the log, and what its sender was told.

    `code` is the reply, 0 where nobody was told: a moderator or the clock did something.
    """

    mail: str
    at: float
    rcpt: str
    what: str
    text: str = ""
    code: int = 0
    message_id: str = ""
    mail_from: str = ""
    peer: str = ""
    size: int = 0
    list_id: int | None = None


def add(tx: Tx, entry: Entry) -> None:
    """Write down what has happened; the same once more is not written twice."""
    tx.put(
        "journal.add",
        mail=entry.mail,
        at=entry.at,
        rcpt=entry.rcpt[:LONGEST],
        what=entry.what[:LONGEST],
        text=entry.text[:LONGEST],
        code=entry.code,
        message_id=entry.message_id,
        mail_from=entry.mail_from[:LONGEST],
        peer=entry.peer,
        size=entry.size,
        list_id=entry.list_id,
    )


def of_mail(tx: Tx, mail: str) -> list[Entry]:
    """Return what became of a mail, in order."""
    rows = tx.all("journal.of_mail", mail=mail)
    return [Entry(*(row[name] for name in Entry._fields)) for row in rows]


def prune(tx: Tx, before: float) -> int:
    """Delete some entries of that time and before; return how many."""
    return tx.run("journal.prune", first=ids.first(before), before=before)
