"""The texts that Mailman 2's archiver, Pipermail, has left of mails; made mails again as far as can be.

    From ada at example.org  Thu Jan  1 12:30:00 2015
    From: ada at example.org (Ada Lovell)
    Date: Thu, 01 Jan 2015 12:30:00 +0000
    Subject: Budget
    In-Reply-To: <1@example.org>
    Message-ID: <2@example.org>

Each month is one file, an mbox in which nothing is marked. The addresses are written so that robots do
not find them (` at `, in the list's language: ` en `, ` à `); of the header there are these fields only;
the text is in a charset that is not named, and instead of files it has notes. `Re:` is taken off the subject.
Message-IDs are whole.
"""

from __future__ import annotations

import re
from email.header import Header as EncodedWords
from email.utils import formataddr
from typing import NamedTuple

from mailforum.mail import message, subject, words

FIRST = b"From: "  # how every mail begins

# The word for `at` is one word of the list's language.
_AT = rb"[^\s@]{1,10}"
_BEGINS = re.compile(rb"From \S+ (" + _AT + rb") \S+  +[A-Z][a-z]{2} [^\n]*+\nFrom: \S+ \1 [^\s@]+\.[^\s@]+(?: \(|\n)")
_FROM = re.compile(rb"From: (\S+)(?: (" + _AT + rb") (\S+))?[ \t]*+(?:\(((?:[^\n]|\n[ \t]){0,2000})\))?[ \t]*+\n")
_HIDDEN = re.compile(rb"<((?:mailto:)?[-+=,.\w]++) at ([-\w]++(?>(?:\.[-\w]++)+))>")
_END = re.compile(rb"\n\n")
_SUBJECT = re.compile(rb"^Subject: ([^\n]*+)", re.MULTILINE)
_ANSWERS = re.compile(rb"^(?:In-Reply-To|References): *<", re.MULTILINE)
# "… wrote:", and the quote.
_QUOTES = re.compile(rb":[ \t]*+\n(?:[ \t]*+\n)?> ?[^\n>]")


class Repaired(NamedTuple):
    """A mail, and what had to be done for it."""

    raw: bytes
    what: tuple[str, ...]


def begins(text: bytes) -> bool:
    """Say whether a file that begins so is one of Pipermail's."""
    return _BEGINS.match(text.replace(b"\r\n", b"\n")) is not None


def repair(raw: bytes, charset: str = "windows-1252", to: str = "") -> Repaired:
    """Make a mail of what Pipermail has left of one; never raises.

    `charset` is that of text which is not UTF-8; `to` is the list's address, or "". Without a header
    as Pipermail writes it the mail comes back as it was.
    """
    raw = raw.replace(b"\r\n", b"\n")
    head = _FROM.match(raw)
    if not head:
        return Repaired(raw, ())
    rest = _HIDDEN.sub(rb"<\1@\2>", raw[head.end() :])
    left, right = head.group(1, 3) if head[2] else head[1].rpartition(b"@")[::2]
    hidden = bool(head[2]) or rest != raw[head.end() :]
    author = _author(left, right, head[2] or b"at", head[4] or b"", charset)
    more, guessed = _lost(rest, charset, to)
    marked = _with_re(rest) if hidden else rest
    what = (
        *(["obfuscated addresses"] if hidden else []),
        *(["lost header fields"] if more else []),
        *(["trimmed subjects"] if marked != rest else []),
        *guessed,
    )
    return Repaired(author + more + marked, what)


def _with_re(rest: bytes) -> bytes:
    """Put `Re:` before the subject of what is an answer, by its header or by what it quotes."""
    end = _END.search(rest)
    at = end.start() if end else len(rest)
    found = _SUBJECT.search(rest, 0, at)
    answers = _ANSWERS.search(rest, 0, at) or _QUOTES.search(rest, at)
    if not found or not answers:
        return rest
    title = found[1].decode("utf-8", "replace")
    if subject.is_reply(title) or (title.startswith("[") and subject.is_reply(title.partition("]")[2])):
        return rest
    return rest[: found.start(1)] + b"Re: " + rest[found.start(1) :]


def _author(left: bytes, right: bytes, at: bytes, name: bytes, charset: str) -> bytes:
    """Return the field From, with the name as far as it says more than the address does."""
    address = b"%b@%b" % (left, right)
    text = words.clean(_text(name, charset))
    if not text or not address.isascii() or text.encode() in (address, b"%b %b %b" % (left, at, right)):
        return b"From: %b\n" % address
    plain = address.decode("ascii")
    if text.isascii():
        value = f"{text} <{plain}>" if "=?" in text else formataddr((text, plain))
    else:
        value = f"{EncodedWords(text, 'utf-8', maxlinelen=900).encode()} <{plain}>"
    return message.field("From", value).raw.replace(b"\r\n", b"\n")


def _lost(rest: bytes, charset: str, to: str) -> tuple[bytes, list[str]]:
    """Return the fields that Pipermail has dropped, as far as they can be known, and what was guessed."""
    fields = [f"To: {to}\n"] if to and to.isascii() else []
    end = _END.search(rest)
    body = rest[end.end() :] if end else b""
    known = "iso-2022-jp" if b"\x1b$" in body else "" if body.isascii() else _charset(body, charset)
    if known:
        encoding = "7bit" if body.isascii() else "8bit"
        fields.append(f"MIME-Version: 1.0\nContent-Type: text/plain; charset={known}\n")
        fields.append(f"Content-Transfer-Encoding: {encoding}\n")
    return "".join(fields).encode("ascii"), ["guessed charset"] if known else []


def _charset(body: bytes, charset: str) -> str:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return charset
    return "utf-8"


def _text(data: bytes, charset: str) -> str:
    return words.to_text(data, "utf-8" if _charset(data, "") else charset)
