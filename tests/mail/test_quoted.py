"""What a quoted text says about the mail it was taken from."""

import pytest

from mailforum.mail import quoted

LIST = "pmo@lists.example.org"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("In article <12@x.org>, Al wrote:\n> words", ["<12@x.org>"]),
        ("In article <12@x.org>,\nAl <al@example.org> wrote:\n\n> words", ["<12@x.org>"]),
        ("In message <12@x.org> you wrote:\n>words", ["<12@x.org>"]),
        ("In <12@x.org> Al writes:\n> words", ["<12@x.org>"]),
        ("In der Nachricht <12@x.org> schrieb Al:\n> Worte", ["<12@x.org>"]),
        ("Im Artikel <12@x.org> schrieb Al:\n> Worte", ["<12@x.org>"]),
        ("Dans l'article <12@x.org>, Al a écrit :\n> mots", ["<12@x.org>"]),
        ('"Al" <al@example.org> wrote in message\nnews:12@x.org...\n> words', ["<12@x.org>"]),
        ("On Mon, Al wrote in\n<12@x.org>:\n> words", ["<12@x.org>"]),
        ("> Message-ID: <12@x.org>\n> words", ["<12@x.org>"]),
        ("> Message-Id:\n>  <12@x.org>\n> words", ["<12@x.org>"]),
        ("-----Original Message-----\nFrom: Al\nMessage-ID: <12@x.org>\n\nwords", ["<12@x.org>"]),
        (
            "In article <12@x.org>, Al wrote:\n> In article <11@x.org>, Bo wrote:\n>> old\n> words",
            ["<12@x.org>", "<11@x.org>"],
        ),
        (">> Message-ID: <11@x.org>\n> Message-ID: <12@x.org>\n> words", ["<12@x.org>", "<11@x.org>"]),
        # None of these says whose the quoted words are.
        ("On Mon, Al <al12@x.org> wrote:\n> words", []),
        ("Al <al@x.org> wrote:\n> words", []),
        ("Message-ID: <12@x.org>\nthat is what my log says", []),
        ("See <12@x.org> in the archive.", []),
        ("In article <12@x.org> you will find it.", []),
        ("> Write to <al@x.org>\n> about it", []),
        ("", []),
    ],
)
def test_ids_are_found_where_a_line_says_what_they_are(text: str, ids: list[str]) -> None:
    assert list(quoted.read(text, LIST).ids) == ids


FOOTER = f"{'_' * 40}\n#48.3  PMO: {LIST}\nTo leave, send an empty mail to pmo-leave@lists.example.org"


def quote(text: str) -> str:
    return "".join(f"> {line}\n" for line in text.split("\n"))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Fine.\n\n" + quote(f"words\n{FOOTER}"), ["48.3"]),
        (f"Fine.\n\n-----Original Message-----\nFrom: Al\nSent: Monday\n\nwords\n{FOOTER}", ["48.3"]),
        (f"Fine.\n\nOn Monday, Al wrote:\nwords\n{FOOTER}", ["48.3"]),
        ("Fine.\n\n" + quote(f"#48.3  A title so long that it went on to a second\nline: {LIST}"), ["48.3"]),
        ("Fine.\n\n" + quote("words\n" + quote(FOOTER.replace("48.3", "48.2")) + FOOTER), ["48.3", "48.2"]),
        # A digest's, another list's, what the author wrote, other numbers.
        ("> #48.3  Al <al@example.org>\n> words\n\nFine.", []),
        ("Fine.\n\n" + quote(FOOTER.replace(LIST, "other@example.org") + "\nend"), []),
        (FOOTER, []),
        (f"> version #1.2.3 of {LIST}\n> and #12", []),
    ],
)
def test_labels_are_found_in_footers_and_digests_that_are_quoted(text: str, labels: list[str]) -> None:
    assert list(quoted.read(text, LIST).labels) == labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("> #48.3  Al <al@example.org>\n> Sat 22 Nov 2025, 14:05\n> words\n\nFine.", ("48.3",)),
        ("> Al <al@example.org>\n> Sat 22 Nov 2025, 14:05 · #48.3\n> words\n\nFine.", ("48.3",)),
        ("> #48  Budget (1)\n> #48.3  Al <al@example.org>\n> see #48.1 too\n\nFine.", ("48.3",)),
        ("> #48.3  Al <al@example.org>\n> words\n> #48.4  Bo <bo@example.org>\n> words\n\nFine.", ()),
        ("#48.3  Al", ()),
    ],
)
def test_an_answer_to_a_digest_is_about_the_one_post_that_it_quotes(text: str, labels: tuple[str, ...]) -> None:
    assert quoted.read(text, LIST, digest=True).labels == labels


def test_without_the_address_of_the_list_no_label_counts() -> None:
    assert quoted.read(quote(FOOTER)).labels == ()


def test_at_most_ten_ids_and_nothing_behind_64_kib() -> None:
    many = "".join(f"In article <{number}@x.org>:\n> x\n" for number in range(30))
    assert len(quoted.read(many).ids) == 10
    assert not quoted.read("x" * 65_536 + "\nIn article <12@x.org>:\n> x").ids
