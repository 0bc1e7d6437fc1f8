"""Our statements as PostgreSQL has them."""

from __future__ import annotations

import re

from mailforum.store.database import load_queries

# A `:name` in a string or a comment is none, nor is the type of a `::`.
_PARAMETER = re.compile(r"'(?:[^']|'')*'|--[^\n]*|::|%|:(\w+)")


def queries() -> dict[str, str]:
    """Return all statements, with `%(name)s` where our texts have `:name`."""
    return {name: _as_postgres_has_it(statement) for name, statement in load_queries("postgres").items()}


def _as_postgres_has_it(statement: str) -> str:
    return _PARAMETER.sub(_converted, statement.replace("blob(:raw, :size)", ":raw"))


def _converted(found: re.Match[str]) -> str:
    return f"%({found[1]})s" if found[1] else found[0].replace("%", "%%")
