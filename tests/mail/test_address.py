"""Addresses: what is read strictly, what leniently, how they compare, VERP."""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import Refused
from mailforum.mail import address
from mailforum.mail.address import Mailbox

HOSTILE = [
    "." * 97_000,
    '"' * 48_001,
    "," * 20_000,
    "(" * 10_000 + ")" * 10_000 + " bob@example.org",
    "(" * 10_000,
    "(\\" * 48_000,
    '"\\' * 48_000,
    '\\"' * 48_000,
    "<" * 97_000,
    "<>," * 30_000,
    "[" * 97_000,
    "@" * 97_000,
    ":" * 97_000,
    "=?utf-8?q?x?= " * 20_000 + "<bob@example.org>",
    "bob@example.org, " * 15_000,
    "a\u0301\u0316" * 30_000,
    "<<<@>>> [x",
]


@pytest.mark.parametrize(
    ("value", "name", "addr"),
    [
        ("bob@example.org", "", "bob@example.org"),
        ("<bob@example.org>", "", "bob@example.org"),
        ("Bob <Bob@Example.org>", "Bob", "Bob@Example.org"),
        ('"Builder, Bob" <bob@example.org>', "Builder, Bob", "bob@example.org"),
        (r'"Bob \"the\" Builder" <bob@example.org>', 'Bob "the" Builder', "bob@example.org"),
        ("J. R. Dobbs <bob@example.org>", "J. R. Dobbs", "bob@example.org"),
        ("bob@example.org (Bob (the) Builder)", "Bob (the) Builder", "bob@example.org"),
        ("(,) bob@example.org", ",", "bob@example.org"),
        (r"Pete(A nice \) chap) <pete(his account)@silly.example(his host)>", "Pete", "pete@silly.example"),
        ("=?utf-8?q?J=C3=BCrgen?= <j@example.org>", "Jürgen", "j@example.org"),
        ("=?utf-8?Q?Doe,_John?= <j@example.org>", "Doe, John", "j@example.org"),
        ('"=?utf-8?q?J=C3=BCrgen?=" <j@example.org>', "Jürgen", "j@example.org"),
        ("Jürgen <jürgen@bücher.example>", "Jürgen", "jürgen@bücher.example"),
        ("[Team] Bob <bob@example.org>", "[Team] Bob", "bob@example.org"),
        ("bob@example.org <Bob@example.org>", "bob@example.org", "Bob@example.org"),
        ('"john doe"@example.org', "", '"john doe"@example.org'),
        ("bob@[192.0.2.1]", "", "bob@[192.0.2.1]"),
        ("a..b.@phone.example", "", "a..b.@phone.example"),
        ("bob@example.org,", "", "bob@example.org"),
    ],
)
def test_one_mailbox_is_read(value: str, name: str, addr: str) -> None:
    assert address.mailbox(value) == Mailbox(name, addr)
    assert address.mailboxes(value) == [Mailbox(name, addr)]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bob",
        "<>",
        "undisclosed-recipients:;",
        "Group: bob@example.org;",
        "alice@example.org, bob@example.org",
        "a@b.c, a@b.c, a@b.c, a@b.c, a@b.c",
        "alice@example.org<bob@example.com>",
        "alice@example.org <bob@example.com>",
        "<alice@example.org> <bob@example.com>",
        "<alice@example.org> bob@example.com",
        "<alice@example.org",
        "alice@example.org>",
        "<@relay.example:bob@example.org>",
        "bob @example.org bob",
        "bo b@example.org",
        "bob@exam ple.org",
        "bob@@example.org",
        "=?utf-8?q?boss=40corp.example?= <=?utf-8?q?bob?=@example.org>",
        "=?utf-8?q?bob=40example.org?=",
        "bob=?utf-8?q?by?=@example.org",
        "=?utf-8?q?boss@corp.example?= <bob@example.org>",
        '"open <bob@example.org>',
        "(open <bob@example.org>",
        "bob@example.org\r\nBcc: x@example.org",
        "bob@exa\u202emple.org",
        "bob\x00@example.org",
        "bob@-example.org",
        "bob@example..org",
        "bob@example.org.",
        "x" * 65 + "@example.org",
        "bob@" + "example." * 40 + "org",
        "<<<@>>> [x",
    ],
)
def test_what_programs_read_differently_is_nobody(value: str) -> None:
    assert address.mailbox(value) is None


def test_a_name_that_looks_like_an_address_is_only_a_name() -> None:
    box = address.mailbox('"boss@corp.example" <x@evil.example>')
    assert box == Mailbox("boss@corp.example", "x@evil.example")


def test_control_and_bidi_characters_are_taken_out_of_a_name() -> None:
    box = address.mailbox("=?utf-8?q?Bob=0D=0ABcc:_x=E2=80=AE?= <bob@example.org>")
    assert box == Mailbox("Bob Bcc: x", "bob@example.org")


def test_a_long_name_is_cut() -> None:
    box = address.mailbox(f'"{"x" * 5000}" <bob@example.org>')
    assert box is not None
    assert len(box.name) == address.MAX_NAME


def test_mailboxes_of_groups_are_found_and_junk_is_skipped() -> None:
    value = "Team: a@b.example, Bo <b@c.example>;, junk, <x, c@d.example x@y.example <e@f.example> later"
    found = [box.address for box in address.mailboxes(value)]
    assert found == ["a@b.example", "b@c.example", "e@f.example"]


def test_at_most_a_thousand_mailboxes_are_read() -> None:
    assert len(address.mailboxes("bob@example.org, " * 1500)) == address.MAX_MAILBOXES


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{value[:4]!a}x{len(value)}")
def test_hostile_headers_take_linear_time(value: str) -> None:
    start = time.process_time()
    address.mailbox(value)
    address.mailboxes(value)
    address.key(value)
    with pytest.raises(Refused):
        address.envelope(value)
    assert time.process_time() - start < 0.25


@given(st.text(alphabet=st.sampled_from('ab.@<>()[]",:;\\ =?\r\n\t\0é\u202e')))
def test_whatever_is_read_is_an_address_that_can_be_written_to(value: str) -> None:
    found = [*address.mailboxes(value)]
    if box := address.mailbox(value):
        assert box in found
    for box in found:
        assert address.envelope(f"<{box.address}>") == box.address
        assert box.address in "".join(value.split()) or '"' in value or "(" in value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bob@Example.ORG", "bob@example.org"),
        ("bob@BÜCHER.example", "bob@xn--bcher-kva.example"),
        ("bob@bu\u0308cher.example", "bob@bücher.example"),
        ("ju\u0308rgen@example.org", "JÜRGEN@example.org"),
        ('"bob"@example.org', "bob@example.org"),
        (r'"b\ob"@example.org', "bob@example.org"),
        (" bob@example.org\n", "bob@example.org"),
    ],
)
def test_addresses_that_reach_the_same_mailbox_compare_equal(one: str, other: str) -> None:
    assert address.key(one) == address.key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob+x@example.org", "bob@example.org"),
        ("bob@straße.example", "bob@strasse.example"),
        ('"bo b"@example.org', "bob@example.org"),
        ("bоb@example.org", "bob@example.org"),  # a Cyrillic o
    ],
)
def test_addresses_of_different_mailboxes_do_not(one: str, other: str) -> None:
    assert address.key(one) != address.key(other)


@given(st.text() | st.builds("{}@{}".format, st.text(), st.text()))
def test_the_key_of_a_key_is_the_key(text: str) -> None:
    once = address.key(text)
    assert address.key(once) == once


def test_the_parts_of_an_address_are_cut_at_the_last_at_sign() -> None:
    assert address.local_of('"a@b"@Example.org') == '"a@b"'
    assert address.domain_of('"a@b"@Example.org') == "example.org"
    assert address.domain_of("postmaster") == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("<>", ""),
        ("", ""),
        ("<bob@example.org>", "bob@example.org"),
        ("bob@example.org", "bob@example.org"),
        ("<@a.example,@b.example:bob@example.org>", "bob@example.org"),
        ("<Postmaster>", "Postmaster"),
        ('<"john doe"@example.org>', '"john doe"@example.org'),
        ("<bob@[192.0.2.1]>", "bob@[192.0.2.1]"),
        ("<bob@[IPv6:2001:db8::1]>", "bob@[IPv6:2001:db8::1]"),
        ("<jürgen@bücher.example>", "jürgen@bücher.example"),
        ("<list-bounces+bob=example.com@lists.example.org>", "list-bounces+bob=example.com@lists.example.org"),
    ],
)
def test_an_smtp_path_gives_its_address(path: str, expected: str) -> None:
    assert address.envelope(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "<bob>",
        "<@example.org>",
        "<bob@>",
        "<a b@example.org>",
        "<bob@example.org",
        "<bob@exa\tmple.org>",
        '<"open@example.org>',
        '<"a\tb"@example.org>',
        "<;touch x;@example.org>",
        "<bob@example.org\r\nRCPT TO:<x@example.org>>",
        "<bob@../../etc/passwd>",
        "<" + "x" * 65 + "@example.org>",
        "<" + "é" * 33 + "@example.org>",
        "<bob@" + "a" * 250 + ".org>",
        "<bob@[not an ip]>",
    ],
)
def test_a_malformed_smtp_path_is_refused(path: str) -> None:
    with pytest.raises(Refused) as refused:
        address.envelope(path)
    assert (refused.value.code, refused.value.enhanced) == (501, "5.1.3")
    assert "example" not in refused.value.text


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("bob@example.org", "bob@example.org"),
        (" Bob@Example.ORG ", "Bob@example.org"),
        ("bob@bücher.example", "bob@xn--bcher-kva.example"),
        ("jürgen@example.org", "jürgen@example.org"),
    ],
)
def test_what_a_person_typed_becomes_the_address_to_write_to(typed: str, expected: str) -> None:
    assert address.subscriber(typed, special_domains=False) == expected
    assert address.subscriber(typed, special_domains=True) == expected


@pytest.mark.parametrize("typed", ["bob@example.test", "bob@host.local", "bob@localhost", "bob@x.invalid"])
def test_reserved_domains_are_accepted_only_where_the_site_wants_them(typed: str) -> None:
    assert address.subscriber(typed, special_domains=True) == typed
    with pytest.raises(Refused):
        address.subscriber(typed, special_domains=False)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "bob",
        "bob@",
        "@example.org",
        "Bob <bob@example.org>",
        '"a b"@example.org',
        "bob@[192.0.2.1]",
        "bob@example.org, x@example.org",
        "bob@example.org\r\nBcc: x@example.org",
        "a..b@example.org",
        "x" * 65 + "@example.org",
        "../../etc/passwd",
        "a@" + "é" * 30_000 + ".org",
    ],
)
@pytest.mark.parametrize("special", [True, False])
def test_what_cannot_be_written_to_is_refused_with_one_sentence(typed: str, special: bool) -> None:
    with pytest.raises(Refused) as refused:
        address.subscriber(typed, special_domains=special)
    assert (refused.value.code, refused.value.enhanced) == (553, "5.1.3")
    assert "\n" not in refused.value.text


@pytest.mark.parametrize(
    ("rcpt", "packed"),
    [
        ("bob@example.com", "pmo-bounces+bob=example.com=12ab34cd@lists.example.org"),
        ("bob+news=x@example.com", "pmo-bounces+bob+news=x=example.com=12ab34cd@lists.example.org"),
        ("bob@bücher.example", "pmo-bounces+bob=xn--bcher-kva.example=12ab34cd@lists.example.org"),
    ],
)
def test_a_recipient_is_packed_into_the_return_path_and_found_again(rcpt: str, packed: str) -> None:
    assert address.verp("pmo-bounces@lists.example.org", rcpt, "12ab34cd") == packed
    found = address.unverp(address.local_of(packed).partition("+")[2])
    assert found is not None
    assert found.mark == "12ab34cd"
    assert address.key(found.address) == address.key(rcpt)


@pytest.mark.parametrize("rcpt", ['"a b"@example.com', "bob@[192.0.2.1]", "x" * 60 + "@example.com"])
def test_a_recipient_that_does_not_fit_leaves_the_return_path_plain(rcpt: str) -> None:
    assert address.verp("pmo-bounces@lists.example.org", rcpt, "12ab34cd") == "pmo-bounces@lists.example.org"


@pytest.mark.parametrize(
    "detail", ["", "bob", "=", "bob=", "=example.com", "a b=example.com", "bob=exa@mple", "x\r\n=y", "=x=12ab34cd"]
)
def test_a_detail_that_packs_no_address_names_nobody(detail: str) -> None:
    assert address.unverp(detail) is None


@pytest.mark.parametrize("detail", ["bob=example.com", "bob=x=example.com", "bob=example.com=12ab34c", "bob=12ab34cd"])
def test_a_return_path_without_a_mark_has_none(detail: str) -> None:
    found = address.unverp(detail)
    assert found is None or found.mark == ""


def test_what_is_slow_to_import_is_left_until_it_is_needed() -> None:
    code = "import sys, mailforum.mail.message; print({'email_validator', 'idna'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
