"""Return paths that name their recipient, and the mark without which they prove nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import address, verp
from mailforum.mail.token import Signer

SIGNER = Signer((b"k" * 32,))
BOUNCES = "pmo-bounces@lists.example.org"
NOW = 1_763_820_300.0
DAY = 86400.0


def path(rcpt: str = "Bob@example.com", member_id: int | None = 7, at: float = NOW) -> str:
    return verp.paths(SIGNER, BOUNCES, at)(rcpt, member_id)


def detail(return_path: str) -> str:
    return address.local_of(return_path).partition("+")[2]


def proven(text: str, now: float = NOW, bounces: str = BOUNCES, signer: Signer = SIGNER) -> str:
    return verp.proven(signer, bounces, text, now)


def test_a_return_path_shows_its_recipient_and_proves_it() -> None:
    made = path()
    assert made.startswith("pmo-bounces+Bob=example.com=")
    assert made.endswith("@lists.example.org")
    assert proven(detail(made)) == "bob@example.com"


@pytest.mark.parametrize("damage", [str.lower, str.upper, lambda text: text.replace("=", "=3d")])
def test_what_relays_do_to_it_does_no_harm(damage) -> None:  # type: ignore[no-untyped-def]
    assert proven(damage(detail(path("bob+x@example.com"))).lower()) == "bob+x@example.com"
    assert proven(detail(path("bob+x@example.com")).replace("+", "%2b")) == "bob+x@example.com"


def test_no_mark_is_taken_for_damage() -> None:
    for n in range(600):  # marks begin with everything there is, `3d` and `2b` too
        made = detail(path(f"m{n}@example.com"))
        assert {proven(made), proven(made.replace("=", "=3d")), proven(made.replace("=", "%3d"))} == {
            f"m{n}@example.com"
        }


def test_a_mark_is_worth_nothing_for_another_recipient_list_or_key() -> None:
    made = detail(path())
    assert proven(made.replace("Bob", "Eve")) == ""
    assert proven(made, bounces="other-bounces@lists.example.org") == ""
    assert proven(made, signer=Signer((b"x" * 32,))) == ""
    assert proven("bob=example.com") == ""
    assert proven(made, signer=Signer((b"x" * 32, b"k" * 32))) == "bob@example.com"  # a new key on top


@pytest.mark.parametrize(("days", "good"), [(0, True), (30, True), (46, False), (400, False)])
def test_a_mark_is_good_for_at_least_thirty_days_and_not_for_ever(days: int, good: bool) -> None:
    assert bool(proven(detail(path()), NOW + days * DAY)) is good


@pytest.mark.parametrize("rcpt", ['"a b"@example.com', "x" * 50 + "@example.com", "bob@[192.0.2.1]"])
def test_who_does_not_fit_in_is_named_by_a_token(rcpt: str) -> None:
    made = path(rcpt, 7)
    token = detail(made)
    assert address.envelope(made) == made
    assert SIGNER.peek(token) == 7
    assert verp.proves(SIGNER, BOUNCES, token, 7, address.key(rcpt), NOW + 30 * DAY)
    assert not verp.proves(SIGNER, BOUNCES, token, 8, address.key(rcpt), NOW)
    assert not verp.proves(SIGNER, BOUNCES, token, 7, address.key(rcpt), NOW + 46 * DAY)
    assert path(rcpt, None) == BOUNCES


@given(
    st.from_regex(r"[A-Za-z0-9.+=_ü-]{1,20}", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,10}\.[a-z]{2,5}", fullmatch=True),
)
def test_every_return_path_is_valid_and_proves_its_recipient(local: str, domain: str) -> None:
    made = path(f"{local}@{domain}")
    assert address.envelope(made) == made
    assert proven(detail(made)) == address.key(f"{local}@{domain}")


@given(st.text(max_size=80))
def test_no_text_is_a_proof(text: str) -> None:
    assert proven(text) == ""
