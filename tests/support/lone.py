"""A list in a folder, without a server: for what is done on the command line only.

house = House(tmp_path)
house.take_in(mail)
house.run("export", "pmo", tmp_path / "pmo.mbox")
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import archive as made_up
from tests.support.site import Answer, run_cli, write_config

RECEIVED = 1_700_000_000


class House:
    """A list in a folder, and its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._config = folder, str(write_config(folder, "maildir:out"))
        self.run("list", "create", "pmo")

    def run(self, *words: str | Path, code: int = 0) -> Answer:
        """Run a command; AssertionError if it does not end with `code`."""
        answer = run_cli(["--config", self._config, *map(str, words)])
        assert answer.code == code, answer
        return answer

    def take_in(self, *mails: bytes) -> None:
        """Make posts of mails as they are, each received a second after the one before."""
        inbox = self.folder / "in" / "new"
        inbox.mkdir(parents=True, exist_ok=True)
        for number, raw in enumerate(mails):
            (inbox / f"{RECEIVED + number}.{number}.test").write_bytes(raw)
        said = json.loads(self.run("import", "pmo", inbox.parent, "--json").out)
        assert (said["imported"] + said["duplicates"], said["bad"]) == (len(list(inbox.iterdir())), 0), said

    def fill(self, count: int = 60) -> None:
        """Make posts of an archive as they really are."""
        path = self.folder / "old.mbox"
        path.write_bytes(made_up.mbox(made_up.letters(count, seed=8)))
        self.run("import", "pmo", path)
