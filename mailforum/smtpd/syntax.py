"""The grammar of SMTP: command lines, paths and parameters, mail data, replies. Values only, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailforum.errors import Deferred, Refused
from mailforum.model import Outcome

_END = b"\r\n.\r\n"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PATH = re.compile(r'\s*(<(?:[^">]|"(?:[^"\\]|\\.)*+")*+>|[^<\s]\S*)(?:\s+(.*))?')
_UNSAYABLE = re.compile(r"[\x00-\x20\x7f]+")
_TYPOGRAPHIC = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})
_TEXT_MAX = 480


def words(line: bytes) -> tuple[str, str]:
    """Split a command line into its verb, in upper case, and its argument.

    Raises Refused 501 for NUL, control bytes (a bare CR, too) and bytes that are no UTF-8.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused("That is not UTF-8", code=501, enhanced="5.5.2") from None
    if not text.isprintable() and _CONTROL.search(text):
        raise Refused("Control characters are not allowed here", code=501, enhanced="5.5.2")
    verb, _, argument = text.partition(" ")
    return verb.upper(), argument.strip(" ")


def split_path(keyword: str, argument: str) -> tuple[str, dict[str, str | None]]:
    """Take `FROM:<path> PARAM=value …` apart; a parameter without `=` has the value None.

    Raises Refused 501. Blanks behind the colon and a missing pair of brackets are tolerated.
    """
    match = _PATH.fullmatch(argument[len(keyword) :])
    if match is None or argument[: len(keyword)].upper() != keyword:
        raise Refused(f"Say {keyword}<address>", code=501, enhanced="5.5.4")
    params: dict[str, str | None] = {}
    for word in (match[2] or "").split():
        name, equals, value = word.partition("=")
        if name.upper() in params:
            raise Refused("A parameter is repeated", code=501, enhanced="5.5.4")
        params[name.upper()] = value if equals else None
    return match[1], params


def no_more(params: dict[str, str | None]) -> None:
    if params:
        raise Refused("There is no such parameter here", code=555, enhanced="5.5.4")


def need_utf8(path: str, utf8: bool) -> None:
    """RFC 6531 section 3.5: such an address is for transactions that said SMTPUTF8."""
    if not path.isascii() and not utf8:
        raise Refused("An address beyond ASCII needs SMTPUTF8", code=553, enhanced="5.6.7")


def no_argument(argument: str) -> None:
    if argument:
        raise Refused("This command takes no argument", code=501, enhanced="5.5.4")


class MailData:
    """Takes a mail's bytes as they come and finds its end: CRLF.CRLF and nothing else.

    Dots are taken off at the end, at once. Memory is bounded by `limit` and one chunk: of a mail
    that is larger, or `discard`ed for another reason, only the last bytes are kept.
    """

    def __init__(self, limit: int) -> None:
        # The CRLF behind "DATA" is the one before a first line: an empty mail is just ".CRLF".
        self._kept = bytearray(b"\r\n")
        self._limit = limit
        self._verdict: Refused | Deferred | None = None
        self.received = 0

    @property
    def kept(self) -> int:
        """How many bytes are held in memory."""
        return len(self._kept)

    def feed(self, chunk: bytes) -> bytes | None:
        """Take a chunk. None: there is more to come; otherwise the bytes that stand behind the end."""
        self.received += len(chunk)
        start = max(0, len(self._kept) - len(_END) + 1)
        self._kept += chunk
        end = self._kept.find(_END, start)
        if end < 0:
            if self._verdict or len(self._kept) > self._limit + len(_END):
                self.discard(Refused("The mail is too large", code=552, enhanced="5.3.4"))
            return None
        rest = bytes(self._kept[end + len(_END) :])
        del self._kept[end + 2 :]
        self.received -= len(rest)
        if len(self._kept) - 2 > self._limit:
            self.discard(Refused("The mail is too large", code=552, enhanced="5.3.4"))
        return rest

    def discard(self, verdict: Refused | Deferred) -> None:
        """Keep nothing of this mail from now on; `content` will raise the first verdict."""
        self._verdict = self._verdict or verdict
        del self._kept[: 1 - len(_END)]

    def content(self) -> bytes:
        """Return the mail with its dots taken off; raises the verdict of a mail that was not kept."""
        if self._verdict:
            raise self._verdict
        if b"\r\n." in self._kept:
            self._kept = self._kept.replace(b"\r\n.", b"\r\n")
        del self._kept[:2]
        return bytes(self._kept)


def reply(code: int, enhanced: str, text: str) -> str:
    """Write a reply line: one line of at most 512 octets (RFC 5321 section 4.5.3.1.5), ASCII, no controls."""
    plain = _UNSAYABLE.sub(" ", text).translate(_TYPOGRAPHIC).encode("ascii", "replace").decode()
    return f"{code} {enhanced} {plain[:_TEXT_MAX]}"


def one_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Choose the one answer that SMTP has for all recipients.

    Any 4yz: that one, for the sender then repeats the mail, and what was taken is known as a
    duplicate. Otherwise any 2yz, for at least one list has it. Otherwise the first 5yz.
    """
    ordered = sorted(outcomes, key=lambda outcome: {4: 0, 2: 1}.get(outcome.code // 100, 2))
    return ordered[0]
