"""The daily digest: when it is due, and which posts are in it.

An issue is cut in one transaction: its number, the posts up to which it goes, and a delivery for
each reader. So a kill leaves either no issue or a whole one, and a post is in exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from mailforum.forum import order
from mailforum.forum.order import ThreadOrder
from mailforum.model import Issue, Kind, MailingList, Mode, Post, Thread
from mailforum.store import lists, posts, queue
from mailforum.store.database import Row, Tx

DAY = 86400.0


def due(tx: Tx, now: float) -> list[MailingList]:
    """Return the lists whose digest is due: something new has come, and their hour after that is past.

    Costs nothing for lists to which nobody has written.
    """
    waiting = [lists.by_id(tx, row["id"]) for row in tx.all("issue.waiting")]
    return [mlist for mlist in waiting if mlist and mlist.settings.digest and _is_due(tx, mlist, now)]


def _is_due(tx: Tx, mlist: MailingList, now: float) -> bool:
    row = tx.one("issue.watermark", list_id=mlist.id)
    return row is not None and row["first_new"] is not None and next_issue(mlist, row, now) <= now


def next_issue(mlist: MailingList, mark: Row, now: float) -> float:
    """Return when the next digest is due: at the list's hour after the last one and the first new post.

    `mark` is the list's row of issue.watermark; without a new post it is as if one came now.
    """
    first_new = now if mark["first_new"] is None else mark["first_new"]
    clock_was_ahead = first_new > now + DAY
    return next_time(mlist, mark["digested_at"] if clock_was_ahead else max(mark["digested_at"], first_new))


def clock_went_back(tx: Tx, now: float) -> None:
    """Let the days of lists go on whose last digest is of a time that has not come yet.

    A clock that was days ahead for a while would silence them for as long. Less than a day is left as it
    is, or a clock that goes back an hour would bring a second digest on the same day.
    """
    tx.run("issue.clock_went_back", now=now, tomorrow=now + DAY)


def cut_if_due(tx: Tx, list_id: int, now: float) -> tuple[Issue, int] | None:
    """Cut the issue that is due, as `cut`; None if somebody else has, or nothing is new."""
    mlist = lists.by_id(tx, list_id)
    return cut(tx, mlist, now) if mlist and _is_due(tx, mlist, now) else None


def next_time(mlist: MailingList, after: float) -> float:
    """Return the first time after `after` that it is the list's own hour in its time zone."""
    zone = ZoneInfo(mlist.settings.timezone)
    moment = datetime.fromtimestamp(after, zone)
    hour = moment.replace(hour=mlist.settings.digest_hour, minute=0, second=0, microsecond=0, fold=0)
    while hour.timestamp() <= after:
        hour = (hour + timedelta(days=1)).replace(tzinfo=zone)
    return hour.timestamp()


def cut(tx: Tx, mlist: MailingList, now: float, to: str = "") -> tuple[Issue, int] | None:
    """Cut an issue of everything since the last one and queue it; return it and how many get it.

    None when there is nothing new. With `to` the issue goes to that address only, and what is in it will be
    in the next issue too.
    """
    row = tx.one("issue.watermark", list_id=mlist.id)
    assert row is not None
    last, count = posts.newest(tx, mlist.id, row["digested_post"])
    if not count:
        return None
    issue = Issue(0, mlist.id, row["last_issue"] + 1, row["digested_post"], last, count, now)
    if to:
        return issue, _queue_to_one(tx, mlist, issue, to, now)
    issue = _keep(tx, issue)
    mailing = queue.add_mailing(
        tx, Kind.DIGEST, list_id=mlist.id, ref_id=issue.id, mail_from=mlist.sub("bounces"), now=now
    )
    queue.fan_out(tx, mailing, [Mode.DIGEST])
    return issue, readers(tx, mlist.id)


def readers(tx: Tx, list_id: int) -> int:
    """Return how many members get a digest."""
    row = tx.one("issue.readers", list_id=list_id)
    return int(row["readers"]) if row else 0


def _keep(tx: Tx, issue: Issue) -> Issue:
    values = {"list_id": issue.list_id, "number": issue.number, "last_post": issue.last_post}
    row = tx.one("issue.add", **values, after_post=issue.after_post, posts=issue.posts, now=issue.created_at)
    assert row is not None
    tx.run("issue.cut", **values, now=issue.created_at)
    return replace(issue, id=row["id"])


def issue(tx: Tx, issue_id: int) -> Issue:
    """Return the issue with that id; LookupError if there is none."""
    row = tx.one("issue.by_id", id=issue_id)
    if row is None:
        raise LookupError(f"issue {issue_id} is gone")
    return Issue(**{field.name: row[field.name] for field in fields(Issue)})


def _queue_to_one(tx: Tx, mlist: MailingList, issue: Issue, to: str, now: float) -> int:
    values = {"number": issue.number, "after_post": issue.after_post, "last_post": issue.last_post}
    mailing = queue.add_mailing(
        tx, Kind.DIGEST, list_id=mlist.id, mail_from=mlist.sub("bounces"), now=now, values=values
    )
    queue.address_to(tx, mailing, to, now)
    return 1


def grouped(tx: Tx, list_id: int, content: Iterable[Post]) -> list[tuple[Thread, list[Post]]]:
    """Put the posts of an issue into their threads, each in reading order, the oldest thread first."""
    by_thread: dict[int, list[Post]] = {}
    for post in content:
        by_thread.setdefault(post.thread, []).append(post)
    found = [thread for number in by_thread if (thread := posts.thread_by_number(tx, list_id, number))]
    return [
        (thread, [post for _, post in order.tree(by_thread[thread.number])])
        for thread in order.threads(found, ThreadOrder.OLDEST)
    ]
