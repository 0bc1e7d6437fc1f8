"""DKIM: what leaves is signed as the list's domain (RFC 6376, RFC 8301, RFC 8463).

Readers' mails of one mailing differ in a few header fields only (To, List-Unsubscribe). So the body
is hashed once, the fields that all have in common are hashed once, and each mail costs a copy of
that hash and one signature a key. RSA is what takes the time; `cryptography` lets go of the
interpreter lock meanwhile, so a caller may sign in threads: a `Signing` never changes.

Canonical form is relaxed/relaxed: relays that trim blanks or fold lines do no harm.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mailforum.errors import ConfigError

# RFC 6376 section 5.4.1, without the Resent- fields and whatever relays add or change; List-* as well.
SIGNED = frozenset(
    b"from to cc subject date message-id in-reply-to references reply-to sender mime-version"
    b" content-type content-transfer-encoding".split()
)
PIECE = 1024 * 1024
SMALLEST_RSA = 1024  # RFC 8301 section 3.2: signers MUST use at least that, SHOULD use 2048

_FOLD = re.compile(rb"\r\n(?=[ \t])")
_LABELS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
_Private = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Key:
    """A private key and the name under which DNS has its public half: `selector._domainkey.domain`."""

    domain: str
    selector: str
    private: _Private

    @property
    def algorithm(self) -> str:
        """The `a=` tag: `rsa-sha256` or `ed25519-sha256`."""
        return "rsa-sha256" if isinstance(self.private, rsa.RSAPrivateKey) else "ed25519-sha256"

    @property
    def txt(self) -> str:
        """The text of the DNS record with the public key (RFC 6376 section 3.6.1, RFC 8463 section 4)."""
        return _public_text(self.private)

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest. Ed25519 signs the digest as its message (RFC 8463 section 3)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        return self.private.sign(digest)


def load_key(pem: bytes, domain: str, selector: str) -> Key:
    """Read a private key, RSA or Ed25519, from PEM without a passphrase.

    Raises ConfigError for any other key, for RSA below 1,024 bits, and for a domain or selector
    that cannot stand in DNS.
    """
    for name, value in (("domain", domain), ("selector", selector)):
        if not _LABELS.fullmatch(value):
            raise ConfigError(f"DKIM {name} `{value}`: write it as in DNS, with letters, digits, - and .")
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ConfigError("the DKIM key has a passphrase; mailforum needs it without one") from error
    except Exception as error:  # ValueError, UnsupportedAlgorithm, and what OpenSSL thinks of next
        raise ConfigError(f"the DKIM key cannot be read as a private key in PEM: {error}") from error
    if not isinstance(private, _Private):
        raise ConfigError("the DKIM key is neither RSA nor Ed25519")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < SMALLEST_RSA:
        raise ConfigError(f"the DKIM key has {private.key_size} bits; receivers want 1,024, better 2,048")
    return Key(domain.lower(), selector, private)


def new_key(kind: str) -> tuple[bytes, str]:
    """Make a key, `rsa` (2,048 bits) or `ed25519`: the private half as PEM, the DNS record's text."""
    private: _Private
    if kind == "rsa":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        raise ValueError(f"a DKIM key is rsa or ed25519, not {kind}")
    return private.private_bytes(*_PRIVATE), _public_text(private)


def dns_record(selector: str, domain: str, txt: str) -> str:
    """Write `txt` (from `new_key` or `Key.txt`) as a line for a zone file.

    A string in a TXT record holds at most 255 octets (RFC 1035 section 3.3.14); receivers join them.
    """
    strings = " ".join(f'"{txt[i : i + 255]}"' for i in range(0, len(txt), 255))
    return f"{selector}._domainkey.{domain}. IN TXT ( {strings} )"


def verifies(mail: bytes, record: bytes) -> bool:
    """Say whether a receiver who finds `record` in DNS accepts the topmost signature of `mail`.

    dkimpy is the judge, so that what we make is not only measured by ourselves.
    """
    import dkim

    return bool(dkim.verify(mail, dnsfunc=lambda name, timeout=5: record))  # type: ignore[no-untyped-call]


def _public_text(private: _Private) -> str:
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        kind = "rsa"
        raw = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, raw = "ed25519", public.public_bytes_raw()
    return f"v=DKIM1; k={kind}; p={base64.b64encode(raw).decode()}"


class Signing:
    """All signatures of one mailing.

    `headers` are the fields that every reader's mail has, each with its CRLF, without the blank line;
    `body` is what follows the blank line. Both have CRLF lines only.
    """

    def __init__(self, keys: Sequence[Key], headers: bytes, body: bytes) -> None:
        common = _signable(headers)
        self._keys = tuple(keys)
        self._names = tuple([name for name, _ in common])
        self._state = hashlib.sha256(_canonical(common))
        self._body_hash = base64.b64encode(_body_hash(body))
        # What stands in a signature before its b=, as written and as signed: all readers have the same names.
        self._tags: dict[tuple[tuple[bytes, ...], int], list[tuple[bytes, bytes]]] = {}

    @property
    def slow(self) -> bool:
        """Whether a signature takes a millisecond, as RSA does, and not a fraction of one."""
        return any(isinstance(key.private, rsa.RSAPrivateKey) for key in self._keys)

    def sign(self, personal: bytes, now: float) -> bytes:
        """Return a DKIM-Signature field for each key, for the mail `signature + personal + headers`.

        `personal` are this reader's own fields, each with its CRLF; they stand above the common ones,
        where RFC 6376 section 5.4.2 counts fields of one name from the bottom. `now` (seconds since the
        epoch) becomes `t=`; the same input gives the same bytes.
        """
        own = _signable(personal)
        names = tuple([name for name, _ in own])
        tags = self._tags.get((names, int(now))) or self._make_tags(names, int(now))
        state = self._state.copy()
        state.update(_canonical(own))
        return b"".join([_field(key, *one, state.copy()) for key, one in zip(self._keys, tags, strict=True)])

    def _make_tags(self, own: tuple[bytes, ...], now: int) -> list[tuple[bytes, bytes]]:
        # From once more than it is there (RFC 6376 section 8.15): nobody can put another one on top.
        names = _folded_names([*self._names, *own, b"from"])
        values = [
            b" v=1; a=%s; c=relaxed/relaxed; d=%s;\r\n\ts=%s; t=%d;\r\n\th=%s;\r\n\tbh=%s;\r\n\tb="
            % (key.algorithm.encode(), key.domain.encode(), key.selector.encode(), now, names, self._body_hash)
            for key in self._keys
        ]
        tags = [(value, b"dkim-signature:" + _relaxed_value(_FOLD.sub(b"", value))) for value in values]
        self._tags = {(own, now): tags}
        return tags


def _field(key: Key, written: bytes, signed: bytes, state: hashlib._Hash) -> bytes:
    """Sign what `state` has seen and the signature's own tags."""
    state.update(signed)
    signature = base64.b64encode(key.sign(state.digest()))
    lines = [signature[i : i + 70] for i in range(0, len(signature), 70)]
    return b"DKIM-Signature:" + written + b"\r\n\t ".join(lines) + b"\r\n"


def _body_hash(body: bytes) -> bytes:
    """Hash the body in relaxed form a piece at a time: of 25 MiB there are no further copies."""
    state = hashlib.sha256()
    start, empty = 0, 0  # empty lines that count only if something follows
    while start < len(body):
        end = body.find(b"\r\n", start + PIECE) + 2
        piece = body[start : end if end > 1 else len(body)]
        start += len(piece)
        relaxed = relaxed_body(piece)
        if relaxed:
            state.update(b"\r\n" * empty + relaxed)
            empty = 0
            piece = piece[len(piece.rstrip(b"\r\n \t")) :].partition(b"\r\n")[2]
        empty += piece.count(b"\r\n")
    return state.digest()


def relaxed_body(body: bytes) -> bytes:
    """Return the body in relaxed form (RFC 6376 section 3.4.4). Lines end with CRLF; linear time."""
    text = body.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    # A last line without CRLF gets one on its way, so it is signed with one.
    text = (text + b"\r\n").replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return text + b"\r\n" if text else b""


def relaxed_fields(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each field of a header block as name and value in relaxed form (RFC 6376 section 3.4.2)."""
    for line in _FOLD.sub(b"", block).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name.lower().rstrip(b" \t"), _relaxed_value(value)


def _relaxed_value(value: bytes) -> bytes:
    return b" ".join(filter(None, value.replace(b"\t", b" ").split(b" ")))


def _signable(block: bytes) -> list[tuple[bytes, bytes]]:
    """Pick the fields to sign, the lowest first."""
    fields = [(n, v) for n, v in relaxed_fields(block) if n in SIGNED or n.startswith(b"list-")]
    return fields[::-1]


def _canonical(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s:%s\r\n" % field for field in fields)


def _folded_names(names: list[bytes]) -> bytes:
    """Join names with colons, in lines of about 70 octets."""
    joined, length = [], 0
    for name in names:
        if length + len(name) > 68:
            joined.append(b"\r\n\t ")
            length = 0
        joined += (name, b":")
        length += len(name) + 1
    return b"".join(joined[:-1])
