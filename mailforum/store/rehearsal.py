"""A copy of what a list's threads are made of, to try something on: nobody waits for it, and it goes when the
connection is closed.

In both databases a name means a temporary table before any other. So what a statement does to `post`, it does to the
copy.
"""

from __future__ import annotations

import re
import sqlite3

# The rows of list number {id}; `own` is a post of it.
_ROWS = {
    "list": "id = {id}",
    "thread": "list_id = {id}",
    "post": "list_id = {id}",
    "message_id": "list_id = {id}",
    "reference": "post_id IN (SELECT own.id FROM {post} AS own WHERE own.list_id = {id})",
}
_VIEWS = ("listed_post", "listed_thread", "stance", "tie")
_NEW = 2**61  # ids of what is new in the copy
# A view means the tables that had the names when it was made.
_AS_VIEWED = """
DO $do$ DECLARE
    made TEXT[] := ARRAY(
        SELECT format('CREATE TEMPORARY VIEW %I AS %s', relname, pg_get_viewdef(oid)) FROM pg_class
        WHERE oid IN (SELECT CAST(name AS REGCLASS) FROM unnest(CAST('{{{views}}}' AS TEXT[])) AS name) ORDER BY oid);
    one TEXT;
BEGIN
    {named};
    FOREACH one IN ARRAY made LOOP EXECUTE one; END LOOP;
END $do$
"""


def on_server(list_id: int) -> str:
    """Return what makes the copy on PostgreSQL, at the beginning of a transaction that then can change nothing else."""
    made = [
        f"CREATE TEMPORARY TABLE own_{name} (LIKE {name} INCLUDING ALL EXCLUDING GENERATED);"  # noqa: S608
        f"INSERT INTO own_{name} SELECT * FROM {name} WHERE {rows.format(id=list_id, post='post')}"
        for name, rows in _ROWS.items()
    ]
    ids = [f"ALTER TABLE own_{name} ALTER COLUMN id RESTART WITH {_NEW}" for name in _ROWS if name != "reference"]
    named = "; ".join(f"ALTER TABLE own_{name} RENAME TO {name}" for name in _ROWS)
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    return "; ".join(
        [begin, *made, *ids, _AS_VIEWED.format(views=",".join(_VIEWS), named=named), "SET TRANSACTION READ ONLY"]
    )


def in_file(connection: sqlite3.Connection, list_id: int) -> None:
    """Make the copy on a connection to a file."""
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("PRAGMA temp_store=FILE")  # the list may have a million posts
    connection.execute("BEGIN")
    made = "SELECT type, sql FROM main.sqlite_master WHERE sql <> '' AND (type = 'view' OR tbl_name IN (?, ?, ?, ?, ?))"
    for kind, text in connection.execute(f"{made} ORDER BY type DESC", list(_ROWS)).fetchall():
        connection.execute(re.sub(rf"^(CREATE (?:UNIQUE )?{kind} )", r"\1temp.", text, flags=re.IGNORECASE))
    for name, rows in _ROWS.items():
        columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({name})"))
        which = rows.format(id=list_id, post="main.post")
        connection.execute(f"INSERT INTO temp.{name} ({columns}) SELECT {columns} FROM main.{name} WHERE {which}")  # noqa: S608
