"""A transaction on a PostgreSQL connection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import cast

from mailforum.store.database import Row
from mailforum.store.postgres.session import Session

_INTO = re.compile(r"INSERT INTO (\w+) \((?!id\b)[^()]+\)\s+VALUES \((?!.*\bRETURNING\b)", re.DOTALL)
_HEAD = "SELECT substring(%s FROM 1 FOR %%(size)s::int) AS head FROM %s WHERE %s = %%(id)s"


class PostgresTx:
    """A transaction on one connection (see `Tx`)."""

    def __init__(self, connection: Session, queries: Mapping[str, str]) -> None:
        self.mail = ""
        self._session = connection
        self._statements = connection.statements
        self._queries = queries
        self.anew()  # another unit was here

    def run(self, query: str, /, **params: object) -> int:
        _, result = self._statements.run(self._queries[query], params)
        return result.command_tuples or 0

    def put(self, query: str, /, **params: object) -> None:
        self._statements.put(self._queries[query], params)

    def ahead(self, query: str, /, **params: object) -> None:
        self._statements.ask(self._queries[query], params)

    def anew(self) -> None:
        self._statements.forget()

    def insert(self, query: str, /, **params: object) -> int:
        text = self._queries[query]
        table, with_id = _with_id(text)
        if new := self._session.next_id(table):
            self._statements.put(with_id, params | {"id": new})
            return new
        if "RETURNING" not in text:
            text += "\nRETURNING id"
        call, result = self._statements.run(text, params)
        return next((cast(int, row["id"]) for row in call.rows(result)), 0)

    def many(self, query: str, rows: Iterable[Mapping[str, object]], /) -> None:
        text = self._queries[query]
        for row in rows:
            self._statements.put(text, row)

    def one(self, query: str, /, **params: object) -> Row | None:
        call, result = self._statements.run(self._queries[query], params)
        return next(call.rows(result), None)

    def all(self, query: str, /, **params: object) -> list[Row]:
        call, result = self._statements.run(self._queries[query], params)
        return list(call.rows(result))

    def inline(self, data: bytes, /) -> bytes | None:
        return self._statements.meet(data)

    def fill(self, table: str, column: str, row_id: int, data: bytes, /) -> None:
        pass  # it is there

    def head(self, table: str, column: str, row_id: int, size: int, /) -> bytes:
        call, result = self._statements.run(_HEAD % (column, table, _key(table)), {"size": size, "id": row_id})
        return cast(bytes, next(call.rows(result))["head"])


@cache
def _with_id(text: str) -> tuple[str, str]:
    """Return the table that a row is inserted into, and the statement with an id that is known."""
    table = _INTO.match(text)
    return (table[1] if table else ""), text.replace("(", "(id, ", 1).replace("VALUES (", "VALUES (%(id)s, ", 1)


def _key(table: str) -> str:
    return "post_id" if table == "body" else "id"
