"""The author's side of a signature: keys, a signer and a judge, all three dkimpy.

signed = sign(mail, RSA, b"simple/simple")
assert verdicts(signed) == [True]
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mailforum.delivery.sign import Key, load_key, new_key

SIGNED = [
    b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"from",
]  # fmt: skip
CANONICAL = (b"relaxed/relaxed", b"simple/simple")


class _BadSignature(Exception):
    pass


class _Verify:
    """dkimpy wants PyNaCl for Ed25519; this and `_Sign` give it the same primitive from `cryptography`."""

    def __init__(self, text: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text))

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature as error:
            raise _BadSignature from error


class _Sign:
    def __init__(self, text: bytes, encoder: object) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(text))

    def sign(self, digest: bytes) -> SimpleNamespace:
        return SimpleNamespace(signature=self._key.sign(digest))


_NACL = SimpleNamespace(
    signing=SimpleNamespace(VerifyKey=_Verify, SigningKey=_Sign),
    encoding=SimpleNamespace(Base64Encoder=None),
    exceptions=SimpleNamespace(BadSignatureError=_BadSignature, ValueError=ValueError),
)


@cache
def key(kind: str, domain: str = "example.org") -> Key:
    """Return the one key of that kind, `rsa` or `ed25519`, that `domain` signs with in this run."""
    return load_key(new_key(kind)[0], domain, kind)


def sign(mail: bytes, kind: str, canonical: bytes, also: Sequence[bytes] = ()) -> bytes:
    """Return `mail` with one more DKIM-Signature on top, which covers the fields `also` too, there or not."""
    own = key(kind)
    canonicalize = tuple(canonical.split(b"/"))
    algorithm = own.algorithm.encode()
    with _nacl():
        field = dkim.sign(
            mail, kind.encode(), b"example.org", _private(own), canonicalize=canonicalize,
            signature_algorithm=algorithm, include_headers=[*SIGNED, *also],
        )  # fmt: skip
    return bytes(field) + mail


def sign_every_way(mail: bytes) -> bytes:
    """Return `mail` signed four times: RSA and Ed25519, relaxed and simple."""
    for kind in ("rsa", "ed25519"):
        for canonical in CANONICAL:
            mail = sign(mail, kind, canonical)
    return mail


def verdicts(mail: bytes, others: Iterable[Key] = ()) -> list[bool]:
    """Say for each DKIM-Signature, from the top, whether dkimpy finds it good. `others` are further keys in DNS."""
    keys = [key("rsa"), key("ed25519"), *others]
    records = {f"{one.selector}._domainkey.{one.domain}.".encode(): one.txt.encode() for one in keys}
    judge = dkim.DKIM(mail)
    count = sum(name.lower() == b"dkim-signature" for name, _ in judge.headers)
    with _nacl():
        return [_verdict(judge, index, records) for index in range(count)]


def _verdict(judge: dkim.DKIM, index: int, records: dict[bytes, bytes]) -> bool:
    try:
        return bool(judge.verify(index, dnsfunc=lambda name, **_: records.get(name)))
    except dkim.ValidationError:  # what it says of a body hash that does not fit
        return False


def _private(own: Key) -> bytes:
    if own.algorithm == "ed25519-sha256":
        return base64.b64encode(own.private.private_bytes_raw())
    pem, pkcs1 = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return own.private.private_bytes(pem, pkcs1, serialization.NoEncryption())


@contextmanager
def _nacl() -> Iterator[None]:
    """For as long as dkimpy works, it has its nacl."""
    if hasattr(dkim, "nacl"):
        yield
        return
    dkim.nacl = _NACL
    try:
        yield
    finally:
        del dkim.nacl
