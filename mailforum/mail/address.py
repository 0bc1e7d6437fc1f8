"""Addresses: read strictly, compared one way, and packed into return paths (VERP).

Who a mail is from decides what it may do. So `mailbox` accepts only what every mail program reads
the same way and answers None for the rest. `mailboxes` is lenient and for showing only.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from mailforum.errors import Refused
from mailforum.mail import words

MAX_LOCAL, MAX_DOMAIN, MAX_ADDRESS = 64, 255, 254  # octets; RFC 5321 section 4.5.3.1, RFC 3696 erratum 1690
MAX_MAILBOXES = 1000
MAX_TOKENS = 20_000  # what hostile headers may cost: some 40 ms
MAX_NAME = 200
MAX_FROM = 20_000  # characters of a field that says who wrote; longer ones say nothing

# RFC 5321 `Atom`, with UTF-8 (RFC 6531). Dots may stand anywhere: the addresses of Japanese phones
# (`bob..b.@…`) have them at the end and in a row.
_ATOMS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\u00a0-\U0010ffff-]+")
_QUOTED = re.compile(r'"(?>(?:[ !#-\[\]-~\u00a0-\U0010ffff]|\\[ -~])*)"')
_LABEL = r"[A-Za-z0-9_\u00a0-\U0010ffff](?>(?:[A-Za-z0-9_\u00a0-\U0010ffff-]*[A-Za-z0-9_\u00a0-\U0010ffff])?)"
_DOMAIN = re.compile(rf"{_LABEL}(?>(?:\.{_LABEL})*)")
_MARK = re.compile(r"[0-9A-Fa-f]{8}")
_LITERAL = re.compile(r"\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]")

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]++)
      | (?P<quoted>"(?>(?:[^"\\]|\\.)*)")
      | (?P<literal>\[[^][\\<>@,;"()]*+\])
      | (?P<encoded>=\?[^?\s<>"@]{1,70}\?[bBqQ]\?[^?\s<>"@]*+\?++=)
      | (?P<special>[<>@,:;])
      | (?P<word>[^][\s<>@,:;"()\\\x00-\x1f\x7f]++)""",
    re.VERBOSE | re.DOTALL,
)
_ADDR_SPECS = [[local, "@", domain] for local in ("word", "quoted") for domain in ("word", "literal")]
_COMMENT_MARK = re.compile(r"[()]|\\.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name, decoded and safe to show (or empty), and an address as it was written."""

    name: str
    address: str


class _Token(NamedTuple):
    """`kind` is quoted, literal, encoded, word, comment, bad, or the special character itself."""

    kind: str
    text: str


def local_of(address: str) -> str:
    """Return what stands before the last @."""
    return address.rpartition("@")[0]


def domain_of(address: str) -> str:
    """Return what stands behind the last @, in lower case; "" when there is none."""
    return address.rpartition("@")[2].lower() if "@" in address else ""


def key(address: str) -> str:
    """Return `address` as addresses are compared: NFC, lower case, the domain as A-labels.

    A quoted local part that needs no quotes loses them (RFC 5321 section 4.1.2). Never raises; nothing
    that is too long to be an address is kept whole.
    """
    # Cut, because sorting combining characters takes quadratic time.
    local, at, domain = _fold(address.strip()[: MAX_ADDRESS * 2]).rpartition("@")
    if local.startswith('"') and _QUOTED.fullmatch(local):
        bare = re.sub(r"\\(.)", r"\1", local[1:-1])
        local = bare if _ATOMS.fullmatch(bare) else local
    return local + at + _a_labels(domain)


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def _a_labels(domain: str) -> str:
    if domain.isascii() or len(domain) > MAX_DOMAIN:
        return domain
    import idna  # 20 ms of start-up that most sites never need

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return domain


def subscriber(text: str, *, special_domains: bool) -> str:
    """Return the address to write to for what a person typed; its domain in ASCII.

    With `special_domains` reserved names pass (example.test, host.local, localhost).
    Raises Refused 553 5.1.3.
    """
    import email_validator  # 60 ms of start-up

    # Reserved names are judged with a label behind them that is not reserved.
    suffix = ".example" if special_domains else ""
    try:
        valid = email_validator.validate_email(
            text.strip()[: MAX_ADDRESS + 10] + suffix, strict=True, check_deliverability=False
        )
    except email_validator.EmailNotValidError as error:
        sentence = "This is not an address that mail can be sent to; it should look like name@example.org"
        raise Refused(sentence, f"address: {error}", code=553, enhanced="5.1.3") from error
    return f"{valid.local_part}@{valid.ascii_domain.removesuffix(suffix)}"


@lru_cache(maxsize=1024)  # what is no address is not kept, so an entry has some hundred bytes at most
def envelope(path: str) -> str:
    """Return the address of an SMTP path (RFC 5321 section 4.1.2), with or without its brackets.

    A source route is dropped; the null sender `<>` is ""; `<Postmaster>` stays without a domain
    (section 4.1.1.3). Raises Refused 501 5.1.3.
    """
    address = path.strip(" \t")
    if address.startswith("<") and address.endswith(">"):
        address = address[1:-1]
    if address.startswith("@"):
        address = address.partition(":")[2] or address
    if not address or address.lower() == "postmaster" or _is_address(address):
        return address
    raise Refused("The address is not well-formed", f"path: {path[:300]!r}", code=501, enhanced="5.1.3")


def _is_address(address: str) -> bool:
    """Say whether `address` is local@domain within the limits of RFC 5321."""
    if len(address) > MAX_ADDRESS or not address.isprintable():
        return False
    local, _, domain = address.rpartition("@")
    return (
        len(address.encode()) <= MAX_ADDRESS
        and len(local.encode()) <= MAX_LOCAL
        and bool(_ATOMS.fullmatch(local) or _QUOTED.fullmatch(local))
        and bool(_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain))
    )


def mailbox(header_value: str) -> Mailbox | None:
    """Read From:, Sender: or Reply-To: strictly: exactly one mailbox (RFC 5322 section 3.4), else None.

    None are groups, two mailboxes, text behind the address, a source route, an encoded word in the
    address, and an unquoted other address as the name: `alice@example.org <bob@example.com>` is
    alice to some programs and bob to others.
    """
    if len(header_value) > MAX_FROM:
        return None
    tokens = list(islice(_tokens(header_value), MAX_NAME + 1))
    if len(tokens) > MAX_NAME or any(token.kind in ("bad", ":", ";") for token in tokens):
        return None
    elements = list(islice((element for element in _split(tokens) if element), 2))
    return _read(elements[0], strict=True) if len(elements) == 1 else None


def mailboxes(header_value: str) -> list[Mailbox]:
    """Read the mailboxes of a header, also those in groups: at most 1,000; what cannot be read is skipped."""
    found = (_read(element, strict=False) for element in _split(islice(_tokens(header_value), MAX_TOKENS)))
    return list(islice((one for one in found if one), MAX_MAILBOXES))


def _tokens(text: str) -> Iterator[_Token]:
    """Cut `text` into tokens in linear time; blanks are left out, comments are tokens.

    What can be read no further, such as an open quote or comment, is one token `bad` to the end:
    trying again behind each quote would take quadratic time.
    """
    at = 0
    while at < len(text):
        if text[at] == "(":
            end = _comment_end(text, at)
            yield _Token("comment" if end else "bad", text[at + 1 : (end or len(text)) - 1])
            at = end or len(text)
        elif match := _TOKEN.match(text, at):
            if match.lastgroup != "blank":
                kind = match[0] if match.lastgroup == "special" else str(match.lastgroup)
                yield _Token(kind, match[0])
            at = match.end()
        else:
            end = len(text) if text[at] == '"' else at + 1
            yield _Token("bad", text[at:end])
            at = end


def _comment_end(text: str, start: int) -> int:
    """Return where the comment that opens at `start` has ended, nested ones within it; 0 if it never does."""
    depth = 0
    for match in _COMMENT_MARK.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return 0


def _split(tokens: Iterator[_Token] | list[_Token]) -> Iterator[list[_Token]]:
    """Yield the tokens between commas; a colon drops what stood before it, the name of a group."""
    element: list[_Token] = []
    for token in tokens:
        if token.kind in (",", ";"):
            yield element
            element = []
        elif token.kind == ":":
            element = []
        else:
            element.append(token)
    yield element


def _read(element: list[_Token], *, strict: bool) -> Mailbox | None:
    """Read one mailbox: `name <addr>` or `addr (name)`."""
    comments = [token.text for token in element if token.kind == "comment"]
    tokens = [token for token in element if token.kind != "comment"]
    kinds = [token.kind for token in tokens]
    if "<" not in kinds:
        return _mailbox(comments[-1:], _address(tokens))
    start = kinds.index("<") + 1
    end = kinds.index(">", start) if ">" in kinds[start:] else len(kinds)
    phrase, address = tokens[: start - 1], _address(tokens[start:end])
    if strict and (end != len(kinds) - 1 or not _is_name(phrase, address)):
        return None
    return _mailbox([_phrase(phrase)] if phrase else comments[-1:], address)


def _mailbox(names: list[str], address: str) -> Mailbox | None:
    return Mailbox(words.shown(" ".join(names), MAX_NAME), address) if address else None


def _is_name(phrase: list[_Token], address: str) -> bool:
    """Say whether the words before `<` are a name; the very address, unquoted, is one too."""
    if all(t.kind in ("word", "quoted", "encoded") or (t.kind == "literal" and ":" not in t.text) for t in phrase):
        return True
    return key("".join(token.text for token in phrase)) == key(address)


def _phrase(tokens: list[_Token]) -> str:
    parts = (re.sub(r"\\(.)", r"\1", t.text[1:-1]) if t.kind == "quoted" else t.text for t in tokens)
    return " ".join(parts).replace(" @ ", "@")


def _address(tokens: list[_Token]) -> str:
    """Return the addr-spec that `tokens` are, or ""."""
    if [token.kind for token in tokens] not in _ADDR_SPECS:
        return ""
    address = "".join(token.text for token in tokens)
    return address if "=?" not in address and _is_address(address) else ""


class Packed(NamedTuple):
    """What a return path names: a recipient, and the mark behind it or ""."""

    address: str
    mark: str


def verp(bounces: str, rcpt: str, mark: str) -> str:
    """Pack `rcpt` and a mark (mail/verp.py) into the return path: pmo-bounces+bob=example.com=MARK@l.org.

    Where that would not be a valid address (a quoted local part, more than 64 octets) it is
    `bounces` as it is.
    """
    local, _, domain = rcpt.rpartition("@")
    packed = f"{local_of(bounces)}+{local}={_a_labels(domain)}={mark}@{domain_of(bounces)}"
    return packed if _ATOMS.fullmatch(local) and _DOMAIN.fullmatch(domain) and _is_address(packed) else bounces


def unverp(detail: str) -> Packed | None:
    """Return what `bob=example.com=MARK` stands for; None if it names nobody. The mark may be missing."""
    head, _, mark = detail.rpartition("=")
    if "=" not in head or not _MARK.fullmatch(mark):
        head, mark = detail, ""
    local, _, domain = head.rpartition("=")
    address = f"{local}@{domain}"
    return Packed(address, mark) if _ATOMS.fullmatch(local) and _is_address(address) else None
