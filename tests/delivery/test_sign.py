import base64
import hashlib
import re
from types import SimpleNamespace

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from mailforum.delivery import sign
from mailforum.delivery.sign import Key, Signing, dns_record, load_key, new_key, relaxed_body, relaxed_fields
from mailforum.errors import ConfigError

NOW = 1_763_800_000.0
COMMON = (
    b"From: Ann Other <ann@example.org>\r\n"
    b"Subject: Budget  for\r\n\t2027 \r\n"
    b"Date: Sat, 22 Nov 2025 14:05:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"X-Mailer: Pine\r\n"
    b"List-Id: <pmo.lists.example.org>\r\n"
)
PERSONAL = (
    b"To: bob@example.com\r\n"
    b"List-Unsubscribe: <mailto:pmo-leave@lists.example.org>,\r\n <https://lists.example.org/u/x>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)
BODY = b"Hello,\r\n\r\nhow  are\tyou? \r\n\r\n\r\n"


class _CryptographyAsNacl:
    """dkimpy wants PyNaCl for Ed25519; this gives it the same primitive from `cryptography`."""

    class BadSignatureError(Exception):
        pass

    def __init__(self, text: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text))

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature as error:
            raise self.BadSignatureError from error


@pytest.fixture(scope="module", autouse=True)
def _ed25519_for_dkimpy():
    if hasattr(dkim, "nacl"):
        yield
        return
    dkim.nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=_CryptographyAsNacl),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(BadSignatureError=_CryptographyAsNacl.BadSignatureError, ValueError=ValueError),
    )
    yield
    del dkim.nacl


@pytest.fixture(scope="module")
def rsa_key() -> Key:
    return load_key(new_key("rsa")[0], "lists.example.org", "one")


@pytest.fixture(scope="module")
def ed_key() -> Key:
    return load_key(new_key("ed25519")[0], "lists.example.org", "two")


def _dns(*keys: Key):
    records = {f"{key.selector}._domainkey.{key.domain}.".encode(): key.txt.encode() for key in keys}
    return lambda name, timeout=5: records[name]


def _verifies(mail: bytes, *keys: Key) -> list[bool]:
    judge = dkim.DKIM(mail)
    count = sum(name.lower() == b"dkim-signature" for name, _ in judge.headers)
    return [_passes(mail, index, keys) for index in range(count)]


def _passes(mail: bytes, index: int, keys: tuple[Key, ...]) -> bool:
    try:
        return dkim.DKIM(mail).verify(index, dnsfunc=_dns(*keys))
    except dkim.ValidationError:  # dkimpy's way of saying that the body is another one
        return False


def _tag(signature: bytes, name: str) -> str:
    text = re.sub(r"\s+", "", signature.decode())
    return dict(part.partition("=")[::2] for part in text.partition(":")[2].split(";"))[name]


def test_a_reader_s_mail_verifies_with_rsa_and_with_ed25519(rsa_key, ed_key):
    signature = Signing([rsa_key, ed_key], COMMON, BODY).sign(PERSONAL, NOW)
    mail = signature + PERSONAL + COMMON + b"\r\n" + BODY
    assert signature.count(b"DKIM-Signature:") == 2
    assert _verifies(mail, rsa_key, ed_key) == [True, True]


def test_one_mailing_signs_for_many_readers_without_mixing_them_up(ed_key):
    signing = Signing([ed_key], COMMON, BODY)
    for reader in (b"bob@example.com", b"zoe@example.net"):
        personal = b"To: " + reader + b"\r\n"
        mail = signing.sign(personal, NOW) + personal + COMMON + b"\r\n" + BODY
        assert _verifies(mail, ed_key) == [True]
        assert _verifies(mail.replace(reader, b"eve@example.com"), ed_key) == [False]


@pytest.mark.parametrize(
    "change",
    [
        (b"Budget", b"Gadget"),
        (b"<1@example.org>", b"<2@example.org>"),
        (b"pmo-leave@", b"pmo-hate@"),
        (b"=One-Click", b"=Two-Clicks"),
        (b"<pmo.lists", b"<omp.lists"),
        (b"Hello", b"Howdy"),
        (b"From: Ann", b"From: eve@example.com\r\nFrom: Ann"),
    ],
)
def test_a_change_to_what_is_signed_breaks_the_signature(rsa_key, change):
    mail = Signing([rsa_key], COMMON, BODY).sign(PERSONAL, NOW) + PERSONAL + COMMON + b"\r\n" + BODY
    assert change[0] in mail
    assert _verifies(mail.replace(*change), rsa_key) == [False]


def test_what_relays_do_to_blanks_and_to_fields_of_their_own_does_no_harm(rsa_key):
    mail = Signing([rsa_key], COMMON, BODY).sign(PERSONAL, NOW) + PERSONAL + COMMON + b"\r\n" + BODY
    mail = mail.replace(b"Subject: Budget  for\r\n\t2027 ", b"SUBJECT:Budget for 2027").replace(b"Pine", b"Elm")
    assert _verifies(b"Received: from x by y\r\n" + mail + b"\r\n\r\n", rsa_key) == [True]


def test_unsubscribe_fields_are_signed_as_rfc_8058_wants_and_from_is_signed_twice(ed_key):
    names = _tag(Signing([ed_key], COMMON, BODY).sign(PERSONAL, NOW), "h").split(":")
    assert {"list-unsubscribe", "list-unsubscribe-post", "list-id", "to", "subject"} <= set(names)
    assert names.count("from") == 2
    assert "x-mailer" not in names


def test_a_name_that_stands_both_above_and_below_is_signed_twice(ed_key):
    personal = b"To: bob@example.com\r\n"
    common = COMMON + b"To: pmo@lists.example.org\r\nCc: a@example.org\r\nCc: b@example.org\r\n"
    signature = Signing([ed_key], common, BODY).sign(personal, NOW)
    assert _tag(signature, "h").split(":").count("to") == 2
    mail = signature + personal + common + b"\r\n" + BODY
    assert _verifies(mail, ed_key) == [True]
    assert _verifies(mail.replace(b"a@example.org", b"c@example.org"), ed_key) == [False]


def test_the_author_s_own_signature_still_verifies_beside_ours(rsa_key):
    author_pem, txt = new_key("rsa")
    author = load_key(author_pem, "example.org", "author")
    assert author.txt == txt
    mail = COMMON + b"\r\n" + BODY
    theirs = dkim.sign(
        mail,
        b"author",
        b"example.org",
        author_pem,
        canonicalize=(b"simple", b"simple"),
        include_headers=[b"from", b"subject", b"date", b"message-id"],
    )
    common = theirs + COMMON
    ours = Signing([rsa_key], common, BODY).sign(PERSONAL, NOW)
    assert _verifies(ours + PERSONAL + common + b"\r\n" + BODY, rsa_key, author) == [True, True]


def test_the_same_mail_signed_again_is_byte_identical(rsa_key, ed_key):
    again = [Signing([rsa_key, ed_key], COMMON, BODY).sign(PERSONAL, NOW) for _ in range(2)]
    assert again[0] == again[1]


def test_no_line_of_a_signature_is_longer_than_78(rsa_key):
    signature = Signing([rsa_key], COMMON * 20, BODY).sign(PERSONAL, NOW)
    assert max(map(len, signature.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \t\r\n", b"x", b"x\r\n", b"x \r\n\r\n", b"\tx"])
def test_odd_bodies_verify(ed_key, body):
    mail = Signing([ed_key], COMMON, body).sign(b"", NOW) + COMMON + b"\r\n" + body
    assert _verifies(mail, ed_key) == [True]


def test_a_mail_without_from_can_be_signed_and_nobody_can_add_one(ed_key):
    common = b"Subject: x\r\n"
    mail = Signing([ed_key], common, BODY).sign(b"", NOW) + common + b"\r\n" + BODY
    assert _verifies(mail, ed_key) == [True]
    assert _verifies(mail.replace(common, common + b"From: eve@example.com\r\n"), ed_key) == [False]


def _pieces(*pieces: bytes, longest: int = 12) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(pieces), max_size=longest).map(b"".join)


_BODIES = _pieces(b"a", b"\xc3\xa4", b"\xff", b" ", b"\t", b"\r\n", b".", b"  \r\n", b"word word", longest=30)
_VALUES = _pieces(b"a", b"\xe4", b" ", b"\t", b"\r\n ", b"\r\n\t", b":", b"=?utf-8?q?x?=", b"\r\n \r\n\tb")
_NAMES = st.sampled_from([b"From", b"to", b"Subject", b"SUBJECT", b"List-Id", b"X-Other", b"Content-Type"])
_BLOCKS = st.lists(st.tuples(_NAMES, _VALUES), max_size=6).map(
    lambda fields: b"".join(b"%s:%s\r\n" % field for field in fields)
)


@given(_BODIES)
def test_the_body_s_canonical_form_is_dkimpy_s(body):
    arrived = body if body.endswith(b"\r\n") else body + b"\r\n"  # SMTP knows no other end
    assert relaxed_body(body) == Relaxed.canonicalize_body(arrived)


@given(_BLOCKS)
def test_the_header_s_canonical_form_is_dkimpy_s(block):
    theirs = Relaxed.canonicalize_headers(dkim.rfc822_parse(block + b"\r\n")[0])
    assert [(name, value + b"\r\n") for name, value in relaxed_fields(block)] == theirs


@settings(deadline=None)
@given(common=_BLOCKS, personal=_BLOCKS, body=_BODIES)
def test_whatever_a_mail_looks_like_the_signature_verifies(ed_key, common, personal, body):
    mail = Signing([ed_key], common, body).sign(personal, NOW) + personal + common + b"\r\n" + body
    if not body.endswith(b"\r\n"):
        mail += b"\r\n"
    assert _verifies(mail, ed_key) == [True]


def test_a_long_run_of_blanks_costs_linear_time():
    assert relaxed_body(b"a" + b" \t" * 2_000_000 + b"b\r\n" * 10) == b"a b\r\n" + b"b\r\n" * 9
    assert relaxed_body(b"\r\n" * 2_000_000) == b""


def test_a_record_for_a_zone_file_has_strings_of_at_most_255_that_join_to_the_key(rsa_key, ed_key):
    for key in (rsa_key, ed_key):
        record = dns_record(key.selector, key.domain, key.txt)
        strings = re.findall(r'"([^"]*)"', record)
        assert record.startswith(f"{key.selector}._domainkey.lists.example.org. IN TXT (")
        assert "".join(strings) == key.txt
        assert max(map(len, strings)) <= 255
    public = load_der_public_key(base64.b64decode(rsa_key.txt.rpartition("p=")[2]))
    assert public == rsa_key.private.public_key()


def _pem(private) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


SMALL_RSA = b"""-----BEGIN RSA PRIVATE KEY-----
MIIBygIBAAJhAMvubOTy2L6ux1YQmZN6dnpwM78DEeimxupvU9K7JwwY+qVC2Nnk
PQhvd7bYkV2d5N3gf5GPeH+cWnqeFDZvJPe+N+H6Pre1Yb9J+Q6zsTl5yDCxcekd
7qx3qHJUPVYQCQIDAQABAmEAtYe9g2fxLHwkkSYhrzgZ8w+h4Gx5KqIa+2CyOynB
rnEl3KpOolcbRUEETc0mSTFcjHhTaUo+hfGWSNIm0h3aTioydU/AkROl4/SBq1ug
wpwsL7JHwsKRT8w/n0KJst0BAjEA60KP6tHDLlXZEccp2HxgNcx/SE+6Jq5iuHAC
/hMqYMPdibCsuX5RrBIZOovz27OZAjEA3ejTdo0WbY+3suSpNaKaTA6OyF1WnkLh
5AZWJmeMsMqQZ6BUDZrEtF5Li4AJAAXxAjAuRJv7SZ/CSB310h6XtfZR/lL2DMAG
hXti3JyqDWjjOQIj5zxBCufTGIgfrJCcH9kCME24In+t0EIVCKht71lqlpG2s4k3
L4QENqsvEPMoZxzwBP1WKLoPD3+AWwMDl6NbcQIwRG739BFq588LF/XAhf6Zqh0C
srbSVss1xniW3cJShJnZSQWQqGd1EIwn44SrP0su
-----END RSA PRIVATE KEY-----
"""


def test_a_short_rsa_key_is_refused_and_the_message_says_how_long_it_is():
    with pytest.raises(ConfigError, match="768 bits"):
        load_key(SMALL_RSA, "lists.example.org", "one")


def test_an_rsa_key_in_the_traditional_format_is_read(rsa_key):
    assert load_key(_pem(rsa_key.private), "Lists.Example.org", "one").txt == rsa_key.txt


def test_keys_that_cannot_sign_are_refused_with_the_reason(rsa_key):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = ec.generate_private_key(ec.SECP256R1())
    locked = rsa_key.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    for pem, reason in ((b"hello", "cannot be read"), (_pem(curve), "neither RSA"), (locked, "passphrase")):
        with pytest.raises(ConfigError, match=reason):
            load_key(pem, "lists.example.org", "one")


@pytest.mark.parametrize(("domain", "selector"), [("münchen.example", "a"), ("example.org", "a b"), ("", "a")])
def test_a_name_that_dns_cannot_hold_is_refused(domain, selector):
    with pytest.raises(ConfigError, match="DNS"):
        load_key(new_key("ed25519")[0], domain, selector)


def test_only_two_kinds_of_key_are_made():
    with pytest.raises(ValueError, match="rsa or ed25519"):
        new_key("dsa")


@given(
    st.lists(st.sampled_from([b"\r\n", b"a", b" ", b"\t", b"b  c\r\n", b"\r\n\r\n", b" \r\n"]), max_size=30).map(
        b"".join
    )
)
def test_a_body_hashed_in_pieces_has_the_hash_of_the_whole(body: bytes):
    for piece in (1, 2, 5, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sign, "PIECE", piece)
            assert sign._body_hash(body) == hashlib.sha256(sign.relaxed_body(body)).digest()
