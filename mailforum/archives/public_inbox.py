"""public-inbox: mails as the history of Git repositories, read through git itself.

Version 2 (public-inbox-v2-format(5)) has repositories git/0.git, git/1.git …; each commit has one file, `m`
for a mail that came, or `d` for one that is deleted. Version 1 (public-inbox-v1-format(5)) has one
repository with a file for each mail, under a hash of its Message-ID. An edited mail is there as it was
edited. Git is asked by plumbing commands, which do nothing that a repository's own configuration says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from mailforum.archives.source import Mail, Meter, Reading, size_of, too_large
from mailforum.errors import UsageError
from mailforum.mail import mbox

_AHEAD = 64  # mails that git is asked for before the first is read; all of it fits into a pipe
_DIFF = ("diff-tree", "--stdin", "--root", "-r", "--raw", "--no-renames", "--no-abbrev", "--format=%ct")
_CHANGE = re.compile(rb":\d+ \d+ [0-9a-f]+ ([0-9a-f]+) ([AMDT])\t(.+)\n")
_V1_PATH = re.compile(rb"[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class _Change:
    """What a commit does to a file: `at` is when, in seconds since the epoch, `blob` the file's new content."""

    at: float
    blob: bytes
    status: bytes
    path: bytes

    @property
    def mail(self) -> bytes:
        """What the mail that comes in is known by; b"" if none does."""
        if self.path == b"m":
            return self.blob if self.status != b"D" else b""
        return self.path if _V1_PATH.fullmatch(self.path) and self.status != b"D" else b""

    @property
    def undone(self) -> bytes:
        """The same of a mail that came before and now is deleted or edited."""
        if self.path == b"d":
            return self.blob if self.status != b"D" else b""
        return self.path if _V1_PATH.fullmatch(self.path) and self.status != b"A" else b""


def repositories(folder: Path) -> list[Path]:
    """Return the repositories of an inbox, oldest first; [] where `folder` is none."""
    if folder.name == "all.git" and (folder.parent / "git").is_dir():
        folder = folder.parent
    for place in (folder / "git", folder):
        epochs = [path for path in place.glob("*.git") if path.stem.isdecimal() and _is_repository(path)]
        if epochs:
            return sorted(epochs, key=lambda path: int(path.stem))
    return [folder] if _is_repository(folder) or (folder / ".git").exists() else []


def _is_repository(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir()


def check(folder: Path) -> None:
    """Raise UsageError where an inbox cannot be read: git is not there, says no, or knows other things there."""
    if not shutil.which("git"):
        raise UsageError(f"{folder} is a Git repository; please install git, which reads it")
    for repository in repositories(folder):
        if not all(name in ("m", "d") or len(name) == 2 for name in _names(repository)):
            raise UsageError(f"{repository} is a Git repository, but none of public-inbox")


def _names(repository: Path) -> set[str]:
    return set(_git(repository, "ls-tree", "--name-only", "HEAD").splitlines())


def mails(folder: Path, how: Reading, meter: Meter) -> Iterator[Mail]:
    """Yield the mails of an inbox in the order they came, without those deleted since. Raises UsageError."""
    check(folder)
    found = repositories(folder)
    undone = Counter(change.undone for repository in found for change in _undoing(repository))
    for repository in found:
        yield from _of_repository(repository, undone, meter)


def _of_repository(repository: Path, undone: Counter[bytes], meter: Meter) -> Iterator[Mail]:
    share = size_of(repository) / max(1, int(_git(repository, "rev-list", "--count", "HEAD")))
    before = meter.done
    for number, (change, raw) in enumerate(
        _contents(repository, _mails_of(_changes(repository, "--reverse", "HEAD"), undone)), 1
    ):
        meter.done = before + int(number * share)
        where = f"{repository}: {change.blob.decode()}"
        if raw is None:
            yield Mail(where, b"", fault="Git does not have it.")
        elif change.status == b"D":
            yield Mail(where, b"", left_out="deleted")
        else:
            yield Mail(where, raw, change.at, too_large(len(raw) > mbox.LIMIT))


def _mails_of(changes: Iterator[_Change], undone: Counter[bytes]) -> Iterator[_Change]:
    """Yield the changes by which mails come. `undone` counts what is undone later on."""
    for change in changes:
        if change.undone:
            undone[change.undone] -= 1
        if change.mail and undone.get(change.mail, 0) <= 0:
            yield change


def _undoing(repository: Path) -> Iterator[_Change]:
    """Yield the changes that undo others; in version 2 these are found without looking at all."""
    second = _names(repository) <= {"m", "d"}
    changes = _changes(repository, *(("HEAD", "--", "d") if second else ("HEAD",)))
    return (change for change in changes if change.undone)


def _changes(repository: Path, *which: str) -> Iterator[_Change]:
    """Yield what was changed by the commits `which`. Raises UsageError if git gives up half-way."""
    with ExitStack() as running:
        commits = running.enter_context(_running(repository, "rev-list", *which))
        diff = running.enter_context(_running(repository, *_DIFF, stdin=commits.stdout))
        at = 0.0
        for line in cast(IO[bytes], diff.stdout):
            if change := _CHANGE.fullmatch(line):
                yield _Change(at, *change.groups())
            elif line.strip().isdigit():
                at = float(line)
        if commits.wait() or diff.wait():
            raise UsageError(f"git cannot read all of {repository}; `git fsck` says more")


def _contents(repository: Path, changes: Iterable[_Change]) -> Iterator[tuple[_Change, bytes | None]]:
    """Yield each change with the file's content, None if that is not there: at most a byte more than LIMIT."""
    asked: deque[_Change] = deque()
    with _running(repository, "cat-file", "--batch", stdin=subprocess.PIPE) as git:
        to, answers = cast(IO[bytes], git.stdin), cast(IO[bytes], git.stdout)
        for change in changes:
            to.write(change.blob + b"\n")
            to.flush()
            asked.append(change)
            if len(asked) == _AHEAD:
                yield asked.popleft(), _answer(answers)
        while asked:
            yield asked.popleft(), _answer(answers)


def _answer(answers: IO[bytes]) -> bytes | None:
    """Read `BLOB blob SIZE`, the content and a line end; or `BLOB missing`."""
    words = answers.readline().split()
    if len(words) != 3:
        return None
    left = int(words[2])
    raw = answers.read(min(left, mbox.LIMIT + 1))
    left -= len(raw)
    while left > 0:
        left -= len(answers.read(min(left, 1024**2))) or left
    answers.read(1)
    return raw


def _environment() -> dict[str, str]:
    """Return the environment for git: no repository but ours, nothing fetched, nobody asked."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return ours | {"LC_ALL": "C", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}


@contextmanager
def _running(
    repository: Path, *words: str, stdin: IO[bytes] | int | None = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    command = ["git", "-C", str(repository), *words]
    git = subprocess.Popen(  # noqa: S603
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    )
    try:
        yield git
    finally:
        git.kill()  # it may be that nobody wants the rest
        git.communicate()


def _git(repository: Path, *words: str) -> str:
    """Return what git says. Raises UsageError when it says no, as to a folder that somebody else owns."""
    command = ["git", "-C", str(repository), *words]
    done = subprocess.run(command, capture_output=True, env=_environment(), check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise UsageError(f"git cannot read {repository}: {said[0]}")
    return done.stdout.decode("utf-8", "replace")
