"""Signed tokens, short enough for the local part of an address: confirm, unsubscribe, moderate, reply.

A token is 26 characters of base32: 4 bytes id, 12 bytes HMAC-SHA256 over purpose, id and what it is
bound to (a list, an address, a content hash). Nothing in it has to be kept, it survives relays that
change case, and a token for one thing is worthless for every other. What may be used only once,
or expires, is up to the row that the id names.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mailforum.errors import ConfigError

MIN_KEY = 16  # bytes
# Base32 (RFC 4648 section 6), two letters at once: each mail has a token, and the library's encoder takes 8 µs.
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
_SHIFTS = range(120, -1, -10)
MARK = 8  # digits
_TOKEN = re.compile(r"[a-z2-7]{26}", re.IGNORECASE | re.ASCII)


@dataclass(slots=True, eq=False)
class Signer:
    """Makes and checks tokens. The first key signs, all verify, so keys can be rotated with overlap."""

    keys: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        self.use(self.keys)

    def use(self, keys: tuple[bytes, ...]) -> None:
        """Go on with these keys, for everybody who holds this signer."""
        if not keys or min(map(len, keys)) < MIN_KEY:
            raise ValueError(f"a Signer needs keys of at least {MIN_KEY} bytes")
        self.keys = keys

    def make(self, purpose: str, row_id: int, *bound: str) -> str:
        """Return the token, 26 lower-case characters; `row_id` is 0 to 2**32 - 1, else OverflowError."""
        return _token(self.keys[0], purpose, row_id, bound)

    def peek(self, token: str) -> int | None:
        """Return the id that `token` claims, unproved, or None when it is no token at all."""
        if not _TOKEN.fullmatch(token):
            return None
        return int.from_bytes(base64.b32decode(token.upper() + "======")[:4], "big")

    def check(self, token: str, purpose: str, row_id: int, *bound: str) -> bool:
        """Say whether `token` was made for just this, by any of the keys; the time taken tells nothing."""
        if not _TOKEN.fullmatch(token) or not 0 <= row_id < 2**32:
            return False
        # Compared as text: base32 has two spare bits at the end, so four spellings decode alike.
        given = token.lower()
        matches = [hmac.compare_digest(given, _token(key, purpose, row_id, bound)) for key in self.keys]
        return any(matches)

    def marker(self, purpose: str, *bound: str) -> Callable[[str], str]:
        """Return what makes marks: eight hexadecimal digits bound to all these and to the text given.

        For where a token is too long. A mark costs a microsecond: one is made for every delivery.
        """
        return _marker(self.keys[0], purpose, bound)

    def check_mark(self, mark: str, text: str, purpose: str, *bound: str) -> bool:
        """Say whether `mark` was made for just this, by any of the keys; upper case does no harm."""
        given = mark.lower().encode("utf-8", "replace")
        made = [_marker(key, purpose, bound)(text).encode() for key in self.keys]
        matches = [hmac.compare_digest(given, one) for one in made]
        return any(matches)


def _marker(key: bytes, purpose: str, bound: tuple[str, ...]) -> Callable[[str], str]:
    # BLAKE2 takes a key by itself (RFC 7693), and can go on from where the common part ends.
    begun = hashlib.blake2s(_signed(purpose, b"", bound), key=hashlib.sha256(key).digest(), digest_size=MARK // 2)

    def mark(text: str) -> str:
        ended = begun.copy()
        ended.update(text.encode("utf-8", "surrogatepass"))
        return ended.hexdigest()

    return mark


def _token(key: bytes, purpose: str, row_id: int, bound: tuple[str, ...]) -> str:
    head = row_id.to_bytes(4, "big")
    mac = hmac.digest(key, _signed(purpose, head, bound), "sha256")
    bits = int.from_bytes(head + mac[:12], "big") << 2
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


def _signed(purpose: str, head: bytes, bound: tuple[str, ...]) -> bytes:
    # Each part with its length in front: ("ab", "c") must not sign like ("a", "bc").
    parts = [purpose.encode(), head, *[text.encode("utf-8", "surrogatepass") for text in bound]]
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def load_keys(text: str) -> tuple[bytes, ...]:
    """Read keys, hexadecimal, one a line; blank lines and lines with `#` are skipped.

    Raises ConfigError, which names the line but never quotes it.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            keys.append(_key(line.strip(), number))
    if not keys:
        raise ConfigError("the secret file holds no key")
    return tuple(keys)


def _key(line: str, number: int) -> bytes:
    try:
        key = bytes.fromhex(line)
    except ValueError:
        key = b""
    if len(key) < MIN_KEY:
        raise ConfigError(f"line {number} of the secret file is no key: at least {2 * MIN_KEY} hex digits") from None
    return key


def new_key(random: bytes) -> str:
    """Return the line for the secret file that holds the key `random` (32 random bytes)."""
    if len(random) < MIN_KEY:
        raise ValueError(f"a key needs at least {MIN_KEY} random bytes")
    return random.hex()
