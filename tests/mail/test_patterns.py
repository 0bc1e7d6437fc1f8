"""What patterns may not have in them."""

import re
from pathlib import Path

import mailforum
from mailforum.mail import subject

GROUP_REPEATED = re.compile(r"\)[*+?]\+.*[\"']")
# Its body is over with its first character, or is there as a whole.
HARMLESS = {"snippet.py"}


def test_no_group_is_repeated_possessively() -> None:
    """Before Python 3.11.5, which Debian 12 has not got, what an iteration that fails has read stays read
    (cpython issue 106052): `Re-organisation` was an answer. `(?>(?:…)*)` says the same and is right."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in Path(mailforum.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if GROUP_REPEATED.search(line) and "safe=" not in line and path.name not in HARMLESS
    ]
    assert found == []


def test_a_word_that_begins_like_a_marker_of_answers_is_none() -> None:
    for text in ("Re-organisation", "Roadmap", "[pmo] Roadmap", "Awards", "Svelte: a start", "R-value"):
        assert not subject.topic(text).marked
        assert subject.topic(text).base == text.casefold()
