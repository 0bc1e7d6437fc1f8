"""A large SQLite site with everything that mail has ever brought, made row by row, for a move."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from mailforum.mail import address, msgid, subject
from mailforum.store import migrate

NOW = 1_790_000_000.0
MEMBERS = 2000
ISSUES = 300
MERGED = 100
ANSWERS = 10  # posts of a thread, but for the first thread, which is long
LARGE = 50 * 1024**2
LIST, LOCAL = "pmo@lists.example.test", 1
# Texts that were found in mail: NUL, a lone CR, other directions, what is not normalised, beyond the BMP, nothing.
ODD = (
    "",
    "a\0b",
    "\0",
    "lone\rcr",
    "tab\tand\x1b[31m",
    "\u202eright to left\u202c \u05d0\u05d1\u05d2",
    "e\u0301 is not \u00e9",
    "\U0001f9d1\u200d\U0001f680 \U0001f1e9\U0001f1ea",
    "\ufffd\ufffe\uffff",
    '\\N \\. \\x00 "quoted" {1,2} NULL',
    "\U00020000" * 1000,
)
ADDRESSES = ('"a\\"b c"@example.org', '"@"@example.org', "o'hara@example.org", "用户@例子.example", "a+b=c@example.org")


class Writer:
    """Puts rows into a database."""

    def __init__(self, connection: sqlite3.Connection, seed: int) -> None:
        self._connection = connection
        self.random = random.Random(seed)

    def put(self, table: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Insert rows; all have the columns of the first."""
        rows = iter(rows)
        first = next(rows)
        statement = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({', '.join(f':{name}' for name in first)})"
        self._connection.executemany(statement, [first])
        self._connection.executemany(statement, rows)

    def odd(self) -> str:
        """Return a text that somebody has written."""
        return self.random.choice(ODD)

    def raw(self, number: int) -> bytes:
        """Return the mail of a post: mostly plain, sometimes with every byte there is, one empty, one very large."""
        if number in (2, 3):
            return b"" if number == 2 else self.random.randbytes(LARGE)
        text = b"\0\xff\xfe\r\n.\r\n" + self.random.randbytes(900) if number % 50 == 0 else b"Some words.\r\n" * 70
        return f"From: ada@example.org\r\nMessage-ID: {name(number)}\r\nSubject: {number}\r\n\r\n".encode() + text


def name(number: int) -> str:
    """Return the Message-ID of a post, the longest there may be of some."""
    long = "\U00020001" * (msgid.MAX_ID - 20) if number % 1000 == 7 else ""
    return f"<{long}{number}@example.org>"


def make(path: Path, posts: int, seed: int) -> None:
    """Make a site with so many posts in the new file `path`."""
    migrate.migrate(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        writer = Writer(connection, seed)
        _lists(writer, posts)
        _posts(writer, posts)
        _way_in(writer)
        _queue(writer, posts)
        _bounces(writer)
        _journal(writer)
        connection.execute("UPDATE fence SET served = 3")
        connection.execute("COMMIT")


def _lists(writer: Writer, posts: int) -> None:
    row = {
        "id": 1,
        "address": LIST,
        "title": "Ü \U0001f4ec",
        "settings": json.dumps({"prefix": "[é]"}),
        "last_thread": posts // ANSWERS + MERGED,
        "last_issue": ISSUES,
        "digested_post": posts - 50,
        "digested_at": NOW - 3600,
        "created_at": 0.1,
    }
    empty = {
        **row,
        "id": 9,
        "address": "empty@lists.example.test",
        "last_thread": 0,
        "last_issue": 0,
        "digested_post": 0,
    }
    writer.put("list", [row, empty])
    writer.put("member", _members(writer))
    numbers = {"after_post": 0, "last_post": 10, "posts": 10}
    writer.put("issue", ({"list_id": 1, "number": n, **numbers, "created_at": n / 3} for n in range(1, ISSUES + 1)))


def _members(writer: Writer) -> Iterator[Mapping[str, object]]:
    for number in range(MEMBERS):
        to = ADDRESSES[number] if number < len(ADDRESSES) else f"m{number}@example.org"
        yield {
            "list_id": 1,
            "address": to,
            "key": address.key(to),
            "name": writer.odd(),
            "role": "owner" if number == 7 else "member",
            "mode": ("each", "digest", "none")[min(number % 20, 2)],
            "status": ("active", "suspended")[number % 97 == 0],
            "own_posts": number % 2,
            "joined_at": number / 3,
        }


def _posts(writer: Writer, posts: int) -> None:
    threads = posts // ANSWERS
    row = {"list_id": 1, "last_label": ANSWERS}
    every = range(1, threads + MERGED + 1)
    writer.put(
        "thread",
        (
            {**row, "id": n, "number": n, "subject": writer.odd(), "merged_into": 1 if n > threads else None}
            | {"created_at": n / 7, "named": n % 3 == 0}
            for n in every
        ),
    )
    writer.put("post", (_post(writer, number) for number in range(1, posts + 1)))
    writer.put("body", ({"post_id": n, "raw": writer.raw(n)} for n in range(1, posts + 1)))
    own = ({"id": n, "list_id": 1, "msgid": msgid.key(name(n)), "post_id": n} for n in range(1, posts + 1))
    writer.put("message_id", own)
    ghosts = ({"list_id": 1, "msgid": f"ti:{n:044x}", "post_id": None} for n in range(500))
    writer.put("message_id", ghosts)
    answers = [n for n in range(1, posts + 1) if (n - 1) % ANSWERS]
    writer.put("reference", ({"post_id": n, "position": 0, "message_id": n - 1, "how": 1} for n in answers))
    writer.put("indexed", ({"post_id": n, "entry": None} for n in range(1, posts + 1)))


def _post(writer: Writer, number: int) -> Mapping[str, object]:
    thread, place = (number - 1) // ANSWERS + 1, (number - 1) % ANSWERS
    title = writer.odd() if number % 3 == 0 else f"Subject {thread}"
    topic = subject.topic(title)
    return {
        "id": number,
        "list_id": 1,
        "thread_id": thread,
        "label": f"{thread}.{place + 1}",
        "parent_id": number - 1 if place else None,
        "message_id": name(number),
        "from_address": ADDRESSES[number % len(ADDRESSES)],
        "from_name": writer.odd(),
        "subject": title,
        "date": NOW - 86400 * 30 + number + 1 / 3,
        "received_at": NOW - 86400 * 30 + number,
        "size": 1000,
        "fingerprint": number.to_bytes(32, "big"),
        "imported": number % 4 == 0,
        "how": 1 if place else 0,
        "named_id": number - 1 if place else None,
        "named_how": 1 if place else 0,
        "base": topic.base,
        "was": topic.was,
    }


def _way_in(writer: Writer) -> None:
    keys = [*ODD, *(f"pmo {number}" for number in range(5000))]
    writer.put("seen", ({"rcpt": key, "digest": bytes([n % 256]) * 20, "at": n / 3} for n, key in enumerate(keys)))
    writer.put("answer", ({"day": 1, "list_id": 1, "key": key, "sent": n} for n, key in enumerate(keys)))
    row = {"list_id": 1, "mail_from": "x@example.org", "reason": "who", "under": ""}
    writer.put(
        "held",
        (
            {**row, "from_address": ADDRESSES[n % 5], "subject": writer.odd(), "message_id": name(n)}
            | {"received_at": NOW - n, "raw": writer.raw(n + 10)}
            for n in range(1000)
        ),
    )
    row = {"list_id": 1, "action": "join", "address": "new@example.org", "mode": "each", "created_at": NOW}
    writer.put("request", ({**row, "name": writer.odd(), "expires_at": NOW + n, "done_at": None} for n in range(100)))
    shunt = {"mail_from": "", "rcpts": "[]", "reason": "KeyError\n\0", "times": 1, "at": NOW, "raw": b"\0\r\xff"}
    writer.put("shunt", ({**shunt, "digest": n.to_bytes(20, "big")} for n in range(50)))


def _queue(writer: Writer, posts: int) -> None:
    row = {"list_id": 1, "kind": "post", "template": "", "data": "{}", "reply_to": "", "mail_from": "", "raw": None}
    ids = range(1, 21)
    writer.put("mailing", ({**row, "id": n, "ref_id": posts - n, "created_at": NOW} for n in ids))
    deliveries = [_delivery(mailing, member) for mailing in ids for member in range(1, 501)]
    writer.put("delivery", ({"id": n, **each} for n, each in enumerate(deliveries, 1)))
    tried = [n for n, each in enumerate(deliveries, 1) if each["attempts"]]
    writer.put("attempt", ({"delivery_id": n, "at": NOW, "enhanced": "4.2.2", "reply": writer.odd()} for n in tried))


def _delivery(mailing: int, member: int) -> dict[str, object]:
    """The first mailing waits for its first attempt, the second for another, the others have been sent."""
    state = {1: "queued", 2: "deferred"}.get(mailing, "sent")
    done = NOW if state == "sent" else None
    times = {"created_at": NOW - 60, "due_at": NOW - 30, "done_at": done}
    who = {"mailing_id": mailing, "member_id": member, "rcpt": f"r{mailing}-{member}@example.org"}
    return {**who, "state": state, "attempts": int(state == "deferred"), **times}


def _bounces(writer: Writer) -> None:
    row = {"list_id": 1, "action": "failed", "enhanced": "5.1.1", "domain": "example.org"}
    writer.put(
        "bounce",
        (
            {**row, "address": ADDRESSES[n % 5], "diagnostic": writer.odd(), "at": n / 3, "cause": str(n % 9)}
            | {"member_id": n % 9 + 1}
            for n in range(5000)
        ),
    )
    row = {"list_id": 1, "state": "failing", "points": 3, "hard": 1, "soft": 0, "first_at": 1.0, "step_at": 1.0}
    row |= {"step": "", "at": 1.0, "enhanced": "5.1.1", "cause": "", "storm_at": 0.0, "due_at": NOW * 2}
    writer.put("failing", ({**row, "member_id": n, "reply": writer.odd()} for n in range(1, 200)))
    row = {"list_id": 1, "domain": "example.org", "members": 3, "since": 1.0}
    writer.put("storm", ({**row, "cause": cause, "reply": cause} for cause in ODD))
    writer.put("bounce_summary", [{"list_id": 1, "until": 1.5, "due_at": NOW * 2}])


def _journal(writer: Writer) -> None:
    row = {"text": "", "code": 250, "message_id": "", "mail_from": "", "peer": "192.0.2.1", "size": 1, "list_id": 1}
    writer.put(
        "event",
        (
            {"mail": f"{number // 4:010}", "at": number / 3, "rcpt": ODD[number % len(ODD)], "what": "post", **row}
            for number in range(20_000)
        ),
    )
    row = {"what": "list set", "list": LIST, "before": "{}", "after": '{"a": "\\u0000"}'}
    writer.put("audit", ({**row, "at": n / 3, "who": "root", "target": writer.odd()} for n in range(2000)))
