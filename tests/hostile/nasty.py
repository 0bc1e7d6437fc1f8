"""Mails that nobody should send, each made by a function and known by a name.

`table()` has them all: what goes over the wire behind DATA, dots stuffed, and how the answer begins.
"""

from __future__ import annotations

import re
from functools import cache

from tests.hostile import content, structure, values
from tests.hostile.kinds import Nasty


@cache
def table() -> tuple[Nasty, ...]:
    """Return every nasty mail."""
    groups = (*structure.ALL, *values.ALL, *content.ALL)
    rows = [Nasty(name, answer, _stuffed(raw)) for group in groups for name, answer, raw in group()]
    return (*rows, *(Nasty(name, answer, raw) for name, answer, raw in structure.smuggled()))


def _stuffed(raw: bytes) -> bytes:
    return re.sub(rb"(\A|\r\n)\.", rb"\1..", raw)
