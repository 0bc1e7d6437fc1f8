"""Bring the schema up to date while others work: each step in one transaction, by one process; others wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

import psycopg

from mailforum.store.postgres.session import MIGRATING, Session, connect, watch
from mailforum.store.schema import RECORDED, Schema, Step, failed, missing, possible, steps
from mailforum.store.trouble import unavailable

T = TypeVar("T")

LEASE = 30.0  # seconds after which a host that is not heard of counts for none
TRIES = 10  # to get at a table that others work with

# For another's step we wait as long as it takes. For a table, as long as those may wait who then wait for us.
_BEGIN = f"BEGIN; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({MIGRATING}); SET LOCAL lock_timeout = 2000"
# Not by to_regclass, which may remember what was before we had to wait.
_MADE = """
SELECT count(*) FROM pg_class
WHERE relname IN ('list', 'migration') AND relnamespace = to_regnamespace(current_schema())
"""
_FOUND = "SELECT max(number) AS number, max(runs_with) AS runs_with FROM migration"
_OLDEST = "SELECT min(knows) FROM host WHERE seen_at > extract(epoch FROM clock_timestamp()) - {lease}"
_RECORD = """
INSERT INTO migration (number, name, at, runs_with)
VALUES ({number}, '{name}', extract(epoch FROM clock_timestamp()), {runs_with})
"""


def schema(session: Session) -> Schema:
    """Return how far a database is, and who can work with it."""
    made = _number(session, _MADE)
    if made < 2:
        number = RECORDED - 1 if made else 0
        return Schema(number, number)
    result = session.simple(_FOUND)
    return Schema(*(int(result.get_value(0, column) or b"0") for column in (0, 1)))


def look(url: str) -> Schema:
    """Return how far the database at `url` is. Raises Deferred when it cannot be read."""
    return _asked(url, schema)


def bring_up_to_date(url: str, finish: bool, known: Sequence[Step] = ()) -> tuple[Step, ...]:
    """Do as `migrate`. Raises Deferred when the server cannot be used."""
    return _asked(url, lambda session: migrate(session, finish=finish, known=known))


def _asked(url: str, job: Callable[[Session], T]) -> T:
    try:
        with closing(connect(url)) as session:
            return job(session)
    except psycopg.Error as error:
        raise unavailable(error) from error


def migrate(session: Session, *, known: Sequence[Step] = (), finish: bool = False) -> tuple[Step, ...]:
    """Take the steps that are missing.

    `finish`: whoever runs. Returns the steps that have to wait until no older program runs. Raises
    psycopg.Error, and ConfigError when a newer mailforum has gone further than this one can follow, or
    hosts run that know less than they would have to.
    """
    known, tries = known or steps("postgres"), TRIES
    while missing(known, schema(session)):
        watch(session)
        try:
            step, waiting = _next(session, known, finish)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            tries -= 1
            if not tries:
                raise
            continue
        finally:
            session.rollback()
        if step is None:
            return waiting
    return ()


def _next(session: Session, known: Sequence[Step], finish: bool) -> tuple[Step | None, tuple[Step, ...]]:
    """Take the next step that can be taken, if there is one; also return what was missing before."""
    session.simple(_BEGIN)
    found = schema(session)
    todo = missing(known, found)
    now = possible(
        todo, None if finish or found.number < RECORDED else _number(session, _OLDEST.format(lease=LEASE)) or None
    )
    if not now:
        return None, todo
    _take(session, now[0])
    session.commit()
    return now[0], todo


def _take(session: Session, step: Step) -> None:
    try:
        session.simple(step.sql)
    except psycopg.Error as error:
        raise failed(step, error) from None
    if step.number >= RECORDED:
        session.simple(_RECORD.format(number=step.number, name=step.name, runs_with=step.runs_with))


def _number(session: Session, sql: str) -> int:
    return int(session.simple(sql).get_value(0, 0) or b"0")
