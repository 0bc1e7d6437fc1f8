"""Inboxes made by public-inbox itself, and as it makes them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mailforum.errors import UsageError
from tests.archives.reading import mail, numbers, read

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
with_tools = pytest.mark.skipif(not shutil.which("public-inbox-mda"), reason="public-inbox is not installed")


def run(folder: Path, *command: str, stdin: bytes = b"", **more: str) -> None:
    names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A"}
    environ = os.environ | names | {"GIT_COMMITTER_EMAIL": "a@example.org", "HOME": str(folder)} | more
    subprocess.run(command, input=stdin, env=environ, check=True, capture_output=True, timeout=60, cwd=folder)


def repository(path: Path, *commits: tuple[str, bytes]) -> Path:
    """Make a repository of public-inbox-v2-format(5): each commit has one file."""
    path.mkdir(parents=True)
    run(path, "git", "init", "-q", "--bare", "-b", "master", ".")
    stream = b""
    for number, (name, content) in enumerate(commits):
        stream += b"commit refs/heads/master\ncommitter A <a@example.org> %d +0000\ndata 0\n" % (1420115400 + number)
        stream += b"deleteall\nM 100644 inline %b\ndata %d\n%b\n" % (name.encode(), len(content), content)
    run(path, "git", "fast-import", "--quiet", stdin=stream)
    return path


@with_tools
@pytest.mark.parametrize("version", ["-V2", "-V1"])
def test_an_inbox_that_public_inbox_has_filled_is_read_without_what_was_deleted(tmp_path: Path, version: str) -> None:
    inbox, address = tmp_path / "inbox", "pmo@lists.example.org"
    words = [] if version == "-V1" else [version]
    run(tmp_path, "public-inbox-init", *words, "pmo", str(inbox), "http://example.org/pmo", address)
    run(tmp_path, "git", "config", "--file", ".public-inbox/config", "publicinboxmda.spamcheck", "none")
    for number in (3, 1, 2):
        run(tmp_path, "public-inbox-mda", "--no-precheck", stdin=mail(number), ORIGINAL_RECIPIENT=address)
    run(tmp_path, "public-inbox-learn", "rm", stdin=mail(1))
    found = read(inbox)
    assert numbers(found) == [3, 2]
    assert all(one.received for one in found)


def test_epochs_are_read_in_their_order_and_deleted_mails_are_not(tmp_path: Path) -> None:
    repository(tmp_path / "git" / "2.git", ("m", mail(9)))
    repository(
        tmp_path / "git" / "10.git", ("m", mail(10)), ("d", mail(2)), ("m", mail(11)), ("d", mail(11)), ("m", mail(11))
    )
    repository(tmp_path / "git" / "0.git", ("m", mail(1)), ("m", mail(2)), ("m", mail(3)))
    (tmp_path / "all.git" / "objects" / "info").mkdir(parents=True)
    found = read(tmp_path)
    assert numbers(found) == [1, 3, 9, 10, 11]
    assert [one.received for one in found] == [1420115400.0, 1420115402.0, 1420115400.0, 1420115400.0, 1420115404.0]
    assert numbers(read(tmp_path / "all.git")) == numbers(read(tmp_path / "git")) == [1, 3, 9, 10, 11]
    assert numbers(read(tmp_path / "git" / "0.git")) == [1, 2, 3]


def test_a_clone_that_is_not_bare_is_read_too(tmp_path: Path) -> None:
    bare = repository(tmp_path / "0.git", ("m", mail(1)), ("m", mail(2)))
    run(tmp_path, "git", "clone", "-q", str(bare), "clone")
    assert numbers(read(tmp_path / "clone")) == [1, 2]


def test_more_mails_than_are_asked_for_at_once_come_in_order(tmp_path: Path) -> None:
    repository(
        tmp_path / "0.git", *(("m", mail(number, "x" * (200_000 if number == 70 else 10))) for number in range(200))
    )
    assert numbers(read(tmp_path / "0.git")) == list(range(200))


def test_a_repository_of_something_else_is_refused_in_one_sentence(tmp_path: Path) -> None:
    repository(tmp_path / "code.git", ("README", b"hello"))
    with pytest.raises(UsageError, match="none of public-inbox"):
        read(tmp_path / "code.git")


def test_a_repository_that_git_does_not_read_is_refused_with_what_git_says(tmp_path: Path) -> None:
    repository(tmp_path / "0.git", ("m", mail(1)))
    (tmp_path / "0.git" / "HEAD").write_text("nonsense\n")
    with pytest.raises(UsageError, match="git cannot read"):
        read(tmp_path / "0.git")


def test_what_a_repositorys_configuration_wants_to_run_is_not_run(tmp_path: Path) -> None:
    inbox = repository(tmp_path / "0.git", ("m", mail(1)))
    (inbox / "info" / "attributes").write_text("* diff=evil filter=evil\n")
    trap = f"touch {tmp_path}/trapped"
    with (inbox / "config").open("a") as config:
        config.write(
            f'[diff "evil"]\ntextconv = {trap}\ncommand = {trap}\n[diff]\nexternal = {trap}\n[core]\npager = {trap}\n'
        )
        config.write(f"fsmonitor = {trap}\n[log]\nshowSignature = true\n[gpg]\nprogram = {trap}\n")
    assert numbers(read(inbox)) == [1]
    assert not (tmp_path / "trapped").exists()
