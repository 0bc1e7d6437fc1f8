"""The threads that other programs make of a Maildir.

Each program works on a copy of the mails, with a configuration and a database in a folder of its own;
nothing outside of that folder is read or written. A program that is not installed is None.

How they choose, from their sources:

- notmuch (lib/add-message.cc, lib/thread.cc, 0.37): all ids in In-Reply-To and References join threads, whether
  anybody has sent them or not; whatever stands between `<` and `>` is an id. The parent is the one of In-Reply-To
  if that field is nothing but one id, else the last of References, else the last id of In-Reply-To; if the thread
  has no such mail, the deepest of the mails that References names. Mails with one Message-ID are one mail.
- mu (lib/mu-query-threads.cc, 1.8): JWZ's algorithm over References and, where it is not among these, In-Reply-To,
  without its step by subject. A mail below a lost one is below the lost one's parent. A mail whose Message-ID is
  there already hangs below the first one.
- Dovecot (lib-index/index-thread*.c, 2.3): THREAD=REFS, as RFC 5256 has it, without the step by subject.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.references import tool
from tests.bench.threads.likeness import Forest

DEEPEST = 20_000  # levels of a thread in notmuch's answer

_LINE = re.compile(r"(?P<path>[0-9a-f]+(?::[0-9a-f]+)*)(?::z)? .*/m(?P<number>\d+)\.[^/]*")
_GUID = re.compile(rb"\* (\d+) FETCH [^\r\n]*X-GUID \"?m(\d+)")
_TOKEN = re.compile(rb"[()]|\d+")


def file_name(number: int) -> str:
    """Return the name of a mail in a Maildir, by which all programs tell which one they mean."""
    return f"m{number:09}.bench:2,S"


def _number(path: str) -> int:
    return int(Path(path).name[1:].partition(".")[0])


def _run(folder: Path, *command: str) -> str:
    here = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "LC_ALL": "C.UTF-8"}
    env = {**os.environ, **here, "NOTMUCH_CONFIG": str(folder / "notmuch-config")}
    done = subprocess.run(command, capture_output=True, env=env, check=True, cwd=folder)
    return done.stdout.decode("utf-8", "replace")


def index_with_notmuch(maildir: Path, folder: Path) -> None:
    """Let notmuch index a Maildir; its database goes into `folder`."""
    database = f"[database]\npath={folder / 'notmuch'}\nmail_root={maildir}\n"
    (folder / "notmuch").mkdir()
    (folder / "notmuch-config").write_text(f"{database}[user]\nname=Bench\nprimary_email=bench@example.org\n")
    _run(folder, tool("notmuch"), "new", "--no-hooks", "--quiet")


def notmuch(maildir: Path, folder: Path) -> Forest | None:
    """Return notmuch's threads."""
    if not tool("notmuch"):
        return None
    index_with_notmuch(maildir, folder)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEPEST * 2)
    try:
        options = ["--format=json", "--entire-thread=true", "--body=false", "--exclude=false"]
        shown = json.loads(_run(folder, tool("notmuch"), "show", *options, "*"))
    finally:
        sys.setrecursionlimit(limit)
    threads: dict[int, Hashable] = {}
    parents: dict[int, int | None] = {}
    for thread, number, parent in _nodes(shown):
        threads[number], parents[number] = thread, parent
    return Forest("notmuch", threads, parents)


def _nodes(shown: list[Any]) -> Iterator[tuple[int, int, int | None]]:
    """Yield (thread, mail, parent) from what `notmuch show` says; of files with one Message-ID the first."""
    waiting: list[tuple[int, Any, int | None]] = [
        (thread, node, None) for thread, nodes in enumerate(shown) for node in nodes
    ]
    while waiting:
        thread, (said, replies), parent = waiting.pop()
        numbers = sorted(map(_number, said["filename"])) if said else []
        for number in numbers:
            yield thread, number, parent
        below = numbers[0] if numbers else parent
        waiting += [(thread, reply, below) for reply in replies]


def index_with_mu(maildir: Path, folder: Path) -> None:
    """Let mu index a Maildir; its database goes into `folder`."""
    _run(folder, tool("mu"), "init", f"--muhome={folder / 'mu'}", f"--maildir={maildir}", "--quiet")
    _run(folder, tool("mu"), "index", f"--muhome={folder / 'mu'}", "--quiet")


def mu(maildir: Path, folder: Path) -> Forest | None:
    """Return mu's threads, by the path of each mail in its thread (`03:00:01` is below `03:00`)."""
    if not tool("mu"):
        return None
    index_with_mu(maildir, folder)
    options = ["--threads", "--debug", "--format=plain", "--fields=l"]
    out = _run(folder, tool("mu"), "find", f"--muhome={folder / 'mu'}", *options, "")
    found = [match for line in out.splitlines() if (match := _LINE.fullmatch(line))]
    at = {match["path"]: int(match["number"]) for match in found}
    threads: dict[int, Hashable] = {number: path.partition(":")[0] for path, number in at.items()}
    return Forest("mu", threads, {number: at.get(path.rpartition(":")[0]) for path, number in at.items()})


def dovecot(maildir: Path, folder: Path) -> Forest | None:
    """Return the threads of Dovecot's THREAD=REFS, by its IMAP server on a pipe."""
    imap = Path("/usr/lib/dovecot/imap")
    if not imap.exists():
        return None
    own = folder / "dovecot"
    own.mkdir(mode=0o777)
    names = _said_by_imap(imap, maildir, own, "FETCH 1:* (X-GUID)")
    numbers = {int(position): int(number) for position, number in _GUID.findall(names)}
    said = _said_by_imap(imap, maildir, own, "THREAD REFS UTF-8 ALL")
    answer = next(line for line in said.split(b"\r\n") if line.startswith(b"* THREAD"))
    threads: dict[int, Hashable] = {}
    parents: dict[int, int | None] = {}
    for thread, position, parent in _listed(answer):
        threads[numbers[position]] = thread
        parents[numbers[position]] = numbers[parent] if parent else None
    return Forest("Dovecot", threads, parents)


def _said_by_imap(imap: Path, maildir: Path, own: Path, command: str) -> bytes:
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())  # it does not work for root
    where = f"mail_location = maildir:{maildir}:INDEX={own}:CONTROL={own}\nlog_path = /dev/null\n"
    config = own / "dovecot.conf"
    config.write_text(f"{where}mail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\n")
    for path in (own.parent, own, maildir, *maildir.iterdir()) if os.getuid() == 0 else ():
        os.chown(path, user.pw_uid, user.pw_gid)
    env = {"HOME": str(own), "USER": user.pw_name}
    said: list[bytes] = []
    server = subprocess.Popen(
        [str(imap), "-c", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
    )
    with server:
        assert server.stdin and server.stdout
        server.stdin.write(f"a SELECT INBOX\r\nb {command}\r\n".encode())
        server.stdin.flush()
        # It would stop in the middle of an answer if its input were closed before.
        while (line := server.stdout.readline()) and not line.startswith(b"b "):
            said.append(line)
        server.stdin.write(b"c LOGOUT\r\n")
    assert line.startswith(b"b OK"), f"Dovecot: {line!r}"
    return b"".join(said)


def _listed(answer: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Read RFC 5256's `(1 2 (3)(4 5))((6)(7))`; yield (thread, mail, parent)."""
    thread = 0
    above: int | None = None
    stack: list[int | None] = []
    for token in _TOKEN.findall(answer):
        if token == b"(":
            thread += not stack
            above = above if stack else None
            stack.append(above)
        elif token == b")":
            above = stack.pop()
        else:
            yield thread, int(token), above
            above = int(token)
