"""Tokens: short, case-insensitive, good for one thing, and worthless when altered."""

import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.errors import ConfigError
from mailforum.mail import token
from mailforum.mail.token import Signer

OLD, NEW = b"old key " * 4, b"new key " * 4
SIGNER = Signer((NEW,))
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def test_a_token_is_26_lower_case_characters_that_fit_an_address() -> None:
    made = SIGNER.make("confirm", 7, "pmo", "bob@example.org")
    assert re.fullmatch(r"[a-z2-7]{26}", made)
    assert SIGNER.check(made, "confirm", 7, "pmo", "bob@example.org")


def test_a_token_survives_a_relay_that_changes_case() -> None:
    made = SIGNER.make("confirm", 7)
    assert SIGNER.check(made.upper(), "confirm", 7)
    assert SIGNER.peek(made.upper()) == 7


@given(st.integers(0, 2**32 - 1))
def test_a_token_tells_the_id_it_claims(row_id: int) -> None:
    assert SIGNER.peek(SIGNER.make("reply", row_id)) == row_id


def test_an_id_that_does_not_fit_is_our_own_fault() -> None:
    for row_id in (-1, 2**32):
        with pytest.raises(OverflowError):
            SIGNER.make("reply", row_id)
        assert not SIGNER.check("a" * 26, "reply", row_id)


@pytest.mark.parametrize(
    ("purpose", "row_id", "bound"),
    [
        ("leave", 7, ("pmo", "bob@example.org")),
        ("confirm", 8, ("pmo", "bob@example.org")),
        ("confirm", 7, ("other", "bob@example.org")),
        ("confirm", 7, ("pmo", "eve@example.org")),
        ("confirm", 7, ("pmo", "bob@example.net")),
        ("confirm", 7, ("pmo",)),
        ("confirm", 7, ("pmob", "ob@example.org")),
        ("confirm", 7, ("pmo", "bob@example.org", "")),
    ],
)
def test_a_token_is_worthless_for_anything_else(purpose: str, row_id: int, bound: tuple[str, ...]) -> None:
    made = SIGNER.make("confirm", 7, "pmo", "bob@example.org")
    assert not SIGNER.check(made, purpose, row_id, *bound)


def test_a_token_with_any_one_character_altered_is_refused() -> None:
    made = SIGNER.make("confirm", 7)
    for at, char in enumerate(made):
        for other in LETTERS.replace(char, ""):
            assert not SIGNER.check(made[:at] + other + made[at + 1 :], "confirm", 7)


@pytest.mark.parametrize(
    "text", ["", "a", "a" * 25, "a" * 27, "a" * 25 + "1", "a" * 25 + "=", "ü" * 26, "a" * 25 + "\n"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert SIGNER.peek(text) is None
    assert not SIGNER.check(text, "confirm", 0)


def test_a_letter_that_only_lower_cases_to_one_of_ours_is_refused() -> None:
    made = next(one for row in range(100) if "k" in (one := SIGNER.make("confirm", row)))
    kelvin = made.replace("k", "\N{KELVIN SIGN}")
    assert kelvin.lower() == made
    assert not SIGNER.check(kelvin, "confirm", SIGNER.peek(made) or 0)


@given(st.text())
def test_text_of_any_kind_is_no_token(text: str) -> None:
    assert not SIGNER.check(text, "confirm", 0)


def test_after_a_rotation_old_tokens_are_good_until_the_old_key_goes() -> None:
    old = Signer((OLD,)).make("leave", 3)
    both = Signer((NEW, OLD))
    assert both.check(old, "leave", 3)
    assert both.make("leave", 3) == Signer((NEW,)).make("leave", 3)
    assert not Signer((NEW,)).check(old, "leave", 3)


def test_tokens_are_compared_in_constant_time_with_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    both = Signer((NEW, OLD))
    assert both.check(both.make("leave", 3), "leave", 3)
    assert not both.check("a" * 26, "leave", 3)
    assert len(compared) == 4


def test_a_signer_never_shows_its_keys() -> None:
    assert "key" not in repr(SIGNER).replace("keys", "")
    assert repr(NEW)[2:-1] not in repr(SIGNER)


@pytest.mark.parametrize("keys", [(), (b"",), (NEW, b"short")])
def test_a_signer_without_good_keys_cannot_be_made(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="keys"):
        Signer(keys)


def test_keys_are_read_one_a_line() -> None:
    text = f"# made by mailforum init\n\n{token.new_key(NEW)}\n  {token.new_key(OLD).upper()} \r\n"
    assert token.load_keys(text) == (NEW, OLD)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "no key"), ("# none\n", "no key"), ("\n00ff\n", "line 2"), ("not hex at all, but long enough\n", "line 1")],
)
def test_a_secret_file_without_good_keys_is_an_error_that_tells_nothing_of_it(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        token.load_keys(text)
    assert "not hex" not in str(error.value)


def test_a_key_is_never_made_of_too_little_chance() -> None:
    with pytest.raises(ValueError, match="16"):
        token.new_key(b"short")
