"""A database on a PostgreSQL server as an end of a move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from mailforum.errors import ConfigError, UsageError
from mailforum.store.move.ends import Fence
from mailforum.store.move.rows import Row
from mailforum.store.move.tables import Table
from mailforum.store.postgres import migrate
from mailforum.store.postgres.database import look_at_server
from mailforum.store.postgres.dialect import queries
from mailforum.store.postgres.session import MOVING, Session, complete, watch
from mailforum.store.schema import Schema, steps
from mailforum.units import DatabaseUrl

_SET = """
SET lock_timeout = 5000; SET idle_in_transaction_session_timeout = 0; SET maintenance_work_mem = '256MB';
SET TimeZone = 'UTC'; SET statement_timeout = 0; SET default_transaction_isolation = 'read committed';
SELECT set_config(name, '0', FALSE) FROM pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout')
"""
_TYPES = """
SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND connamespace = to_regnamespace(current_schema()) AND conparentid = 0
"""
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
JOIN pg_class ON pg_class.oid = indrelid AND relnamespace = to_regnamespace(current_schema())
WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid) ORDER BY 1
"""
_HOSTS = "SELECT name FROM host WHERE seen_at > extract(epoch FROM clock_timestamp()) - %s"
_BURY = "DELETE FROM host WHERE seen_at <= extract(epoch FROM clock_timestamp()) - %s"
# To those who write it is a database that can only be read.
_BARRED = """
CREATE OR REPLACE FUNCTION barred() RETURNS TRIGGER LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING ERRCODE = '25006', MESSAGE = 'REASON'; END $$
"""
_AS = {"bool": "int4", "json": "text"}  # so that a row is what SQLite has


class ServerEnd:
    """See `End`. To be closed."""

    holds_nul = False

    def __init__(self, url: str) -> None:
        """Raises psycopg.Error, ConfigError for a URL that cannot be read, and UsageError while another move is
        under way."""
        self.name = str(DatabaseUrl(url))
        self._session = Session(psycopg.connect(complete(url), autocommit=True))
        self._connection = self._session.connection
        self._session.simple(_SET)
        watch(self._session)
        try:
            look_at_server(queries(), self._session)
        except ConfigError:
            self.close()
            raise
        try:  # of one that was killed, the server hears a little later
            self.run("SELECT pg_advisory_lock(?)", MOVING)
        except psycopg.errors.LockNotAvailable:
            self.close()
            raise UsageError(f"{self.name}: somebody else moves it just now") from None

    def schema(self) -> Schema:
        return migrate.schema(self._session)

    def make(self, number: int) -> None:
        migrate.migrate(self._session, known=[step for step in steps("postgres") if step.number <= number])

    def has(self, table: str) -> bool:
        return bool(self.run("SELECT to_regclass(?) IS NOT NULL", table)[0][0])

    def served_by(self) -> list[str]:
        return [name for (name,) in self._connection.execute(_HOSTS, [migrate.LEASE])]

    def bar(self, tables: Sequence[Table], reason: str) -> None:
        text = reason.replace("'", "''")
        self.run(_BARRED.replace("REASON", text))
        for table in tables:
            self.run(
                f"CREATE TRIGGER barred BEFORE INSERT OR UPDATE OR DELETE ON {table.name} "
                "FOR EACH STATEMENT EXECUTE FUNCTION barred()"
            )
        self._connection.execute(_BURY, [migrate.LEASE])

    def unbar(self, tables: Sequence[Table]) -> None:
        self.run("DROP FUNCTION IF EXISTS barred() CASCADE")

    def run(self, sql: str, *params: object) -> list[Sequence[Any]]:
        cursor = self._connection.execute((sql.replace("?", "%s") if params else sql).encode(), params or None)
        return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield

    def rows(self, table: Table, after: Sequence[object] | None = None) -> Iterator[Row]:
        types = self._types(table)
        columns = [f"{name}::{_AS.get(type_, type_)}" for name, type_ in types.items()]
        query = f"COPY ({table.select(columns, after).replace('?', '%s')}) TO STDOUT (FORMAT BINARY)"
        with self._connection.cursor().copy(query.encode(), after or None) as copy:
            copy.set_types([_AS.get(type_, type_) for type_ in types.values()])
            yield from copy.rows()

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        types = ["text" if type_ == "json" else type_ for type_ in self._types(table).values()]
        statement = f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN (FORMAT BINARY)"
        with self._connection.cursor().copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _types(self, table: Table) -> dict[str, str]:
        """Return the types of a table's columns, in their order."""
        found = dict(self._connection.execute(_TYPES, [table.name]).fetchall())
        return {column: found[column] for column in table.columns}

    def strip(self) -> list[str]:
        later = []
        for name, statement in self.run(_INDEXES):
            self.run(f"DROP INDEX {name}")
            later.append(statement)
        for table, name, definition in self.run(_FOREIGN_KEYS):
            self.run(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            later.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        return later

    def given(self, tables: Sequence[Table]) -> Mapping[str, int]:
        return {table.name: self._last(table.name) for table in tables if table.numbered}

    def _last(self, table: str) -> int:
        ((sequence,),) = self.run("SELECT pg_get_serial_sequence(?, 'id')", table)  # as it is written in SQL
        return int(self.run(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")[0][0])  # noqa: S608

    def give(self, given: Mapping[str, int]) -> None:
        for name, last in given.items():
            self.run("SELECT setval(pg_get_serial_sequence(?, 'id'), ?, ?)", name, max(last, 1), last > 0)

    def settle(self, fence: Fence) -> None:
        self.run("ANALYZE")

    def dangling(self) -> list[str]:
        return []  # it would not have let them in

    def damage(self) -> list[str]:
        return []

    def close(self) -> None:
        self._session.close()
