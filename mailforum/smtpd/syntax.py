"""The grammar of SMTP: command lines, paths and parameters, replies. Values only, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailforum.errors import Refused
from mailforum.model import Outcome

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PATH = re.compile(r'\s*(<(?>(?:[^">]|"(?>(?:[^"\\]|\\.)*)")*)>|[^<\s]\S*)(?:\s+(.*))?')
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


def reply(code: int, enhanced: str, text: str) -> str:
    """Write a reply line: one line of at most 512 octets (RFC 5321 section 4.5.3.1.5), ASCII, no controls."""
    plain = text
    if not (text.isascii() and text.isprintable()):
        plain = _UNSAYABLE.sub(" ", text).translate(_TYPOGRAPHIC).encode("ascii", "replace").decode()
    return f"{code} {enhanced} {plain[:_TEXT_MAX]}"


def one_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Choose the one answer that SMTP has for all recipients.

    Any 4yz: that one, for the sender then repeats the mail, and what was taken is known as a
    duplicate. Otherwise any 2yz, for at least one list has it. Otherwise the first 5yz.
    """
    ordered = sorted(outcomes, key=lambda outcome: {4: 0, 2: 1}.get(outcome.code // 100, 2))
    return ordered[0]
