"""What a person wrote: which part, without the transfer's traces, and which of it is only quoted."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail import body, html
from mailforum.mail.body import Attachment, Block, fold_quotes, unflow
from mailforum.mail.message import Message, normalise, parse


def mail(text: str) -> Message:
    return parse(normalise(text.encode()))


def multipart(kind: str, *parts: str, boundary: str = "b") -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{inner}--{boundary}--\n"


PLAIN = "Content-Type: text/plain; charset=utf-8\n\nGrüße"
HTML = "Content-Type: text/html; charset=utf-8\n\n<p>Grüße &amp; mehr</p>"
PDF = "Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nAAECAAEC"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Subject: x\n\nHello\n\nthere\n\n", "Hello\n\nthere"),
        (multipart("alternative", PLAIN, HTML), "Grüße"),
        (multipart("alternative", HTML, PLAIN), "Grüße"),
        (multipart("alternative", "Content-Type: text/plain\n\n  \n", HTML), "Grüße & mehr"),
        (multipart("mixed", HTML, PDF), "Grüße & mehr"),
        (multipart("mixed", PLAIN, PDF, PLAIN), "Grüße\n\nGrüße"),
        (multipart("mixed", HTML, "\n-- \na footer"), "Grüße & mehr\n\n-- \na footer"),
        (multipart("mixed", multipart("alternative", PLAIN, HTML, boundary="i"), "\nfooter"), "Grüße\n\nfooter"),
        (multipart("alternative", PLAIN, multipart("related", HTML, PDF, boundary="i")), "Grüße"),
        (multipart("mixed", PDF), ""),
        (multipart("mixed"), ""),
        ("Content-Type: multipart/mixed; boundary=b\n\nno parts\n", "no parts"),
        (HTML, "Grüße & mehr"),
        ("Content-Type: text/html\n\n<p>a&#0;&#27;&#x202e;b", "a\ufffd\u202eb"),
        ("Content-Type: application/pdf\n\nx", ""),
        ("\n", ""),
    ],
)
def test_the_text_that_was_meant_to_be_read_is_found(text, expected):
    assert body.read(mail(text)).text == expected


def test_files_are_named_with_their_type_and_size():
    found = body.read(mail(multipart("mixed", PLAIN, PDF, "Content-Type: image/png\n\nx"))).attachments
    assert found == (Attachment("a.pdf", "application/pdf", 6), Attachment("", "image/png", 1))


def test_a_text_that_is_attached_is_not_read():
    attached = "Content-Type: text/plain\nContent-Disposition: attachment; filename=log.txt\n\nlog"
    read = body.read(mail(multipart("mixed", PLAIN, attached)))
    assert (read.text, read.attachments) == ("Grüße", (Attachment("log.txt", "text/plain", 3),))


def test_a_signature_is_no_attachment():
    signature = "Content-Type: application/pgp-signature; name=signature.asc\n\nx"
    assert body.read(mail(multipart("signed", PLAIN, signature))).attachments == ()


def test_flowed_text_is_joined_when_it_is_read():
    assert body.read(mail("Content-Type: text/plain; format=flowed\n\none \ntwo\nthree\n")).text == "one two\nthree"


@pytest.mark.parametrize(
    ("flowed", "text"),
    [
        ("a \nb \nc\nd", "a b c\nd"),
        ("> a \n> b\nc", "> a b\nc"),
        (">> a \n> b", ">> a \n> b"),
        (" >not quoted\n From x", ">not quoted\nFrom x"),
        ("text \n-- \nAl", "text \n-- \nAl"),
        ("a \n", "a "),
        ("a \n\nb", "a \nb"),
        ("", ""),
    ],
)
def test_flowed_text_is_unfolded_as_rfc_3676_says(flowed, text):
    assert unflow(flowed) == text


def test_with_delsp_the_blank_goes():
    assert unflow("日本 \n語", delsp=True) == "日本語"


def test_a_long_quote_keeps_its_first_lines_and_says_how_many_are_hidden():
    text = "Hi\n\nOn Tue, 5 Mar 2024, Al <al@example.org> wrote:\n> 1\n> 2\n> 3\n>\n> > 4\n\nYes.\n\n-- \nBo\n"
    assert fold_quotes(text) == [
        Block("text", ("Hi",)),
        Block("quote", ("On Tue, 5 Mar 2024, Al <al@example.org> wrote:", "> 1", "> 2"), hidden=3),
        Block("text", ("Yes.",)),
        Block("signature", ("-- ", "Bo")),
    ]


def test_a_short_quote_stays_whole():
    assert fold_quotes("> 1\n> 2\nyes") == [Block("quote", ("> 1", "> 2")), Block("text", ("yes",))]
    assert fold_quotes("> 1\n> 2\nyes", keep=0)[0] == Block("quote", (), hidden=2)


@pytest.mark.parametrize(
    "attribution",
    [
        "On Tue, 5 Mar 2024 at 10:00, Al <al@example.org> wrote:",
        "On Tue, 5 Mar 2024 at 10:00, A Very Long Name <al@example.org>\nwrote:",
        "On Tue, 5 Mar 2024 at 10:00,\nA Very Long Name\n<al@example.org> wrote:",
        "Am 05.03.24 um 10:00 schrieb Al:",
        "Le mar. 5 mars 2024 à 10:00, Al <al@example.org> a écrit :",
        "El mar, 5 mar 2024 a las 10:00, Al escribió:",
        "Op di 5 mrt 2024 om 10:00 schreef Al <al@example.org>:",
        "Al wrote:",
        "Al <al@example.org> writes:",
        "2024年3月5日(火) 10:00 Al <al@example.org>のメール:",
        "Al 于2024年3月5日写道：",
    ],
)
def test_the_line_that_names_the_quoted_person_belongs_to_the_quote(attribution):
    text = f"Hello,\nas I said.\n\n{attribution}\n\n> 1\n> 2\n> 3\n"
    assert fold_quotes(text) == [
        Block("text", ("Hello,", "as I said.")),
        Block("quote", (*attribution.split("\n"), "> 1", "> 2"), hidden=1),
    ]


@pytest.mark.parametrize("line", ["See here:", "The rule is this:", "Note 5:"])
def test_a_line_that_only_ends_with_a_colon_stays_text(line):
    assert fold_quotes(f"{line}\n> 1")[0] == Block("text", (line,))


@pytest.mark.parametrize(
    "header",
    [
        "-----Original Message-----\nFrom: Al\nSent: Tuesday\nTo: Bo\nSubject: x",
        "-----Ursprüngliche Nachricht-----\nVon: Al",
        "________________________________\nFrom: Al <al@example.org>\nSent: Tuesday\nTo: Bo",
        "From: Al <al@example.org>\nSent: Tuesday, March 5, 2024 10:00\nTo: Bo",
        "*From:* Al <al@example.org>\n*Sent:* Tuesday",
        "Von: Al <al@example.org>\nGesendet: Dienstag",
        "De : Al\nEnvoyé : mardi",
        "From: Al\nTo: Bo\nDate: Tuesday",
    ],
)
def test_what_stands_below_an_answered_mails_header_is_one_quote(header):
    blocks = fold_quotes(f"My answer.\n\n{header}\n\nold text\n\nmore\n> older\n-- \nAl\n")
    assert [block.kind for block in blocks] == ["text", "quote"]
    assert blocks[0].lines == ("My answer.",)
    assert blocks[1].lines[0] == header.split("\n")[0]
    assert blocks[1].hidden > 3


@pytest.mark.parametrize(
    "text",
    [
        "From: is a field of a header.\nSo is To: and so on.",
        "From: Al\nhas written to me",
        "---------- Forwarded message ---------\nHello",
        "a > b\n\nx >> 2",
        ">From the beginning",
        "--- a/file\n+++ b/file",
        "-- 5 --\nx",
    ],
)
def test_what_only_looks_a_little_like_a_quote_is_text(text):
    assert fold_quotes(text) == [Block("text", tuple(text.split("\n")))]


@pytest.mark.parametrize("signature", ["-- \nAl", "--\nAl", "Sent from my iPhone", "_" * 47 + "\npmo mailing list"])
def test_a_signature_is_told_from_the_text(signature):
    assert fold_quotes(f"text\n{signature}") == [
        Block("text", ("text",)),
        Block("signature", tuple(signature.split("\n"))),
    ]


def test_an_answer_below_the_quote_of_a_signature_is_still_text():
    assert [block.kind for block in fold_quotes("top\n-- \nAl\n> quoted\nbelow")] == [
        "text",
        "signature",
        "quote",
        "text",
    ]


def test_nothing_has_no_blocks():
    assert fold_quotes("") == fold_quotes("\n \n") == []


WORDS = [
    "> ",
    ">",
    "a",
    "\n",
    "\n",
    "-- ",
    "On 5 Al wrote:",
    "From: Al\nSent: x",
    "-----Original Message-----",
    ":",
    " ",
]


@given(st.lists(st.sampled_from(WORDS)).map("".join), st.integers(0, 3))
def test_every_line_is_shown_or_counted(text, keep):
    blocks = fold_quotes(text, keep)
    shown = [line.strip() for block in blocks for line in block.lines if line.strip()]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    hidden = sum(block.hidden for block in blocks)
    assert len(shown) <= len(lines) <= len(shown) + hidden
    left = iter(lines)
    assert all(line in left for line in shown), "what is shown stands there in that order"
    assert all(block.kind == "quote" for block in blocks if block.hidden)


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map("".join)))
def test_unflow_and_fold_never_raise(text):
    fold_quotes(unflow(text))


@given(st.binary())
def test_any_mail_has_a_text(raw):
    text = body.read(parse(raw)).text
    text.encode()
    assert not set(text) & set("\r\0\x1b")


HOSTILE = {
    "one line of quotes": "> > > " * 900_000,
    "lines of quotes": "> > >\n" * 400_000,
    "ever deeper quotes": "".join(">" * n + " x\n" for n in range(2500)),
    "a quote every other line": "x\n>\n" * 150_000,
    "empty lines": "\n" * 1_000_000,
    "quotes with empty lines": "> \n\n" * 200_000,
    "blank lines": " \n" * 500_000,
    "blank lines behind a quote": "> x\n" + "\n \n" * 250_000,
    "signatures": "-- \n" * 250_000,
    "underscores": "_" * 2_000_000,
    "lines of underscores": ("_" * 40 + "\n\n") * 40_000,
    "dashes": "-" * 2_000_000,
    "senders": "From: x\n" * 100_000,
    "a long attribution": "On 5" * 500_000 + ":\n> x",
    "many words in an attribution": "On 5 wrote " * 300 + "x:\n> x\n",
    "long attributions": ("x" * 395 + " wrote:\n> \n") * 5000,
    "short attributions": "On 1:\n> \n" * 100_000,
    "telephones": "Sent from my " * 100_000,
    "flowing lines": "a \n" * 500_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_folded_in_no_time(text):
    start = time.process_time()
    fold_quotes(text)
    assert time.process_time() - start < 1
    start = time.process_time()
    unflow(text[: body.MAX_TEXT])
    assert time.process_time() - start < 1


def test_five_megabytes_of_quotes_cost_no_more_than_a_blink():
    text = "> > > > >\n" * 500_000
    assert fold_quotes(text) == [Block("quote", ("> > > > >", "> > > > >"), hidden=499_998)]
    assert min(_seconds(lambda: fold_quotes(text)) for _ in range(3)) < 0.5


def _seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


_GMAIL = (
    '<div dir="ltr">Fine.</div><br><div class="gmail_quote"><div class="gmail_attr">On Mon, 1 Mar 2021 at 10:00, Ada'
    ' &lt;<a href="mailto:ada@example.org">ada@example.org</a>&gt; wrote:<br></div>'
    '<blockquote class="gmail_quote" style="margin:0">words<br></blockquote></div>'
)
_OUTLOOK = (
    "<html><body><p>Fine.</p><div style='border-top:solid'><p><b>From:</b> Ada &lt;ada@example.org&gt;<br>"
    "<b>Sent:</b> Monday, March 1, 2021 10:00<br><b>To:</b> pmo<br></p></div><p>words</p></body></html>"
)


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("> words\n\nFine.", True),
        (" >words", True),
        ("Fine.\n\n-----Original Message-----\nFrom: Ada\n\nwords", True),
        ("Fine.\n\n________________________________\nFrom: Ada\nSent: Monday\nTo: pmo\n\nwords", True),
        ("Fine.\n\nVon: Ada\nGesendet: Montag\nAn: pmo\n\nWorte", True),
        ("Fine.\n\nOn Mon, 1 Mar 2021, Ada wrote:\n\nwords", True),
        ("Fine.\n\nAm 1.3.2021 schrieb Ada:\nWorte", True),
        ("Fine.\n\n2021年3月1日 Ada 写道：\n\n话", True),
        (html.to_text(_GMAIL), True),
        (html.to_text(_OUTLOOK), True),
        ("Fine.", False),
        ("He wrote: words", False),
        ("From: here\nto there", False),
        (">From here", False),
        ("a > b\nx >> y", False),
        ("", False),
    ],
)
def test_whether_anybody_is_quoted(text: str, quotes: bool) -> None:
    assert body.quotes(text) is quotes
