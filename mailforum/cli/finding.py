"""What `mailforum check` finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line: `error` is something that does not work, `warning` something that will surprise."""

    level: Literal["ok", "warning", "error"]
    text: str


Findings = Iterator[Finding]
