"""Bring the schema up to date: numbered SQL files, each applied once, each in one transaction, by one process."""

from __future__ import annotations

from mailforum.errors import ConfigError
from mailforum.store.migrate import steps
from mailforum.store.postgres.session import MIGRATING, Session

_BEGIN = """
BEGIN; SELECT pg_advisory_xact_lock({lock});
CREATE TABLE IF NOT EXISTS migration (number BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now());
SELECT coalesce(max(number), 0) FROM migration
"""
_NOTE = "INSERT INTO migration (number) VALUES (%d)"


def version(session: Session) -> int:
    """Return the number of the last migration that was applied; 0 where there is none."""
    there = session.simple("SELECT to_regclass('migration') IS NOT NULL").get_value(0, 0) == b"t"
    return _number(session, "SELECT coalesce(max(number), 0) FROM migration") if there else 0


def migrate(session: Session) -> None:
    """Apply what is missing. Raises psycopg.Error, and ConfigError when a newer mailforum has gone further."""
    known = steps("postgres")
    newest, found = known[-1][0], version(session)
    if found > newest:
        raise ConfigError(f"[store] url: made by a newer mailforum (schema {found}); please upgrade")
    for number, sql in known:
        if number > found:
            _apply(session, number, sql)


def _apply(session: Session, number: int, sql: str) -> None:
    try:
        # Asked again under the lock: another process may have been faster.
        if _number(session, _BEGIN.format(lock=MIGRATING)) < number:
            session.simple(sql)
            session.simple(_NOTE % number)
        session.commit()
    finally:
        session.rollback()


def _number(session: Session, sql: str) -> int:
    return int(session.simple(sql).get_value(0, 0) or b"0")
