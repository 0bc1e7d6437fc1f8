"""What an archive is, by what is in it: names lie, and many archives have none that says anything."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from mailforum.archives import public_inbox
from mailforum.mail import mbox, pipermail

HEAD = 16 * 1024  # bytes of a file that are looked at
FOLDERS = ("maildir", "mh", "public-inbox", "pipermail", "folder")
FILES = ("mbox", *mbox.DIALECTS, "eml", "pipermail", "jsonl")
FORMATS = (*FILES, "maildir", "mh", "public-inbox")

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"LZIP": "lzip",
}
_OF_EXPORT = re.compile(rb'"(?:message_id|raw|raw_base64)" ?:')


def of_file(head: bytes) -> str:
    """Return what a file is that begins so: a name of FORMATS or of a way to pack files, "empty", or ""."""
    packed = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    if packed or head[257:262] == b"ustar":
        return packed or "tar"
    text = head.lstrip(b"\r\n")
    if not text:
        return "empty"
    if text.startswith(mbox.MBOXRD):
        return "mboxrd"
    if pipermail.begins(text):
        return "pipermail"
    if text.startswith(b"{") and _OF_EXPORT.search(text.partition(b"\n")[0]):
        return "jsonl"
    if text.startswith(b"From ") and _is_mbox(text):
        return "mbox"
    if text.startswith(b">From "):  # programs that take a mail out of a mailbox leave its From_ line there
        text = text.partition(b"\n")[2]
    return "eml" if mbox.begins_mail(text) else ""


def _is_mbox(text: bytes) -> bool:
    """Whether a header follows the first line, or that line has a date: an mbox of one mail that is none."""
    line, _, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").partition(b"\n")
    return mbox.is_dated(line) or mbox.begins_mail(rest)


def of_folder(folder: Path) -> str:
    """Return which of FOLDERS a folder is; "folder" is one with files of any kind. Raises OSError."""
    if public_inbox.repositories(folder):
        return "public-inbox"
    if (folder / "cur").is_dir() or (folder / "new").is_dir():
        return "maildir"
    with os.scandir(folder) as entries:
        names = list(islice((entry.name for entry in entries), 1000))
    if ".mh_sequences" in names or (names and all(_of_mh(name) for name in names)):
        return "mh"
    return "pipermail" if any(_of_pipermail(folder / name) for name in names if is_month(name)) else "folder"


def _of_mh(name: str) -> bool:
    """Whether MH would give a file this name; a `,` is before one that was deleted."""
    return name.isdecimal() or name.startswith((",", "."))


def is_month(name: str) -> bool:
    """Say whether a file of this name in Pipermail's folder is an archive of mails."""
    return name.endswith((".txt", ".txt.gz"))


def is_pipermails(name: str) -> bool:
    """Say whether a file of this name in Pipermail's folder is one of its own: an archive, a page, its state."""
    return is_month(name) or name.startswith(".") or name.endswith((".html", ".pck"))


def _of_pipermail(path: Path) -> bool:
    from mailforum.archives import packed

    return path.is_file() and of_file(packed.beginning(path)) == "pipermail"
