from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailforum.forum import roster
from mailforum.forum.roster import Entry
from mailforum.model import Mode, Role


def read(text: str) -> list[Entry]:
    return list(roster.read(text.encode()))


def test_columns_stand_in_any_order_and_others_are_ignored() -> None:
    assert read("Role;x; Email Address ;Display name\nOwner;1;a@b.org;Ada; and more\n") == [
        Entry(2, "a@b.org", "Ada", Role.OWNER)
    ]
    assert read("address\tmode\na@b.org\tDIGEST\n") == [Entry(2, "a@b.org", "", None, Mode.DIGEST)]


def test_a_quoted_name_may_have_commas_and_line_breaks() -> None:
    text = 'name,address\n"Ada,\nCountess",a@b.org\n\n# Bob,no\nBob,b@b.org\n'
    assert read(text) == [Entry(2, "a@b.org", "Ada, Countess"), Entry(6, "b@b.org", "Bob")]


def test_the_address_column_may_have_the_name_as_well() -> None:
    assert read("email,mode\nAda <a@b.org>,\n") == [Entry(2, "a@b.org", "Ada")]


def test_a_quote_that_is_never_closed_is_named_and_swallows_nothing_in_silence() -> None:
    (good, bad) = read('address,name\na@b.org,Ada\nb@b.org,"Bob\nc@b.org,Cid\n')
    assert good == Entry(2, "a@b.org", "Ada")
    assert bad.line == 3
    assert bad.error.startswith("cannot be read as CSV up to line 4: ")


def test_lines_without_a_header_are_addresses() -> None:
    assert read("a@b.org\n\n# no\nBob <b@b.org>\nc@b.org, Cid\n") == [
        Entry(1, "a@b.org"),
        Entry(4, "b@b.org", "Bob"),
        Entry(5, "c@b.org, Cid"),
    ]


def test_a_row_that_is_too_short_has_no_address() -> None:
    assert read("name,address\nAda\n") == [Entry(2, "", "Ada")]


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    for entry in roster.read(data):
        assert entry.line >= 1
        assert "\n" not in entry.name


@given(st.text(max_size=200))
def test_any_text_below_a_header_is_read_with_growing_line_numbers(text: str) -> None:
    numbers = [entry.line for entry in read("address,name\n" + text.replace("\0", ""))]
    assert numbers == sorted(numbers)
