"""Reading a file of people who are to become members: CSV with a header, or one address a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from mailforum.mail import address, words
from mailforum.model import Mode, Role

COLUMNS = {
    "address": ("address", "email", "e-mail", "mail", "email address", "e-mail address"),
    "name": ("name", "display name", "display_name", "full name"),
    "role": ("role",),
    "mode": ("mode", "delivery"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One person as the file has them, not yet checked. `role` and `mode` are None where it says nothing.

    `error` says why the line cannot be used; then the rest means nothing.
    """

    line: int
    address: str = ""
    name: str = ""
    role: Role | None = None
    mode: Mode | None = None
    error: str = ""


def read(data: bytes) -> Iterator[Entry]:
    """Yield what each line of a file says; blank lines and lines that begin with `#` are left out.

    The file is CSV (`,`, `;` or tab) if its first line names a column `address` or `email`; columns
    may stand in any order, and others are ignored. Otherwise each line is `a@b.org` or `Name <a@b.org>`.
    """
    text = _decoded(data)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    header = [cell.strip().strip('"').strip().lower() for cell in first.split(delimiter)]
    if any(cell in COLUMNS["address"] for cell in header):
        yield from _table(text, delimiter)
    else:
        yield from _lines(text)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def person(text: str, line: int = 0) -> Entry:
    """Return what `a@b.org` or `Name <a@b.org>` says."""
    mailbox = address.mailbox(text)
    # What is no mailbox is passed on whole: who checks addresses words the complaint.
    return Entry(line, mailbox.address, mailbox.name) if mailbox else Entry(line, text.strip())


def _lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield person(line, number)


def _table(text: str, delimiter: str) -> Iterator[Entry]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    places: dict[str, int] = {}
    start = 1
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Entry(start, error=f"cannot be read as CSV up to line {rows.line_num}: {error}")
        else:
            if not places:
                places = _places(row)
            elif any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#"):
                yield _entry(start, row, places)
        start = rows.line_num + 1


def _places(header: list[str]) -> dict[str, int]:
    """Return which column holds what; of two that could, the first."""
    found: dict[str, int] = {}
    for index, cell in enumerate(header):
        for what, names in COLUMNS.items():
            if cell.strip().lower() in names:
                found.setdefault(what, index)
    return found


def _entry(line: int, row: list[str], places: dict[str, int]) -> Entry:
    def cell(what: str) -> str:
        index = places.get(what, len(row))
        return row[index].strip() if index < len(row) else ""

    role, mode = cell("role").lower(), cell("mode").lower()
    if role and role not in list(Role):
        return Entry(line, error=f"role is {', '.join(Role)}, not `{role}`")
    if mode and mode not in list(Mode):
        return Entry(line, error=f"mode is {', '.join(Mode)}, not `{mode}`")
    entry = person(cell("address"), line)
    name = words.shown(cell("name"), address.MAX_NAME) or entry.name
    return Entry(line, entry.address, name, Role(role) if role else None, Mode(mode) if mode else None)
