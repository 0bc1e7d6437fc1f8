"""What RFC 5321 and 2033 say about a client's bytes, read from the RFCs and not from the server.

A `Model` is told what was sent. It says which replies are allowed next, is told which one came, and
goes on from there: where the RFCs leave the server a choice, the server's answer is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LISTS = ("pmo", "dev")
DOMAIN = "lists.example.test"
LONGEST_LINE = 4096  # what the server takes, and what it reads to find the end of a line
WINDOW = 64 * 1024

_MAIL = re.compile(rb"MAIL FROM:<([a-z]+@example\.(?:org|com))?>((?: (?:SIZE=[0-9]{1,4}|BODY=8BITMIME|BODY=7BIT))?)")
_RCPT = re.compile(rb"RCPT TO:<([a-zA-Z]+)@lists\.example\.test>", re.IGNORECASE)
_NAMED = re.compile(rb"([a-zA-Z]+)@lists\.example\.test>?(?:\s|\Z)", re.IGNORECASE)
_LAST = re.compile(rb"^(?:QUIT|BDAT|GET)", re.IGNORECASE | re.MULTILINE)
_HTTP = {"GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"}
_FIXED = {"NOOP": 250, "HELP": 214, "VRFY": 252, "EXPN": 502, "AUTH": 502, "ETRN": 502, "TURN": 502}
_BAD_PATH = frozenset({250, 501, 552, 553, 555})
_BAD_RCPT = frozenset({250, 501, 550, 553, 555})
_VERDICT = frozenset({250, 550, 552})


@dataclass(frozen=True)
class Next:
    """A reply that is due: which codes it may have, and whether the server closes behind it."""

    codes: frozenset[int]
    closes: bool = False


def _only(code: int, *, closes: bool = False) -> Next:
    return Next(frozenset({code}), closes)


@dataclass
class Model:
    """One dialogue. `taken` has each mail that was accepted: its content, and how many posts it makes.

    That number is None where it was accepted for an address that this model does not understand.
    """

    lmtp: bool
    stream: bytearray = field(default_factory=bytearray)
    over: bool = False
    may_close: bool = False
    taken: list[tuple[bytes, int | None]] = field(default_factory=list)
    at: int = 0
    welcome: bool = True
    hello: str = ""
    encrypted: bool = False
    mail_from: bytes | None = None
    rcpts: list[str] = field(default_factory=list)
    owed: list[str] | None = None  # in DATA: for whom a reply is still to come
    answers: list[int] = field(default_factory=list)

    def sent(self, data: bytes) -> None:
        """Take note of what the client has sent."""
        self.stream += data

    @property
    def waits(self) -> bool:
        """Whether everything sent was answered, to the last byte."""
        return self.next() is None and self.at == len(self.stream)

    @property
    def leaving(self) -> bool:
        """Whether something was said, and not answered yet, that ends a session."""
        return _LAST.search(self.stream, self.at) is not None and self.next() is not None

    def encrypt(self) -> None:
        """Take note that TLS has begun: all that was said is forgotten, and so is what came behind STARTTLS."""
        self.at, self.hello, self.encrypted = len(self.stream), "", True
        self._forget()

    # -- what is due

    def next(self) -> Next | None:
        """Return the reply that is due now; None when it is the client's turn."""
        if self.over:
            return None
        if self.welcome:
            return _only(220)
        if self.owed is not None:
            return self._verdict()
        end = self.stream.find(b"\n", self.at)
        if end < 0 or end - self.at > WINDOW:
            return _only(500, closes=True) if len(self.stream) - self.at > 2 * WINDOW else None
        return self._reply(bytes(self.stream[self.at : end + 1]))

    def _verdict(self) -> Next | None:
        if self._content() is None:
            return None
        return Next(_VERDICT)

    def _content(self) -> bytes | None:
        content, end, _ = (b"\r\n" + self.stream[self.at :]).partition(b"\r\n.\r\n")
        return bytes(content) if end else None

    def _reply(self, line: bytes) -> Next:
        general = _unreadable(line)
        if general:
            return general
        verb, argument = _words(line)
        if verb in _HTTP:
            return _only(421, closes=True)
        if not argument.isascii() and verb not in ("MAIL", "RCPT"):
            return _only(501)
        if verb in ("HELO", "EHLO", "LHLO"):
            return self._greeting(verb, argument)
        if verb in ("MAIL", "RCPT"):
            return self._mail(line[:-2]) if verb == "MAIL" else self._rcpt(line[:-2])
        if verb in ("DATA", "RSET"):
            return _only(501 if argument else self._data() if verb == "DATA" else 250)
        if verb == "STARTTLS":
            return _only(501 if argument else 503 if self.encrypted else 220)
        if verb in ("BDAT", "QUIT"):
            return _only(502 if verb == "BDAT" else 221, closes=True)
        return _only(_FIXED.get(verb, 500))

    def _greeting(self, verb: str, argument: str) -> Next:
        if (verb == "LHLO") != self.lmtp:
            return Next(frozenset({500, 501}))
        return _only(250 if argument else 501)

    def _mail(self, line: bytes) -> Next:
        if not self.hello or self.mail_from is not None:
            return _only(503)
        good = _MAIL.fullmatch(line)
        if good and (not good[2] or self.hello != "HELO"):
            return _only(250)
        return Next(_BAD_PATH)

    def _rcpt(self, line: bytes) -> Next:
        if self.mail_from is None:
            return _only(503)
        good = _RCPT.fullmatch(line)
        if good:
            return _only(250 if good[1].decode().lower() in LISTS else 550)
        return Next(_BAD_RCPT)

    def _data(self) -> int:
        return 354 if self.rcpts else 503

    # -- what was answered

    def answered(self, code: int) -> None:
        """Go on behind the reply that `next` has asked for."""
        due = self.next()
        assert due
        self.may_close = False
        if due.closes:
            self.over = True
        elif self.welcome:
            self.welcome = False
        elif self.owed is not None:
            self._answered_dot(code)
        else:
            self._answered_line(code)

    def _answered_line(self, code: int) -> None:
        end = self.stream.find(b"\n", self.at)
        line = bytes(self.stream[self.at : end + 1])
        self.at = end + 1
        if _unreadable(line):
            return
        verb, _ = _words(line)
        if verb in ("HELO", "EHLO", "LHLO") and code == 250:
            self.hello = verb
            self._forget()
        elif verb == "MAIL" and code == 250:
            self.mail_from = b"" if b"<>" in line else line
        elif verb == "RCPT" and code == 250:
            named = _NAMED.search(line)
            self.rcpts.append(named[1].decode().lower() if named else "")
        elif verb == "RSET" and code == 250:
            self._forget()
        elif verb == "DATA" and code == 354:
            self.owed = list(self.rcpts) if self.lmtp else [""]
        elif verb == "DATA":
            # Where the mail is there already, it must not be taken for commands: the server may end it.
            self.may_close = self.at < len(self.stream)

    def _answered_dot(self, code: int) -> None:
        assert self.owed
        self.answers.append(code)
        if len(self.answers) < len(self.owed):
            return
        content = self._content()
        assert content is not None
        self.at += len(content) + len(b".\r\n")
        posted = {rcpt for rcpt, answer in zip(self.owed, self.answers, strict=True) if answer == 250}
        if posted:
            lists = posted if self.lmtp else set(self.rcpts)
            known = len(lists) if lists <= set(LISTS) else None
            self.taken.append((normal(content + b"\r\n"), known if self.mail_from else 0))  # <> posts nothing
        self.owed, self.answers = None, []
        self._forget()

    def _forget(self) -> None:
        self.mail_from, self.rcpts = None, []


def _unreadable(line: bytes) -> Next | None:
    if len(line) > LONGEST_LINE or not line.endswith(b"\r\n"):
        return _only(500)
    try:
        text = line[:-2].decode()
    except UnicodeDecodeError:
        return _only(501)
    return _only(501) if re.search(r"[\0-\x1f\x7f-\x9f]", text) else None


def _words(line: bytes) -> tuple[str, str]:
    verb, _, argument = line[:-2].decode().partition(" ")
    return verb.upper(), argument.strip(" ")


def normal(content: bytes) -> bytes:
    """Return what a mail is whose content came behind a CRLF: unstuffed, whole line ends, no NUL."""
    lines = content.replace(b"\r\n.", b"\r\n")[2:].replace(b"\0", b"")
    return re.sub(rb"\r\n|\r|\n", b"\r\n", lines) or b"\r\n"
