"""What the demo looks like: headings, lines and marks, in colour where that is wanted."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from mailforum import log
from mailforum.cli.common import safe_text, text_width

_BOLD, _DIM, _RED, _GREEN = "1", "2", "31", "32"


class Screen:
    """Writes to `out`; every line is flushed, so that it can be watched through a pipe too."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._colour = self._out.isatty() and "NO_COLOR" not in os.environ
        self._step = 0

    def _paint(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour and text else text

    def line(self, text: str = "") -> None:
        """Write a line."""
        print(text, file=self._out, flush=True)

    def title(self, text: str) -> None:
        """Write the demo's own name."""
        self.line(self._paint(_BOLD, text))

    def heading(self, text: str) -> None:
        """Begin the next step of the show; steps are numbered."""
        self._step += 1
        self.line()
        self.line(self._paint(_BOLD, f"{self._step}. {text}"))

    def row(self, *cells: tuple[str, int]) -> None:
        """Write cells of (text, columns) beside each other; a cell that is too long pushes the next."""
        self.line("   " + "  ".join(text + " " * (columns - text_width(text)) for text, columns in cells).rstrip())

    def remark(self, text: str) -> None:
        """Write what is said beside."""
        self.line("   " + self._paint(_DIM, text))

    def quote(self, lines: Sequence[str], most: int, rest: str) -> None:
        """Show the first `most` lines of a mail; if there are more, `rest` says where they stand."""
        for line in lines[:most]:
            self.line((self._paint(_DIM, "   | ") + safe_text(line)).rstrip())
        if len(lines) > most:
            rest = f"… {len(lines) - most} more lines; {rest}"
        self.remark(rest)

    def finding(self, good: bool, text: str) -> None:
        """Write whether something is as it should be."""
        mark = self._paint(_GREEN, "ok ") if good else self._paint(_RED, "WRONG")
        self.line(f"   {mark} {text}")

    def log_handler(self) -> logging.Handler:
        """Return a handler that shows the lines of a log."""
        handler = logging.StreamHandler(self._out)
        handler.setFormatter(log.Lines("   " + self._paint(_DIM, "%(message)s")))
        return handler
