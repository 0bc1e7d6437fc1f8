"""What is exported, read with programs that are not ours: every mail comes back with the bytes it was taken in with.

In an mbox and a Maildir lines end with LF, as is the custom there. In an mbox, lines `From ` have a `>` before
them, which none of these programs takes off: the tests do, by the rule of mboxrd.
"""

from __future__ import annotations

import mailbox
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailforum.mail.message import normalise
from tests.support import archive as made_up
from tests.support.lone import House

needs_mutt = pytest.mark.skipif(
    not (shutil.which("mutt") and shutil.which("script")), reason="NOT TESTED with mutt: it is not installed"
)
needs_notmuch = pytest.mark.skipif(not shutil.which("notmuch"), reason="NOT TESTED with notmuch: it is not installed")

_FIELDS = b"From: Ada <ada@example.org>\nMessage-ID: <%d@example.org>\nSubject: %d\n"
BODIES = [
    b"\n",
    b"\n\n",
    b"\n\n\n\n",
    b"\nno line end",
    b"\nText\n\n\n\n",
    b"\nFrom here on\n>From there\n>>From nowhere\n > From\nFrom\nFrom \n",
    b"\nFrom ada@example.org Thu Jan  1 12:30:00 2015\nSubject: not a mail\n\ntext\n",
    b"\n\nFrom ada@example.org Thu Jan  1 12:30:00 2015\n\n",
    b"Status: RO\nX-Status: A\nLines: 400\nX-Keywords: seen\n\nText\n",
    b"Content-Length: 5\n\nText\n",
    b"Content-Length: 4\n\nText\n",
    b"Content-Length: 3\n\nText, and more of it\n",
    b"Content-Length: 70\n\nText\n",
    b"Content-Length: 99999999999\n\nText\n",
    b"Content-Length: -1\n\nText\n",
    b"X-Bytes: \xff\xfe \xc3\xa9\n\n\x80\xff\x01\x1a\x0c\x0b\x7f \xe2\x80\xa8 \xc2\x85 From \n",
    b"X-Long: " + b"y" * 20_000 + b"\n\n" + b"x" * 100_000 + b"\n" + b" " * 10_000 + b"\n",
    b"X-Folded: a\n\tb\n  c\n \n\nText\n",
    b"\nold\rline\rends\r",
    b"\n.\n..\n. \n",
]
WHOLE = [_FIELDS % (number, number) + body for number, body in enumerate(BODIES)]
# Mails that have no whole header, or that lie about their length: a reader may see something else in them.
BROKEN = [
    b"From: Ada <ada@example.org>\nSubject: no end\n",
    b"junk\nFrom: Ada <ada@example.org>\nSubject: junk first\n\nText\n",
    b"From: Ada <ada@example.org>\njunk\nSubject: junk within\n\nText\n",
    b"From ada@example.org Thu Jan  1 12:30:00 2015\nFrom: Ada <ada@example.org>\nSubject: from an mbox\n\nText\n",
    b">From ada@example.org Thu Jan  1 12:30:00 2015\nFrom: Ada <ada@example.org>\nSubject: once more\n\nText\n",
    b"From: Ada <ada@example.org>\nContent-Length: 0\nSubject: nothing\n\nText\n",
    b"From: Ada <ada@example.org>\nContent-Length: 4\nSubject: two\n\n"
    b"Text From b@example.org Thu Jan  1 12:30:00 2015\nSubject: forged\n\nText\n",
]
LETTERS = list({letter.raw: letter for letter in made_up.letters(30, seed=12)})


def as_file(mails: list[bytes]) -> list[bytes]:
    """Return mails as they are in a file, in a fixed order."""
    return sorted(normalise(raw).replace(b"\r\n", b"\n") for raw in mails)


def unquoted(raw: bytes) -> bytes:
    return re.sub(rb"(?m)^>(?=>*From )", b"", raw)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def exported(house: House, name: str, mails: list[bytes]) -> Path:
    house.take_in(*mails)
    house.run("export", "pmo", f"{house.folder}/{name}")
    return house.folder / name


def test_python_reads_an_mbox_byte_by_byte(house: House) -> None:
    box = mailbox.mbox(exported(house, "out.mbox", [*WHOLE, *BROKEN, *LETTERS]))
    assert sorted(unquoted(box.get_bytes(key)) for key in box.iterkeys()) == as_file([*WHOLE, *BROKEN, *LETTERS])
    box.close()


def test_python_reads_a_maildir_byte_by_byte(house: House) -> None:
    box = mailbox.Maildir(exported(house, "out/", [*WHOLE, *BROKEN, *LETTERS]), factory=None)
    assert sorted(box.get_bytes(key) for key in box.iterkeys()) == as_file([*WHOLE, *BROKEN, *LETTERS])
    assert {message.get_flags() for message in box} == {"S"}


def mutt(folder: Path, box: Path) -> list[bytes]:
    """Return what mutt finds in a mailbox: it gives each mail to a program, as with the key `|`."""
    program, found = folder / "keep", folder / "found"
    found.mkdir()
    program.write_text(f'#!/bin/sh\ncat >"$(mktemp "{found}/XXXXXXXX")"\n')
    program.chmod(0o700)
    config = 'set pipe_split=yes pipe_decode=no pipe_sep="" quit=yes wait_key=no move=no'
    keys = f'push "<tag-pattern>~A<enter><tag-prefix><pipe-message>{program}<enter><exit>"'
    # Mutt wants a terminal; `script` is one.
    command = f"mutt -n -F /dev/null -R -f {box} -e '{config}' -e '{keys}'"
    environment = os.environ | {"TERM": "xterm", "LC_ALL": "C"}
    subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        check=True, capture_output=True, timeout=60, input=b"", env=environment,
    )  # fmt: skip
    return [file.read_bytes() for file in found.iterdir()]


@needs_mutt
def test_mutt_reads_an_mbox_byte_by_byte(house: House) -> None:
    seen = mutt(house.folder, exported(house, "out.mbox", [*WHOLE, *LETTERS]))
    assert all(raw.startswith(b"From ") for raw in seen)
    assert sorted(unquoted(raw.partition(b"\n")[2]) for raw in seen) == as_file([*WHOLE, *LETTERS])


@needs_mutt
def test_mutt_reads_a_maildir_byte_by_byte(house: House) -> None:
    liars = [raw for raw in BROKEN if b"Content-Length" in raw]
    seen = mutt(house.folder, exported(house, "out/", [*WHOLE, *LETTERS, *liars]))
    assert sorted(seen) == as_file([*WHOLE, *LETTERS, *liars])


def notmuch(folder: Path, *words: str) -> bytes:
    """Run notmuch on the mail in `folder`."""
    config = folder.parent / "notmuch.cfg"
    config.write_text(f"[database]\npath={folder}\n[user]\nprimary_email=ada@example.org\n[search]\nexclude_tags=\n")
    environment = os.environ | {"NOTMUCH_CONFIG": str(config)}
    return subprocess.run(["notmuch", *words], check=True, capture_output=True, timeout=60, env=environment).stdout


@needs_notmuch
def test_notmuch_reads_a_maildir_byte_by_byte(house: House) -> None:
    box = exported(house, "out/", [*WHOLE, *LETTERS])
    notmuch(box, "new", "--quiet")
    files = [Path(os.fsdecode(file)) for file in notmuch(box, "search", "--output=files", "*").splitlines()]
    assert sorted(file.read_bytes() for file in files) == as_file([*WHOLE, *LETTERS])
    for number, raw in enumerate(WHOLE):
        assert [notmuch(box, "show", "--format=raw", f"id:{number}@example.org")] == as_file([raw])


@needs_notmuch
def test_notmuch_reads_an_mbox_of_one_mail(house: House) -> None:
    house.take_in(WHOLE[5], WHOLE[1])
    (house.folder / "mail").mkdir()
    path = house.folder / "mail" / "one.mbox"
    house.run("export", "pmo", path, "--thread", "1")
    notmuch(path.parent, "new", "--quiet")
    seen = notmuch(path.parent, "show", "--format=raw", "id:5@example.org")
    assert [unquoted(seen.partition(b"\n")[2]).removesuffix(b"\n")] == as_file([WHOLE[5]])
