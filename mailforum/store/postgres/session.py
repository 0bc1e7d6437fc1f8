"""A connection to the server, with everything set that durability and patience ask for."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Collection, Iterator
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mailforum.errors import ConfigError
from mailforum.store.postgres.statements import Statements, checked

# Advisory locks are numbers. These are those of one site: a database has one.
_SITE = 0x6D61696C_00000000  # what a list-less decision takes alone; + id: a list
_JOB = 0x6D61696D_00000000  # + a hash of its name: a job that one process does
MIGRATING = 0x6D61696E_00000000
# 0x6D61696F_00000000 is that of hosts which come (store/hosts.py).
MOVING = 0x6D616970_00000000  # one move of the database at a time

LEADS = 60_000  # ms; whoever leads asks whether it does more often than that
# The server as well must soon notice that a host was cut off, or stands still in a transaction: others wait for
# the locks that it holds.
_SET = """
SET lock_timeout = {patience}; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 30000;
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 10000; SET TimeZone = 'UTC'; SET standard_conforming_strings = on;
SET mailforum.knows = {knows};
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
# Every statement of ours is meant to go from row to row by an index, as it does in SQLite, which knows no other way.
# A plan that was made while the tables were small must not read all of one when they are large; and it is made once for
# all values, for that takes longer than most statements do (tests/store/test_plans_postgres.py).
_PLANS = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
SET plan_cache_mode = force_generic_plan; SET random_page_cost = 1.1; SET jit = off;
SET max_parallel_workers_per_gather = 0
"""
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_NAMED = ("thread", "post", "mailing")
_IDS = """
SELECT nextval('thread_id_seq'), nextval('post_id_seq'), nextval('mailing_id_seq') FROM generate_series(1, {mails})
"""
_READONLY = "SET default_transaction_read_only = on"

_DEFAULTS = {
    "application_name": "mailforum",
    "connect_timeout": "5",
    "target_session_attrs": "read-write",  # of several servers, the one that is no standby
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",  # ms; a server that was cut off keeps no sender waiting for longer
}


def complete(url: str) -> str:
    """Return a connection string with what the URL leaves open. Raises ConfigError for one that cannot be read."""
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"[store] url: {' '.join(str(error).split())}") from error
    return make_conninfo(**{**_DEFAULTS, **given, "client_encoding": "UTF8"})


_NONE: Iterator[int] = iter(())


def watch(session: Session) -> None:
    """Have the server end a long statement, and let go of its locks, soon after we are gone; not in a transaction."""
    with contextlib.suppress(psycopg.Error):  # where its system has no way to know
        session.simple("SET client_connection_check_interval = 1000")


class Session:
    """One connection, for one thread at a time. Transactions are ours to begin and end."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.pgconn = connection.pgconn
        self.statements = Statements(connection.pgconn)
        self._ids: dict[str, Iterator[int]] = {}
        self.ending = False  # a COMMIT is on its way, and nobody knows yet what becomes of it
        self._cut = False
        self.spent = False  # it is to be replaced when there is nothing under way

    @property
    def lost(self) -> bool:
        """Say whether the connection is broken."""
        return self._cut or self.pgconn.status != pq.ConnStatus.OK

    def failed(self, error: Exception) -> bool:
        """Say whether that was the connection's fault, so that the same can be done on another.

        It is so when it was lost, or has prepared a statement for a table that has changed since. One that cannot
        write any more, since the server has become a standby, is replaced, but another may not be better.
        """
        # libpq does not always know itself that the connection is lost when it has told us so.
        self._cut |= isinstance(error, psycopg.OperationalError) and not error.sqlstate
        outdated = isinstance(error, psycopg.errors.FeatureNotSupported)
        self.spent |= outdated or isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
        return self.lost or outdated

    def simple(self, sql: str) -> pq.abc.PGresult:
        """Run statements without parameters in one round trip; return the last one's result."""
        if self.statements.under_way:
            self.statements.settle()
        return checked(self.pgconn.exec_(sql.encode()))

    def begin(self, lists: Collection[int] | None, mails: int = 0) -> None:
        """Begin a transaction that decides about `lists` (see `Database.write`), waiting for others to have decided.

        For so many `mails` on lists the ids of what mostly comes of one are asked for in the same round trip, so that
        nobody waits for them one by one. That is under the locks: ids of a list are in the order of commits.
        """
        self.statements.forget()
        self._ids = {}
        if lists is not None and not lists:  # nothing to wait for: it goes along with the first statement
            self.statements.begin(_BEGIN)
            return
        asked = [_IDS.format(mails=mails)] if mails and lists else []
        found = self.simple("; ".join([_BEGIN, *_locks(lists), *asked]))
        self._ids = {table: _column(found, number) for number, table in enumerate(_NAMED)} if asked else {}

    def next_id(self, table: str) -> int:
        """Return an id for a new row, of those that were asked for; 0: there is none left."""
        return next(self._ids.get(table, _NONE), 0)

    def snapshot(self) -> None:
        """Begin a transaction that reads one state of everything."""
        self.simple("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.statements.forget()

    def commit(self) -> None:
        """End the transaction; it is on disk when this returns. Raises psycopg.Error."""
        if self.statements.beginning:  # as long as the server has answered nothing, all can be begun anew elsewhere
            self.statements.settle()
        self.ending = True
        try:
            result = self.statements.commit()
        except psycopg.Error as error:
            self.ending = self.lost or not error.sqlstate
            raise
        self.ending = self.lost
        if result.command_status == b"ROLLBACK":  # an error was caught by somebody who went on
            raise psycopg.errors.InFailedSqlTransaction("the transaction was lost before it ended")

    def rollback(self) -> None:
        """Undo what the transaction has done, if there is one; never raises."""
        self.statements.forget()
        with contextlib.suppress(psycopg.Error):
            if self.statements.under_way:
                self.statements.settle()
        with contextlib.suppress(psycopg.Error):
            if not self.lost and self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                self.simple("ROLLBACK")

    def lead(self, job: int) -> bool:
        """Take a lock that is held until the session ends; False if another session has it.

        It also ends when nothing was asked for so long (LEADS): of a host that stands still the connection stays.
        """
        result = self.simple(f"SET idle_session_timeout = {LEADS}; SELECT pg_try_advisory_lock({_JOB + job})")
        return result.get_value(0, 0) == b"t"

    def tear(self) -> None:
        """End the connection for whoever waits at it in another thread; never raises."""
        with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.pgconn.socket)) as own:
            own.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; never raises."""
        self.connection.close()


Met = Callable[[Session], None]


def _column(found: pq.abc.PGresult, number: int) -> Iterator[int]:
    return iter([int(found.get_value(row, number) or b"") for row in range(found.ntuples)])


def _locks(lists: Collection[int] | None) -> list[str]:
    if lists is None:
        return [f"SELECT pg_advisory_xact_lock({_SITE})"]
    return [f"SELECT pg_advisory_xact_lock_shared({_SITE})"] + [
        f"SELECT pg_advisory_xact_lock({_SITE + list_id})" for list_id in sorted(set(lists))
    ]


def connect(
    url: str, patience: float = 5.0, *, readonly: bool = False, knows: int = 0, met: Met = lambda session: None
) -> Session:
    """Open a connection. Raises psycopg.Error, and ConfigError for a URL that cannot be read.

    `patience`: seconds that it waits for another's lock before it raises LockNotAvailable. `knows`: the number of
    the program, for the row of its host. `met` is shown the session before it is set up: its server may never answer.
    """
    session = Session(psycopg.connect(complete(url), autocommit=True))
    met(session)
    session.simple(_SET.format(patience=round(patience * 1000), knows=knows))
    session.simple(f"{_PLANS}; {_READONLY}" if readonly else _PLANS)
    return session
