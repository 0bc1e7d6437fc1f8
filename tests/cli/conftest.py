"""A site that does not run, and an admin at its terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import Answer, run_cli, write_config


@dataclass(frozen=True)
class Forum:
    """Commands run in this process, against the configuration in `folder`."""

    folder: Path

    @property
    def config(self) -> str:
        return str(self.folder / "mailforum.toml")

    def run(self, *words: str, code: int = 0) -> Answer:
        """Run a command that ends with `code`; return what it said."""
        answer = run_cli(["--config", self.config, *words])
        assert answer.code == code, answer
        assert "Traceback" not in answer.err
        return answer

    def fails(self, *words: str) -> str:
        """Run a command that cannot be carried out; return its one line of explanation."""
        answer = self.run(*words, code=1)
        assert answer.err.count("\n") == 1, answer
        assert answer.err.startswith("mailforum: ")
        return answer.err.removeprefix("mailforum: ").strip()

    def rows(self, *words: str) -> list[Any]:
        """Run a command with --json; return its objects."""
        return [json.loads(line) for line in self.run(*words, "--json").out.splitlines()]

    def file(self, name: str, content: str | bytes) -> str:
        """Write a file; return its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def mail(self, msgid: str = "a@example.org", *, sender: str = "ada@example.org", more: str = "") -> str:
        """Write a mail to a file; return its path."""
        text = f"From: Ada <{sender}>\nSubject: Hello {msgid}\nMessage-ID: <{msgid}>\n{more}\nHello all.\n"
        return self.file(f"{msgid}.eml", text)

    def post(self, msgid: str = "a@example.org", *, reply_to: str = "") -> None:
        """Post a mail of Ada's to the list pmo."""
        more = f"In-Reply-To: <{reply_to}>\n" if reply_to else ""
        self.run("inject", "--to", "pmo@lists.example.test", self.mail(msgid, more=more))


def as_process(*words: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m mailforum` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mailforum", *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, **environ},
        check=False,
    )


def lines(answer: Answer) -> Sequence[str]:
    """The lines of a table, with single blanks."""
    return [" ".join(line.split()) for line in answer.out.splitlines()]


@pytest.fixture
def forum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forum:
    """A site without lists."""
    monkeypatch.delenv("MAILFORUM_CONFIG", raising=False)
    write_config(tmp_path, "maildir:outbox")
    return Forum(tmp_path)


@pytest.fixture(scope="session")
def pmo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site with the list pmo; Ada and Bob are on it. To be copied."""
    folder = tmp_path_factory.mktemp("pmo")
    write_config(folder, "maildir:outbox")
    made = Forum(folder)
    made.run("list", "create", "pmo", "--title", "PMO circle")
    made.run("member", "add", "pmo", "ada@example.org", "Bob <bob@example.com>", "--no-welcome")
    return folder


@pytest.fixture
def pmo(forum: Forum, pmo_folder: Path) -> Forum:
    """A site with the list pmo; Ada and Bob are on it."""
    shutil.copytree(pmo_folder, forum.folder, dirs_exist_ok=True)
    return forum
